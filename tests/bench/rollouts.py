# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cold start and nothing to do, of the lakehouse's shape: the module `rollout` beside Docker Compose."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import timeline
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal

from tests.bench import lakehouse
from tests.bench.figures import Figure
from tests.fixtures.stacks.web_image import web_image

ROOT = Path(__file__).resolve().parents[2]


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def measured(
    call: list[str], given: str = "", environment: Mapping[str, str] | None = None
) -> tuple[int, str, str, float]:
    """Exit code, output, errors, and the most memory in MiB that the process had."""
    with tempfile.TemporaryFile("w+") as read, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        read.write(given)
        read.seek(0)
        process = subprocess.Popen(call, stdin=read, stdout=out, stderr=err, env=environment)
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        return process.returncode, out.read(), err.read(), usage.ru_maxrss / 1024


class Compose:
    """Docker Compose, at a file of its own. `memory` is what its last process had at most, in MiB."""

    project = "qbench-peer"
    memory = 0.0

    def __init__(self, folder: Path, model: dict[str, Any]) -> None:
        self._command = subprocess.run(
            [str(ROOT / "scripts" / "compose-peer")], check=True, capture_output=True, text=True
        ).stdout.strip()
        self._file = folder / "compose.json"
        self._file.write_text(json.dumps(model))
        self.version = self._run("version", "--short").strip()

    def _run(self, *arguments: str) -> str:
        call = [self._command, "--project-name", self.project, "--file", str(self._file), *arguments]
        rc, said, wrong, self.memory = measured(call)
        if rc:
            raise RuntimeError(f"docker compose {' '.join(arguments)}: {wrong[-2000:]}")
        return said

    def cold(self) -> None:
        # --wait takes a finished one-shot for a failure where nothing waits for it; here something always does
        self._run("up", "--detach", "--wait")

    def again(self) -> None:
        self._run("up", "--detach")

    def down(self) -> None:
        """Of 200 services Compose takes the network away while the engine still lets go of a container."""
        try:
            self._run("down", "--volumes", "--timeout", "1")
        except RuntimeError as error:
            if "active endpoints" not in str(error):
                raise
            self._run("down", "--volumes", "--timeout", "1")


class Ours:
    """The module as its own process on the host, with a journal of its own.

    It ends when the stack is released: after every replica was watched as well, which Compose's --wait does not do.
    """

    stack = "qbench-ours"
    memory = 0.0
    healthy = 0.0
    """seconds from the start of the last cold process until every service had passed its checks"""

    def __init__(self, folder: Path, model: dict[str, Any]) -> None:
        self._model = model
        self._places = {"state_dir": str(folder / "state"), "config_dir": str(folder / "config")}

    def _run(self, **arguments: Any) -> dict[str, Any]:
        call = [sys.executable, str(Path(__file__).with_name("module_process.py"))]
        given = json.dumps({"name": self.stack, **self._places, **arguments})
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'collections'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        _rc, said, wrong, self.memory = measured(call, given, environment)
        try:
            answer: dict[str, Any] = json.loads(said)
        except ValueError:
            raise RuntimeError(f"rollout said nothing: {said[-500:]}{wrong[-2000:]}") from None
        if answer.get("failed"):
            raise RuntimeError(f"rollout failed: {answer['msg']}")
        return answer

    def cold(self) -> None:
        began = time.time()
        answer = self._run(definition=self._model)
        with contextlib.closing(SqliteJournal(f"{self._places['state_dir']}/journal.sqlite")) as journal:
            told = timeline.read((e.at, e.what, e.details) for e in journal.events(answer["rollout"]))
        self.healthy = max(told.there(service) or math.inf for service in told.services) - began

    def again(self) -> None:
        answer = self._run(definition=self._model)
        if answer["changed"]:
            raise RuntimeError(f"a second rollout changed something: {answer['plan']}")

    def down(self) -> None:
        self._run(state="absent", remove_volumes=True)


@dataclass(frozen=True)
class Times:
    """Medians, in seconds: until every service is healthy, until the process ends, and with nothing to do."""

    healthy: float | None = None
    cold: float | None = None
    again: float | None = None


def measure(side: Compose | Ours, colds: int, repeats: int) -> Times:
    """Always cleared away afterwards."""
    healthy, cold, again = [], [], []
    for _turn in range(colds):
        try:
            side.down()
            cold.append(timed(side.cold))
            healthy.append(side.healthy if isinstance(side, Ours) else cold[-1])
            again += [timed(side.again) for _turn in range(repeats)]
        finally:
            side.down()
    return Times(*map(statistics.median, (healthy, cold, again)))


def rollouts(only: str = "") -> list[Figure]:
    """`only` is "ours" or "peer" to measure one half."""
    model = lakehouse.model(web_image())
    ours = peer = Times()
    with tempfile.TemporaryDirectory(prefix="quaylock-bench.") as folder:
        if only != "peer":
            ours = measure(Ours(Path(folder), model), colds=3, repeats=3)
        if only != "ours":
            compose = Compose(Path(folder), model)
            peer = measure(compose, colds=1, repeats=3)
            print(f"peer: docker compose {compose.version}")
    path = lakehouse.critical_path()
    return [
        Figure("16 services from nothing to healthy, beside Compose", ours.healthy, peer.cold, 0.1),
        Figure("16 services from nothing to healthy, beside the critical path", ours.healthy, path, 1.5),
        Figure(
            "16 services from nothing to watched and released, beside Compose's healthy", ours.cold, peer.cold, None
        ),
        Figure("16 services, nothing to do, beside Compose", ours.again, peer.again, 0.2),
    ]
