# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Making a set: `advance(state, event) -> (state, commands)`. Knows no engine, no repository, no clock and no thread.

Every item is opened; then whoever writes holds still, every item is frozen at that one moment, and the writers go on.
Only then is anything streamed, read back, and at last sealed. Whatever fails on the way: the writers go on at once,
what is open is closed, what is stored is discarded, and the set never existed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from ..events import Begun, Done, Event, Failed
from .commands import Alarm, Close, Command, Discard, Freeze, Open, Quiesce, ReadBack, Resume, Seal, Store
from .manifest import Taken

PATIENCE = 30
"""times that a replica is asked to go on, a second apart: an engine may be starting again"""
AGAIN = 1.0


class Phase(str, Enum):
    OPENING = "opening"
    QUIESCING = "quiescing"
    FREEZING = "freezing"
    RESUMING = "resuming"
    STORING = "storing"
    SEALING = "sealing"
    CLOSING = "closing"
    """on the way back: nothing new is begun any more"""


class Outcome(str, Enum):
    MADE = "made"
    """the set is there; what could not be let go of is said"""
    FAILED = "failed"
    """the set never existed, and everything is as before"""
    INCOMPLETE = "incomplete"
    """the set never existed, and something was left: the failures say what"""


@dataclass(frozen=True, slots=True)
class Still:
    """A replica that holds still."""

    service: str
    name: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Making:
    """A set while it is made. `taken_over` are items of earlier sets that are not due; `longest` seconds is the quiet.

    `still` are replicas that were asked to hold still and did not go on yet, `moment` is when all of them did.
    """

    id: str
    items: tuple[str, ...]
    writers: tuple[Still, ...] = ()
    taken_over: tuple[Taken, ...] = ()
    longest: float = 30.0
    at_once: int = 2
    phase: Phase = Phase.OPENING
    pending: frozenset[Command] = frozenset()
    opened: frozenset[str] = frozenset()
    still: tuple[Still, ...] = ()
    held: frozenset[str] = frozenset()
    """names of replicas that hold still for sure"""
    frozen: Mapping[str, float] = field(default_factory=dict)
    stored: Mapping[str, Taken] = field(default_factory=dict)
    proven: frozenset[str] = frozenset()
    """items that were read back and are what was written"""
    asked: Mapping[str, int] = field(default_factory=dict)
    """replica -> how often it was asked to go on in vain"""
    touched: bool = False
    """something of the set may be in the repository: opening an item stores what has not changed already"""
    moment: float = 0.0
    quiet: float = 0.0
    since: float = 0.0
    """when the first replica was asked to hold still"""
    failures: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """what could not be put back"""
    sealed: bool = False
    outcome: Outcome | None = None

    @property
    def finished(self) -> bool:
        return self.outcome is not None

    @property
    def taken(self) -> tuple[Taken, ...]:
        """What the manifest will hold, in the order of the plan."""
        return (*(self.stored[name] for name in self.items if name in self.stored), *self.taken_over)


def advance(making: Making, event: Event) -> tuple[Making, tuple[Command, ...]]:
    """The next state, and what to do about it."""
    if isinstance(event, Begun):
        return _next(making, event.at)
    making = replace(making, pending=making.pending - {event.command})
    if making.phase is Phase.CLOSING and isinstance(event.command, (Open, Freeze, Store)):
        # it was closed to break this off, which may have been too early for what this left
        making = replace(making, opened=making.opened | {event.command.item})
    making = _failed(making, event) if isinstance(event, Failed) else _done(making, event)
    return _next(making, event.at)


# -- what happened ----------------------------------------------------------------


def _done(making: Making, event: Done) -> Making:
    command = event.command
    if isinstance(command, Quiesce):
        making = replace(making, held=making.held | {command.name})
        if making.phase is Phase.QUIESCING and len(making.held) == len(making.writers):
            making = replace(making, moment=event.at)
    elif isinstance(command, Resume):
        making = _goes_on(making, command.name, event.at)
    elif isinstance(command, Alarm):
        if making.still:
            making = _give_up(making, f"writers held still for {making.longest:g} s, which is the longest they may")
    elif isinstance(command, Freeze):
        making = replace(making, frozen={**making.frozen, command.item: event.at})
    elif isinstance(command, Store):
        making = replace(making, stored={**making.stored, command.item: event.value})
    elif isinstance(command, ReadBack):
        if event.value:
            making = _give_up(making, f"{command.item}: what was stored is not what was read: {'; '.join(event.value)}")
        else:
            making = replace(making, proven=making.proven | {command.item})
    elif isinstance(command, Close):
        making = replace(making, opened=making.opened - {command.item})
    elif isinstance(command, Seal):
        making = replace(making, sealed=True)
    elif isinstance(command, Discard):
        making = replace(making, touched=False)
    return making


def _goes_on(making: Making, name: str, at: float) -> Making:
    still = tuple(replica for replica in making.still if replica.name != name)
    quiet = at - making.since if making.still and not still else making.quiet
    return replace(making, still=still, quiet=quiet)


def _failed(making: Making, event: Failed) -> Making:
    command = event.command
    if isinstance(command, Resume):
        times = making.asked.get(command.name, 0) + 1
        making = replace(making, asked={**making.asked, command.name: times})
        if times < PATIENCE:
            return making
        said = f"{command.name} still holds still: {event.error}"
        making = _goes_on(making, command.name, event.at)
        return _give_up(replace(making, left=(*making.left, said)), said)
    if isinstance(command, Close):
        said = f"{command.item} could not be let go of: {event.error}"
        return replace(making, opened=making.opened - {command.item}, left=(*making.left, said))
    if isinstance(command, Discard):
        said = f"what was stored is still in the repository, and the next backup collects it: {event.error}"
        return replace(making, touched=False, left=(*making.left, said))
    if isinstance(command, Seal):
        return _give_up(making, f"the manifest could not be written: {event.error}")
    who = command.name if isinstance(command, Quiesce) else command.item if not isinstance(command, Alarm) else "clock"
    if making.phase is Phase.CLOSING:
        return making  # it was broken off, and that is what it says
    return _give_up(making, f"{who}: {event.error}")


def _give_up(making: Making, why: str) -> Making:
    return replace(making, phase=Phase.CLOSING, failures=(*making.failures, why))


# -- what comes next ----------------------------------------------------------------


def _next(making: Making, at: float) -> tuple[Making, tuple[Command, ...]]:
    """Go on as far as it goes without waiting for anything."""
    commands: list[Command] = []
    while True:
        making, more, again = _step(making, at)
        commands += more
        making = replace(making, pending=making.pending | set(more))
        if not again:
            return making, tuple(commands)


def _step(making: Making, at: float) -> tuple[Making, list[Command], bool]:
    """One step: the state, what to do, and whether another step may follow at once."""
    if making.phase is Phase.CLOSING:
        return _back(making, at)
    if making.phase is Phase.OPENING:
        if not making.opened and making.items:
            making = replace(making, opened=frozenset(making.items), touched=True)
            return making, [Open(item) for item in making.items], False
        if _waits(making, Open):
            return making, [], False
        asked: list[Command] = [Quiesce(w.service, w.name, w.id) for w in making.writers]
        if asked:
            asked.append(Alarm(at + making.longest))
        phase = Phase.QUIESCING
        making = replace(making, phase=phase, still=making.writers, since=at, moment=0.0 if making.writers else at)
        return making, asked, not making.writers
    if making.phase is Phase.QUIESCING:
        if _waits(making, Quiesce):
            return making, [], False
        return replace(making, phase=Phase.FREEZING), [Freeze(item) for item in making.items], not making.items
    if making.phase is Phase.FREEZING:
        if _waits(making, Freeze):
            return making, [], False
        return replace(making, phase=Phase.RESUMING), [], True
    if making.phase is Phase.RESUMING:
        asked = _resume(making, at)
        if asked or making.still:
            return making, asked, False
        return replace(making, phase=Phase.STORING), [], True
    if making.phase is Phase.STORING:
        return _store(making)
    return _sealed(making)


def _waits(making: Making, kind: type[Command]) -> bool:
    return any(isinstance(command, kind) for command in making.pending)


def _resume(making: Making, at: float) -> list[Command]:
    """Ask everybody who is still to go on, and again who did not."""
    asked = {command.name for command in making.pending if isinstance(command, Resume)}
    # a replica that is just being told to hold still would do so after it was told to go on
    asked |= {command.name for command in making.pending if isinstance(command, Quiesce)}
    return [
        Resume(r.service, r.name, at + AGAIN if making.asked.get(r.name) else 0.0, r.id)
        for r in making.still
        if r.name not in asked
    ]


def _store(making: Making) -> tuple[Making, list[Command], bool]:
    """Some items at once; each is read back and let go of as soon as it is stored."""
    busy = {c.item for c in making.pending if isinstance(c, (Store, ReadBack))}
    commands: list[Command] = [ReadBack(i) for i in making.items if i in making.stored.keys() - making.proven - busy]
    waiting = [i for i in making.items if i not in making.stored and i not in busy]
    room = making.at_once - len(busy) - len(commands)
    commands += [Store(item) for item in waiting[: max(0, room)]]
    closing = {c.item for c in making.pending if isinstance(c, Close)}
    commands += [Close(i) for i in making.items if i in making.opened & making.proven and i not in closing]
    if making.proven.issuperset(making.items) and not commands and not busy:
        return replace(making, phase=Phase.SEALING), [Seal()], False
    return making, commands, False


def _sealed(making: Making) -> tuple[Making, list[Command], bool]:
    if making.pending - {c for c in making.pending if isinstance(c, Alarm)} or not making.sealed:
        return making, [], False
    return replace(making, outcome=Outcome.MADE), [], False


def _back(making: Making, at: float) -> tuple[Making, list[Command], bool]:
    """Writers first. What streams is broken off by closing it; nothing is discarded while anything is still stored."""
    commands = _resume(making, at)
    closing = {c.item for c in making.pending if isinstance(c, Close)}
    commands += [Close(item) for item in making.items if item in making.opened and item not in closing]
    waits = {c for c in making.pending if not isinstance(c, Alarm)}
    if commands or waits or making.still:
        return making, commands, False
    if making.touched:
        return making, [Discard()], False
    return replace(making, outcome=Outcome.INCOMPLETE if making.left else Outcome.FAILED), [], False
