# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A restic that belongs to us: what it reads, what it says, how it ends, and that it ends when we do.

Its standard input is a socket and not a pipe. Who dies with a pipe in hand has closed it, and restic takes that for
the end of the file: it commits a truncated snapshot. Our socket is closed with a byte in it that nobody has read, and
by that the kernel reports a broken connection; only `Feed.finish` says that the file has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Union

from ..core.backup import restic_words as words
from ..ports import PortError

PATIENCE = 900.0
"""seconds in which restic neither takes nor gives a byte; it gives a backend up by itself in that time"""
HELD_BACK = 0.3
"""seconds between the interrupt and the end of what it reads: restic 0.17 and newer only then look up"""
LEAVING = 15.0
"""seconds for an interrupted restic to take its lock away"""
LAST = 20
"""lines of its complaints that are kept"""
LONGEST = 600
"""characters of a line"""
TRIES = 2
"""complaints about what will not heal, until it is stopped"""
BUFFER = 1 << 20

Content = Union[bytes, bytearray, memoryview]

# SIGINT when our end comes, so that it takes its lock away; the default for SIGPIPE, so that it dies of its next word
# where the signal does not come. Not a preexec_fn: that runs between fork and exec, beside our other threads.
TIED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGINT, 0, 0, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def tied(command: Sequence[str]) -> list[str]:
    """The command, so that it ends with the thread that starts it. `command[0]` is a path."""
    if not sys.executable:
        return [*command]
    return [sys.executable, "-I", "-S", "-c", TIED, str(os.getpid()), *command]


@dataclass(frozen=True, slots=True)
class Ended:
    """`said` are its lines without progress, `complained` the last ones of its standard error."""

    code: int
    said: tuple[str, ...]
    complained: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.said)


class Feed:
    """What restic reads, counted and hashed on the way."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self.theirs.send(b"!")  # stays unread
        self._ours.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._sum = hashlib.sha256()
        self.size = 0
        self.refused = False
        self.stalled = False

    def write(self, data: Content) -> None:
        """Raises PortError when restic has gone; the caller of the pump says why."""
        view = memoryview(data).cast("B")
        try:
            self._ours.sendall(view)
        except TimeoutError as error:
            self.stalled = True
            raise PortError(f"restic has not taken a byte for {PATIENCE:g} s") from error
        except OSError as error:
            self.refused = True
            raise PortError(f"restic has gone after {self.size} bytes") from error
        # while restic works on what it got
        self._sum.update(view)
        self.size += len(view)

    def finish(self) -> None:
        """The file has ended. The socket stays open: closing it would take back what restic has not read yet."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._ours.close()

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


class Output(io.RawIOBase):
    """What restic writes, as a file; a silence of PATIENCE seconds is an error."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        super().close()
        self._pipe.close()

    def readinto(self, buffer: Any) -> int:
        if not select.select([self._pipe], [], [], PATIENCE)[0]:
            raise PortError(f"restic has not given a byte for {PATIENCE:g} s")
        return os.readv(self._pipe.fileno(), [buffer])


class Running:
    """A restic at work. Leaving the context ends it, whatever happened; `end` waits for its own end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], feed: Feed | None = None) -> None:
        self._feed = feed
        try:
            self._process = subprocess.Popen(
                tied(command),
                stdin=feed.theirs.fileno() if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=dict(environment),
                # a terminal's Ctrl-C is for us: we end it in order
                start_new_session=True,
            )
        except OSError as error:
            if feed:
                feed.close()
            raise PortError(f"starting {command[0]}: {error.strerror or error}") from error
        finally:
            if feed:
                feed.theirs.close()
        self._said: list[str] = []
        self._complained: deque[str] = deque(maxlen=LAST)
        self._hopeless = 0
        self._listeners: list[threading.Thread] = []
        self._content: io.BufferedReader | None = None
        self._listen(self._process.stderr, self._complaint)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def listen(self) -> Running:
        """Keep its words; for a call whose output is text."""
        self._listen(self._process.stdout, self._word)
        return self

    def output(self) -> io.BufferedReader:
        """Its output as a file; for a call whose output is content."""
        pipe = self._process.stdout
        if pipe is None:
            raise ValueError("its output is kept as words")
        _widen(pipe)
        self._content = io.BufferedReader(Output(pipe), BUFFER)
        return self._content

    def end(self, patience: float | None = PATIENCE) -> Ended:
        """Wait for its own end; None for as long as it takes. Raises PortError when it takes longer."""
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired as error:
            self.stop()
            raise PortError(f"restic did not end within {patience:g} s and was stopped") from error
        return self._ended(code)

    def glance(self) -> Ended | None:
        """Its end, if that is there or near."""
        try:
            return self._ended(self._process.wait(HELD_BACK))
        except subprocess.TimeoutExpired:
            return None

    def stop(self, by_itself: bool = False) -> Ended:
        """End it now, so that it leaves no snapshot of what it has got so far, and no lock if it can.

        `by_itself` where it is ending already: an interrupt would change its exit code.
        """
        process = self._process
        if by_itself:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LEAVING)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(HELD_BACK)
        # a restic that writes to a full pipe, or reads from an empty socket, ends only when they break
        for end in (self._feed, self._content):
            if end:
                end.close()
        try:
            process.wait(LEAVING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ended = self._ended(process.returncode)
        for pipe in (process.stdout, process.stderr):
            # a listener that still reads (an ssh that outlives its restic) closes with the last of them
            if pipe and not any(thread.is_alive() for thread in self._listeners):
                pipe.close()
        return ended

    def _ended(self, code: int) -> Ended:
        for listener in self._listeners:
            listener.join(2.0)
        return Ended(code, tuple(self._said), tuple(self._complained))

    def _listen(self, pipe: IO[bytes] | None, take: Callable[[str], None]) -> None:
        if pipe is None:
            return

        def read() -> None:
            with contextlib.suppress(OSError, ValueError):
                for line in io.BufferedReader(pipe):  # type: ignore[type-var]
                    take(line.decode("utf-8", "replace").rstrip("\n"))

        listener = threading.Thread(target=read, daemon=True)
        listener.start()
        self._listeners.append(listener)

    def _word(self, line: str) -> None:
        if not words.is_progress(line):
            self._said.append(line)

    def _complaint(self, line: str) -> None:
        if words.is_trace(line):
            return
        self._complained.append(line[:LONGEST])
        self._hopeless += words.hopeless(line)
        if self._hopeless == TRIES:
            self._process.send_signal(signal.SIGINT)


def _widen(pipe: IO[bytes]) -> None:
    """A mebibyte in flight instead of 64 KiB, where the system allows it."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, BUFFER)
