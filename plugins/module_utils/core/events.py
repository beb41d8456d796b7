# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can happen to work that decides by `advance(state, event) -> (state, commands)`, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Union


@dataclass(frozen=True, slots=True)
class Begun:
    """`at`, here and below, is in seconds since the epoch."""

    at: float


@dataclass(frozen=True, slots=True)
class Done:
    """A command, a frozen dataclass, ended well. What `value` is depends on the command."""

    command: Any
    at: float
    value: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    command: Any
    at: float
    error: str


Event = Union[Begun, Done, Failed]


def as_json(command: Any) -> Mapping[str, Any]:
    """A command as the journal keeps it."""
    return {"do": type(command).__name__, **asdict(command)}
