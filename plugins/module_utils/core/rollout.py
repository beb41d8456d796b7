# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rollout: `advance(state, event) -> (state, commands)`. Decides, and never acts: no engine, no clock, no thread.

Phases: images are fetched, the host is observed, the plan is recorded; files, networks and volumes are made; the
services roll in dependency order behind their gates; the commit is recorded; what is not wanted any more leaves. A
failure before the commit, of whatever kind, converges back to the replicas that were there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from . import converge, graph
from .batches import batches
from .commands import (
    Announce,
    Begun,
    Command,
    Create,
    Done,
    Drain,
    EnsureNetwork,
    EnsureVolume,
    Event,
    Explain,
    Failed,
    Fetch,
    Look,
    Observe,
    Publish,
    Record,
    RemoveNetwork,
    RemoveVolume,
    Rename,
    Route,
    Start,
    Stop,
    Withdraw,
    WriteFiles,
)
from .converge import Goals, goal_for, sample_of
from .gate import Crowd, Watch, completed, finished, judge, next_look
from .gates_of import QUICK
from .model import Condition, Finding, Gate, Image, Observation, Order, Service, Stack, Update
from .plan import Action, Plan, Ran, plan, problems
from .track import Track, moved_on, set_aside, wanted

AT_ONCE = 1
"""containers that start at once on a small host: more of them only slow each other down, the urgent ones included"""
YIELD = 2
"""a start counts as so many replicas that are checked: while one is under way, checks make room"""
ONE_SHOT_CADENCE = 0.1
"""seconds between two looks at whether a one-shot has ended"""


class Phase(str, Enum):
    FETCHING = "fetching images"
    OBSERVING = "observing"
    PREPARING = "preparing"
    ROLLING = "rolling out"
    TURNING = "turning back"
    COMMITTING = "committing"
    CONVERGING = "converging"
    CLOSING = "closing"
    DONE = "done"


class Outcome(str, Enum):
    """How a rollout ended. Only DEPLOYED made a release; INCOMPLETE is finished by the next run."""

    UNCHANGED = "unchanged"
    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled back"
    REFUSED = "refused"
    RECOVERED = "recovered"
    REMOVED = "removed"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a rollout failed, with the evidence."""

    service: str
    reason: str
    replica: str = ""
    said: str = ""
    logs: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The whole state. `previous` is the stack of the last release, which a rollback goes back to.

    `at_once` bounds how many containers start at the same time.
    """

    id: str
    stack: Stack
    previous: Stack | None = None
    previous_release: str = ""
    ran: frozenset[Ran] = frozenset()
    at_once: int = AT_ONCE
    phase: Phase = Phase.FETCHING
    now: float = 0.0
    images: Mapping[str, Image] = field(default_factory=dict)
    seen: Observation = field(default_factory=Observation)
    plan: Plan = field(default_factory=Plan)
    tracks: Mapping[str, Track] = field(default_factory=dict)
    goals: Goals = field(default_factory=dict)
    issued: frozenset[Command] = frozenset()
    pending: frozenset[Command] = frozenset()
    recorded: frozenset[str] = frozenset()
    outcome: Outcome | None = None
    findings: tuple[Finding, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    cleanup: tuple[Command, ...] = ()
    """networks (and volumes) to remove once nothing uses them"""

    @property
    def committed(self) -> bool:
        return "committed" in self.recorded

    @property
    def finished(self) -> bool:
        return self.phase is Phase.DONE


Step = tuple[Rollout, tuple[Command, ...]]


def advance(rollout: Rollout, event: Event) -> Step:
    """The next state, and what to do about it."""
    if rollout.finished:
        return rollout, ()
    now = max(rollout.now, event.at)
    if isinstance(event, Begun):
        rollout, commands = _begin(replace(rollout, now=now))
    else:
        rollout = replace(rollout, now=now, pending=rollout.pending - {event.command})
        rollout, commands = _learn(rollout, event)
    while True:
        rollout, more = _drive(rollout)
        if not more:
            return rollout, commands
        commands += more


def _issue(rollout: Rollout, commands: tuple[Command, ...]) -> Step:
    """Ask for each command once; looks are asked for by the looks before them."""
    fresh = tuple(dict.fromkeys(c for c in commands if isinstance(c, Look) or c not in rollout.issued))
    if not fresh:
        return rollout, ()
    lasting = frozenset(c for c in fresh if not isinstance(c, Look))
    return replace(rollout, issued=rollout.issued | lasting, pending=rollout.pending | lasting), fresh


def _begin(rollout: Rollout) -> Step:
    if rollout.phase is Phase.FETCHING:
        by_image = {s.image: s for s in reversed(rollout.stack.services)}
        return _issue(rollout, tuple(Fetch(s.name) for s in by_image.values()))
    return rollout, ()


def _learn(rollout: Rollout, event: Done | Failed) -> Step:
    if rollout.phase in (Phase.CONVERGING, Phase.CLOSING):
        return _learn_converging(rollout, event)
    command = event.command
    if isinstance(command, Explain):
        return _explained(rollout, command, event), ()
    if isinstance(event, Failed):
        return _learn_failure(rollout, event)
    if isinstance(command, Fetch):
        ref = rollout.stack.service(command.service).image
        return replace(rollout, images={**rollout.images, ref: event.value}), ()
    if isinstance(command, Observe):
        return _planned(replace(rollout, seen=event.value))
    if isinstance(command, Record):
        return replace(rollout, recorded=rollout.recorded | {command.kind}), ()
    if not isinstance(command, (Look, Create, Start, Stop, Rename, Route, Drain, Announce, Withdraw)):
        return rollout, ()
    track = rollout.tracks.get(command.service)
    if track is None:
        return rollout, ()
    if isinstance(command, Look):
        return _looked(rollout, track, command, event)
    looks: tuple[Command, ...] = ()
    if isinstance(command, Create):
        track = replace(track, made=track.made | {command.name})
    elif isinstance(command, Start):
        track = replace(track, watches={**track.watches, command.name: Watch(since=event.at)})
        looks = (Look(command.service, command.name, event.at, not track.service.one_shot),)
    elif isinstance(command, Stop):
        track = replace(track, stopped=track.stopped | {command.name})
    elif isinstance(command, Rename):
        track = replace(track, gone=track.gone | {command.name})
    elif isinstance(command, Announce):
        track = replace(track, announced=track.announced | {command.name})
    elif isinstance(command, Withdraw):
        track = replace(track, withdrawn=track.withdrawn | {command.name})
    elif isinstance(command, Drain):
        track = replace(track, drained=track.drained | {command.name})
    else:
        track = replace(track, served=frozenset(command.servers), switched_at=event.at)
    return replace(rollout, tracks={**rollout.tracks, command.service: track}), looks


def _planned(rollout: Rollout) -> Step:
    """The host was observed: refuse, find nothing to do, or go on with a plan."""
    found = problems(rollout.stack, rollout.seen, rollout.images)
    if found:
        return replace(rollout, phase=Phase.DONE, outcome=Outcome.REFUSED, findings=rollout.findings + found), ()
    made = plan(rollout.stack, rollout.seen, rollout.images, rollout.ran)
    rollout = replace(rollout, plan=made)
    if not made.changed and rollout.seen.published:
        return replace(rollout, phase=Phase.DONE, outcome=Outcome.UNCHANGED), ()
    tracks = {}
    urgency = graph.heights({s.name: [d.service for d in s.depends_on] for s in rollout.stack.services})
    # those first that the longest chains wait for: made first, started first
    for change in sorted(made.work, key=lambda change: -urgency.get(change.service, 0)):
        if change.action is not Action.REMOVE:
            service = rollout.stack.service(change.service)
            gate = completed(service, rollout.images.get(service.image))
            routed = rollout.seen.routed.get(service.name, frozenset())
            # what loses its route keeps its traffic up to the commit, so nothing of it may leave before
            update = service.update if service.routes or not routed else Update()
            made_in = batches(change, update, bool(service.container_name and change.old))
            tracks[change.service] = Track(change, service, gate, made_in, urgency[service.name], routed)
    return _issue(replace(rollout, tracks=tracks, phase=Phase.PREPARING), (Record("planned"),))


def _looked(rollout: Rollout, track: Track, command: Look, event: Done | Failed) -> Step:
    watch = track.watches[command.name]
    sample = sample_of(event, watch)
    if sample.passed is False and Announce(command.service, command.name) in rollout.pending:
        # it is between two networks for a moment: that it does not answer says nothing
        return rollout, (Look(command.service, command.name, event.at + QUICK),)
    if track.service.one_shot:
        watch, fault = finished(watch, sample, track.gate.deadline)
    else:
        watch, fault = judge(track.gate, watch, sample)
    track = replace(track, watches={**track.watches, command.name: watch})
    rollout = replace(rollout, tracks={**rollout.tracks, command.service: track})
    if rollout.phase is not Phase.ROLLING:
        return rollout, ()
    if fault:
        failure = Failure(command.service, fault, command.name, sample.output)
        return _undo(rollout, failure, (Explain(command.service, command.name),))
    if track.service.one_shot and watch.ready:
        return rollout, ()
    if track.service.one_shot:
        return rollout, (Look(command.service, command.name, event.at + ONE_SHOT_CADENCE, False),)
    at = next_look(track.gate, watch, event.at, _crowd(rollout, track), track.hurried)
    return rollout, (Look(command.service, command.name, *at),)


def _crowd(rollout: Rollout, track: Track) -> Crowd:
    """Who is looked at beside this service; what is less urgent does not count."""
    watched = [(t.urgency, w) for t in rollout.tracks.values() if not t.service.one_shot for w in t.watches.values()]
    ahead = sum(urgency >= track.urgency and not w.healthy for urgency, w in watched)
    starting = sum(isinstance(c, Start) for c in rollout.pending)
    return Crowd(ahead + YIELD * starting, len(watched))


def _learn_failure(rollout: Rollout, event: Failed) -> Step:
    command = event.command
    service = getattr(command, "service", "")
    if isinstance(command, Look):
        track = rollout.tracks.get(service)
        return _looked(rollout, track, command, event) if track else (rollout, ())
    if isinstance(command, Fetch):
        ref = rollout.stack.service(service).image
        finding = Finding(f"services.{service}.image", f"{ref} cannot be had: {event.error}")
        return replace(rollout, findings=(*rollout.findings, finding)), ()
    if isinstance(command, Observe) or (isinstance(command, Record) and command.kind == "planned"):
        finding = Finding(rollout.stack.name, event.error, "nothing was changed")
        return replace(rollout, phase=Phase.DONE, outcome=Outcome.REFUSED, findings=(*rollout.findings, finding)), ()
    if isinstance(command, (Drain, Withdraw)):
        what = "drained" if isinstance(command, Drain) else "taken out of the service's names"
        note = f"{service}: {command.name} could not be {what}: {event.error}"
        return _learn(replace(rollout, notes=(*rollout.notes, note)), Done(command, event.at))
    what = _WORDS.get(type(command), "a step failed")
    replica = getattr(command, "name", "")
    explain: tuple[Command, ...] = (Explain(service, replica),) if isinstance(command, Start) else ()
    return _undo(rollout, Failure(service or rollout.stack.name, what, replica, event.error), explain)


_WORDS: Mapping[type, str] = {
    Create: "its container could not be created",
    Start: "its container could not be started",
    Announce: "its service's names could not be given to it",
    Stop: "the old container could not be stopped",
    Route: "the switch was not confirmed at the proxy",
    EnsureNetwork: "a network could not be created",
    EnsureVolume: "a volume could not be created",
    WriteFiles: "secrets and configs could not be written",
    Record: "the journal could not be written",
}


def _drive(rollout: Rollout) -> Step:
    """What follows from the facts, for the phase we are in. No commands: nothing to do until the next event."""
    if rollout.phase is Phase.FETCHING and not rollout.pending:
        if rollout.findings:
            return replace(rollout, phase=Phase.DONE, outcome=Outcome.REFUSED), ()
        return _issue(replace(rollout, phase=Phase.OBSERVING), (Observe(),))
    if rollout.phase is Phase.PREPARING and not rollout.pending:
        ensure: tuple[Command, ...] = (
            WriteFiles(),
            *(EnsureNetwork(k) for k in rollout.plan.networks),
            *(EnsureVolume(k) for k in rollout.plan.volumes),
        )
        rollout, commands = _issue(rollout, ensure)
        return (rollout, commands) if commands else _drive(replace(rollout, phase=Phase.ROLLING))
    if rollout.phase is Phase.ROLLING:
        rollout = replace(rollout, tracks={n: moved_on(t, rollout.now) for n, t in rollout.tracks.items()})
        possible = [c for t in rollout.tracks.values() for c in _next(rollout, t)]
        rollout, commands = _issue(rollout, _paced(rollout, possible))
        if not commands and all(t.settled for t in rollout.tracks.values()):
            return _issue(replace(rollout, phase=Phase.COMMITTING), (Record("committed"),))
        return rollout, commands
    if rollout.phase is Phase.TURNING and not rollout.pending:
        new = tuple(RemoveNetwork(n.name) for n in rollout.stack.networks if n.key in rollout.plan.networks)
        goals = _before(rollout)
        return _drive(replace(rollout, phase=Phase.CONVERGING, goals=goals, issued=frozenset(), cleanup=new))
    if rollout.phase is Phase.COMMITTING and rollout.committed:
        return _drive(replace(rollout, phase=Phase.CONVERGING, goals=_after_commit(rollout), issued=frozenset()))
    if rollout.phase is Phase.CONVERGING:
        return _drive_converging(rollout)
    if rollout.phase is Phase.CLOSING and not rollout.pending:
        return replace(rollout, phase=Phase.DONE), ()
    return rollout, ()


def _paced(rollout: Rollout, commands: list[Command]) -> tuple[Command, ...]:
    """Not more starts than the engine does well at once."""
    starts = [c for c in commands if isinstance(c, Start) and c not in rollout.issued]
    free = rollout.at_once - sum(isinstance(c, Start) for c in rollout.pending)
    return (*starts[: max(0, free)], *(c for c in commands if not isinstance(c, Start)))


def _next(rollout: Rollout, track: Track) -> tuple[Command, ...]:
    """What one service can do now, as far as its dependencies go."""
    depends = track.service.depends_on
    may_create = all(_satisfied(rollout, d.service, Condition.STARTED) for d in depends)
    may_start = all(_satisfied(rollout, d.service, d.condition) for d in depends)
    return wanted(track, rollout.id, may_create, may_start)


def _satisfied(rollout: Rollout, name: str, condition: Condition) -> bool:
    track = rollout.tracks.get(name)
    if track is None:
        return True
    if condition is Condition.STARTED:
        return track.started
    return track.healthy and track.started


def _undo(rollout: Rollout, failure: Failure, explain: tuple[Command, ...] = ()) -> Step:
    """Turn round: what was asked for already ends first, then everything goes back to the replicas that were there."""
    return _issue(replace(rollout, phase=Phase.TURNING, failures=(*rollout.failures, failure)), explain)


def _explained(rollout: Rollout, command: Explain, event: Done | Failed) -> Rollout:
    logs = str(event.value or "") if isinstance(event, Done) else ""
    failures = tuple(replace(f, logs=logs) if f.replica == command.name and not f.logs else f for f in rollout.failures)
    return replace(rollout, failures=failures)


def _before(rollout: Rollout) -> Goals:
    """What was there: stopped olds start again, the proxy goes back to them, everything new leaves."""
    goals = {}
    former = {s.name: s for s in rollout.previous.services} if rollout.previous else {}
    for name, track in rollout.tracks.items():
        change = track.change
        asked = {c for c in rollout.issued if getattr(c, "service", "") == name}
        # asked for is enough: a rename that failed may have happened, and giving the name back twice does no harm
        moved = {c.name for c in asked if isinstance(c, Rename)}
        aside = {o.name: set_aside(o.name, rollout.id) for o in change.old if o.name in moved}
        was_running = [o.name for o in change.old if o.running and not track.service.one_shot]
        stopped = {c.name for c in asked if isinstance(c, Stop)}
        named_no_more = {c.name for c in asked if isinstance(c, Withdraw)}
        back = former.get(name)
        goals[name] = goal_for(
            back or track.service,
            target=(*(o.name for o in change.keep), *was_running),
            start=tuple(n for n in was_running if n in stopped),
            announce=tuple(n for n in was_running if n in named_no_more),
            withdraw=any(isinstance(c, Announce) for c in asked),
            surplus=tuple(n for n in track.names if any(isinstance(c, Create) and c.name == n for c in asked)),
            # the new one bore the name that the proxy knows: taking it from there took the old one's route too
            route=any(isinstance(c, Route) for c in asked) or bool(aside and name in rollout.seen.routed),
            old_routes=True,
            exclusive=change.order is Order.STOP_FIRST or bool(track.service.bound),
            rename=tuple((new, old) for old, new in aside.items()),
            gate=_gate_of_old(rollout, back, track),
        )
    return goals


def _gate_of_old(rollout: Rollout, back: Service | None, track: Track) -> Gate:
    if back is None:
        return track.gate
    return completed(back, rollout.images.get(back.image)) if back.gate.probes else track.gate


def _after_commit(rollout: Rollout) -> Goals:
    """What was replaced leaves; traffic was moved before the commit."""
    goals = {}
    known = {s.name: s for s in rollout.stack.services}
    former = {s.name: s for s in rollout.previous.services} if rollout.previous else {}
    for change in rollout.plan.work:
        service = known.get(change.service) or former.get(change.service)
        track = rollout.tracks.get(change.service)
        renamed = track.gone if track else frozenset()
        now_called = {o.name: set_aside(o.name, rollout.id) if o.name in renamed else o.name for o in change.old}
        known_settings = goal_for(service) if service else converge.Goal(change.service)
        routed = bool(track and track.moves_traffic)
        routes = [r for s in (known.get(change.service), former.get(change.service)) if s for r in s.routes]
        goals[change.service] = replace(
            known_settings,
            target=change.members if routed else (),
            surplus=tuple(now_called.values()),
            withdraw=bool(track and track.quiet),
            withdrawn=frozenset(now_called[n] for n in (track.withdrawn if track else ())),
            drained=frozenset(now_called[n] for n in (track.drained if track else ())),
            stopped=frozenset(now_called[n] for n in (track.stopped if track else ())),
            route=not routed and change.service in rollout.seen.routed,
            drain=max((r.drain for r in routes), default=0.0),
            exclusive=False,
        )
    return goals


def _learn_converging(rollout: Rollout, event: Done | Failed) -> Step:
    command = event.command
    if isinstance(event, Failed) and isinstance(command, (Record, Publish, RemoveNetwork, RemoveVolume)):
        left = isinstance(command, (Record, Publish))
        rollout = replace(rollout, notes=(*rollout.notes, f"{_what(command)}: {event.error}"))
        return replace(rollout, outcome=Outcome.INCOMPLETE if left else rollout.outcome), ()
    if isinstance(event, Done) and isinstance(command, Record):
        return replace(rollout, recorded=rollout.recorded | {command.kind}), ()
    goals, looks, notes = converge.learn(rollout.goals, event, rollout.now)
    return replace(rollout, goals=goals, notes=rollout.notes + notes), looks


def _what(command: Command) -> str:
    return {Record: "the journal could not be written", Publish: "compose.yaml could not be written"}.get(
        type(command), f"{getattr(command, 'name', '')} could not be removed"
    )


def _drive_converging(rollout: Rollout) -> Step:
    rollout, commands = _issue(rollout, converge.step(rollout.goals, rollout.pending))
    if commands or rollout.pending or not all(g.complete for g in rollout.goals.values()):
        return rollout, commands
    closing = rollout.cleanup
    outcome = rollout.outcome
    if any(g.stuck or g.left for g in rollout.goals.values()):
        outcome = Outcome.INCOMPLETE
        closing = ()
    elif outcome is None:
        outcome = Outcome.DEPLOYED if rollout.committed else Outcome.ROLLED_BACK
    rollout, tidy = _issue(replace(rollout, cleanup=()), closing)
    if tidy:
        return rollout, tidy
    last: tuple[Command, ...] = ()
    if outcome in (Outcome.DEPLOYED, Outcome.RECOVERED):
        last = (Publish(),)
    if outcome is not Outcome.INCOMPLETE:
        last = (*last, Record("finished"))
    rollout, commands = _issue(replace(rollout, outcome=outcome, phase=Phase.CLOSING), last)
    return (rollout, commands) if commands else (replace(rollout, phase=Phase.DONE), ())


def milestone(rollout: Rollout, kind: str) -> Mapping[str, Any]:
    """What the journal keeps of a milestone: enough to finish or undo the rollout without this state."""
    if kind == "planned":
        changes = rollout.plan.changes
        return {
            "members": {c.service: list(c.members) for c in changes if c.action is not Action.REMOVE},
            "incumbents": {c.service: [o.name for o in (*c.keep, *c.old)] for c in changes},
            "running": [o.name for o in rollout.seen.replicas if o.running],
        }
    if kind == "committed":
        ran = {(s.name, s.spec, rollout.images[s.image].id) for s in rollout.stack.services if s.one_shot}
        return {
            "members": {c.service: list(c.members) for c in rollout.plan.changes if c.action is not Action.REMOVE},
            "images": {ref: {"id": i.id, "digest": i.digest} for ref, i in sorted(rollout.images.items())},
            "ran": sorted(ran),
        }
    return {"outcome": rollout.outcome.value if rollout.outcome else "", "notes": list(rollout.notes)}
