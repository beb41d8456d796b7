# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rollouts that begin in the middle: what a killed run left is finished or undone, and a stack is taken down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..model import Observation, Observed, Service, Stack
from . import converge
from .commands import RemoveNetwork, RemoveVolume
from .converge import goal_for
from .state import Outcome, Phase, Rollout
from .track import set_aside


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What the journal says of a rollout that did not reach its end: see `milestone`."""

    rollout: str
    committed: bool
    members: Mapping[str, Sequence[str]]
    incumbents: Mapping[str, Sequence[str]]
    running: frozenset[str]
    """incumbents that ran when the rollout began"""
    behind: frozenset[str] = frozenset()
    """services that a commit left as they were: theirs is undone, not finished"""


def recovery(name: str, stack: Stack, left: Unfinished, seen: Observation) -> Rollout:
    """Finish (past its commit) or undo (before it) what a killed run left. `stack` is the release that stays."""
    groups: dict[str, dict[str, Observed]] = {}
    for replica in seen.replicas:
        groups.setdefault(replica.service, {})[replica.name] = replica
    wanted = left.members if left.committed else left.incumbents
    services = {s.name: s for s in stack.services}
    goals = {}
    for service_name in sorted({*groups, *wanted, *seen.routed}):
        known = services.get(service_name)
        goal = goal_for(known) if known else converge.Goal(service_name)
        there = groups.get(service_name, {})
        goals[service_name] = _recovered(goal, known, wanted.get(service_name, ()), there, left, seen)
    return Rollout(id=name, stack=stack, phase=Phase.CONVERGING, seen=seen, goals=goals, outcome=Outcome.RECOVERED)


def _recovered(
    goal: converge.Goal,
    service: Service | None,
    wanted: Sequence[str],
    there: Mapping[str, Observed],
    left: Unfinished,
    seen: Observation,
) -> converge.Goal:
    """One service of a recovery. A fixed container_name may be borne by the new one while the old one stands aside."""
    committed = left.committed and goal.service not in left.behind
    aside = {n: set_aside(n, left.rollout) for n in wanted if set_aside(n, left.rollout) in there}
    if committed:
        aside = {}
    made = {n for n, o in there.items() if o.rollout == left.rollout}
    stays = [n for n in wanted if n in aside or (n in there and (committed or n not in made))]
    ran = left.running | set(aside)
    one_shot = service is not None and service.one_shot
    named = service is not None and bool(service.networks) and not one_shot
    down = [n for n in stays if not there[aside.get(n, n)].running]
    revived = [n for n in down if not one_shot and (committed or n in ran)]
    serving = frozenset(n for n in stays if n not in down or n in revived)
    routed = serving if service is not None and service.routes else frozenset()
    # the new one bore the name that the proxy knows: taking it from there takes the old one's route too
    stale = goal.service in seen.stale_routes or bool(aside)
    # what the proxy knows without a server is a route too: it answers whoever asks that nobody is there
    moves = stale or seen.routed.get(goal.service) != routed if routed else goal.service in seen.routed
    # running is not passing: whoever was killed may just have started it, so it is gated before traffic goes to it
    start = [n for n in stays if n in revived or (routed and moves and not one_shot and n not in down)]
    return replace(
        goal,
        target=tuple(sorted(routed)),
        start=tuple(start),
        # whoever was killed may have taken old ones out of the service's names; what has them keeps them
        withdraw=named and bool(stays),
        announce=tuple(n for n in stays if n not in down or n in revived) if named and not committed else (),
        surplus=tuple(
            n for n in there if (n not in stays or n in aside) and n not in aside.values() and (committed or n in made)
        ),
        route=moves,
        rename=tuple((new, old) for old, new in aside.items()),
    )


def teardown(name: str, stack: Stack, seen: Observation, remove_volumes: bool = False) -> Rollout:
    """Everything of the stack leaves, dependents first; volumes only when asked for."""
    services = {s.name: s for s in stack.services}
    goals = {
        service: replace(
            goal_for(services[service]) if service in services else converge.Goal(service),
            surplus=tuple(o.name for o in seen.replicas if o.service == service),
            route=service in seen.routed,
            drain=0.0,
        )
        for service in dict.fromkeys([*(o.service for o in seen.replicas), *seen.routed])
    }
    own = [n.name for n in stack.networks if not n.external and n.name in seen.networks]
    volumes = [v.name for v in stack.volumes if not v.external and v.name in seen.volumes] if remove_volumes else []
    return Rollout(
        id=name,
        stack=stack,
        phase=Phase.CONVERGING,
        seen=seen,
        goals=goals,
        outcome=Outcome.REMOVED,
        cleanup=(*(RemoveNetwork(n) for n in own), *(RemoveVolume(v) for v in volumes)),
    )
