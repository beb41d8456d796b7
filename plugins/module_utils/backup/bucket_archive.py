# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket as one stream: a tar whose entries are its objects, in the order of their keys.

The same objects make the same bytes, so that a repository stores what has not changed only once. Key, headers, metadata
and tags are in the entry's PAX records.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from typing import IO, BinaryIO

from ..core.backup.objects import Described, Listed
from ..core.model import Json
from ..ports import Content, PortError
from .measured import END, Measured

_OURS = "QUAYLOCK."
_KEY, _ETAG, _HEADER, _META, _TAG = (f"{_OURS}{name}" for name in ("key", "etag", "header.", "meta.", "tag."))
_BLOCK = tarfile.BLOCKSIZE
PIECE = 1 << 20


def beginning(listed: Listed, about: Described) -> bytes:
    """What comes before an object's bytes."""
    entry = tarfile.TarInfo(listed.key)
    entry.size, entry.mtime, entry.mode = listed.size, int(listed.modified), 0o600
    entry.pax_headers = {_KEY: listed.key, _ETAG: listed.etag}
    for begin, values in ((_HEADER, about.headers), (_META, about.metadata), (_TAG, about.tags)):
        entry.pax_headers |= {f"{begin}{_quoted(name)}": values[name] for name in sorted(values)}
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def ending(size: int) -> bytes:
    """What comes after them, up to the next block."""
    return b"\0" * (-size % _BLOCK)


def objects(content: BinaryIO) -> Iterator[tuple[Listed, Described, Content]]:
    """The objects of a stream, each to be read before the next is asked for. Raises PortError where it breaks off."""
    measured = Measured(content)
    try:
        with tarfile.open(
            fileobj=measured, mode="r|", bufsize=PIECE, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            while (entry := archive.next()) is not None:
                body = archive.extractfile(entry)
                if _KEY not in entry.pax_headers or body is None:
                    raise PortError(f"{entry.name!r} in the archive is no object of a bucket")
                with contextlib.closing(body):
                    yield (*_read(entry), _Body(body))
                archive.members.clear()  # type: ignore[attr-defined]  # a million entries take a gigabyte
            while measured.read(PIECE):
                pass
    except (tarfile.TarError, EOFError) as error:
        raise PortError(f"the archive of the bucket cannot be read: {error}") from error
    if measured.last != END:
        raise PortError("the archive of the bucket breaks off")


def flaws(content: BinaryIO, about: Json) -> tuple[str, ...]:
    """What of a stream is not what the manifest says: read to its end, put nowhere."""
    count, size = 0, 0
    try:
        for listed, _described, body in objects(content):
            left = listed.size
            while left and (piece := body.read(min(left, PIECE))):
                left -= len(piece)
            count, size = count + 1, size + listed.size - left
    except PortError as error:
        return (str(error),)
    if (count, size) == (about["objects"], about["bytes"]):
        return ()
    wanted = f"{about['objects']} objects of {about['bytes']} bytes"
    return (f"the archive holds {count} objects of {size} bytes, and the manifest says {wanted}",)


class _Body:
    """An object's bytes, as long as they are there."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        try:
            return self._body.read(size)
        except tarfile.TarError as error:
            raise PortError(f"the archive of the bucket breaks off: {error}") from error


def _read(entry: tarfile.TarInfo) -> tuple[Listed, Described]:
    records = entry.pax_headers

    def those(begin: str) -> dict[str, str]:
        return {_plain(name[len(begin) :]): value for name, value in records.items() if name.startswith(begin)}

    listed = Listed(records[_KEY], entry.size, records.get(_ETAG, ""), float(entry.mtime))
    return listed, Described(those(_HEADER), those(_META), those(_TAG))


def _quoted(name: str) -> str:
    """A record's name ends at the first =, which a tag may have in its own."""
    return name.replace("%", "%25").replace("=", "%3D")


def _plain(name: str) -> str:
    return name.replace("%3D", "=").replace("%25", "%")
