# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stage for `advance`: every command is performed at once and in order, and becomes a word of a line.

Looks take time; all the rest takes none. So the line reads as what the rollout waits for, and in which order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import Begun, Done, Event, Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Condition,
    Dependency,
    Gate,
    Image,
    Network,
    Observation,
    Observed,
    Order,
    Route,
    Sample,
    Service,
    Stack,
    TcpProbe,
    Volume,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout import commands as c
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import Command, Look
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.rollout import advance
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Rollout

STACK = "shop"
GATE = Gate(probes=(TcpProbe(80),), passes=2, cadence=0.5, hold=5, deadline=30, progress=30, retries=2)
SHOT = Gate(hold=0, deadline=60, progress=60, opted_out="a one-shot passes by exit code 0")
ROUTE = Route("http", 80, drain=7.0)
HEALTHY, STARTED, COMPLETED = Condition.HEALTHY, Condition.STARTED, Condition.COMPLETED


def service(name: str, version: int = 1, **about: Any) -> Service:
    """`after` are dependencies, "db" (healthy), "db!" (started) or "job$" (completed); `routed` gives it a route."""
    conditions = {"!": STARTED, "$": COMPLETED}
    after = tuple(
        Dependency(d.rstrip("!$"), conditions.get(d[-1], HEALTHY), restart=d.rstrip("!$") in about.get("restarts", ()))
        for d in about.pop("after", "").split()
    )
    about.pop("restarts", None)
    if about.get("one_shot"):
        about = {"gate": SHOT, **about}
    if about.get("container_name") or about.get("bound"):
        about = {"bound": "its name is fixed", "order": Order.STOP_FIRST, **about}
    if about.pop("routed", False):
        about["routes"] = (ROUTE,)
    return Service(
        name, f"{name}:{version}", {}, about.pop("gate", GATE), f"spec-{version}", depends_on=after, grace=3.0, **about
    )


def stack(*services: Service, **about: Any) -> Stack:
    return Stack(STACK, services, **about)


def observed(name: str, version: int = 1, **about: Any) -> Observed:
    """A replica by its name, "web-1" or "the-fixed@web": what follows the @ is its service."""
    full, _sign, of = name.partition("@")
    of = of or full.rpartition("-")[0]
    number = full.rpartition("-")[2]
    container = full if "@" in name else f"{STACK}-{full}"
    known = {"rollout": "r0", "spec": f"spec-{version}", "image": f"sha256:{of}:{version}", "id": f"id-{container}"}
    return Observed(container, service=of, number=int(number) if number.isdigit() else 1, **{**known, **about})


def seen(*replicas: Observed, **about: Any) -> Observation:
    return Observation(replicas=replicas, **{"published": True, **about})


NETWORK = Network("default", f"{STACK}_default")
VOLUME = Volume("kept", f"{STACK}_kept")


def short(name: str) -> str:
    return name.removeprefix(f"{STACK}-")


def word(command: Command) -> str:
    """A command as a word of the line."""
    if isinstance(command, c.Record):
        return command.kind.upper()
    if isinstance(command, c.Route):
        return f"route {command.service}={'+'.join(map(short, command.servers))}{' (old)' if command.old else ''}"
    if isinstance(command, c.Rename):
        return f"rename {short(command.name)} {short(command.new)}"
    if isinstance(command, c.Drain):
        return f"drain {short(command.name)} {command.timeout:g}"
    kind = type(command).__name__.lower()
    about = getattr(command, "name", "") or getattr(command, "key", "") or getattr(command, "service", "")
    return f"{kind} {short(about)}".strip()


@dataclass
class Stage:
    """`ready` maps a replica to the second of its life when its checks pass (0 by default), None for never; `dies` to the
    second when it exits, with `codes` (1); `fails` maps a word of the line to the error it ends with; `holds` are words
    that are not performed before nothing else is left to do.
    """

    rollout: Rollout
    seen: Observation = field(default_factory=Observation)
    ready: Mapping[str, float | None] = field(default_factory=dict)
    dies: Mapping[str, float] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)
    fails: Mapping[str, str] = field(default_factory=dict)
    holds: Iterable[str] = ()
    line: list[str] = field(default_factory=list)
    asked: list[Command] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)
    now: float = 100.0

    def play(self) -> Stage:
        born: dict[str, float] = {o.name: 0.0 for o in self.seen.replicas if o.running}
        due: list[tuple[float, int, Command]] = []
        ticket = count()
        event: Event = Begun(self.now)
        while True:
            self.rollout, asked = advance(self.rollout, event)
            for command in asked:
                held = 3600.0 if word(command) in self.holds else 0.0
                heapq.heappush(due, (max(self.now, getattr(command, "at", 0.0)) + held, next(ticket), command))
            if self.rollout.finished:
                assert not [d for d in due if not isinstance(d[2], Look)], "it ended with something in the air"
                return self
            assert due, f"it waits for nothing in phase {self.rollout.phase.value}: {self.line}"
            at, _ticket, command = heapq.heappop(due)
            self.now = at
            event = self._perform(command, born)

    def _perform(self, command: Command, born: dict[str, float]) -> Event:
        said = word(command)
        self.asked.append(command)
        if isinstance(command, Look):
            return Done(command, self.now, self._sample(command, born))
        if not isinstance(command, (c.Fetch, c.Observe)):
            self.line.append(said)
            self.times.setdefault(said, self.now - 100.0)
        if said in self.fails:
            return Failed(command, self.now, self.fails[said])
        value: Any = None
        if isinstance(command, c.Fetch):
            ref = self.rollout.stack.service(command.service).image
            value = Image(ref, f"sha256:{ref}")
        elif isinstance(command, c.Observe):
            value = self.seen
        elif isinstance(command, c.Explain):
            value = f"last words of {short(command.name)}"
        elif isinstance(command, c.TakePoint):
            value = f"dump of {short(command.name)}"
        elif isinstance(command, c.Start):
            born[command.name] = self.now
        elif isinstance(command, c.Rename):
            born[command.new] = born.pop(command.name, 0.0)
        return Done(command, self.now, value)

    def _sample(self, command: Look, born: Mapping[str, float]) -> Sample:
        name = short(command.name)
        age = self.now - born[command.name]
        shot = name.startswith("job")
        dies = self.dies.get(name, 1.0 if shot else None)
        if dies is not None and age >= dies:
            return Sample(self.now, False, exit_code=self.codes.get(name, 0 if shot else 1), started_at="once")
        ready = self.ready.get(name, 0.0)
        passed = (ready is not None and age >= ready) if command.check else None
        return Sample(self.now, True, passed, "" if passed else "503", started_at="once")


def rollout(*services: Service, previous: Stack | None = None, **about: Any) -> Rollout:
    top = {k: about.pop(k) for k in ("networks", "volumes", "files", "blue_green") if k in about}
    return Rollout("r1", stack(*services, **top), previous, **about)


def played(*services: Service, there: Observation | None = None, **about: Any) -> Stage:
    """A whole rollout. What is known of the rollout, and of the stage, in one go."""
    stage = {k: about.pop(k) for k in ("ready", "dies", "codes", "fails", "holds") if k in about}
    return Stage(rollout(*services, **about), there or Observation(), **stage).play()


def changed(one: Service, **about: Any) -> Service:
    return replace(one, **about)
