# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make one set of replicas the only one.

One mechanism for four moments: after a commit (the new ones stay), on a rollback and on recovery (those of the
last committed release stay), on teardown (none stays). Level-triggered: `step` looks at the facts and says what to do
next, so that it can start from any half-done state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..events import Done, Failed
from ..model import Gate, Sample, Service
from .commands import Announce, Command, Drain, Look, Remove, Rename, Route, Start, Stop, Unroute, Withdraw, replica_of
from .gate import Crowd, Watch, judge, next_look

UNKNOWN = Gate(passes=1, hold=0.0, opted_out="its definition is not known")
"""for replicas of a service that no release describes: running is all that can be asked"""


@dataclass(frozen=True, slots=True)
class Goal:
    """What one service has to become, and what is known of the way there.

    `start` are the members of `target` that do not run yet. `exclusive`: nothing of `surplus` may run beside them.
    `route`: traffic has to be moved to `target` (or taken away, where it is empty). `surplus` leaves for good.
    `rename` gives members their own name back before anything else; `target` and `start` have the names they get.
    """

    service: str
    target: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    route: bool = False
    old_routes: bool = False
    exclusive: bool = False
    gate: Gate = UNKNOWN
    grace: float = 10.0
    drain: float = 0.0
    depends_on: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    announce: tuple[str, ...] = ()
    """members that may not answer to the service's DNS names (any more): made sure of once they are up"""
    withdraw: bool = False
    """`surplus` loses those names before it stops, because others answer to them"""
    announced: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    renamed: frozenset[str] = frozenset()
    watches: Mapping[str, Watch] = field(default_factory=dict)
    given_up: frozenset[str] = frozenset()
    routed: bool = False
    saved: bool = False
    """traffic was moved to those of `target` that run already, away from what failed"""
    stuck: bool = False
    """traffic could not be moved: what may still serve must not go"""
    left: bool = False
    """something could not be removed or renamed: all the rest goes on, and the next run tries again"""

    @property
    def up(self) -> bool:
        """Everything that should run does, as far as it can."""
        return all(n in self.given_up or (n in self.watches and self.watches[n].ready) for n in self.start)

    @property
    def named(self) -> bool:
        return all(old in self.renamed for old, _new in self.rename)

    @property
    def cleared(self) -> bool:
        return self.removed.issuperset(self.surplus)

    @property
    def lost(self) -> bool:
        """None of those that served passes again, and what was to replace them is gone: nothing is kept by waiting.

        Notes say so, and the next release finds the way free; it would otherwise wait for what may be beyond mending.
        """
        return bool(self.target) and self.given_up.issuperset(self.target) and self.cleared

    @property
    def complete(self) -> bool:
        there = self.up and self.announced.issuperset(self.announce) and (self.routed or not self.route)
        return self.stuck or (there and self.cleared and self.named)


def goal_for(service: Service, **known: object) -> Goal:
    """A goal with the settings of its service."""
    return replace(
        Goal(
            service=service.name,
            exclusive=bool(service.bound),
            gate=service.gate,
            grace=service.grace,
            drain=max((r.drain for r in service.routes), default=0.0),
            depends_on=tuple(d.service for d in service.depends_on),
        ),
        **known,  # type: ignore[arg-type]
    )


Goals = Mapping[str, Goal]


def step(goals: Goals, pending: Iterable[Command]) -> tuple[Command, ...]:
    """What can be done now. The caller leaves out what it has asked for already."""
    busy = {replica_of(c) for c in pending} - {""}
    routing = {c.service for c in pending if isinstance(c, (Route, Unroute))}
    commands: list[Command] = []
    for goal in goals.values():
        if goal.complete:
            continue
        if not goal.named and not goal.cleared:
            commands += _clear(goal, busy, drain=False)
        elif not goal.named:
            commands += [Rename(goal.service, old, new) for old, new in goal.rename if old not in busy]
        elif not goal.up:
            save = goal.route and not goal.saved and bool(_there(goal))
            if save and goal.service not in routing:
                commands.append(Route(goal.service, _there(goal), goal.old_routes))
            if not save or not goal.exclusive:
                commands += _bring_up(goal, goals, busy)
        elif not goal.announced.issuperset(goal.announce):
            commands += [Announce(goal.service, n) for n in goal.announce if n not in busy]
        elif goal.route and not goal.routed:
            if goal.service not in routing:
                wanted = Route(goal.service, goal.target, goal.old_routes) if goal.target else Unroute(goal.service)
                commands.append(wanted)
        elif not goal.cleared:
            dependents = (g for g in goals.values() if goal.service in g.depends_on and not g.stuck)
            if all(g.cleared for g in dependents):
                commands += _clear(goal, busy, drain=True)
    return tuple(commands)


def _there(goal: Goal) -> tuple[str, ...]:
    """Members that were not stopped: they can take the traffic while the others start again."""
    return tuple(n for n in goal.target if n not in goal.start)


def _bring_up(goal: Goal, goals: Goals, busy: set[str]) -> list[Command]:
    if goal.exclusive and not goal.cleared:
        return _clear(goal, busy, drain=False)
    if not all(goals[d].up or goals[d].stuck for d in goal.depends_on if d in goals):
        return []
    return [
        Start(goal.service, n) for n in goal.start if n not in goal.watches and n not in goal.given_up and n not in busy
    ]


def _clear(goal: Goal, busy: set[str], drain: bool) -> list[Command]:
    commands: list[Command] = []
    for name in goal.surplus:
        if name in goal.removed or name in busy:
            continue
        if goal.drain and name not in goal.drained and name not in goal.stopped:
            commands.append(Drain(goal.service, name, goal.drain if drain else 0.0))
        elif goal.withdraw and drain and name not in goal.withdrawn and name not in goal.stopped:
            commands.append(Withdraw(goal.service, name))
        elif name not in goal.stopped:
            commands.append(Stop(goal.service, name, goal.grace))
        else:
            commands.append(Remove(goal.service, name))
    return commands


def learn(goals: Goals, event: Done | Failed, now: float) -> tuple[Goals, tuple[Command, ...], tuple[str, ...]]:
    """Take an outcome in: the goals, looks to go on with, and what went wrong in words."""
    command = event.command
    goal = goals.get(getattr(command, "service", ""))
    if goal is None:
        return goals, (), ()
    notes: tuple[str, ...] = ()
    looks: tuple[Command, ...] = ()
    well = isinstance(event, Done)
    error = "" if isinstance(event, Done) else event.error
    if isinstance(command, Start):
        if command.name not in goal.start:
            return goals, (), ()
        if well:
            goal = replace(goal, watches={**goal.watches, command.name: Watch(since=now)})
            looks = (Look(goal.service, command.name, now),)
        else:
            goal = replace(goal, given_up=goal.given_up | {command.name})
            notes = (f"{goal.service}: {command.name} could not be started again: {error}",)
    elif isinstance(command, Look):
        watch = goal.watches.get(command.name)
        if watch is None or watch.ready or command.name in goal.given_up or command.at < watch.since:
            return goals, (), ()  # nobody waits for it, or it was meant for another container of this name
        sample = sample_of(event, watch)
        watch, fault = judge(goal.gate, watch, sample)
        goal = replace(goal, watches={**goal.watches, command.name: watch})
        if fault:
            goal = replace(goal, given_up=goal.given_up | {command.name})
            said = f", last check: {sample.output}" if sample.output else ""
            notes = (f"{goal.service}: {command.name} runs again but {fault}{said}",)
        elif not watch.ready:
            looks = (Look(goal.service, command.name, *next_look(goal.gate, watch, now, Crowd())),)
    elif isinstance(command, (Route, Unroute)):
        if isinstance(command, Route) and set(command.servers) != set(goal.target):
            # a failure changes nothing: what fails loses its traffic once all are up again
            goal = replace(goal, saved=goal.saved or set(command.servers) == set(_there(goal)))
        elif well:
            goal = replace(goal, routed=True)
        else:
            goal = replace(goal, routed=goal.lost, stuck=not goal.lost)
            servers = ", ".join(goal.target) or "nothing"
            notes = (f"{goal.service}: the proxy could not be moved to {servers}: {error}",)
    elif isinstance(command, Announce):
        goal = replace(goal, announced=goal.announced | {command.name})
        notes = (f"{goal.service}: {command.name} has not got the service's names back: {error}",) if error else ()
    elif isinstance(command, Withdraw):
        goal = replace(goal, withdrawn=goal.withdrawn | {command.name})
    elif isinstance(command, Drain):
        goal = replace(goal, drained=goal.drained | {command.name})
        notes = (f"{goal.service}: {command.name} could not be drained: {error}",) if error else ()
    elif isinstance(command, Stop):
        goal = replace(goal, stopped=goal.stopped | {command.name})
    elif isinstance(command, Remove):
        goal = replace(goal, removed=goal.removed | {command.name}, left=goal.left or not well)
        notes = (f"{goal.service}: {command.name} could not be removed: {error}",) if error else ()
    elif isinstance(command, Rename):
        goal = replace(goal, renamed=goal.renamed | {command.name}, left=goal.left or not well)
        notes = (f"{goal.service}: {command.name} could not be renamed: {error}",) if error else ()
    return {**goals, goal.service: goal}, looks, notes


def sample_of(event: Done | Failed, watch: Watch) -> Sample:
    """What a look saw. An engine that does not answer is no verdict on the replica: it counts as a failed check."""
    if isinstance(event, Done):
        sample: Sample = event.value
        return sample
    last = watch.last
    return Sample(
        at=event.at,
        running=True,
        passed=False,
        output=event.error,
        restarts=last.restarts if last else 0,
        started_at=last.started_at if last else "",
    )
