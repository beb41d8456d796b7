# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A tree of files as the entries of its digest: from the archive that restic gives, and from a folder of this host."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from typing import IO

from ..core.backup.manifest import Part
from ..core.backup.tree_digest import FILE, FOLDER, LINK, Disordered, Entry, Tally, relative
from ..ports import PortError

PIECE = 1 << 20


def archived(archive: IO[bytes], path: str) -> Tally:
    """The tree that lies at `path` in restic's archive of the folder around it, read once from begin to end.

    The folder around it, because an archive of the tree itself lacks its own mode and owner, and shows a fifo or a
    device right inside as an empty file. Names begin at the root of the snapshot, or at that folder.
    """
    tally, tree = Tally(), b""
    try:
        with tarfile.open(
            fileobj=archive, mode="r|", bufsize=PIECE, encoding="utf-8", errors="surrogateescape"
        ) as entries:
            while (found := entries.next()) is not None:
                name = found.name.encode("utf-8", "surrogateescape").strip(b"/")
                tree = tree or _beginning(name, path)
                inside = relative(name, tree)
                if inside is None:
                    raise PortError(f"the snapshot holds more than {path}: {os.fsdecode(name)!r}")
                tally.add(_of_archive(entries, found, inside))
                # a stream is never read twice, and a million entries take a gigabyte
                entries.members.clear()  # type: ignore[attr-defined]
    except (tarfile.TarError, Disordered, OSError) as error:
        raise PortError(f"reading the archive of {path}: {error}") from error
    if not tally.entries:
        raise PortError(f"the snapshot holds nothing at {path}")
    return tally


def _beginning(name: bytes, path: str) -> bytes:
    whole = os.fsencode(path).strip(b"/")
    if name in (whole, posixpath.basename(whole)):
        return name
    raise PortError(f"the archive of {path} begins with {os.fsdecode(name)!r}")


def _of_archive(entries: tarfile.TarFile, found: tarfile.TarInfo, name: bytes) -> Entry:
    mode = stat.S_IMODE(found.mode)
    if found.isdir():
        return Entry(name, FOLDER, mode, found.uid, found.gid)
    if found.issym():
        target = found.linkname.encode("utf-8", "surrogateescape")
        return Entry(name, LINK, mode, found.uid, found.gid, content=target)
    content = entries.extractfile(found)
    if content is None:
        raise PortError(f"{os.fsdecode(name)!r} in the archive is of an unknown kind: {found.type!r}")
    size, digest = _digest(content)
    return Entry(name, FILE, mode, found.uid, found.gid, size, digest)


def digest_of(folder: str) -> Part:
    """The same of a folder (or file) of this host, as after a restore. Raises PortError."""
    tally = Tally()
    try:
        for entry in _walk(os.fsencode(folder), b""):
            tally.add(entry)
    except OSError as error:
        raise PortError(f"reading {folder}: {error}") from error
    return tally.part(folder)


def _walk(path: bytes, name: bytes) -> Iterator[Entry]:
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        yield Entry(name, FOLDER, mode, found.st_uid, found.st_gid)
        for inner in sorted(os.listdir(path)):
            yield from _walk(os.path.join(path, inner), name + b"/" + inner if name else inner)
    elif stat.S_ISLNK(found.st_mode):
        yield Entry(name, LINK, mode, found.st_uid, found.st_gid, content=os.readlink(path))
    elif stat.S_ISREG(found.st_mode):
        with open(path, "rb") as content:
            size, digest = _digest(content)
        yield Entry(name, FILE, mode, found.st_uid, found.st_gid, size, digest)


def _digest(content: IO[bytes]) -> tuple[int, bytes]:
    digest, size = hashlib.sha256(), 0
    while piece := content.read(PIECE):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest().encode()
