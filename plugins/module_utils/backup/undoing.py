# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A restore that was killed, or that failed: the stack stops, and everything that it replaced is put back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..adapters import moving
from ..core.backup.places import Move
from ..core.backup.stopping import stopping
from ..host import serving_stack
from ..journal import SqliteJournal
from ..perform import Host
from ..ports import PortError
from . import extract

AT_ONCE = 8


def stop(host: Host, stack: str, journal: SqliteJournal) -> None:
    """Every container of the stack, however many times it is asked for."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for group in stopping(serving_stack(stack, journal), host.engine.replicas(stack)):
            for done in [pool.submit(host.engine.stop, name, grace) for name, grace in group]:
                done.result()


def put_back(host: Host, stack: str, moves: Sequence[Move], journal: SqliteJournal) -> None:
    """Raises PortError with all that could not be put back."""
    stop(host, stack, journal)
    wrong = []
    for move in reversed(moves):
        try:
            moving.back(move)
        except PortError as error:
            wrong.append(str(error))
    if wrong:
        raise PortError("; ".join(wrong))


def clear(host: Host, staged: Iterable[str], volumes: Iterable[str]) -> None:
    """Take away what was laid beside its place, and the volumes that were to keep something. There may be neither."""
    for path in staged:
        moving.remove(path)
        moving.remove(extract.aside(path))
    for name in volumes:
        host.engine.remove_volume(name)


def planned(details: Any) -> tuple[Move, ...]:
    """The moves that a restore wrote down before it began with them."""
    return tuple(Move(**entry) for entry in details.get("moves", ()))


def recover(host: Host, stack: str, journal: SqliteJournal) -> list[str]:
    """Undo what a killed restore left, unless its rollout had been committed. The caller holds the stack's lock.

    Afterwards the stack is stopped, with its old data, until it is rolled out again.
    """
    notes = []
    for restore in journal.unfinished_of("restore", stack):
        moves: tuple[Move, ...] = ()
        rollout = ""
        staged: list[str] = []
        volumes: list[str] = []
        for entry in journal.events(restore):
            moves = planned(entry.details) or moves
            staged, volumes = entry.details.get("staged", staged), entry.details.get("volumes", volumes)
            rollout = str(entry.details.get("rollout", rollout))
        if rollout and journal.is_committed(rollout):
            journal.milestone(restore, "finished", host.clock.now(), {"outcome": "restored"})
            notes.append(f"restore {restore} was interrupted when it was done")
            continue
        if moves:
            put_back(host, stack, moves, journal)
        clear(host, staged, volumes)
        journal.milestone(restore, "finished", host.clock.now(), {"outcome": "interrupted"})
        notes.append(f"restore {restore} was interrupted, and all data is as it was before")
    return notes
