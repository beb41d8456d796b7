# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A command in a container that did not end in time: the engine has no call to end it, this host's kernel has."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from ..core.model import Json

ROUNDS = 3
BURIED = 0.5
"""seconds in which a process that was killed is waited for by its parent"""


def end(base_url: str, details: Json, proc: str = "/proc") -> bool:
    """Kill the process of an exec (its inspect body) and all that it started, so that late commands do not pile up.

    Only where the engine is this host's, and the process is by the kernel's word one of that container: a process id
    of another machine, or of another process namespace, means nothing here. Returns whether it was killed.
    """
    pid, container = details.get("Pid") or 0, details.get("ContainerID") or ""
    if not base_url.startswith("http+docker://") or not details.get("Running") or pid <= 1 or not container:
        return False
    try:
        mine = container in (Path(proc) / str(pid) / "cgroup").read_text()
    except OSError:
        return False
    if not mine:
        return False
    _end_children(pid, proc)
    return _killed(pid)


def _end_children(pid: int, proc: str) -> None:
    """The youngest first, so that each is buried by its own parent.

    An orphan would fall to the container's first process, and PostgreSQL, where it is that, takes a child that was
    killed for a crash of its own. A shell may go on with its next command, hence more than one round.
    """
    for _round in range(ROUNDS):
        generations = descendants(pid, parents(proc))
        if not generations:
            return
        for generation in reversed(generations):
            for child in generation:
                _killed(child)
            until = time.monotonic() + BURIED
            while time.monotonic() < until and not generation.isdisjoint(parents(proc)):
                time.sleep(0.01)


def _killed(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def parents(proc: str) -> dict[int, int]:
    """process id -> its parent's, of everything that runs"""
    found = {}
    for entry in Path(proc).iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # "pid (any name) state parent ..."
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def descendants(pid: int, parents: Mapping[int, int]) -> list[set[int]]:
    """Its children, their children, and so on, by generation."""
    found, generation = [], {pid}
    while generation := {child for child, parent in parents.items() if parent in generation}:
        found.append(generation)
    return found
