# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sets in a repository: a set is its manifest, and whatever has none is collected. Proofs of drills lie beside it.

Snapshots are marked by tags: stack=, set=, item=, and manifest or proof. These two are read once and kept on the host.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..adapters.local import HostFiles
from ..adapters.restic import Restic
from ..core.backup import manifest as manifests
from ..core.backup import proof as proofs
from ..core.backup import settings
from ..core.backup.manifest import Manifest
from ..core.backup.proof import Proof
from ..core.backup.repository import Snapshot
from ..core.model import Finding, Invalid
from ..ports import PortError, SetRepository

MANIFEST = "manifest"
PROOF = "proof"
WAIT = 300.0
"""seconds to wait for somebody else who has the repository to himself"""
STACK, SET, ITEM = "stack=", "set=", "item="
T = TypeVar("T")


def tags_of(stack: str, set_: str, item: str = "") -> frozenset[str]:
    marks = {f"{STACK}{stack}", f"{SET}{set_}"}
    return frozenset(marks | {f"{ITEM}{item}"} if item else marks)


class Vault:
    """The sets of one host's stacks. `cache` is a folder for manifests that were read."""

    def __init__(self, repository: SetRepository, cache: str) -> None:
        self.repository, self._cache = repository, Path(cache)

    def seal(self, manifest: Manifest) -> str:
        """Write the manifest and read it back: from then on the set exists. Returns its snapshot."""
        content = manifests.written(manifest)
        tags = {*tags_of(manifest.stack, manifest.id), MANIFEST}
        part = self.repository.stream(_label(manifest), tags, lambda write: write(content))
        try:
            if self._read(part.snapshot, part.path, manifests.read) != manifest:
                raise PortError("the manifest that is in the repository is not the one that was written")
        except BaseException:
            with contextlib.suppress(PortError):
                self.repository.forget([part.snapshot])
            raise
        return part.snapshot

    def sets(self, stack: str = "", everywhere: bool = False) -> list[Manifest]:
        """This host's, the newest first (see manifest.newest_first).

        With `everywhere` those of other hosts that share the repository, too.

        A manifest that cannot be read raises PortError: it may be a newer version's.
        """
        host = self.repository.host
        return [manifest for _snapshot, manifest in self.sealed(stack) if everywhere or manifest.host == host]

    def offered(self, stack: str = "", wanted: str = "") -> list[Manifest]:
        """What this host restores from: its own sets, or everybody's where it has none, or lacks the wanted one."""
        found = self.sets(stack, everywhere=True)
        own = [manifest for manifest in found if manifest.host == self.repository.host]
        return own if own and (not wanted or any(m.id == wanted for m in own)) else found

    def sealed(self, stack: str = "") -> list[tuple[Snapshot, Manifest]]:
        """Everybody's, each with the snapshot that is its manifest.

        Snapshots get new ids when they are copied to another repository. A manifest never changes, and names those that
        they had where the set was made; here they are called what they are called here.
        """
        there = self.snapshots(stack)
        moved = {s.original: s.id for s in there if s.original}
        found = [
            (s, manifests.placed(self._known(s, manifests.read, manifests.written), moved))
            for s in there
            if MANIFEST in s.tags
        ]
        order = {m.id: place for place, m in enumerate(manifests.newest_first((m for _s, m in found), time.time()))}
        return sorted(found, key=lambda each: order[each[1].id])

    @contextlib.contextmanager
    def anew(self, folder: str) -> Iterator[Vault]:
        """The same sets by what lies in the repository alone: what this host remembers of it would hide damage there.

        `folder` is nobody else's, and is gone afterwards.
        """
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield Vault(self.repository.with_cache(posixpath.join(folder, "restic")), posixpath.join(folder, "sets"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def reread(self, manifest: Manifest) -> None:
        """Raises PortError where a set's manifest is not in the repository, or cannot be read from it."""
        there = self.repository.snapshots({*tags_of(manifest.stack, manifest.id), MANIFEST})
        if not there:
            raise PortError(f"the manifest of set {manifest.id} is not in the repository any more")
        for snapshot in there:
            self._read(snapshot.id, snapshot.paths[0], manifests.read)

    def snapshots(self, stack: str = "") -> Sequence[Snapshot]:
        return self.repository.snapshots({f"{STACK}{stack}"} if stack else ())

    def proofs(self, stack: str = "") -> list[Proof]:
        """What drills found out, the newest first."""
        return sorted(self._all(PROOF, stack, proofs.read, proofs.written), key=lambda p: (-p.at, p.set))

    def prove(self, proof: Proof) -> None:
        """From now on this is the last word: what was written by a clock that was ahead is dropped."""
        content = proofs.written(proof)
        tags = {*tags_of(proof.stack, proof.set), PROOF}
        self.repository.stream(f"{proof.stack}.{proof.set}.proof.json", tags, lambda write: write(content))
        earlier = self.repository.snapshots({*tags_of(proof.stack, proof.set), PROOF})
        ahead = [s.id for s in earlier if self._known(s, proofs.read, proofs.written).at > proof.at]
        if ahead:
            self.repository.forget(ahead)

    def leftovers(self, stack: str) -> list[str]:
        """Snapshots of this stack that belong to no set. Only for who holds the stack's lock."""
        there = self.repository.snapshots({f"{STACK}{stack}"})
        sets = self.sets(stack, everywhere=True)
        used = frozenset().union(*(m.snapshots for m in sets))
        known = {f"{SET}{m.id}" for m in sets}

        def belongs(snapshot: Snapshot) -> bool:
            marked = MANIFEST in snapshot.tags or (PROOF in snapshot.tags and not known.isdisjoint(snapshot.tags))
            return marked or snapshot.id in used

        return [s.id for s in there if s.host == self.repository.host and not belongs(s)]

    def discard(self, stack: str, set_: str) -> None:
        """Forget what of a set is in the repository, its manifest first, so that it never is a set in part."""
        mine = self.repository.snapshots(tags_of(stack, set_))
        for part in ([s.id for s in mine if MANIFEST in s.tags], [s.id for s in mine if MANIFEST not in s.tags]):
            if part:
                self.repository.forget(part)

    def drop(self, gone: Collection[str], stack: str) -> None:
        """Remove whole sets: their manifests first, then the snapshots that no set which stays points to."""
        sets = self.sets(stack, everywhere=True)
        needed = frozenset().union(*(m.snapshots for m in sets if m.id not in gone))
        for set_ in gone:
            mine = self.repository.snapshots(tags_of(stack, set_))
            self.repository.forget([s.id for s in mine if MANIFEST in s.tags])
            self.repository.forget([s.id for s in mine if MANIFEST not in s.tags and s.id not in needed])

    def _all(self, mark: str, stack: str, read: Callable[[bytes], T], written: Callable[[T], bytes]) -> list[T]:
        wanted = {mark, *({f"{STACK}{stack}"} if stack else ())}
        return [self._known(snapshot, read, written) for snapshot in self.repository.snapshots(wanted)]

    def _known(self, snapshot: Snapshot, read: Callable[[bytes], T], written: Callable[[T], bytes]) -> T:
        kept = self._cache / f"{snapshot.id}.json"
        with contextlib.suppress(OSError, manifests.Unreadable):
            return read(kept.read_bytes())
        found = self._read(snapshot.id, snapshot.paths[0], read)
        with contextlib.suppress(PortError):
            HostFiles().write(str(kept), written(found), 0o600)
        return found

    def _read(self, snapshot: str, path: str, read: Callable[[bytes], T]) -> T:
        with self.repository.reading(snapshot, path) as lying:
            content = lying.read()
        try:
            return read(content)
        except manifests.Unreadable as error:
            raise PortError(f"set {path.removeprefix('/')} in snapshot {snapshot[:8]}: {error}") from error


def _label(manifest: Manifest) -> str:
    return f"{manifest.stack}.{manifest.id}.json"


def settings_in(path: str) -> settings.Settings:
    """The host's own. Raises Invalid where the file is not there, or not right."""
    try:
        found = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise Invalid((Finding(path, "does not exist", "write it, or name another one with settings"),)) from None
    except (OSError, ValueError) as error:
        raise Invalid((Finding(path, f"cannot be read: {error}", "it has to be JSON"),)) from error
    return settings.read(found, path)


def vault_in(path: str, state_dir: str) -> Vault:
    """The host's own, by its settings file. Raises Invalid where that is not there, or not right."""
    return vault_of(settings_in(path), state_dir)


def vault_of(given: settings.Settings, state_dir: str) -> Vault:
    restic = Restic(given.repository, given.host, given.restic, WAIT)
    return Vault(restic, posixpath.join(state_dir, "backup", "sets"))


def offsite_of(given: settings.Settings, state_dir: str) -> Vault:
    """The same sets in another place. Raises Invalid where the settings name none."""
    if given.offsite is None:
        raise Invalid((Finding("offsite", "there is no other repository in the settings", settings.BY_ROLE),))
    restic = Restic(given.offsite, given.host, given.restic, WAIT)
    return Vault(restic, posixpath.join(state_dir, "backup", "sets-offsite"))


def shown(manifest: Manifest, known: Iterable[Proof] = ()) -> dict[str, Any]:
    """A set as people and playbooks see it, with the last word of those drills that were of it."""
    last = proofs.last_words(known, time.time()).get(manifest.id)
    drill = {"ok": last.ok, "rto": last.rto, "rpo": last.rpo, "failures": list(last.failures)} if last else {}
    items = [{"name": t.name, "type": t.kind, "size": t.size, "set": t.set or manifest.id} for t in manifest.items]
    return {
        "id": manifest.id,
        "stack": manifest.stack,
        "host": manifest.host,
        "at": manifest.at,
        "release": manifest.release,
        "items": items,
        "size": manifest.size,
        "quiet": manifest.quiet,
        "still": list(manifest.still),
        "pinned": manifest.pinned,
        "who": manifest.who,
        "warnings": list(manifest.warnings),
        "proven": last.at if last and last.ok else 0.0,
        "drill": drill,
    }
