# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What operators do with a lakehouse on day two, on a real one: python -m tests.lakehouse.day_two [STEP...]

Prints a line for each step: what was done, whether all was right, and how long it took.
"""

from __future__ import annotations

import functools
import json
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils import deploy, verify
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill, restoring, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

from tests.fixtures.own_engine import own_engine
from tests.lakehouse.published import trips
from tests.lakehouse.real import LAYERS, NAME, Beside, Platform, lake
from tests.lakehouse.refusals import refusals
from tests.lakehouse.rolling import KNOCKING, NETWORKS, gaps_of, need, roll, routed, watching

LONG = [name for layer in LAYERS.values() for name in layer if not name.endswith("-init")]


def during_a_run(ours: Platform, work: Callable[[], Any], after: float = 15) -> str:
    """The state of a daily run in whose middle the work is done, so many seconds after its begin."""
    beside = Beside(ours, f"day-two-{secrets.token_hex(3)}")
    time.sleep(after)
    work()
    beside.join()
    return beside.state


def workers(ours: Platform, _folder: Path) -> str:
    """More and fewer Spark workers in the middle of a run."""
    told = []
    before, wanted = ours.containers(), ours.sums()
    for number in (4, 1, 2):
        ours.want(lakehouse_spark_workers=number, verified=False)
        state = during_a_run(ours, ours.up)
        there = [name for name in ours.containers() if "-spark-worker-" in name]
        need(len(there) == number, f"{number} workers are wanted, there are {there}")
        need(state == "success", f"with {number} workers the daily run: {state}")
        need(ours.sums() == wanted, f"with {number} workers the counts differ")
        told.append(str(number))
    others = {name: body["Id"] for name, body in ours.containers().items() if "-spark-worker-" not in name}
    need(all(before[name]["Id"] == id_ for name, id_ in others.items()), "another service was touched")
    return f"2, then {', '.join(told)} workers, each change in the middle of a daily run that succeeded; nothing else was touched"


def _bad(ours: Platform, service: str, evidence: str, **given: Any) -> str:
    before = {name: body["Id"] for name, body in ours.containers().items()}
    ours.want(**given)
    answer = ours.deploy()
    need(answer["outcome"] == "rolled back", f"outcome {answer['outcome']}")
    said = json.dumps(answer["failures"])
    need(evidence in said, f"{evidence!r} is not in the evidence: {said[:3000]}")
    after = {name: body["Id"] for name, body in ours.containers().items()}
    need(after == before, f"not the same containers: {set(after.items()) ^ set(before.items())}")
    ours.want()
    return f"{service} rolled back by itself, the same containers serve; the evidence names {evidence!r}"


def bad_trino(ours: Platform, _folder: Path) -> str:
    """A property that Trino does not know."""
    return _bad(ours, "trino", "no.such.property", lakehouse_trino_properties={"no.such.property": "1"})


def bad_airflow(ours: Platform, _folder: Path) -> str:
    """An image that is no Airflow."""
    images = {**ours.images, "airflow": ours.images["dbt"]}
    return _bad(ours, "airflow", "airflow-init", images_resolved=images)


def rolls(ours: Platform, _folder: Path) -> str:
    """Each service by itself: nothing else is touched, and afterwards the whole works."""
    labels: dict[str, str] = {}
    inside = tuple(f"{NAME}_{name}" for name in NETWORKS)
    with watching(ours, KNOCKING, networks=inside) as knocked:
        took = [f"{service} {roll(ours, labels, service, '2'):.0f} s" for service in LONG]
    ours.want(labels=labels)
    ours.up()
    answer = verify.verify(ours.request, False)
    need(answer["outcome"] == "verified", str(answer.get("msg")))
    return (
        f"{', '.join(took)}, each watched; verified afterwards; nobody took connections for, at the longest: "
        f"{gaps_of(knocked.value)}"
    )


def beneath(ours: Platform, _folder: Path) -> str:
    """What a daily run stands on is replaced in its middle: its tries find the successor."""
    labels: dict[str, str] = {}
    wanted = ours.sums()
    # Trino when dbt asks it
    for service, after in (("minio", 15), ("hive-metastore", 15), ("trino", 38)):
        state = during_a_run(ours, functools.partial(roll, ours, labels, service, "3"), after)
        need(state == "success", f"{service} was replaced in the middle of a daily run: {state}")
        need(ours.sums() == wanted, f"{service} was replaced in the middle of a daily run: the counts differ")
    return "MinIO, the metastore and Trino, each replaced in the middle of a daily run that succeeded; counts as before"


def vault_of(folder: Path, location: Path, password: str) -> Vault:
    """Sets of a repository, as a host with this folder and this password knows them."""
    (folder / "password").write_text(f"{password}\n")
    where = Repository(str(location), str(folder / "password"), cache=str(folder / "cache"))
    return Vault(Restic(where, "bench", wait=20), str(folder / "state/manifests"))


def backup(ours: Platform, folder: Path) -> str:
    """A set, a drill, and a restore of everything after something was lost."""
    vault = vault_of(folder, folder / "repository", "correct horse")
    vault.repository.init()
    wanted = ours.sums()
    began = time.monotonic()
    made = run.back_up(ours.request, vault)
    need(made["outcome"] == "made", str(made.get("msg")))
    told = [
        f"a set of {len(made['items'])} items in {time.monotonic() - began:.0f} s, writers still for {made['quiet']:.2f} s"
    ]
    began = time.monotonic()
    drilled = drill.drill(ours.request, vault)
    need(not drilled.get("failed"), str(drilled.get("msg")))
    told.append(f"its drill in {time.monotonic() - began:.0f} s")
    ours.asked(
        "trino",
        "trino-ask",
        "DROP TABLE iceberg.verify_gold.trips_by_day",
        "DROP TABLE iceberg.verify_silver.taxi_trips",
    )
    began = time.monotonic()
    restored = restoring.restore(ours.request, vault, restoring.Choice(stop=True))
    need(not restored.get("failed"), str(restored.get("msg")))
    told.append(f"two tables dropped, the stack restored in {time.monotonic() - began:.0f} s")
    need(ours.sums() == wanted, "the counts are not those of the set")
    answer = verify.verify(ours.request, False)
    need(answer["outcome"] == "verified", str(answer.get("msg")))
    return f"{'; '.join(told)}; counts as before, and verified"


def elsewhere(ours: Platform, folder: Path) -> str:
    """An empty engine gets the stack back, from the repository and a recovery key alone."""
    vault = vault_of(folder, folder / "repository", "correct horse")
    vault.repository.init()
    vault.repository.add_key("correct recovery", "recovery", "quaylock")
    ours.up()  # with its checks, which the set has to bring along
    wanted = ours.sums()
    made = run.back_up(ours.request, vault)
    need(made["outcome"] == "made", str(made.get("msg")))
    ours.down()
    safe = folder / "elsewhere"
    safe.mkdir()
    known = vault_of(safe, folder / "repository", "correct recovery")
    with own_engine(*(image["ref"] for image in ours.images.values())) as engine:
        there = Platform(safe, engine.url)
        need(not there.containers() and not there.client.volumes.list(), "the engine is not empty")
        bare = Request(
            name=NAME, state_dir=str(safe / "state"), config_dir=str(safe / "etc"), docker_host=engine.url, who="bench"
        )
        began = time.monotonic()
        with engine.network():
            try:
                answer = restoring.restore(bare, known, restoring.Choice(stop=True))
                need(not answer.get("failed"), str(answer.get("msg")))
                took = time.monotonic() - began
                need(there.sums() == wanted, "the counts are not those of the set")
                verified = verify.verify(bare, False)
                need(verified["outcome"] == "verified", str(verified.get("msg")))
            finally:
                deploy.remove(bare, True, False)
    ours.up()
    return f"restored in {took:.0f} s by an engine that had nothing but the images; counts as before, and verified"


STEPS: dict[str, Callable[[Platform, Path], str]] = {
    "backup": backup,
    "bad_trino": bad_trino,
    "bad_airflow": bad_airflow,
    "workers": workers,
    "trips": trips,
    "beneath": beneath,
    "rolls": rolls,
    "routed": routed,
    "refusals": refusals,
    "elsewhere": elsewhere,
}


def main(wanted: list[str]) -> int:
    wrong = 0
    with lake() as (ours, folder):
        ours.up()
        for name in wanted or STEPS:
            began = time.monotonic()
            try:
                said, right = STEPS[name](ours, folder), "ok"
            except Exception as error:
                said, right, wrong = f"{type(error).__name__}: {error}", "FAILED", wrong + 1
            print(f"{right:<6} {name} ({time.monotonic() - began:.0f} s): {said}", flush=True)
            # the next one finds it as this one did, whatever became of it
            ours.want(verified=False)
            try:
                ours.up()
            except Exception as error:
                print(f"FAILED {name}, and it does not come back: {error}", flush=True)
                wrong += 1
            ours.want()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
