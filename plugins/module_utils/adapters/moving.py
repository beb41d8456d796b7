# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restored data takes its place by renaming, and what was there comes back the same way: nothing is ever copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from ..core.backup.places import Move
from ..ports import PortError

NOTHING = "nothing was here"
"""what a link points to that is kept where there was nothing: to put that back means to remove what came instead"""
UNDONE = ".undone"
"""ends the name of what a restore that failed had put into a place, until it is removed"""


def obstacles(moves: Iterable[Move]) -> list[str]:
    """Why these could not be renamed, all of it."""
    found = []
    for move in moves:
        if os.path.lexists(move.kept):
            found.append(f"{move.what}: {move.kept} is there already")
        if move.source and _device(move.source) != _device(move.target):
            found.append(f"{move.what}: {move.source} and {move.target} are on two file systems")
    return found


def move(wanted: Move) -> None:
    """Put what is restored in place and keep what was there, or that there was nothing."""
    try:
        os.makedirs(os.path.dirname(wanted.kept), exist_ok=True)
        if os.path.lexists(wanted.target):
            os.rename(wanted.target, wanted.kept)
        else:
            os.symlink(NOTHING, wanted.kept)
        if wanted.source:
            os.rename(wanted.source, wanted.target)
            _written_down(os.path.dirname(wanted.target))
    except OSError as error:
        raise PortError(f"{wanted.what} cannot be put in place: {error}") from error


def back(wanted: Move) -> None:
    """As it was before `move`, which may have come to any point of it, or never have begun."""
    try:
        if not os.path.lexists(wanted.kept):
            return
        if kept_nothing(wanted):
            remove(wanted.target)
            remove(wanted.kept)
        elif os.path.lexists(wanted.target):
            aside = wanted.target + UNDONE
            remove(aside)
            os.rename(wanted.target, aside)
            os.rename(wanted.kept, wanted.target)
            remove(aside)
        else:
            os.rename(wanted.kept, wanted.target)
        _written_down(os.path.dirname(wanted.target))
    except OSError as error:
        raise PortError(f"{wanted.what}: what lies in {wanted.kept} cannot be put back: {error}") from error


def kept_nothing(wanted: Move) -> bool:
    return os.path.islink(wanted.kept) and os.readlink(wanted.kept) == NOTHING


def remove(path: str) -> None:
    """A file or a folder, with all that is in it; there may be none."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _device(path: str) -> int:
    """The file system of a path, or of where it would be."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.lstat(path).st_dev


def _written_down(folder: str) -> None:
    """Names are on the disk before anything is built on them."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
