# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A verification where the engine, a secret or a replica is not what it should be: told, and never raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import verify
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.local import HostFiles, WallClock
from ansible_collections.quaylock.stacks.plugins.module_utils.core.checks import (
    Check,
    Exec,
    Http,
    Logs,
    Run,
    VerifyPlan,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Gate, Image, Observed, Service, Stack
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.perform import Host
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

WEB, JOB = (Service(name, f"{name}:1", {"HostConfig": {}}, Gate(), "spec") for name in ("web", "job"))
COMMITTED = {"members": {}, "images": {}, "ran": []}


class Engine:
    """One replica of web, the second of two, and what is said about everything else."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.there = {"web:1"}

    def replicas(self, stack: str) -> Sequence[Observed]:
        found = [Observed(f"shop-web-{n}", str(n), "web", n, "i", running=n == 2) for n in (1, 2)]
        return [*found, Observed("shop-job-1", "3", "job", 1, "i", running=False)]

    def exec(self, name: str, command: Sequence[str], timeout: float, environment: Any) -> tuple[int, str]:
        self.asked.append(f"{name} {' '.join(command)} {environment['QUAYLOCK_ROLLOUT']}")
        return 0, "fine"

    def logs_since(self, name: str, since: float) -> Iterator[str]:
        if name == "shop-job-1":
            raise PortError(f"reading the logs of {name}: configured logging driver does not support reading")
        yield "\x1b[31mERROR\x1b[0m red"

    def left_over(self, stack: str, label: str) -> list[str]:
        return []

    def image(self, ref: str) -> Image | None:
        return Image(ref, "sha256:1") if ref in self.there else None

    def fetch(self, service: Service, say: Any) -> Image:
        raise PortError(f"pull {service.image}: no route to the registry")

    def remove(self, name: str) -> None:
        self.asked.append(f"remove {name.rpartition('-v-')[0]}")

    def create(self, name: str, body: Any) -> None:
        raise PortError("no space left")


def verified(tmp_path: Path, engine: Engine, *checks: Check) -> dict[str, Any]:
    journal = SqliteJournal(str(tmp_path / "journal.sqlite"))
    journal.begin("r-1", "shop", "deploy", "jane", 1000.0, {})
    journal.milestone("r-1", "committed", 1001.0, COMMITTED)
    stack = Stack("shop", (WEB,), verify=VerifyPlan(checks), jobs=(JOB,))
    made: Any = engine
    host = Host(made, None, HostFiles(), journal, WallClock(), str(tmp_path))
    assert verify.due(journal, stack)
    answer = verify.verified(host, Request("shop"), journal, stack)
    assert verify.due(journal, stack) is (answer["outcome"] == "failed")
    return answer


def once(name: str, ask: Any) -> Check:
    return Check(name, ask, timeout=1, deadline=0)


CASES = [
    ("no replica runs", Exec("job", ("x",)), "no replica of job runs", ""),
    ("a secret is gone", Http("web", 80, user="u", password="key"), "the secret key is not on this host any more", ""),
    ("no image", Run("job"), "pull job:1: no route to the registry", ""),
    ("no room", Run("web"), "no space left", ""),
    ("logs that cannot be read", Logs(("job",)), "driver does not support reading", ""),
    ("colours are no reason to miss a line", Logs(("web",)), "2 lines", "shop-web-1: ERROR red\nshop-web-2: ERROR red"),
]


@pytest.mark.parametrize(("ask", "said", "output"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_cannot_be_asked_did_not_pass(tmp_path: Path, ask: Any, said: str, output: str) -> None:
    [found] = verified(tmp_path, Engine(), once("it", ask))["checks"]
    assert found["outcome"] == "failed"
    assert said in found["said"]
    assert found["output"] == output


def test_the_first_replica_that_runs_is_asked(tmp_path: Path) -> None:
    engine = Engine()
    assert verified(tmp_path, engine, once("it", Exec("web", ("x", "y"))))["outcome"] == "verified"
    assert engine.asked == ["shop-web-2 x y r-1"]


def test_what_was_made_is_removed_also_where_it_could_not_start(tmp_path: Path) -> None:
    engine = Engine()
    verified(tmp_path, engine, once("it", Run("web")))
    assert engine.asked == ["remove shop-web-it"]


def test_what_a_check_needs_is_told_before_anything_changes(tmp_path: Path) -> None:
    engine: Any = Engine()
    journal = SqliteJournal(str(tmp_path / "journal.sqlite"))
    host = Host(engine, None, HostFiles(), journal, WallClock(), str(tmp_path))
    [found] = verify.have_images(host, Stack("shop", (WEB,), jobs=(JOB,)), print)
    assert str(found) == (
        "services.job.image: job:1 cannot be had: pull job:1: no route to the registry (x-quaylock.verify runs it)"
    )
    engine.there.add("job:1")
    assert verify.have_images(host, Stack("shop", (WEB,), jobs=(JOB,)), print) == ()
