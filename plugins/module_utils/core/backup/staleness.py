# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How old the backups of a stack are, and whether that is too old: by its sets, its drills and its schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..durations import spoken
from ..model import Json
from .manifest import LEAP, Manifest, newest_first
from .proof import Proof, proven
from .settings import Schedule

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A stack's sets in short, as they were when the repository was last read: it may not answer when it matters.

    `at` is the moment that the newest set shows, `proven` that of the newest set that a drill has restored, 0 for none.
    `since` is when the stack was first seen, from which on a set is expected.
    """

    stack: str
    since: float
    sets: int = 0
    set: str = ""
    at: float = 0.0
    size: int = 0
    quiet: float = 0.0
    proven_set: str = ""
    proven: float = 0.0
    drilled: float = 0.0
    """when that drill was"""
    rto: float = 0.0
    rpo: float = 0.0
    offsite: float = 0.0
    """the moment that the newest set off-site shows"""


def seen(
    stack: str, since: float, sets: Iterable[Manifest], proofs: Iterable[Proof], now: float, offsite: float = 0.0
) -> Seen:
    newest = newest_first(sets, now)
    known = list(proofs)
    good = proven(known, now)
    last = newest[0] if newest else None
    best = next((m for m in newest if m.id in good), None)
    drill = next((p for p in known if best and (p.set, p.at) == (best.id, good[best.id])), None)
    return Seen(
        stack,
        since,
        len(newest),
        last.id if last else "",
        last.at if last else 0.0,
        last.size if last else 0,
        last.quiet if last else 0.0,
        best.id if best else "",
        best.at if best else 0.0,
        drill.at if drill else 0.0,
        drill.rto if drill else 0.0,
        drill.rpo if drill else 0.0,
        offsite,
    )


def copied(of: Seen, newest: float) -> Seen:
    """With the moment that the newest set off-site shows."""
    return replace(of, offsite=newest)


def stale(of: Seen, schedule: Schedule, now: float, offsite: bool = False) -> tuple[str, ...]:
    """What is too old, in words; empty where all is as it is expected. `offsite` where sets are copied elsewhere."""
    said = []
    said += _too_old(of.at, of.since, schedule.stale_after, now, "the newest set", "no set was made", of.set)
    after = schedule.unproven_after
    said += _too_old(of.proven, of.since, after, now, "the newest proven set", "no set was proven", of.proven_set)
    if offsite:
        # a copy may be as far behind a set as a set may be old
        most = 2 * schedule.stale_after
        said += _too_old(of.offsite, of.since, most, now, "the newest set off-site", "no set came off-site", "")
    return tuple(said)


def shown(of: Seen, schedule: Schedule, now: float) -> dict[str, Any]:
    """For whoever asks: the newest set, the newest proven one, when the next is due, and what is too old."""
    return {
        "stack": of.stack,
        "set": of.set,
        "at": of.at,
        "proven_set": of.proven_set,
        "proven": of.proven,
        "due": of.at + schedule.every if of.at and schedule.every else 0.0,
        "stale": list(stale(of, schedule, now)),
    }


def _too_old(at: float, since: float, most: float, now: float, what: str, never: str, set_: str) -> list[str]:
    if not most:
        return []
    if at > now + LEAP:
        named = f"{what}, {set_}," if set_ else what
        return [f"{named} is from the future, so nobody knows how old it is: look at the clock"]
    if at and now - at > most:
        named = f"{what}, {set_}," if set_ else what
        return [f"{named} is {age(now - at)} old, and more than {age(most)} are too many"]
    if not at and now - since > most:
        return [f"{never} within {age(now - since)}, and more than {age(most)} are too many"]
    return []


def age(seconds: float) -> str:
    """As people say it: 40s, 12m, 26h, 8.5d."""
    if seconds < 3600:
        return spoken(float(round(seconds))) if seconds < 60 else f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < 2 * DAY else f"{seconds / DAY:.1f}d".replace(".0d", "d")


def written(of: Seen) -> dict[str, Any]:
    return {name: getattr(of, name) for name in Seen.__dataclass_fields__}


def read(entry: Json) -> Seen | None:
    """None for what an other version wrote, which is read from the repository again."""
    known: Mapping[str, Any] = {k: v for k, v in entry.items() if k in Seen.__dataclass_fields__}
    return Seen(**known) if "stack" in known and "since" in known else None
