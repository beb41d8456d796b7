# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a rollout is at one moment: the whole state that `advance` takes and gives, and what the journal keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from ..model import Finding, Image, Observation, Stack
from .commands import Command, Look
from .converge import Goals
from .plan import Action, Change, Plan, Ran
from .track import Track

AT_ONCE = 1
"""containers that start at once on a small host: more of them only slow each other down, the urgent ones included"""


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
    """How a rollout ended. INCOMPLETE is finished by the next run.

    DEPLOYED made a release, and so did PAUSED and PARTIAL: of the services that had passed by then (failure_action).
    """

    UNCHANGED = "unchanged"
    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled back"
    REFUSED = "refused"
    RECOVERED = "recovered"
    REMOVED = "removed"
    INCOMPLETE = "incomplete"
    PAUSED = "paused"
    PARTIAL = "deployed in part"


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
    points: Mapping[str, str] = field(default_factory=dict)
    """restore points that were taken, by service, as their commands name them"""
    outcome: Outcome | None = None
    findings: tuple[Finding, ...] = ()
    failures: tuple[Failure, ...] = ()
    paused: bool = False
    """a service failed whose failure_action is pause: nothing new is begun"""
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


def issue(rollout: Rollout, commands: tuple[Command, ...]) -> Step:
    """Ask for each command once; looks are asked for by the looks before them."""
    fresh = tuple(dict.fromkeys(c for c in commands if isinstance(c, Look) or c not in rollout.issued))
    if not fresh:
        return rollout, ()
    lasting = frozenset(c for c in fresh if not isinstance(c, Look))
    return replace(rollout, issued=rollout.issued | lasting, pending=rollout.pending | lasting), fresh


def with_track(rollout: Rollout, track: Track) -> Rollout:
    return replace(rollout, tracks={**rollout.tracks, track.service.name: track})


def _members(rollout: Rollout, change: Change) -> tuple[str, ...]:
    track = rollout.tracks.get(change.service)
    return change.members if track is None or track.behind else track.members


def milestone(rollout: Rollout, kind: str) -> Mapping[str, Any]:
    """What the journal keeps of a milestone: enough to finish or undo the rollout without this state."""
    if kind == "planned":
        planned = rollout.plan.changes
        return {
            "members": {c.service: list(c.members) for c in planned if c.action is not Action.REMOVE},
            "incumbents": {c.service: [o.name for o in (*c.keep, *c.old)] for c in planned},
            "running": [o.name for o in rollout.seen.replicas if o.running],
        }
    if kind == "committed":
        changes = [c for c in rollout.plan.changes if c.action is not Action.REMOVE]
        behind = sorted(name for name, track in rollout.tracks.items() if track.behind)
        shots = [s for s in rollout.stack.services if s.one_shot and s.name not in behind]
        ran = {(s.name, s.spec, rollout.images[s.image].id) for s in shots}
        return {
            "behind": behind,
            "points": dict(rollout.points),
            "members": {c.service: list(_members(rollout, c)) for c in changes},
            "images": {ref: {"id": i.id, "digest": i.digest} for ref, i in sorted(rollout.images.items())},
            "ran": sorted(ran),
        }
    return {"outcome": rollout.outcome.value if rollout.outcome else "", "notes": list(rollout.notes)}
