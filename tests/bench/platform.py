# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real lakehouse, with production's health settings and what this machine has: from images present to healthy and verified beside
Compose with the same file, nothing to do, memory, and each container killed once while a daily run goes on.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import timeline
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

from tests.bench.figures import Figure
from tests.bench.rollouts import ROOT, timed
from tests.fixtures.images.recipes import recipe_image
from tests.fixtures.stacks import lakehouse

NAME = "qbench-lake"
LAYERS = {
    "storage": ("minio", "minio-init", "metastore-db", "superset-db", "airflow-db"),
    "metadata": ("hive-metastore",),
    "processing": ("spark-master", "spark-worker"),
    "query": ("trino",),
    "analytics": ("superset", "airflow-webserver", "airflow-scheduler"),
    "application": ("ingestor", "dbt"),
}
ROWS, DAY = 1000, "2024-01-01"
MOMENT = {"trino": 45, "dbt": 42}
"""seconds after a run's begin at which they are at work; the others are from its begin"""
HEALED = 180.0
"""seconds in which everything has to be healthy again after a kill"""


@dataclass
class Platform:
    """The role's own file, filled in as a play does."""

    folder: Path
    client: Any = field(default_factory=lambda: docker.from_env(timeout=120))

    def __post_init__(self) -> None:
        images = {name: {"ref": recipe_image(self.client, name)} for name in lakehouse.RECIPES}
        # production's CPUs as far as the machine has them; of memory it has as much as development's table wants
        tables = [
            lakehouse.loaded(lakehouse.ROOT / f"inventories/{e}/group_vars/lakehouse/main.yml") for e in ("prod", "dev")
        ]
        cores = os.cpu_count() or 1
        limits = {
            name: {"cpus": min(prod["cpus"], cores), "memory": tables[1]["lakehouse_limits"][name]["memory"]}
            for name, prod in tables[0]["lakehouse_limits"].items()
        }
        known = lakehouse.variables(
            "prod",
            lakehouse_name=NAME,
            images_resolved=images,
            ingress_entrypoints={},
            lakehouse_limits=limits,
            lakehouse_daily_schedule="",
            lakehouse_verify_failure="report",
        )
        self.model = lakehouse.definition(known)
        self.contents = {"secrets": lakehouse.secrets_of(known), "configs": lakehouse.configs_of(known)}
        used = {
            kind: {key: body for key, body in made.items() if key in self.model[kind]}
            for kind, made in self.contents.items()
        }
        self.request = Request(
            name=NAME,
            definition=self.model,
            secrets=used["secrets"],
            configs=used["configs"],
            profiles=lakehouse.profiles_of(known),
            state_dir=str(self.folder / "state"),
            config_dir=str(self.folder / "etc"),
            who="bench",
        )  # fmt: skip

    def up(self) -> dict[str, Any]:
        answer = deploy.deploy(self.request)
        if answer["outcome"] not in ("deployed", "unchanged"):
            raise RuntimeError(json.dumps(answer, indent=1, default=str)[-6000:])
        return answer

    def down(self) -> None:
        deploy.remove(self.request, True, False)

    def healthy(self, answer: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
        """Seconds from the rollout's begin until all services had passed, and until each layer had."""
        journal = SqliteJournal(str(self.folder / "state/journal.sqlite"))
        events = journal.events(answer["rollout"])
        told = timeline.read((e.at, e.what, e.details) for e in events)
        began = events[0].at
        there = {service: told.there(service) for service in told.services}
        layers = {layer: max((there.get(name) or began) for name in names) - began for layer, names in LAYERS.items()}
        return max(layers.values()), layers

    def containers(self) -> dict[str, Any]:
        found = self.client.api.containers(filters={"label": [f"com.docker.compose.project={NAME}"]})
        return {entry["Names"][0].lstrip("/"): self.client.api.inspect_container(entry["Id"]) for entry in found}

    def of(self, service: str) -> str:
        return next(
            n
            for n, body in self.containers().items()
            if body["Config"]["Labels"]["com.docker.compose.service"] == service
        )

    def asked(self, service: str, *command: str) -> str:
        call = ["docker", "exec", self.of(service), *command]
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-800:]}{done.stderr[-800:]}")
        return done.stdout.strip()

    def memory(self) -> float:
        """MiB of all containers; pages of files that can be dropped do not count."""
        total = 0.0
        for body in self.containers().values():
            stat = Path(f"/sys/fs/cgroup/memory/docker/{body['Id']}/memory.stat")
            if not stat.exists():
                stats = self.client.api.stats(body["Id"], stream=False)["memory_stats"]
                total += stats.get("usage", 0) / 2**20
                continue
            counted = dict(line.split() for line in stat.read_text().splitlines())
            total += (int(counted["total_rss"]) + int(counted["total_mapped_file"])) / 2**20
        return total

    def daily_run(self, name: str) -> dict[str, Any]:
        """Asked again where the page that is asked goes away; the same name is the same run."""
        conf = json.dumps({"day": DAY, "rows": ROWS, "prefix": "verify_"})
        until = time.monotonic() + 900
        while True:
            try:
                said: dict[str, Any] = json.loads(
                    self.asked("airflow-webserver", "airflow-ask", "run", "taxi_daily", name, conf)
                )
                return said
            except (RuntimeError, ValueError, StopIteration) as error:
                if "failed" in str(error) and '"state"' in str(error):
                    raise
                if time.monotonic() > until:
                    raise
            time.sleep(2)

    def sums(self) -> set[str]:
        """What each layer has of that day, as Trino reads it."""
        where = f"WHERE day = DATE '{DAY}'"
        return {
            self.asked(
                "trino",
                "trino-ask",
                f"SELECT count(*), sum(total_amount) FROM iceberg.verify_silver.taxi_trips {where}",
            ),
            self.asked(
                "trino", "trino-ask", f"SELECT sum(trips), sum(revenue) FROM iceberg.verify_gold.trips_by_day {where}"
            ),
        }

    def ill(self) -> list[str]:
        return [n for n, b in self.containers().items() if b["State"].get("Health", {}).get("Status") != "healthy"]

    def healed(self, names: int) -> float:
        began = time.monotonic()
        while len(self.containers()) < names or self.ill():
            if time.monotonic() - began > HEALED:
                raise RuntimeError(f"not healthy after {HEALED:g} s: {self.ill()}")
            time.sleep(0.5)
        return time.monotonic() - began


class Peer:
    """Docker Compose with the same model; secrets and configs are files that everybody may read."""

    def __init__(self, folder: Path, platform: Platform) -> None:
        model = json.loads(json.dumps(platform.model))
        for kind in ("secrets", "configs"):
            for key in model[kind]:
                file = folder / f"peer-{kind}-{key}"
                file.write_bytes(platform.contents[kind][key])
                file.chmod(0o444)
                model[kind][key] = {"file": str(file)}
        folder.chmod(0o755)
        command = subprocess.run([str(ROOT / "scripts" / "compose-peer")], check=True, capture_output=True, text=True)
        (folder / "compose.json").write_text(json.dumps(model))
        profiles = [word for profile in platform.request.profiles for word in ("--profile", profile)]
        self._call = [
            command.stdout.strip(),
            "--project-name",
            f"{NAME}-peer",
            "--file",
            str(folder / "compose.json"),
            *profiles,
        ]

    def run(self, *words: str) -> None:
        done = subprocess.run([*self._call, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"docker compose {' '.join(words)}: {done.stderr[-3000:]}")


@dataclass(frozen=True)
class Killed:
    service: str
    run: str
    seconds: float
    healed: float
    right: bool

    def __str__(self) -> str:
        return f"| `{self.service}` | {self.run} | {self.seconds:.0f} s | {self.healed:.0f} s | {'yes' if self.right else 'NO'} |"


@contextmanager
def lake() -> Iterator[tuple[Platform, Path]]:
    with tempfile.TemporaryDirectory(prefix="quaylock-bench.") as name:
        folder = Path(name)
        platform = Platform(folder)
        try:
            platform.down()
            yield platform, folder
        finally:
            platform.down()


def platform(only: str = "") -> list[Figure]:
    """`only` is "ours" or "peer" to measure one half."""
    healthy = whole = again = peer = idle = busy = None
    with lake() as (ours, folder):
        if only != "peer":
            began = time.monotonic()
            answer = ours.up()
            whole = time.monotonic() - began
            healthy, layers = ours.healthy(answer)
            print("healthy after: " + ", ".join(f"{layer} {seconds:.1f} s" for layer, seconds in layers.items()))
            for check in answer["verification"]["checks"]:
                print(f"  {check['name']}: {check['outcome']} in {check['seconds']:.1f} s")
            before = {name: body["Id"] for name, body in ours.containers().items()}
            again = statistics.median(timed(ours.up) for _turn in range(3))
            assert {name: body["Id"] for name, body in ours.containers().items()} == before
            idle = ours.memory()
            thread = threading.Thread(target=ours.daily_run, args=(f"memory-{secrets.token_hex(3)}",))
            thread.start()
            busy = idle
            while thread.is_alive():
                busy = max(busy, ours.memory())
                time.sleep(1)
            ours.down()
        if only != "ours":
            compose = Peer(folder, ours)
            try:
                peer = timed(lambda: compose.run("up", "--detach", "--wait", "--wait-timeout", "1200"))
            finally:
                compose.run("down", "--volumes", "--timeout", "1")
    return [
        Figure("lakehouse from images present to healthy, beside Compose", healthy, peer, 0.25),
        Figure(
            "lakehouse from images present to healthy, watched and verified, beside Compose's healthy",
            whole,
            peer,
            None,
        ),
        Figure("lakehouse, nothing to do", again, 3.0, 1.0),
        Figure("lakehouse, memory idle", idle, None, None, "MiB"),
        Figure("lakehouse, most memory during a daily run", busy, None, None, "MiB"),
    ]


def kills(services: list[str]) -> int:
    """Each container once, in the middle of a daily run, as a crash: its first process gets SIGKILL."""
    wrong = 0
    with lake() as (ours, _folder):
        print("healthy after: ", ours.healthy(ours.up()), flush=True)
        names = len(ours.containers())
        wanted = ours.sums()
        print(
            "| killed | daily run | took | all healthy again after | counts are right |\n| --- | --- | --- | --- | --- |",
            flush=True,
        )
        for service in services or [name for layer in LAYERS.values() for name in layer if not name.endswith("-init")]:
            said: dict[str, Any] = {}
            name = f"kill-{service}-{secrets.token_hex(3)}"

            def go_on(into: dict[str, Any] = said, run: str = name) -> None:
                try:
                    into.update(ours.daily_run(run))
                except Exception as error:
                    into.update(state=f"failed: {error}")

            began = time.monotonic()
            thread = threading.Thread(target=go_on)
            thread.start()
            time.sleep(MOMENT.get(service, 15))
            os.kill(ours.containers()[ours.of(service)]["State"]["Pid"], signal.SIGKILL)
            time.sleep(1)
            healed = 1 + ours.healed(names)
            thread.join()
            took = time.monotonic() - began
            ours.healed(names)
            killed = Killed(service, str(said.get("state")), took, healed, ours.sums() == wanted)
            wrong += not killed.right
            print(killed, flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(kills(sys.argv[1:]))
