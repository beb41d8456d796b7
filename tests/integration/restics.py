# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Streams into a repository, and a look at it without restic's help."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import processes
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.tests.fixtures import waiting

MIB = 1 << 20
BLOCK = os.urandom(MIB)
MUCH = 24
"""blocks of a stream: more than restic puts in its first pack"""
NOWHERE = "00" * 32
Write = Callable[[bytes], None]


def blocks(count: int) -> Iterator[bytes]:
    """Different ones, as equal ones are stored once."""
    for number in range(count):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def pumped(count: int, after: int = -1, then: Callable[[], None] = lambda: None) -> Callable[[Write], None]:
    """A producer of `count` blocks, to which something happens after some of them."""

    def pump(write: Write) -> None:
        for number, block in enumerate(blocks(count)):
            if number == after:
                then()
            write(block)
        if after == count:
            then()

    return pump


def raising() -> None:
    raise RuntimeError("pg_dump ended with code 1")


def place(restic: Restic) -> Path:
    return Path(restic.repository.location)


def kept(restic: Restic) -> list[str]:
    """The snapshots by their files, without restic's help."""
    return sorted(os.listdir(place(restic) / "snapshots"))


def locks(restic: Restic) -> list[str]:
    """The finished ones; restic writes a lock under another name first."""
    return [name for name in os.listdir(place(restic) / "locks") if len(name) == 64]


def at_work() -> list[int]:
    """Every restic that we, or whoever we started, have running."""
    found = []
    for generation in processes.descendants(os.getpid(), processes.parents("/proc")):
        for pid in generation:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "restic":
                    found.append(pid)
    return found


until = partial(waiting.until, rest=0.005)


def kill_restic() -> None:
    until(at_work)
    for pid in at_work():
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def held(restic: Restic, exclusive: bool = True) -> Iterator[int]:
    """Another restic that holds the repository: a check at a crawl, or a backup that waits for its input."""
    call = ["check", "--read-data", "--limit-download=20"] if exclusive else ["backup", "--stdin"]
    about = restic.repository
    other = subprocess.Popen(
        [shutil.which("restic") or "restic", "-r", about.location, "-p", about.password_file, "--no-cache", *call],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: locks(restic))
        yield other.pid
    finally:
        # at a crawl it also takes its time to end in order
        other.kill()
        other.communicate()


def put_down(restic: Restic, exclusive: bool) -> None:
    """Leave the lock of a restic that was killed."""
    with held(restic, exclusive) as pid:
        os.kill(pid, signal.SIGKILL)
    assert locks(restic)
