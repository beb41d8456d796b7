# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which sets stay: by set and by id, never by what a repository groups, and none goes before a newer one is proven."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .manifest import LEAP

DAY = 86400.0
PROVEN = 2
"""the newest proven sets of a stack, which stay whatever their age"""


@dataclass(frozen=True, slots=True)
class Rule:
    """Sets stay until the newest is `days` newer; 0 keeps all, as where backups are made by hand. `least` sets stay in
    any case.
    """

    days: float = 30.0
    least: int = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """A set as retention sees it. `needs` are the sets that it took items over from; `proven` when, 0 for never."""

    id: str
    stack: str
    at: float
    proven: float = 0.0
    pinned: str = ""
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a set, and why."""

    set: Kept
    stays: bool
    why: str


def retention(sets: Iterable[Kept], rule: Rule, now: float) -> tuple[Fate, ...]:
    """Every set with its fate, the newest first. One stack's sets never decide over another's."""
    by_stack: dict[str, list[Kept]] = {}
    for kept in sets:
        by_stack.setdefault(kept.stack, []).append(kept)
    fates = [fate for mine in by_stack.values() for fate in _of_stack(mine, rule, now)]
    return tuple(sorted(fates, key=lambda fate: (-fate.set.at, fate.set.id)))


def _reckoned(newest: Sequence[Kept], rule: Rule, now: float) -> float:
    """From when on ages count: from the newest set on. So nothing goes while none is made, whatever the clock says.

    One set alone far ahead of all others does not make them old: it may be the clock that went ahead.
    """
    at = [kept.at for kept in newest]
    if not at:
        return now
    return at[1] if len(at) > 1 and at[0] - at[1] > rule.days * DAY else at[0]


def _of_stack(sets: Sequence[Kept], rule: Rule, now: float) -> list[Fate]:
    newest = sorted(sets, key=lambda kept: (kept.at > now + LEAP, -kept.at, kept.id))
    past = [kept for kept in newest if kept.at <= now + LEAP]
    proven = [kept for kept in past if kept.proven]
    last = proven[0].at if proven else float("-inf")
    until = _reckoned(past, rule, now)
    reasons: dict[str, str] = {}
    for place, kept in enumerate(newest):
        if kept.pinned:
            reasons[kept.id] = f"pinned by {kept.pinned}"
        elif kept in proven[:PROVEN]:
            reasons[kept.id] = f"one of the last {PROVEN} that were proven"
        elif kept.at > now + LEAP:
            reasons[kept.id] = "it is from the future: look at the clock"
        elif place < rule.least:
            reasons[kept.id] = f"one of the last {rule.least}"
        elif not rule.days:
            reasons[kept.id] = "sets of this stack are kept until they are removed by hand"
        elif until - kept.at < rule.days * DAY:
            reasons[kept.id] = f"not {rule.days:g} days older than the newest"
        elif kept.at >= last:
            reasons[kept.id] = "no newer set is proven"
    for kept in newest:
        # a set that stays may have taken an item over from one that would go
        for needed in kept.needs if kept.id in reasons else ():
            reasons.setdefault(needed, f"{kept.id} holds an item of it")
    gone = f"{rule.days:g} days older than the newest, and newer ones are proven"
    return [Fate(kept, kept.id in reasons, reasons.get(kept.id, gone)) for kept in newest]


def due(every: float, last: float | None, now: float) -> bool:
    """Whether an item is taken anew, whose last time in a set was `last`. A clock that went back makes it due."""
    return not every or last is None or last > now or now - last >= every
