# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One sha256 for a tree of files: the same in the repository, on the host it came from and where it was restored to.

It covers what a restore has to bring back: names, kinds, modes, owners, sizes, contents, targets of links. It leaves
out times and extended attributes, and fifos, devices and sockets, which restic's archives do not hold either.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .manifest import Part

FOLDER, FILE, LINK = "d", "f", "l"


class Disordered(ValueError):
    """Entries came in another order than that of their names, so that a digest of them would mean nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`name` is relative to the tree, b"" for the tree itself. `content` is a file's sha256, or a link's target."""

    name: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    content: bytes = b""


class Tally:
    """Takes a tree's entries in the order of their names, a folder right before what is in it; keeps none of them."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._last: tuple[bytes, ...] | None = None
        self.size = 0
        self.entries = 0

    def add(self, entry: Entry) -> None:
        """Raises Disordered."""
        place = tuple(entry.name.split(b"/")) if entry.name else ()
        if self._last is not None and place <= self._last:
            raise Disordered(f"{_shown(entry.name)} came after {_shown(b'/'.join(self._last))}")
        self._last = place
        numbers = f"{entry.mode:o} {entry.uid} {entry.gid} {entry.size}"
        # no name and no target holds a zero byte, so no two trees are written alike
        fields = (entry.name, entry.kind.encode(), numbers.encode(), entry.content)
        self._sum.update(b"\0".join(fields) + b"\0")
        self.size += entry.size
        self.entries += 1

    def part(self, path: str, snapshot: str = "") -> Part:
        """`files` counts every entry, folders and the tree itself among them: only a stream has none."""
        return Part(path, self.size, self._sum.hexdigest(), snapshot, self.entries)


def relative(name: bytes, tree: bytes) -> bytes | None:
    """What is left of a name below `tree`; None where it lies elsewhere."""
    if name == tree:
        return b""
    return name[len(tree) + 1 :] if name.startswith(tree + b"/") else None


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
