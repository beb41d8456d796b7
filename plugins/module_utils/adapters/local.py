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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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


class SteadyClock:
    """The wall clock as it was when this began, and from there on by seconds that nobody sets: a limit stays one."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def now(self) -> float:
        return self._ahead + time.monotonic()


def host_key(folder: str) -> bytes:
    """The host's own key for fingerprints of secrets, made on first use; it never leaves the host."""
    path = Path(folder) / "fingerprint.key"
    if not path.is_file():
        HostFiles().write(str(path), secrets.token_bytes(32), 0o600)
    return path.read_bytes()


class Busy(PortError):
    """Somebody else deploys the stack; `holder` has what is known: who, pid, since (seconds), and the rollout."""

    def __init__(self, message: str, holder: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.holder = dict(holder)


GLANCE = 0.25
"""seconds to try again at least: `taken` holds the lock for an instant when it looks"""
LONGEST_WAIT = 86400.0
"""seconds to wait for another deployer at most"""


@contextlib.contextmanager
def locked(folder: str, stack: str, who: str, wait: float) -> Iterator[Callable[[str], None]]:
    """One deployer per stack and host. Raises Busy naming the holder when it stays taken for `wait` seconds.

    Gives a function that signs the lock for a rollout; a forked child, which holds it as well, signs with its own pid.
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
                    raise _busy(stack, lock.name) from None
                time.sleep(0.05)
        since = time.time()

        def sign(rollout: str) -> None:
            lock.seek(0)
            lock.truncate()
            json.dump({"who": who, "pid": os.getpid(), "since": since, "rollout": rollout}, lock)
            lock.flush()

        sign("")
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


def _busy(stack: str, path: str) -> Busy:
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(known["since"]))
        of = f", rollout {known['rollout']}" if known.get("rollout") else ""
        text = f"{known['who']} (pid {known['pid']}{of}) since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        known, text = {}, "somebody"
    fix = "wait for the end of it, or let this run wait for it: -e stack_wait=SECONDS"
    return Busy(f"{stack} is being deployed by {text}; {fix}", known)
