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
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Union

from ..core.backup import restic_words as words
from ..ports import PortError

PATIENCE = 900.0
"""seconds of silence in the middle of work; restic gives a backend up by itself in that time"""
GLIMPSE = 1.0
"""seconds between two looks at whether it still moves"""
MOVED = 64 << 10
"""bytes that make a move: a backend that is gone is tried again with a few hundred"""
THOUGHT = 0.5
"""seconds on a processor that make one"""
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


class Silent(PortError):
    """restic did nothing for so many `seconds`: whoever it speaks with does not answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"restic has neither taken nor given a byte for {seconds:g} s and was stopped")
        self.seconds = seconds


class Vigil:
    """Whether a process still does anything, by the kernel's word: bytes that it reads or writes, to whomever, and its
    time on a processor. A transfer may take days, and is never silent; who waits for an answer is. `heard` are bytes
    that came from it to us: its lines about progress are no progress.

    Where the kernel does not tell (the process is another user's), nothing is taken for silence.
    """

    def __init__(self, pid: int, heard: Callable[[], int]) -> None:
        self._pid, self._heard = pid, heard
        self._mark: tuple[float, float] | None = None
        self._since = 0.0

    def begin(self) -> None:
        """It is waited for from now on. Costs nothing: the kernel is asked when it has let us wait for a while."""
        self._mark = None

    def look(self, patience: float) -> None:
        """Raises Silent where it has not moved for so many seconds."""
        found = self._moves()
        before = self._mark
        if found and before and found[0] - before[0] < MOVED and found[1] - before[1] < THOUGHT:
            if time.monotonic() - self._since >= patience:
                raise Silent(patience)
        else:
            self._since, self._mark = time.monotonic(), found or before

    def _moves(self) -> tuple[float, float] | None:
        """Bytes, and seconds on a processor."""
        try:
            counted = Path(f"/proc/{self._pid}/io").read_text(encoding="ascii").split()
            ticks = Path(f"/proc/{self._pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            # rchar: N wchar: N ...; utime and stime are the 14th and 15th of all
            bytes_ = int(counted[1]) + int(counted[3]) - self._heard()
            return float(bytes_), (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return None


class Feed:
    """What restic reads, counted and hashed on the way."""

    vigil: Vigil | None = None

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self.theirs.send(b"!")  # stays unread
        self._ours.setblocking(False)
        with contextlib.suppress(OSError):
            self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._sum = hashlib.sha256()
        self.size = 0
        self.refused = False
        self.stalled = False

    def write(self, data: Content) -> None:
        """Raises PortError when restic has gone; the caller of the pump says why."""
        view = memoryview(data).cast("B")
        if self.vigil:
            self.vigil.begin()
        try:
            self._sent(view)
        except Silent as error:
            self.stalled = True
            raise PortError(f"restic has not taken a byte for {PATIENCE:g} s") from error
        except (OSError, ValueError) as error:
            self.refused = True
            raise PortError(f"restic has gone after {self.size} bytes") from error
        # while restic works on what it got
        self._sum.update(view)
        self.size += len(view)

    def _sent(self, view: memoryview) -> None:
        left = view
        while left:
            try:
                left = left[self._ours.send(left) :]
            except BlockingIOError:
                if not select.select([], [self._ours], [], GLIMPSE)[1] and self.vigil:
                    self.vigil.look(PATIENCE)

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
    """What restic writes, as a file. A silence is an error: of `opening` seconds at first, and then of PATIENCE."""

    def __init__(self, pipe: IO[bytes], vigil: Vigil, opening: float) -> None:
        self._pipe, self._vigil, self._patience = pipe, vigil, opening

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        super().close()
        self._pipe.close()

    def readinto(self, buffer: Any) -> int:
        self._vigil.begin()
        while not select.select([self._pipe], [], [], GLIMPSE)[0]:
            self._vigil.look(self._patience)
        self._patience = PATIENCE
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
        self._heard = 0
        self._vigil = Vigil(self._process.pid, lambda: self._heard)
        if feed:
            feed.vigil = self._vigil
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

    def output(self, opening: float = PATIENCE) -> io.BufferedReader:
        """Its output as a file; for a call whose output is content. See Output."""
        pipe = self._process.stdout
        if pipe is None:
            raise ValueError("its output is kept as words")
        _widen(pipe)
        self._content = io.BufferedReader(Output(pipe, self._vigil, opening), BUFFER)
        return self._content

    def end(self, patience: float | None = None) -> Ended:
        """Wait for its own end, however long it works; one that is idle for so long is stopped. Raises Silent."""
        self._vigil.begin()
        while True:
            try:
                return self._ended(self._process.wait(GLIMPSE))
            except subprocess.TimeoutExpired:
                try:
                    self._vigil.look(PATIENCE if patience is None else patience)
                except Silent:
                    self.stop()
                    raise

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
        broken_off = process.poll() is None
        if broken_off:
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
        if broken_off:
            _end_session(process.pid)
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
                    self._heard += len(line)
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


def _end_session(session: int) -> None:
    """Kill what a restic that was broken off leaves: a command for SFTP that waits for ever does not see it go."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "pid (any name) state parent group session ..."
            if entry.name.isdecimal() and int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                os.kill(int(entry.name), signal.SIGKILL)


def _widen(pipe: IO[bytes]) -> None:
    """A mebibyte in flight instead of 64 KiB, where the system allows it."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, BUFFER)
