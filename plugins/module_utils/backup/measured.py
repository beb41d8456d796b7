# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stream that is counted and hashed while somebody else reads it, and that remembers how it ended."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from ..core.backup.manifest import Part
from ..ports import PortError, Repository

BLOCK = 2**20

END = b"\0" * 2 * tarfile.BLOCKSIZE
"""of a tar that is whole: tarfile takes one that is cut between two entries for whole, too"""


class Measured(io.BufferedIOBase):
    def __init__(self, content: BinaryIO) -> None:
        self._content, self._sum = content, hashlib.sha256()
        self.size = 0
        self.last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        piece = self._content.read(-1 if size is None else size)
        self._sum.update(piece)
        self.size += len(piece)
        self.last = ended(self.last, piece)
        return piece

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


def ended(last: bytes, piece: bytes) -> bytes:
    """How what has ended with `last` ends with the next piece of it."""
    return (last + piece[-len(END) :])[-len(END) :]


def pieces(repository: Repository, part: Part) -> Iterator[bytes]:
    """A stream as it was written. Raises PortError at its end where it is not."""
    with repository.reading(part.snapshot, part.path) as content:
        measured = Measured(content)
        while piece := measured.read(BLOCK):
            yield piece
    if (measured.size, measured.sha256) != (part.size, part.sha256):
        raise PortError(unlike(part, measured))


def unlike(part: Part, measured: Measured) -> str:
    return f"{part.path} has {measured.size} bytes and another content than the {part.size} that were written"
