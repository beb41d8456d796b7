# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the making of a set can ask for, and what can happen: plain values, journaled as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True, slots=True)
class Open:
    """Get an item ready, so that its moment is short: connect to a database, have what is unchanged stored already."""

    item: str


@dataclass(frozen=True, slots=True)
class Quiesce:
    """A replica holds still from now on. Its `id` is the container's: a name can be given to another one."""

    service: str
    name: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Nobody holds still for longer than this: an outcome at `at`, seconds since the epoch."""

    at: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """Hold on to the item as it is now: export a snapshot, copy what is small, list what is large."""

    item: str


@dataclass(frozen=True, slots=True)
class Resume:
    """A replica goes on, not before `at` (0: at once). One that is gone has nothing to go on with."""

    service: str
    name: str
    at: float = 0.0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Store:
    """Stream the frozen item into the repository. The outcome is a Taken."""

    item: str


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Read a stored item from the repository and compare it with what was written. The outcome says what differs."""

    item: str


@dataclass(frozen=True, slots=True)
class Close:
    """Let go of an item: end its sessions, clear its copies away, and break off what still streams."""

    item: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Write the manifest and read it back. From then on the set exists."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget what of this set is in the repository."""


Command = Union[Open, Quiesce, Alarm, Freeze, Resume, Store, ReadBack, Close, Seal, Discard]
