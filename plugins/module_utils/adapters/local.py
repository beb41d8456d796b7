# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of the host, the wall clock, and the lock that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..ports import PortError


class HostFiles:
    """Every write is atomic: a temporary file in the same folder, synced, then renamed."""

    def write(self, path: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if target.is_file() and target.read_bytes() == content:
                _belongs(target, owner)
                target.chmod(mode)
                return
            handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(content)
                    out.flush()
                    os.fsync(out.fileno())
                _belongs(Path(draft), owner)
                Path(draft).chmod(mode)
                Path(draft).replace(target)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise PortError(f"writing {path}: {error.strerror or error}") from error

    def read(self, path: str) -> bytes | None:
        try:
            return Path(path).read_bytes()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def remove(self, path: str) -> None:
        with contextlib.suppress(OSError):
            Path(path).unlink()

    def listing(self, folder: str) -> Sequence[str]:
        try:
            return sorted(p.name for p in Path(folder).iterdir())
        except OSError:
            return []


def _belongs(path: Path, owner: tuple[int, int] | None) -> None:
    """Only root can give a file away; what anybody else writes stays theirs, unless somebody was named."""
    there = path.stat()
    if owner is not None and (there.st_uid, there.st_gid) != owner and (any(owner) or os.geteuid() == 0):
        os.chown(path, *owner)


class WallClock:
    def now(self) -> float:
        return time.time()


def host_key(folder: str) -> bytes:
    """The host's own key for fingerprints of secrets, made on first use; it never leaves the host."""
    path = Path(folder) / "fingerprint.key"
    if not path.is_file():
        HostFiles().write(str(path), secrets.token_bytes(32), 0o600)
    return path.read_bytes()


GLANCE = 0.25
"""seconds to try again at least: `taken` holds the lock for an instant when it looks"""


@contextlib.contextmanager
def locked(folder: str, stack: str, who: str, wait: float) -> Iterator[Callable[[], None]]:
    """One deployer per stack and host. Raises PortError naming the holder when it stays taken for `wait` seconds.

    Gives a function by which a forked child, which holds the lock as well, signs it with its own process id.
    """
    Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    with (Path(folder) / f"{stack}.lock").open("a+", encoding="utf-8") as lock:
        until = time.monotonic() + max(wait, GLANCE)
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise PortError(_holder(stack, lock.name)) from None
                time.sleep(0.05)
        since = time.time()

        def sign() -> None:
            lock.seek(0)
            lock.truncate()
            json.dump({"who": who, "pid": os.getpid(), "since": since}, lock)
            lock.flush()

        sign()
        yield sign


def taken(folder: str, stack: str) -> bool:
    """Whether somebody deploys this stack right now."""
    try:
        with (Path(folder) / f"{stack}.lock").open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _holder(stack: str, path: str) -> str:
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        since = time.strftime("%H:%M:%S", time.localtime(known["since"]))
        text = f"{known['who']} (pid {known['pid']}) since {since}"
    except (OSError, ValueError, KeyError):
        text = "somebody"
    return f"{stack} is being deployed by {text}; wait for the end of it, or let this run wait with wait: SECONDS"
