# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a newcomer does, in a fresh clone, and what users of the application notice of its next releases: nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image
from ansible_collections.quaylock.stacks.tests.load import Load, Report

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DOOR = ("127.0.0.1", 8000)
"""CalMiner's entrypoint in the dev inventory"""

FIGURES: dict[str, Any] = {}
"""what was measured, for the bench"""


@dataclass
class Clone:
    """A fresh clone with a fresh HOME."""

    folder: Path
    env: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, what: str, *call: str, ok: bool = True) -> str:
        began = time.monotonic()
        done = subprocess.run(
            call,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.seconds[what] = round(time.monotonic() - began, 1)
        assert (done.returncode == 0) is ok, f"{what}: {' '.join(call)} -> {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout


def docker(*call: str) -> str:
    return subprocess.run(["docker", *call], capture_output=True, text=True, check=True).stdout


def containers(project: str) -> set[str]:
    return set(docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={project}").split())


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    mine = containers("calminer") | containers("ingress")
    assert not mine, (
        "this machine runs CalMiner or a proxy already, and this test would take them down: make down first"
    )
    place = tmp_path_factory.mktemp("fresh")
    folder = place / "quaylock"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    home = place / "home"
    home.mkdir()
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE", "VIRTUAL_ENV", "PYTEST", "MOLECULE"))
    }
    path = os.pathsep.join(p for p in inherited["PATH"].split(os.pathsep) if ".venv" not in p)
    fresh = Clone(folder, {**inherited, "HOME": str(home), "PATH": path})
    yield fresh
    FIGURES.update(fresh.seconds)
    if "QUAYLOCK_FIGURES" in os.environ:
        Path(os.environ["QUAYLOCK_FIGURES"]).write_text(json.dumps(FIGURES, indent=2))
    fresh.env |= {"CONFIRM": "yes", "VOLUMES": "delete"}
    fresh.run("down", "make", "down")
    assert not containers("calminer")


@pytest.fixture(scope="module")
def up(clone: Clone) -> str:
    return clone.run("make up", "make", "up")


class Writer:
    """A client that stores scenarios on one kept-alive connection and counts what was not stored."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.stored, self.failed = prefix, list[str](), list[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        connection = http.client.HTTPConnection(*DOOR, timeout=30)
        number = 0
        while not self._over.is_set() and number < 20_000:
            number += 1
            name = f"{self.prefix}-{number}"
            try:
                body = json.dumps({"name": name})
                connection.request("POST", "/api/scenarios", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 201:
                    raise http.client.HTTPException(f"{answer.status} {said[:200]!r}")
                self.stored.append(name)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{name}: {type(error).__name__}: {error}")
                connection.close()
            time.sleep(0.03)


def get(path: str) -> Any:
    connection = http.client.HTTPConnection(*DOOR, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, (path, answer.status)
    return json.loads(answer.read())


def under_load(prefix: str, work: Any) -> tuple[Report, Writer]:
    """Readers and a writer through the proxy while `work` happens, and a little longer."""
    mix = {"keepalive": 6, "fresh": 3, "idle": 4}
    with (
        Load(f"{DOOR[0]}:{DOOR[1]}", mix=mix, path="/health", seconds=300, pause=0.1) as load,
        Writer(prefix) as writer,
    ):
        time.sleep(1)
        work()
        time.sleep(1)
    return load.report, writer


def nothing_lost(what: str, report: Report, writer: Writer) -> None:
    failed = report.failed + len(writer.failed)
    FIGURES[what] = {**report.as_dict(), "failed": failed, "requests": report.requests + len(writer.stored)}
    assert report.failed == 0, str(report)
    assert not writer.failed, writer.failed[:5]
    assert report.requests > 200, str(report)
    assert len(writer.stored) > 20
    (database,) = docker("ps", "-q", "--filter", "name=calminer-postgres").split()
    query = f"SELECT name FROM scenario WHERE name LIKE '{writer.prefix}-%'"
    there = set(docker("exec", database, "psql", "-U", "calminer", "-d", "calminer", "-Atc", query).split())
    assert not set(writer.stored) - there, "stored and lost"


def test_make_up_ends_with_the_application_healthy_and_its_url(up: str) -> None:
    assert re.search(r"calminer: healthy", up), up[-3000:]
    assert "http://127.0.0.1:8000/" in up
    assert get("/health") == {"status": "ok"}
    assert get("/api/scenarios"), "the seed data are there"


def test_a_second_make_up_changes_nothing(clone: Clone, up: str) -> None:
    before = containers("calminer") | containers("ingress")
    said = clone.run("second make up", "make", "up")
    assert re.search(r"changed=0 .*failed=0", said), said[-3000:]
    assert containers("calminer") | containers("ingress") == before


def test_check_mode_only_reads(clone: Clone, up: str) -> None:
    before = containers("calminer")
    said = clone.run("check", "scripts/up", "dev", "--check", "--diff", "-e", "calminer_replicas=2")
    assert "scale" in said or "calminer after the rollout" in said, said[-3000:]
    assert containers("calminer") == before


def test_the_next_release_rolls_out_without_a_lost_request(clone: Clone, up: str) -> None:
    before = containers("calminer")

    def release() -> None:
        clone.run("release 2", "scripts/up", "dev", "-e", "calminer_version=2.0.0")

    report, writer = under_load("two", release)
    nothing_lost("good", report, writer)
    assert get("/version")["version"] == "2.0.0"
    assert containers("calminer") != before


def test_a_broken_release_never_sees_traffic_and_is_undone(clone: Clone, up: str, tmp_path: Path) -> None:
    broken = tmp_path / "app"
    shutil.copytree(clone.folder / "roles/calminer/files/app", broken)
    main = broken / "main.py"
    main.write_text(main.read_text() + '\nraise RuntimeError("this release cannot start")\n')
    clone.run("release 2 is there", "scripts/up", "dev", "-e", "calminer_version=2.0.0")
    said = []

    def release() -> None:
        words = ["-e", "calminer_version=3.0.0", "-e", f"calminer_context={broken}", "-e", f"calminer_source={broken}"]
        said.append(clone.run("broken release 3", "scripts/up", "dev", *words, ok=False))

    report, writer = under_load("three", release)
    nothing_lost("bad", report, writer)
    assert "was rolled back: api did not pass its gate" in said[0], said[0][-4000:]
    assert "this release cannot start" in said[0], "the evidence names the cause"
    assert "-e stacks=calminer" in said[0], "the message names the next command"
    assert get("/version")["version"] == "2.0.0"


def test_what_users_get_today_loses_requests(clone: Clone, tmp_path: Path) -> None:
    """The control: the same load while `docker compose up -d` brings a new release of a service."""
    peer = compose_peer()
    image, port = web_image(), 18977

    def release(version: str) -> None:
        model = {
            "services": {
                "web": {"image": image, "environment": {"VERSION": version}, "ports": [f"127.0.0.1:{port}:8000"]}
            }
        }
        (tmp_path / "compose.yaml").write_text(json.dumps(model))
        call = [peer, "-p", "control", "-f", str(tmp_path / "compose.yaml"), "up", "-d"]
        subprocess.run(call, check=True, capture_output=True)

    try:
        release("1")
        with Load(
            f"127.0.0.1:{port}", mix={"keepalive": 6, "fresh": 3}, path="/version", seconds=60, pause=0.01
        ) as load:
            time.sleep(1)
            release("2")
            time.sleep(1)
        FIGURES["control"] = load.report.as_dict()
        print(f"\ndocker compose up -d: {load.report}")
        assert load.report.failed > 0, "the load does not notice a restart, so it proves nothing elsewhere"
    finally:
        down = [peer, "-p", "control", "-f", str(tmp_path / "compose.yaml"), "down", "-t", "0"]
        subprocess.run(down, capture_output=True, check=False)
