# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a rollout converges to: to what was there before it, or to what it made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..model import Gate, Order, Service
from . import converge
from .commands import Announce, Create, Rename, Route, Stop, Withdraw
from .converge import Goals, goal_for
from .gate import completed
from .track import Track, set_aside

if TYPE_CHECKING:
    from .state import Rollout


def before(rollout: Rollout) -> Goals:
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
            surplus=tuple(n for n, _number in change.new if any(isinstance(c, Create) and c.name == n for c in asked)),
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


def after_commit(rollout: Rollout) -> Goals:
    """What was replaced leaves; traffic was moved before the commit. What stayed behind goes back to what it was."""
    goals = {name: goal for name, goal in before(rollout).items() if rollout.tracks[name].behind}
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
            target=track.members if track and routed else (),
            surplus=(*now_called.values(), *(n for n, _number in change.new if track and n in track.lost)),
            withdraw=bool(track and track.quiet),
            withdrawn=frozenset(now_called[n] for n in (track.withdrawn if track else ())),
            drained=frozenset(now_called[n] for n in (track.drained if track else ())),
            stopped=frozenset(now_called[n] for n in (track.stopped if track else ())),
            route=not routed and change.service in rollout.seen.routed,
            drain=max((r.drain for r in routes), default=0.0),
            exclusive=False,
        )
    return goals
