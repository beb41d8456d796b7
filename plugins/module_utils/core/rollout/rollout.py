# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rollout: `advance(state, event) -> (state, commands)`. Decides, and never acts: no engine, no clock, no thread.

Phases: images are fetched, the host is observed, the plan is recorded; restore points are taken; files, networks and
volumes are made; the services roll in dependency order behind their gates; the commit is recorded; what is not wanted
any more leaves. A failure before the commit, of whatever kind, converges back to the replicas that were there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from .. import graph
from ..compose.gates_of import QUICK
from ..events import Begun, Done, Event, Failed
from ..model import Condition, FailureAction, Finding, Update
from . import converge
from .batches import batches
from .behind import merged, plan_of
from .commands import (
    Announce,
    Command,
    Create,
    Drain,
    EnsureNetwork,
    EnsureVolume,
    Explain,
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
    TakePoint,
    Withdraw,
    WriteFiles,
)
from .converge import sample_of
from .gate import Crowd, Watch, completed, finished, judge, next_look
from .goals import after_commit, before
from .plan import Action, plan, problems
from .state import Failure, Outcome, Phase, Rollout, Step, issue, with_track
from .track import Track, moved_on, wanted

YIELD = 2
"""a start counts as so many replicas that are checked: while one is under way, checks make room"""
ONE_SHOT_CADENCE = 0.1
"""seconds between two looks at whether a one-shot has ended"""


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


def _begin(rollout: Rollout) -> Step:
    if rollout.phase is Phase.FETCHING:
        by_image = {s.image: s for s in reversed(rollout.stack.services)}
        return issue(rollout, tuple(Fetch(s.name) for s in by_image.values()))
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
    if isinstance(command, TakePoint):
        return replace(rollout, points={**rollout.points, command.service: event.value}), ()
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
    found = _not_side_by_side(tracks.values()) if rollout.stack.blue_green else ()
    if found:
        return replace(rollout, phase=Phase.DONE, outcome=Outcome.REFUSED, findings=rollout.findings + found), ()
    return issue(replace(rollout, tracks=tracks, phase=Phase.PREPARING), (Record("planned"),))


def _not_side_by_side(tracks: Iterable[Track]) -> tuple[Finding, ...]:
    """Blue-green keeps all that serves until the switch: what has to stop before its successor starts forbids it."""
    return tuple(
        Finding(
            f"services.{t.service.name}",
            f"is replaced stop-first{f' because {t.service.bound}' if t.service.bound else ''}, and"
            " x-quaylock.strategy: blue-green keeps all that serves until the new stack has passed",
            "deploy this change with strategy: rolling, or drop what binds the service",
        )
        for t in tracks
        if t.stops_first and not t.service.one_shot and any(o.running for o in t.change.old)
    )


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
        return _failed(rollout, failure, (Explain(command.service, command.name),))
    if track.behind or command.name in track.lost or (track.service.one_shot and watch.ready):
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
    return _failed(rollout, Failure(service or rollout.stack.name, what, replica, event.error), explain)


def _failed(rollout: Rollout, failure: Failure, explain: tuple[Command, ...] = ()) -> Step:
    """Something failed: the service does without a replica, stays behind alone, or the whole stack turns back."""
    track = rollout.tracks.get(failure.service)
    if track is None or rollout.phase is not Phase.ROLLING:
        return _undo(rollout, failure, explain)
    if track.tolerates(failure.replica):
        share = track.service.update.max_failure_ratio
        note = f"{failure.service}: {failure.replica} {failure.reason}; max_failure_ratio {share:g} goes on without it"
        rollout = with_track(rollout, replace(track, lost=track.lost | {failure.replica}))
        return replace(rollout, notes=(*rollout.notes, note)), ()
    action = track.service.update.failure_action
    if action is FailureAction.ROLLBACK:
        return _undo(rollout, failure, explain)
    rollout = with_track(rollout, replace(track, behind=True))
    paused = rollout.paused or action is FailureAction.PAUSE
    return issue(replace(rollout, failures=(*rollout.failures, failure), paused=paused), explain)


_WORDS: Mapping[type, str] = {
    TakePoint: "its restore point could not be taken, so nothing was changed",
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
        return issue(replace(rollout, phase=Phase.OBSERVING), (Observe(),))
    if rollout.phase is Phase.PREPARING and not rollout.pending:
        rollout, points = issue(rollout, tuple(TakePoint(service, name) for service, name in rollout.plan.points))
        if points:
            return rollout, points
        ensure: tuple[Command, ...] = (
            WriteFiles(),
            *(EnsureNetwork(k) for k in rollout.plan.networks),
            *(EnsureVolume(k) for k in rollout.plan.volumes),
        )
        rollout, commands = issue(rollout, ensure)
        return (rollout, commands) if commands else _begin_rolling(rollout)
    if rollout.phase is Phase.ROLLING:
        moved = {n: way for n, t in rollout.tracks.items() if (way := moved_on(t, rollout.now)) is not t}
        if moved:
            rollout = replace(rollout, tracks={**rollout.tracks, **moved})
        may_switch = not rollout.stack.blue_green or all(t.fit for t in rollout.tracks.values())
        possible = [c for t in rollout.tracks.values() for c in _next(rollout, t, may_switch)]
        rollout, commands = issue(rollout, _paced(rollout, possible))
        if commands or not all(t.settled or t.behind for t in rollout.tracks.values()):
            return (rollout, commands) if commands else _stand_still(rollout)
        return _commit(rollout)
    if rollout.phase is Phase.TURNING and not rollout.pending:
        new = tuple(RemoveNetwork(n.name) for n in rollout.stack.networks if n.key in rollout.plan.networks)
        goals = before(rollout)
        return _drive(replace(rollout, phase=Phase.CONVERGING, goals=goals, issued=frozenset(), cleanup=new))
    if rollout.phase is Phase.COMMITTING and rollout.committed:
        return _drive(replace(rollout, phase=Phase.CONVERGING, goals=after_commit(rollout), issued=frozenset()))
    if rollout.phase is Phase.CONVERGING:
        return _drive_converging(rollout)
    if rollout.phase is Phase.CLOSING and not rollout.pending:
        return replace(rollout, phase=Phase.DONE), ()
    return rollout, ()


def _begin_rolling(rollout: Rollout) -> Step:
    """Kept replicas that are to take traffic are looked at from now on, as new ones are from their start."""
    rollout, anew = replace(rollout, phase=Phase.ROLLING), {n: t for n, t in rollout.tracks.items() if t.anew}
    if not anew:
        return _drive(rollout)
    watched = {n: replace(t, watches={r: Watch(since=rollout.now) for r in t.anew}) for n, t in anew.items()}
    looks = tuple(Look(n, r, rollout.now) for n, t in anew.items() for r in t.anew)
    return issue(replace(rollout, tracks={**rollout.tracks, **watched}), looks)


def _stand_still(rollout: Rollout) -> Step:
    """Nothing can be begun: where something stayed behind, what waits for it (or for a pause to end) does so too."""
    if rollout.pending or not any(t.behind for t in rollout.tracks.values()):
        return rollout, ()
    waits = [t for t in rollout.tracks.values() if not t.settled and not t.behind]
    if any(t.gating for t in waits):
        return rollout, ()
    why = "was not begun, because the rollout is paused" if rollout.paused else "was not begun: what it needs failed"
    failures = tuple(Failure(t.service.name, why) for t in waits)
    tracks = {n: replace(t, behind=t.behind or t in waits) for n, t in rollout.tracks.items()}
    return _drive(replace(rollout, tracks=tracks, failures=(*rollout.failures, *failures)))


def _commit(rollout: Rollout) -> Step:
    """What went well is the release; what stayed behind is in it as it was."""
    behind = frozenset(name for name, track in rollout.tracks.items() if track.behind)
    if rollout.pending:
        return rollout, ()  # what was asked for before a failure ends first
    if behind:
        if not any(track.settled for track in rollout.tracks.values()):
            return _drive(replace(rollout, phase=Phase.TURNING))
        rollout = replace(
            rollout,
            stack=merged(rollout.stack, rollout.previous, behind),
            plan=plan_of(rollout.plan, behind),
            outcome=Outcome.PAUSED if rollout.paused else Outcome.PARTIAL,
        )
    return issue(replace(rollout, phase=Phase.COMMITTING), (Record("committed"),))


def _paced(rollout: Rollout, commands: list[Command]) -> tuple[Command, ...]:
    """Not more starts than the engine does well at once."""
    starts = [c for c in commands if isinstance(c, Start) and c not in rollout.issued]
    free = rollout.at_once - sum(isinstance(c, Start) for c in rollout.pending)
    return (*starts[: max(0, free)], *(c for c in commands if not isinstance(c, Start)))


def _next(rollout: Rollout, track: Track, may_switch: bool) -> tuple[Command, ...]:
    """What one service can do now, as far as its dependencies go."""
    if track.behind or track.turn == len(track.batches):
        return ()
    if track.gating:
        return wanted(track, rollout.id, True, True, may_switch)
    if rollout.paused:
        return ()
    depends = track.service.depends_on
    may_create = all(_satisfied(rollout, d.service, Condition.STARTED) for d in depends)
    may_start = all(_satisfied(rollout, d.service, d.condition) for d in depends)
    return wanted(track, rollout.id, may_create, may_start, may_switch)


def _satisfied(rollout: Rollout, name: str, condition: Condition) -> bool:
    track = rollout.tracks.get(name)
    if track is None:
        return True
    if track.behind:
        # its former replicas go on; a one-shot that did not end well is waited for in vain
        return condition is not Condition.COMPLETED and track.undisturbed
    if condition is Condition.STARTED:
        return track.started
    return track.healthy and track.started


def _undo(rollout: Rollout, failure: Failure, explain: tuple[Command, ...] = ()) -> Step:
    """Turn round: what was asked for already ends first, then everything goes back to the replicas that were there."""
    return issue(replace(rollout, phase=Phase.TURNING, failures=(*rollout.failures, failure)), explain)


def _explained(rollout: Rollout, command: Explain, event: Done | Failed) -> Rollout:
    logs = str(event.value or "") if isinstance(event, Done) else ""
    failures = tuple(replace(f, logs=logs) if f.replica == command.name and not f.logs else f for f in rollout.failures)
    return replace(rollout, failures=failures)


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
    rollout, commands = issue(rollout, converge.step(rollout.goals, rollout.pending))
    if commands or rollout.pending or not all(g.complete for g in rollout.goals.values()):
        return rollout, commands
    closing = rollout.cleanup
    outcome = rollout.outcome
    if any(g.stuck or g.left for g in rollout.goals.values()):
        outcome = Outcome.INCOMPLETE
        closing = ()
    elif outcome is None:
        outcome = Outcome.DEPLOYED if rollout.committed else Outcome.ROLLED_BACK
    rollout, tidy = issue(replace(rollout, cleanup=()), closing)
    if tidy:
        return rollout, tidy
    last: tuple[Command, ...] = ()
    if outcome in (Outcome.DEPLOYED, Outcome.PAUSED, Outcome.PARTIAL, Outcome.RECOVERED):
        last = (Publish(),)
    if outcome is not Outcome.INCOMPLETE:
        last = (*last, Record("finished"))
    rollout, commands = issue(replace(rollout, outcome=outcome, phase=Phase.CLOSING), last)
    return (rollout, commands) if commands else (replace(rollout, phase=Phase.DONE), ())
