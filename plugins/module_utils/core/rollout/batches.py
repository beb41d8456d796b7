# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which steps a service's replicas are replaced: all at once, some at a time, a canary before the rest."""

from __future__ import annotations

from dataclasses import dataclass

from ..model import Order, Update
from .plan import Action, Change


@dataclass(frozen=True, slots=True)
class Batch:
    """Replicas that come together, and the old ones that leave with them.

    With stop-first `leave` are stopped before `new` start; with start-first they are stopped once `new` took over. What
    no batch names leaves after the commit. `watch`: so many seconds it is watched before the next one begins.
    """

    new: tuple[str, ...]
    leave: tuple[str, ...] = ()
    watch: float = 0.0


def batches(change: Change, update: Update, fixed: bool = False) -> tuple[Batch, ...]:
    """Only a replacement goes in steps: a first deploy and a scale change have nothing to compare with.

    `fixed`: the new replica gets the name of the old one (container_name), so that one has to stop in any case.
    """
    names = [name for name, _number in change.new]
    stop_first = fixed or (change.order is Order.STOP_FIRST and bool(names))
    # those that serve leave last
    olds = [o.name for o in sorted(change.old, key=lambda o: o.running)]
    sizes = _sizes(len(names), update) if change.action is Action.REPLACE else [len(names)]
    if len(sizes) < 2:
        return (Batch(tuple(names), tuple(o.name for o in change.old) if stop_first else ()),)
    result: list[Batch] = []
    wanted, came = len(change.keep) + len(names), 0
    for turn, size in enumerate(sizes):
        last, canary = turn == len(sizes) - 1, turn == 0 and update.canary > 0
        came += size
        if stop_first:
            going = len(olds) if last else min(size, len(olds))
        elif last or canary or not update.parallelism:
            going = 0
        else:
            going = max(0, len(change.keep) + came + len(olds) - wanted)
        leave, olds = olds[:going], olds[going:]
        watch = 0.0 if last else update.watch if canary else update.delay
        result.append(Batch(tuple(names[came - size : came]), tuple(leave), watch))
    return tuple(result)


def _sizes(count: int, update: Update) -> list[int]:
    canary = min(update.canary, count)
    rest = count - canary
    step = update.parallelism or max(1, rest)
    return [n for n in (canary, *([step] * (rest // step)), rest % step) if n]
