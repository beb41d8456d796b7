# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What became of the host's own tasks: the last time that each was done for a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..model import Json

TASKS = ("run", "drill", "prune", "check", "copy")


@dataclass(frozen=True, slots=True)
class Record:
    """`stack` is "" for a task of the whole repository. `why` it failed the last time, "" where it went well."""

    task: str
    stack: str = ""
    at: float = 0.0
    """when it last ended"""
    seconds: float = 0.0
    why: str = ""
    good: float = 0.0
    """when it last went well"""
    failures: int = 0
    """since it is counted"""

    @property
    def ok(self) -> bool:
        return not self.why

    @property
    def key(self) -> str:
        return key(self.task, self.stack)


def key(task: str, stack: str) -> str:
    return f"backup:{task}:{stack}"


def noted(before: Record, at: float, seconds: float, why: str) -> Record:
    """The record after it was done once more."""
    after = replace(before, at=at, seconds=round(seconds, 3), why=why)
    return replace(after, failures=before.failures + 1) if why else replace(after, good=at)


def written(record: Record) -> dict[str, Any]:
    return asdict(record)


def read(entry: Json, task: str, stack: str) -> Record:
    known: Mapping[str, Any] = {k: v for k, v in entry.items() if k in Record.__dataclass_fields__}
    return Record(**{**known, "task": task, "stack": stack})
