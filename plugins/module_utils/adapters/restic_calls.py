# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How restic is called: what it says becomes errors, a lock of the dead is taken away, and silence has an end."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ..core.backup import restic_words as words
from ..core.backup.repository import Lock, Repository
from ..core.backup.restic_words import Cause
from ..ports import PortError
from .restic_process import BUFFER, Ended, Feed, Running, Silent

T = TypeVar("T")

GLANCE = 0.5
"""seconds until a repository that is locked is asked again"""
WITHOUT_LOCK = (Cause.FULL, Cause.READ_ONLY)
"""what keeps restic from its lock, and need not keep anybody from reading"""


class Failed(PortError):
    """restic refused, or failed; `cause` is why, as far as it said."""

    def __init__(self, message: str, cause: Cause = Cause.UNKNOWN) -> None:
        super().__init__(message)
        self.cause = cause


class Calls:
    """To one repository.

    One that the living have locked is asked again for `wait` seconds. One that did not open in time is not asked again
    for as long: who clears up would only wait once more.
    """

    def __init__(self, repository: Repository, program: str = "restic", wait: float = 0.0) -> None:
        self.repository = repository
        self._program = program
        self._wait = wait
        self._deaf_until, self._was_silent = 0.0, ""

    # -- locks ------------------------------------------------------------------

    def locks(self) -> list[Lock]:
        ids = re.findall(r"^[0-9a-f]{64}$", self._asked("listing locks", ["list", "locks", "--no-lock"]).text, re.M)
        found = []
        for id in ids:  # noqa: A001
            # one that has gone meanwhile is none
            with contextlib.suppress(Failed, ValueError):
                found.append(words.lock(id, self._asked("reading a lock", ["cat", "lock", id, "--no-lock"]).text))
        return found

    def unlock(self, alone: bool = False) -> list[Lock]:
        """Take away the locks of the dead, which are returned. Raises Failed for one of the living that is in the way:

        an exclusive one, or any where the work has to be done `alone`. For use before work.
        """
        found = self.locks()
        dead = [lock for lock in found if _is_dead(lock, self._program)]
        living = [lock for lock in found if lock not in dead]
        if dead:
            # restic asks whether a process lives by sending it SIGHUP, which kills whoever has got its number since
            if not any(_taken(lock) for lock in dead):
                self._asked("unlocking", ["unlock"])
            elif not living:
                self._asked("unlocking", ["unlock", "--remove-all"])
            else:
                dead = []
        for lock in living:
            if lock.exclusive or alone:
                since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(lock.since))
                raise Failed(words.locked_by(lock, since, self.repository), Cause.LOCKED)
        return dead

    # -- calls ------------------------------------------------------------------

    def _path(self) -> str:
        found = shutil.which(self._program)
        if not found:
            raise PortError(f"{self._program} is not installed on this host; next: apt-get install restic")
        return os.path.abspath(found)

    def _running(self, call: Sequence[str], feed: Feed | None = None) -> Running:
        try:
            self._hears()
            command = [self._path(), *words.common(self.repository), *call]
            path, home = os.environ.get("PATH", os.defpath), os.path.expanduser("~")
            return Running(command, words.environment(self.repository, path, home), feed)
        except BaseException:
            if feed:
                feed.close()
            raise

    def _hears(self) -> None:
        if time.monotonic() < self._deaf_until:
            raise Failed(self._was_silent, Cause.UNREACHABLE)

    @contextlib.contextmanager
    def _answering(self, what: str, opening: bool = False) -> Iterator[None]:
        """A silence is the repository's, and is said. One that does not even open is not asked again for a while."""
        try:
            yield
        except Silent as error:
            said = words.silent(self.repository, error.seconds)
            if opening:
                self._was_silent, self._deaf_until = said, time.monotonic() + self.repository.answers_within
            raise Failed(f"{what}: {said}", Cause.UNREACHABLE) from error

    def _ended(self, call: Sequence[str], what: str, long: bool = False) -> Ended:
        """What is `long` may be silent for as long as restic itself is patient."""
        with self._answering(what, not long), self._running(call).listen() as running:
            return running.end(None if long else self.repository.answers_within)

    def _asked(self, what: str, call: Sequence[str], reads: bool = False, long: bool = False) -> Ended:
        """A call that has to go well. What only `reads` does without a lock where none can be written."""
        return self._free(lambda: self._once(what, call, reads, long))

    def _once(self, what: str, call: Sequence[str], reads: bool, long: bool) -> Ended:
        ended = self._ended(call, what, long)
        if ended.code and reads and words.cause(ended.complained) in WITHOUT_LOCK:
            ended = self._ended([*call, "--no-lock"], what, long)
        if ended.code:
            raise self._failure(what, ended)
        return ended

    def _free(self, work: Callable[[], T]) -> T:
        """Do it, and again where somebody else has locked the repository; the dead do not lock it."""
        until = time.monotonic() + self._wait
        looked = False
        while True:
            try:
                return work()
            except Failed as error:
                if error.cause is not Cause.LOCKED:
                    raise
                if not looked and self._swept():
                    looked = True
                    continue
                looked = True
                if time.monotonic() >= until:
                    raise
            time.sleep(GLANCE)

    def _swept(self) -> bool:
        """Whether locks of the dead were in the way, and are not any more. Other calls of ours may be at work."""
        try:
            dead = [lock for lock in self.locks() if _is_dead(lock, self._program)]
            if dead and not any(_taken(lock) for lock in dead):
                self._ended(["unlock"], "unlocking")
                return True
        except PortError:
            pass  # what is said of the work itself says more
        return False

    @contextlib.contextmanager
    def _dumped(self, what: str, call: Sequence[str]) -> Iterator[io.BufferedReader]:
        with self._answering(what, opening=True):
            running, content = self._opened(what, call)
        with running, self._answering(what):
            try:
                yield content
                while content.read(BUFFER):
                    pass
            except Exception as error:
                # whoever read a half stumbles first; the reason is restic's
                ended = running.glance()
                if ended and ended.code:
                    raise self._failure(what, ended) from error
                raise
            ended = running.end()
            if ended.code:
                raise self._failure(what, ended)

    def _opened(self, what: str, call: Sequence[str]) -> tuple[Running, io.BufferedReader]:
        running = self._running(call)
        try:
            content = running.output(self.repository.answers_within)
            if content.peek(1):
                return running, content
            ended = running.end()
            if not ended.code:
                return running, content
            if words.cause(ended.complained) in WITHOUT_LOCK and "--no-lock" not in call:
                running.stop()
                return self._opened(what, [*call, "--no-lock"])
            raise self._failure(what, ended)
        except BaseException:
            running.stop()
            raise

    def _failure(self, what: str, ended: Ended, cause: Cause | None = None) -> Failed:
        why = cause or words.cause(ended.complained)
        said = words.explained(why, ended.complained, self.repository)
        if ended.code < 0:
            said = f"restic was killed (signal {-ended.code})" + (f"; {said}" if said else "")
        return Failed(f"{what}: {said or f'restic ended with code {ended.code} and said nothing'}", why)


def _here(lock: Lock) -> bool:
    return lock.host == socket.gethostname()


def _taken(lock: Lock) -> bool:
    """Whether another process has its number by now."""
    return _here(lock) and Path(f"/proc/{lock.pid}").exists()


def _is_dead(lock: Lock, program: str) -> bool:
    """By the kernel's word where it is of this host, otherwise by its age."""
    if not _here(lock):
        return time.time() - lock.since > words.STALE
    try:
        name, _end, rest = Path(f"/proc/{lock.pid}/stat").read_text(errors="replace").partition("(")[2].rpartition(")")
    except OSError:
        return True
    # a zombie has let go, and another program has only got the number
    return rest.split()[0] == "Z" or name not in ("restic", Path(program).name[:15])
