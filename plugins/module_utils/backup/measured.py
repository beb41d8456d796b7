# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stream that is counted and hashed while somebody else reads it, and that remembers how it ended."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import BinaryIO

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
