# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A restic repository: streams and trees go in whole or not at all, and come out with their proof.

Calls may run side by side, each with a restic of its own, except for `forget`, `prune` and `check`, which restic does
only while nobody else is at work. Each restic ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
import secrets
import shutil
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.backup import restic_words as words
from ..core.backup.manifest import Part
from ..core.backup.repository import Key, Repository, Saved, Snapshot
from ..core.backup.restic_words import Cause
from ..ports import PortError, Pump
from . import trees
from .restic_calls import Calls, Failed
from .restic_process import BUFFER, Ended, Feed, Running

NAMED = 8
"""unreadable files that an error names"""


class Restic(Calls):
    """`host` is what snapshots are of, whatever this machine is called.

    Where a repository is asked again because the living had locked it, a pump is called again, too.
    """

    def __init__(self, repository: Repository, host: str, program: str = "restic", wait: float = 0.0) -> None:
        super().__init__(repository, program, wait)
        self.host = host
        self._lock = threading.Lock()
        self._live: dict[Running, frozenset[str]] = {}
        """what is being written, with its tags"""

    def with_cache(self, folder: str) -> Restic:
        """The same repository, of which nothing is known but what this folder has."""
        return Restic(replace(self.repository, cache=folder), self.host, self._program, self._wait)

    def version(self) -> tuple[int, ...]:
        """Raises PortError where restic is missing, or older than the oldest that we know."""
        found = words.version(self._ended(["version"], "asking for its version").text)
        if found < words.OLDEST:
            shown, oldest = (".".join(str(n) for n in v) for v in (found, words.OLDEST))
            raise PortError(f"{self._path()} is restic {shown or 'of an unknown version'}; {oldest} or newer is needed")
        return found

    def init(self) -> bool:
        """Whether it made the repository; one that is there has to open with our password."""
        ended = self._ended(["init"], "making the repository")
        if ended.code and words.cause(ended.complained) is Cause.THERE_ALREADY:
            self._asked("opening the repository", ["cat", "config"], reads=True)
            return False
        if ended.code:
            raise self._failure("making the repository", ended)
        return True

    def opens(self) -> bool:
        """Whether there is a repository, which has to open with our password. Raises Failed where that is not known."""
        try:
            self._asked("opening the repository", ["cat", "config"], reads=True)
        except Failed as error:
            if error.cause is Cause.NO_REPOSITORY:
                return False
            raise
        return True

    # -- snapshots --------------------------------------------------------------

    def snapshots(self, tags: Collection[str] = ()) -> list[Snapshot]:
        """Those that have all of the tags."""
        ended = self._asked("listing snapshots", words.snapshots(tags), reads=True)
        try:
            return words.listed(ended.text or "[]")
        except ValueError as error:
            raise Failed(f"listing snapshots: {error}") from error

    def forget(self, ids: Collection[str]) -> list[str]:
        """Drop snapshots by their whole ids; returns those that were not there. Their content stays until `prune`."""
        if not ids:
            return []
        there = {snapshot.id for snapshot in self.snapshots()}
        if dropped := sorted(there & {*ids}):
            self._asked("dropping snapshots", ["forget", *dropped])
            # restic says 0 for some of what it could not drop
            if left := {snapshot.id for snapshot in self.snapshots()} & {*dropped}:
                raise Failed(f"dropping snapshots: still there are {', '.join(sorted(left))}")
        return sorted({*ids} - there)

    def prune(self) -> None:
        """Drop the content that no snapshot has any more. Takes long, and shuts everybody else out."""
        self._asked("pruning", ["prune"], long=True)

    def check(self, read_data: bool | str = False) -> None:
        """Raises Failed where the repository is damaged.

        A flipped bit is found only where the data is read: all of it, or a part in restic's words ("5%", "1/7", "2G").
        Shuts everybody else out meanwhile.
        """
        how = [f"--read-data-subset={read_data}"] if isinstance(read_data, str) else ["--read-data"] * read_data
        ended = self._ended(["check", *how], "checking", long=True)
        if ended.code:
            why = words.cause(ended.complained)
            raise self._failure("checking", ended, Cause.DAMAGED if why is Cause.UNKNOWN else why)

    def copy(self, source: Repository, ids: Collection[str]) -> None:
        """Have these snapshots of another repository here as well. Each comes whole or not at all, and once.

        What is read is verified, and encrypted anew. A copy has another id, and tells the one that it was made with.
        """
        if not ids:
            return
        both = [*words.common(self.repository), *(w for option in source.options for w in ("-o", option))]
        self._free(lambda: self._copied([*both, "copy", *sorted(ids)], words.copying(source)))

    def _copied(self, call: Sequence[str], from_: Mapping[str, str]) -> None:
        path, home = os.environ.get("PATH", os.defpath), os.path.expanduser("~")
        environment = {**from_, **words.environment(self.repository, path, home)}
        self._hears()
        with self._answering("copying snapshots"), Running([self._path(), *call], environment).listen() as running:
            ended = running.end()
        if ended.code:
            raise self._failure("copying snapshots", ended)

    # -- keys -------------------------------------------------------------------

    def keys(self) -> list[Key]:
        try:
            return words.keys(self._asked("listing keys", ["key", "list", "--json"], reads=True).text)
        except ValueError as error:
            raise Failed(f"listing keys: {error}") from error

    def add_key(self, password: str, host: str, user: str) -> None:
        """Another password for the same repository. It is never in a file: restic reads it from our memory."""
        memory = os.memfd_create("key")
        try:
            os.write(memory, password.encode() + b"\n")
            where = f"--new-password-file=/proc/{os.getpid()}/fd/{memory}"
            self._asked("adding a key", ["key", "add", where, f"--host={host}", f"--user={user}"])
        finally:
            os.close(memory)

    # -- writing ----------------------------------------------------------------

    def stream(self, name: str, tags: Collection[str], pump: Pump) -> Part:
        """What the pump writes, as the only file of a snapshot; counted and hashed on the way.

        The name has no folder: of a stream that broke off, restic would keep the empty folder as a snapshot. Whatever
        goes wrong (the pump raises, restic dies, this process dies), no snapshot of a part of it stays.
        """
        return self._free(lambda: self._stream(name, tags, pump))

    def _stream(self, name: str, tags: Collection[str], pump: Pump) -> Part:
        path, mark = _flat(name), _mark()
        what = f"writing {path}"
        call = [*words.backup(self.host, _tags(tags, mark)), *words.of_stdin(path)]
        feed = Feed()
        with self._running(call, feed).listen() as running, self._at_work(running, tags):
            try:
                pump(feed.write)
                if feed.refused:
                    raise PortError(f"{what}: restic has gone after {feed.size} bytes")
                if not feed.size:
                    raise Failed(f"{what}: there was nothing to write; an empty stream is no backup")
                feed.finish()
                with self._answering(what):
                    ended = running.end()
                found = self._committed(what, ended, mark, feed.size)
            except BaseException as error:
                ended = running.stop(by_itself=feed.refused)
                left = self._undone(mark, ended)
                if feed.refused:
                    failure = self._failure(what, ended)
                    raise Failed(f"{failure}{left}", failure.cause) from error
                if feed.stalled:
                    # it tries again for long, and need not say why
                    said = words.cause(ended.complained)
                    why = Cause.UNREACHABLE if said in (Cause.UNKNOWN, Cause.INTERRUPTED) else said
                    reason = words.explained(why, ended.complained, self.repository)
                    raise Failed(f"{what}: {reason}; {error}{left}", why) from error
                if isinstance(error, Failed):
                    raise Failed(f"{error}{left}", error.cause) from error.__cause__
                raise
        return Part(path, feed.size, feed.sha256, found)

    def tree(
        self, folder: str, tags: Collection[str], exclude: Sequence[str] = (), parent: str = ""
    ) -> tuple[Part, tuple[str, ...]]:
        """`save`, and the digest of what lies in the repository then, which is read once for it."""
        saved = self.save(folder, tags, exclude, parent)
        try:
            return self.tree_of(saved), saved.warnings
        except BaseException:
            with contextlib.suppress(PortError):
                self.forget([saved.snapshot])
            raise

    def save(self, folder: str, tags: Collection[str], exclude: Sequence[str] = (), parent: str = "") -> Saved:
        """A folder (or a file) of this host. One that vanishes or cannot be read is a failure: nothing stays.

        `exclude` are restic's patterns; one with a "/" in front begins at the folder. `parent` is the snapshot to
        compare with, where it is not the last of the same folder.
        """
        return self._free(lambda: self._save(folder, tags, exclude, parent))

    def _save(self, folder: str, tags: Collection[str], exclude: Sequence[str], parent: str) -> Saved:
        path = os.path.realpath(folder)
        if not os.path.exists(path):
            raise Failed(f"saving {folder}: it does not exist", Cause.UNREADABLE)
        if path == "/":
            raise Failed(f"saving {folder}: the whole of a file system is no item; name folders of it")
        mark = _mark()
        what = f"saving {folder}"
        call = [*words.backup(self.host, _tags(tags, mark)), *words.of_tree(path, exclude, parent)]
        with self._running(call).listen() as running, self._at_work(running, tags):
            try:
                with self._answering(what):
                    ended = running.end()
                snapshot = self._committed(what, ended, mark)
            except BaseException as error:
                left = self._undone(mark, running.stop())
                if isinstance(error, Failed):
                    raise Failed(f"{error}{left}", error.cause) from error.__cause__
                raise
        return Saved(snapshot, path, tuple(words.plain(ended.complained)))

    def break_off(self, tags: Collection[str]) -> None:
        """End what is being written with these tags, from any thread; whoever writes it gets a PortError."""
        with self._lock:
            found = [running for running, marks in self._live.items() if marks >= {*tags}]
        for running in found:
            running.stop()

    @contextlib.contextmanager
    def _at_work(self, running: Running, tags: Collection[str]) -> Iterator[None]:
        with self._lock:
            self._live[running] = frozenset(tags)
        try:
            yield
        finally:
            with self._lock:
                del self._live[running]

    def _committed(self, what: str, ended: Ended, mark: str, size: int | None = None) -> str:
        """The whole id of the snapshot that a backup made, or Failed."""
        if ended.code == words.PARTIAL:
            raise self._partial(what, ended)
        made = words.summary(ended.said)
        if ended.code or made is None or not made.id:
            raise self._failure(what, ended)
        if size is not None and made.size != size:
            raise Failed(f"{what}: {size} bytes were written, and restic saved {made.size}")
        return self._whole(made.id, mark)

    def _partial(self, what: str, ended: Ended) -> Failed:
        files = words.unreadable(ended.complained)
        if not files:
            return self._failure(what, ended, Cause.UNREADABLE)
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        fix = "next: exclude what comes and goes, or hold its writer still while it is saved"
        return Failed(f"{what}: not all of it could be read: {'; '.join(files[:NAMED])}{more}; {fix}", Cause.UNREADABLE)

    def _whole(self, id: str, mark: str) -> str:  # noqa: A002
        """restic 0.14 tells the first eight characters, and the name of its file has all of them."""
        if len(id) == words.WHOLE:
            return id
        with contextlib.suppress(OSError):
            named = [name for name in os.listdir(Path(self.repository.location, "snapshots")) if name.startswith(id)]
            if len(named) == 1:
                return named[0]
        found = [snapshot.id for snapshot in self.snapshots([mark]) if snapshot.id.startswith(id)]
        if len(found) != 1:
            raise Failed(f"restic says that it made snapshot {id}, and the repository does not have it")
        return found[0]

    def _undone(self, mark: str, ended: Ended) -> str:
        """Drop the snapshot that a failed call has made all the same; what is to be said where that fails."""
        with contextlib.suppress(PortError):
            if ended.code:
                # killed or interrupted: restic forgets a lock that it was just making
                self.unlock()
            found = [snapshot.id for snapshot in self.snapshots([mark])]
            try:
                self.forget(found)
            except PortError as error:
                return f"; its snapshot {', '.join(found)} is in no set, and could not be dropped: {error}"
        # what cannot be looked up was hardly written; it would be in no set either, and is collected
        return ""

    # -- reading ----------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self, snapshot: str, path: str) -> Iterator[io.BufferedReader]:
        """A file of a snapshot, to be read inside the context. At its end the rest is read, to know that all is well.

        Raises Failed at the beginning where there is no such snapshot or path, and at the end where it is damaged.
        """
        with self._dumped(f"reading {path}", ["dump", snapshot, path]) as content:
            yield content

    def read_back(self, part: Part) -> Part:
        """The part as it lies in the repository now; `manifest.differences` compares it with the written one."""
        if part.files:
            return self.tree_of(Saved(part.snapshot, part.path))
        digest, size = hashlib.sha256(), 0
        with self.reading(part.snapshot, part.path) as content:
            piece = bytearray(BUFFER)
            while got := content.readinto(piece):
                digest.update(memoryview(piece)[:got])
                size += got
        return Part(part.path, size, digest.hexdigest(), part.snapshot)

    def tree_of(self, saved: Saved) -> Part:
        """A folder as it lies in the repository, with its digest."""
        path = saved.path
        call = ["dump", "--archive=tar", saved.snapshot, posixpath.dirname(path)]
        with self._dumped(f"reading {path}", call) as content:
            return trees.archived(content, path).part(path, saved.snapshot)

    def restore_tree(self, snapshot: str, path: str, target: str) -> None:
        """A tree's content into a folder that is empty or missing, which gets the tree's own mode and owner as well.

        A file comes into the folder. A failure leaves the folder as it was.
        """
        into = Path(target)
        made = _emptied(into)
        scratch = into / f".restore-{secrets.token_hex(4)}"
        try:
            scratch.mkdir(mode=0o700)
            call = ["restore", snapshot, f"--target={scratch}", f"--include={words.literal(path)}"]
            self._asked(f"restoring {path}", call, reads=True, long=True)
            restored = Path(f"{scratch}{path}")
            if not os.path.lexists(restored):
                raise Failed(f"restoring {path}: the snapshot does not hold it", Cause.NO_PATH)
            # in the same folder, thus the same file system: nothing is copied, and a mount point can be a target
            if restored.is_dir() and not restored.is_symlink():
                for name in os.listdir(os.fsencode(restored)):
                    os.rename(os.path.join(os.fsencode(restored), name), os.path.join(os.fsencode(into), name))
                found = restored.stat()
                shutil.rmtree(scratch)
                os.chown(into, found.st_uid, found.st_gid)
                into.chmod(found.st_mode & 0o7777)
                os.utime(into, ns=(found.st_atime_ns, found.st_mtime_ns))
            else:
                restored.rename(into / restored.name)
                shutil.rmtree(scratch)
        except BaseException as error:
            shutil.rmtree(scratch, ignore_errors=True)
            if made:
                # unless somebody else has put something there
                with contextlib.suppress(OSError):
                    into.rmdir()
            if isinstance(error, OSError):
                raise PortError(f"restoring {path} to {target}: {error}") from error
            raise


def _flat(name: str) -> str:
    path = "/" + name.removeprefix("/")
    if "/" in path[1:] or path in ("/", "/.", "/.."):
        raise PortError(f"a stream's name is one word without a folder: {name!r}")
    return path


def _mark() -> str:
    """A tag of this call only, by which its snapshot is found whatever restic said about it."""
    return f"call-{secrets.token_hex(6)}"


def _tags(tags: Collection[str], mark: str) -> set[str]:
    for tag in tags:
        if flaw := words.flaw_of_tag(tag):
            raise PortError(flaw)
    return {*tags, mark}


def _emptied(folder: Path) -> bool:
    """Refuse what is not empty; make what is missing, and say so."""
    try:
        there = sorted(os.listdir(folder))
    except FileNotFoundError:
        folder.mkdir(parents=True, mode=0o700)
        return True
    except OSError as error:
        raise PortError(f"{folder} is no folder to restore to: {error.strerror}") from error
    if there:
        shown = ", ".join(there[:3]) + (", ..." if len(there) > 3 else "")
        raise PortError(f"{folder} is not empty ({shown}); next: restore to an empty folder, or move those away")
    return False
