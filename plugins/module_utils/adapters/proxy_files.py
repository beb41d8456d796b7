# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a proxy on the host: replaced in one go, and changed by one rollout at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator

from ..ports import PortError

LOCK = 120.0
"""seconds to wait for another stack's change"""
LOOK = 0.02
"""seconds between two looks"""


def text_of(path: str) -> str:
    """ "" for what cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def put(path: str, text: str, mode: int = 0o640, through: str = "") -> None:
    """Atomic and on the disk; readable for the group of the folder, which is the proxy's.

    `through` is the folder of the same file system where the new file grows up, if it is not the file's own.
    """
    folder = os.path.dirname(path)
    descriptor, temporary = tempfile.mkstemp(dir=through or folder, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fchown(file.fileno(), -1, os.stat(folder).st_gid)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """One change of the proxy at a time; the kernel frees the lock when its holder dies."""
    with open(path, "a", encoding="utf-8") as file:
        until = time.monotonic() + LOCK
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise PortError(f"another rollout has held {path} for {LOCK:.0f} s") from None
            time.sleep(LOOK)
        yield
