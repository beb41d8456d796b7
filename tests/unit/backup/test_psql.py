# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a program in a container says, where the engine loses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.psql import TRIES, Postgres
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError


class Said:
    """A program that has ended."""

    def __init__(self, text: bytes, code: int) -> None:
        self._text, self._code = text, code

    def finish(self) -> None: ...
    def end(self) -> None: ...

    def frames(self) -> Iterator[memoryview]:
        if self._text:
            yield memoryview(self._text)

    def exit_code(self) -> int:
        return self._code

    def said(self) -> str:
        return "it said nothing"


class Engine:
    """Answers one after the other."""

    def __init__(self, *answers: tuple[bytes, int]) -> None:
        self.left = [*answers]

    def stream(self, name: str, command: Sequence[str], environment: Any = None) -> Any:
        return Said(*self.left.pop(0))


def output(*answers: tuple[bytes, int]) -> tuple[bytes, int]:
    engine = Engine(*answers)
    return Postgres(engine, "db", "shop", "test").output("pg_dumpall"), len(engine.left)


def test_what_the_engine_lost_is_asked_again() -> None:
    assert output((b"", 0), (b"roles", 0), (b"never asked", 0)) == (b"roles", 1)


def test_who_never_says_anything_is_no_answer() -> None:
    with pytest.raises(PortError, match="pg_dumpall in db said nothing, although it ended with exit code 0"):
        output(*[(b"", 0)] * TRIES)


def test_a_failure_is_not_asked_again() -> None:
    with pytest.raises(PortError, match="exit code 2"):
        output((b"", 2), (b"roles", 0))
