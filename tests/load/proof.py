# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rollouts good and bad under load, behind each proxy, and what users do today beside them.

    python -m tests.load.proof [--driver NAME]... [--only ours|controls]

Prints a table and writes build/bench/load.json. Ends with 1 when Quaylock lost a request, when a rollout did not end as it
had to, or when the clients do not see a backend that is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import docker
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

from . import proxies
from .clients import WAITING, quantile
from .controls import PORTS, Project
from .releases import BAD, HOST, IMAGE, SLOW, STREAM, Release, ours, series

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "qload"
SUBNETS = "10.213.{}.0/24"
MIX = {"keepalive": 6, "fresh": 4, "post": 4, "slow": 2, "stream": 3, "ws": 4, "idle": 6}
PAUSE = 0.04
"""seconds between two requests of one client: about 350 requests a second together, which leaves the CPU to the rollouts"""
QUIET = 15.0
"""seconds of load before the first rollout"""
AFTER = 2.0
"""seconds of load between two rollouts of a control, so that each shows all that it costs"""
LONGEST = 590.0


class ProofError(Exception):
    """The proof cannot be had."""


@dataclass
class Clients:
    """The clients as a process of their own, so that they do not share an interpreter with the rollouts."""

    target: str
    folder: Path
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)
    largest: int = 20000

    def __enter__(self) -> Clients:
        self._file = self.folder / f"answers-{secrets.token_hex(3)}.json"
        paths = [
            "--path",
            "/version",
            "--slow-path",
            f"/slow?seconds={SLOW:g}",
            "--stream-path",
            f"/stream?seconds={STREAM:g}",
        ]
        call = [sys.executable, "-m", "tests.load", self.target, "--host", HOST, *paths, "--json"]
        call += ["--mix", ",".join(f"{k}={n}" for k, n in self.mix.items()), "--pause", str(PAUSE)]
        call += ["--largest", str(self.largest), "--seconds", str(LONGEST), "--answers", str(self._file)]
        self.began = time.time()
        self._process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        said, _error = self._process.communicate(timeout=60)
        self.report: dict[str, Any] = json.loads(said)
        seen = json.loads(self._file.read_text())
        self.answers: list[tuple[float, str, float]] = seen["answers"]
        self.losses: list[tuple[float, str, str]] = seen["losses"]
        if len(self.answers) < 100:
            raise ProofError(f"the clients got {len(self.answers)} answers: that was no load")

    def times(self, since: float, until: float) -> list[float]:
        """Of the requests that should be quick, seconds."""
        return [took for at, kind, took in self.answers if since <= at < until and kind not in WAITING]


@dataclass
class Row:
    """One run. Times are milliseconds."""

    name: str
    good: int
    bad: int
    seconds: float
    report: Mapping[str, Any]
    quiet: tuple[float, float]
    during: tuple[float, float]
    losing: int = 0
    """rollouts during which something was lost"""
    wrong: tuple[str, ...] = ()
    rollouts: tuple[Mapping[str, Any], ...] = ()
    ours: bool = False
    lost_before: int = 0
    """in the quiet time, before the first rollout"""

    @property
    def failed(self) -> int:
        return int(self.report["failed"])

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "report": dict(self.report), "failed": self.failed}


def rates(clients: Clients, since: float, until: float) -> tuple[float, float]:
    times = clients.times(since, until)
    return round(quantile(times, 0.5) * 1000, 2), round(quantile(times, 0.99) * 1000, 2)


def row(name: str, clients: Clients, first: float, runs: Sequence[Mapping[str, Any]], ours: bool = False) -> Row:
    ends = [*(r["began"] for r in runs[1:]), time.time() + 3600]
    per = [sum(r["began"] <= at < end for at, _k, _w in clients.losses) for r, end in zip(runs, ends, strict=True)]
    runs = [{**r, "lost": lost} for r, lost in zip(runs, per, strict=True)]
    quiet = sum(at < first for at, _kind, _why in clients.losses)
    last = runs[-1]["ended"]
    return Row(
        name,
        sum(not r["what"] for r in runs),
        sum(bool(r["what"]) for r in runs),
        round(last - first, 1),
        clients.report,
        rates(clients, clients.began + 2, first),
        rates(clients, first, last),
        sum(lost > 0 for lost in per),
        tuple(r["wrong"] for r in runs if r.get("wrong")),
        tuple(runs),
        ours,
        quiet,
    )


def say(text: str) -> None:
    print(text, flush=True)


# -- ours ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def stack(proxy: proxies.Proxy, folder: Path) -> Iterator[tuple[Callable[[Release], dict[str, Any]], SqliteJournal]]:
    """A stack of its own; gives what rolls a release out, and its journal."""
    name = f"{PREFIX}-{secrets.token_hex(3)}"

    def request(release: Release) -> Request:
        return Request(
            name=name,
            definition=ours(release),
            ingress=proxy.ingress,
            who="make load",
            state_dir=str(folder / "state"),
            config_dir=str(folder / "etc"),
        )

    try:
        yield lambda release: deploy.deploy(request(release)), SqliteJournal(str(folder / "state" / "journal.sqlite"))
    finally:
        deploy.remove(request(Release("none")), True, False)


def rolled(release: Release, answer: Mapping[str, Any], began: float) -> dict[str, Any]:
    wrong = ""
    if answer["outcome"] != release.outcome:
        wrong = f"{release.version} ({release.what or 'good'}) ended {answer['outcome']}: {answer.get('msg', '')}"
    return {"version": release.version, "what": release.what, "began": began, "ended": time.time(), "wrong": wrong}


def our_rollouts(driver: str, folder: Path) -> list[Row]:
    subnet = SUBNETS.format(10)
    with (
        proxies.network(f"{PREFIX}-{driver}", subnet) as network,
        proxies.ours(driver, network) as proxy,
        stack(proxy, folder / "ours") as (deploys, journal),
    ):
        first = deploys(Release("v1"))
        if first["outcome"] != "deployed":
            raise ProofError(f"the first release was not deployed: {first.get('msg', first)}")
        runs = []
        with Clients(proxy.target, folder, largest=proxy.largest) as clients:
            time.sleep(QUIET)
            begun = time.time()
            for release in series():
                began = time.time()
                runs.append(rolled(release, deploys(release), began))
                say(f"    {release.version:<4} {release.what or 'good':<28} {runs[-1]['ended'] - began:5.1f} s")
        found = row(f"Quaylock, {driver}", clients, begun, runs, ours=True)
        if found.failed:
            say(proxy.log())
        return [found, dies_under_traffic(driver, proxy, folder, deploys, journal)]


def dies_under_traffic(
    driver: str,
    proxy: proxies.Proxy,
    folder: Path,
    deploys: Callable[[Release], dict[str, Any]],
    journal: SqliteJournal,
) -> Row:
    """All new replicas die after the switch. What they were answering is lost with them; how much, and for how long?"""
    release = Release("v99", "dies under traffic", 2, {"CRASH_AFTER": "2.4"})
    with Clients(proxy.target, folder, {"keepalive": 6, "fresh": 4, "post": 4}, proxy.largest) as clients:
        time.sleep(3)
        began = time.time()
        answer = deploys(release)
        run = rolled(release, answer, began)
        time.sleep(1)
    moves = [e for e in journal.events(answer["rollout"]) if e.what == "done" and e.details.get("do") == "Route"]
    if not any(e.details["service"] == "web" for e in moves):
        run["wrong"] = f"it died before it had traffic: {answer['failures']}"
    found = row(f"the same: dies after the switch, {driver}", clients, began, [run])
    span = [at for at, _kind, _why in clients.losses]
    return Row(
        **{**found.__dict__, "rollouts": ({**found.rollouts[0], "losing_for": max(span) - min(span) if span else 0.0},)}
    )


# -- the clients can fail, and what users do today ---------------------------------------------------


def clients_see_a_killed_backend(folder: Path) -> dict[str, int]:
    """Losses by kind of client when the one backend is killed. Raises ProofError when a kind saw nothing."""
    client = docker.from_env()
    with proxies.network(f"{PREFIX}-self", SUBNETS.format(11)) as network:
        backend = client.containers.run(
            IMAGE, name=f"{PREFIX}-self", network=network, environment={"VERSION": "self"}, detach=True
        )
        try:
            backend.reload()
            address = backend.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
            servers = dict.fromkeys(("web", "live"), f"server only {address}:8000")
            with (
                proxies.by_hand(f"{PREFIX}-self-proxy", network, folder / "self", servers, False) as target,
                Clients(target, folder) as clients,
            ):
                time.sleep(4)
                killed = time.time()
                backend.kill()
                time.sleep(3)
        finally:
            backend.remove(force=True)
    seen = Counter(kind for _at, kind, _why in clients.losses)
    early = [loss for loss in clients.losses if loss[0] < killed]
    if early or set(seen) != set(MIX):
        blind = ", ".join(sorted(set(MIX) - set(seen))) or "none"
        raise ProofError(f"the clients do not see a killed backend: blind are {blind}; lost before it: {early[:3]}")
    return dict(seen)


def control(name: str, way: Callable[[Project, Release], None], published: bool, folder: Path) -> Row:
    """Five good releases, and a last one that crashes."""
    program = compose_peer()
    subnet = SUBNETS.format(12)
    gateway = subnet.replace("0/24", "1")
    with proxies.network(f"{PREFIX}-control", subnet) as network:
        doors = {s: f"{gateway}:{p}" for s, p in PORTS.items()} if published else {}
        project = Project(program, f"{PREFIX}-control", folder / "control", network, doors)
        servers = {
            s: f"server {s} {gateway}:{p} check inter 1s"
            if published
            else f"server-template {s} 4 {s}:8000 check inter 1s resolvers docker init-addr none"
            for s, p in PORTS.items()
        }
        try:
            project.up(Release("v1"))
            with proxies.by_hand(
                f"{PREFIX}-control-proxy", network, folder / "by-hand", servers, not published
            ) as target:
                runs = []
                with Clients(target, folder) as clients:
                    time.sleep(QUIET)
                    begun = time.time()
                    bad = Release("v7", "crashes after it was ready", 2, BAD["crashes after it was ready"])
                    for release in (*(Release(f"v{n}") for n in range(2, 7)), bad):
                        began = time.time()
                        way(project, release)
                        time.sleep(AFTER)
                        runs.append(
                            {"version": release.version, "what": release.what, "began": began, "ended": time.time()}
                        )
                        say(f"    {release.version:<4} {release.what or 'good':<28} {time.time() - began:5.1f} s")
        finally:
            project.down()
    return row(name, clients, begun, runs)


CONTROLS: Mapping[str, tuple[Callable[[Project, Release], None], bool]] = {
    "docker compose up -d": (Project.up, True),
    "scaled up and down by hand": (Project.scale, False),
}


# -- what it says ---------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    head = ("", "good", "bad", "s", "requests", "failed", "in", "goodbyes", "p50 ms", "p99 ms", "quiet p50", "p99")
    cells = [head]
    for r in rows:
        counts = (str(r.good), str(r.bad), f"{r.seconds:.0f}", str(r.report["requests"]), str(r.failed))
        losing = (f"{r.losing} of {r.good + r.bad}", str(r.report["goodbyes"]))
        cells.append((r.name, *counts, *losing, *(f"{v:.1f}" for v in (*r.during, *r.quiet))))
    widths = [max(len(c[n]) for c in cells) for n in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(cell, widths, strict=True)))
        for cell in cells
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.proof", description=__doc__.partition("\n")[0])
    parser.add_argument("--driver", action="append", choices=proxies.DRIVERS, help="all without it")
    parser.add_argument("--only", choices=["ours", "controls"], default="")
    given = parser.parse_args()
    web_image(IMAGE, "load")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ql-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        seen = clients_see_a_killed_backend(folder)
        say(f"  a killed backend is seen by every kind of client: {seen}")
        if given.only != "controls":
            for driver in given.driver or proxies.DRIVERS:
                say(f"  Quaylock behind {driver}")
                rows += our_rollouts(driver, folder)
        if given.only != "ours":
            for name, (way, published) in CONTROLS.items():
                say(f"  {name}")
                rows.append(control(name, way, published, folder))
    say("\n" + table(rows))
    lost = [r for r in rows if r.ours and r.failed]
    wrong = [w for r in rows for w in r.wrong]
    for r in rows:
        reasons = Counter(r.report["reasons"]).most_common(6)
        say("".join(f"\n  {r.name}: {count} x {reason}" for reason, count in reasons).lstrip("\n"))
    for text in wrong:
        say(f"WRONG: {text}")
    about = {"at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": platform.platform()}
    file = ROOT / "build" / "bench" / "load.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**about, "rows": [r.as_json() for r in rows]}, indent=1) + "\n")
    return int(bool(lost or wrong))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ProofError as error:
        sys.exit(f"no proof: {error}")
