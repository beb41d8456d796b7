# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rows (commands of a rollout), columns (faults), and what has to hold in every cell."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.quaylock.stacks.tests.load import Load

from . import releases
from .host import Machine, answer_of
from .watch import Watch

DOOR = 18080
MIX = {"keepalive": 3, "fresh": 2, "post": 1, "slow": 1}
LONG = 120.0
"""seconds that the load of one cell may last"""

GOOD, LATE, NEVER = "", "late", "web"


@dataclass(frozen=True)
class Row:
    """The first command of this kind, on this service, on this way (see `inside.Strike`), of a release of this sort."""

    command: str
    about: str = ""
    way: str = "forward"
    bad: str = GOOD

    def __str__(self) -> str:
        what = f"{self.command} {self.about}".rstrip()
        where = {"forward": "", "back": ", way back", "after": ", after the commit"}[self.way]
        return what + where + {GOOD: "", LATE: "", NEVER: " (never ready)"}[self.bad]


ROWS = (
    Row("Fetch"),
    Row("Observe"),
    Row("Record", "planned"),
    Row("TakePoint", "fixed"),
    Row("WriteFiles"),
    Row("EnsureNetwork"),
    Row("EnsureVolume"),
    Row("Create", "job"),
    Row("Start", "job"),
    Row("Look", "job"),
    Row("Create", "web"),
    Row("Start", "web"),
    Row("Look", "web"),
    Row("Stop", "fixed"),
    Row("Rename", "fixed"),
    Row("Create", "fixed"),
    Row("Start", "fixed"),
    Row("Look", "fixed"),
    Row("Announce", "web"),
    Row("Route", "web"),
    Row("Record", "committed"),
    Row("Unroute", "side", "after"),
    Row("Drain", "web", "after"),
    Row("Withdraw", "web", "after"),
    Row("Stop", "web", "after"),
    Row("Remove", "web", "after"),
    Row("Remove", "fixed", "after"),
    Row("Remove", "job", "after"),
    Row("Publish", "", "after"),
    Row("Record", "finished", "after"),
    Row("Look", "web", "forward", NEVER),
    Row("Explain", "web", "forward", NEVER),
    Row("Explain", "fixed", "forward", LATE),
    Row("Stop", "fixed", "back", LATE),
    Row("Remove", "fixed", "back", LATE),
    Row("Rename", "fixed", "back", LATE),
    Row("Start", "fixed", "back", LATE),
    Row("Look", "fixed", "back", LATE),
    Row("Route", "web", "back", LATE),
    Row("Drain", "web", "back", LATE),
    Row("Withdraw", "web", "back", LATE),
    Row("Stop", "web", "back", LATE),
    Row("Remove", "web", "back", LATE),
    Row("RemoveNetwork", "", "back", LATE),
    Row("Record", "finished", "back", LATE),
)
COLUMNS = ("kill before", "kill after", "engine restart", "proxy restart", "host reboot", "ssh cut", "disk full")
UNDISTURBED = ("kill before", "kill after", "ssh cut", "disk full")
"""faults that leave engine, proxy and host up: nobody may lose a request"""
YOUNG = ("engine restart", "host reboot")
"""faults that restart replicas which the proxy sends to, as restart policies say: their age says nothing"""


@dataclass
class Cell:
    """What one fault at one command came to; `wrong` is empty where everything held."""

    row: str
    column: str
    wrong: list[str] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    serving: str = ""
    """former or new: what the journal called the release after the fault"""
    asked: str = ""
    """what the next run was asked for: the release that served, or the one that was wanted"""
    recovered: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Field:
    """One stack on one machine, and the version that serves."""

    def __init__(self, machine: Machine, stack: str, small: bool = False) -> None:
        self.machine, self.about = machine, {"stack": stack, "small": small}
        self.version = 0

    def order(self, do: str, **more: Any) -> list[dict[str, Any]]:
        return self.machine.order({"do": do, **self.about, **more})

    def plain(self) -> None:
        """A release that serves, by a run that nothing disturbs."""
        self.version += 1
        answers = self.order("run", version=self.version)
        if answer_of(answers, "answer").get("answer", {}).get("outcome") != "deployed":
            raise RuntimeError(f"the first release was not deployed: {answers}")

    def leave(self) -> None:
        """Free its host names at the proxy for another stack."""
        if self.version:
            self.order("leave", version=self.version)
            self.version = 0

    def cell(self, row: Row, column: str, desired: bool) -> Cell:
        began = time.monotonic()
        cell = Cell(str(row), column)
        if row.command == "Unroute" and self.version % 2 == 0:
            self.plain()
        self.order("prune")
        former, new = self.version, self.version + 1
        strike = {"command": row.command, "about": row.about, "way": row.way, "fault": column}
        load = Load(f"{self.machine.address}:{DOOR}", host=releases.HOST, mix=MIX, seconds=LONG, pause=0.01)
        with load, Watch(self.machine.address, DOOR, releases.HOST) as watch:
            load.warm(20)
            struck = self.order("run", version=new, bad=row.bad, strike=strike, detach=column == "ssh cut")
            wish = new if desired and not row.bad else 0
            ended = self.order("settle", desired=wish, fallback=former)
        cell.requests, cell.failed = load.report.requests, load.report.failed
        done = answer_of(ended, "next")
        if not done:
            cell.wrong.append(f"the next run broke off: {ended} after {struck}")
            return cell
        self.version = done["version"]
        cell.serving = {former: "former", new: "new"}.get(done["serving"], str(done["serving"]))
        cell.asked = "wanted" if wish else "serving"
        cell.recovered = "; ".join(done["next"]["notes"] or [])
        cell.wrong += [*_ended(row, column, struck, done), *_there(done, self.about["stack"])]
        cell.wrong += _traffic(cell, load, watch, done, former, new, row)
        cell.seconds = round(time.monotonic() - began, 1)
        return cell


def _ended(row: Row, column: str, struck: Sequence[dict[str, Any]], done: dict[str, Any]) -> Iterator[str]:
    answer = answer_of(struck, "answer").get("answer", {})
    if not done["struck"]:
        yield f"the fault never came: {struck}"
    if column.startswith("kill") and answer:
        yield f"it was not killed: {answer}"
    if done["serving"] != done["version"] and done["next"]["outcome"] != "deployed":
        yield f"the next run ended {done['next']['outcome']}: {done['next']['msg']}"
    if done["serving"] == done["version"] and done["next"]["outcome"] not in ("unchanged", "deployed"):
        yield f"the next run ended {done['next']['outcome']}: {done['next']['msg']}"
    if (done["again"]["outcome"], done["again"]["changed"], done["again"]["notes"]) != ("unchanged", False, []):
        yield f"the run after it was not idle: {done['again']}"
    if row.bad and done["serving"] != done["version"]:
        yield "a bad release became the one that serves"


def _there(done: dict[str, Any], stack: str) -> Iterator[str]:
    """Exactly what the version asks for, and nothing else."""
    version = f"v{done['version']}"
    wanted = {"job": [False], "web": [True, True], "fixed": [True], "side": [True]}
    seen: dict[str, list[bool]] = {}
    for name, (service, has, running) in done["containers"].items():
        seen.setdefault(service, []).append(running)
        if has != version:
            yield f"{name} is of {has}, not of {version}"
        if "-before-" in name:
            yield f"{name} has not got its name back"
    if seen != wanted:
        yield f"there are {done['containers']}"
    if f"{stack}-the-fixed" not in done["containers"]:
        yield f"nobody is called {stack}-the-fixed"
    routed = {s: sorted(n for n, (has, _v, _r) in done["containers"].items() if has == s) for s in ("web", "side")}
    if done["version"] % 2 == 0:
        del routed["side"]
    if done["routed"] != routed:
        yield f"the proxy sends to {done['routed']}"


def _traffic(
    cell: Cell, load: Load, watch: Watch, done: dict[str, Any], former: int, new: int, row: Row
) -> Iterator[str]:
    if cell.column in UNDISTURBED and load.report.failed:
        yield f"{load.report.failed} requests were lost: {dict(load.report.reasons)}"
    if cell.column not in YOUNG and watch.youngest < releases.READY_AFTER:
        yield f"a replica answered {watch.youngest:.2f} s after its start, before it can have passed"
    known = {f"v{former}", f"v{new}"} - ({f"v{new}"} if row.bad == NEVER else set())
    strangers = {*load.report.answered_by, *watch.versions} - known
    if strangers:
        yield f"{sorted(strangers)} answered"
    if not any(watch.versions.values()):
        yield "nobody answered at all"
