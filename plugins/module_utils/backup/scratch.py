# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A set put into a stack beside the real one: volumes, databases and services that nobody else reaches."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from .. import releases
from ..adapters import s3, sqlite_copy
from ..core.backup import scratch
from ..core.backup.manifest import Manifest, Part, Taken, differences
from ..core.backup.places import Data
from ..core.backup.proof import Check
from ..core.items import CONFIG, BucketItem, ImageItem, Item, PathItem, PostgresItem, SqliteItem, VolumeItem
from ..core.model import Gate, Service, Stack
from ..core.releases import Release
from ..core.rollout.gate import completed
from ..core.rollout.state import AT_ONCE, Outcome, Rollout
from ..journal import SqliteJournal
from ..perform import Host
from ..ports import Engine, PortError
from ..runner import run
from . import bucket_archive, extract, images, postgres_back
from .buckets import restore_bucket
from .psql import Container, Postgres
from .vault import Vault

ROOM = 1.3
"""times its size that a part may need on the disk"""
DATABASE_ROOM = 2.0
"""times its dump that a database may need: rows are wider than their text, and indexes are not in a dump at all"""
CLUSTER = 256 << 20
"""bytes of a new cluster and of its log, whatever is in it"""

_WRITTEN = ("compose.yaml", "secrets", "configs")
"""in a stack's folder, by rollouts"""
GRACE = 60.0
"""seconds for a database to write everything down before its files are used elsewhere"""


class Belongings(Engine, Container, Protocol):
    """An engine that knows what a stack left behind."""

    def save_images(self, names: Sequence[str]) -> Iterable[bytes]: ...
    def load_images(self, content: BinaryIO) -> Sequence[str]: ...
    def tag(self, image: str, name: str) -> None: ...
    def reached(self, name: str) -> str: ...
    def belongings(self, stack: str) -> tuple[list[str], list[str]]: ...


class Scratch:
    """One set beside the real stack. `folder` is the scratch stack's own on this host, and nobody else's.

    `say` is told what goes on. Everything raises PortError where the host or the repository says no; what is found to
    differ comes back as checks that are not ok.
    """

    def __init__(
        self, host: Host, engine: Belongings, vault: Vault, manifest: Manifest, folder: str, say: Callable[[str], None]
    ) -> None:
        self._real, self._engine, self._vault, self.manifest = host, engine, vault, manifest
        self.folder, self.name, self._say = folder, scratch.name_of(manifest.stack), say
        self._items: dict[str, Item] = {}
        self._turn = 0
        self.stack = Stack(self.name, ())
        self.whole = self.stack
        self.release = Release("", manifest.stack, "", 0.0, {}, {}, {})
        self._journal: SqliteJournal | None = None

    # -- beginning and end ------------------------------------------------------------

    def clear(self) -> None:
        """Take all of it away, also what a run that was killed left. There may be nothing."""
        self.end(0.0)
        for name in self._engine.belongings(self.name)[1]:
            self._engine.remove_volume(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, grace: float) -> None:
        """Take its containers and networks away, after `grace` seconds at most; its volumes stay."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        for seen in self._engine.replicas(self.name):
            if grace:
                self._engine.stop(seen.name, grace)
            self._engine.remove(seen.name)
        for name in self._engine.belongings(self.name)[0]:
            self._engine.remove_network(name)

    def unfold(self) -> None:
        """The stack as the set knows it: its release, its model, and the contents of its secrets and configs."""
        Path(self.folder).mkdir(parents=True, mode=0o700)
        extract.extracted(self._vault, self.manifest, self.manifest.item(CONFIG), Path(self.folder))
        try:
            record = json.loads((Path(self.folder) / CONFIG / "config.json").read_bytes())
            model, committed = record["model"], record["committed"]
        except (OSError, ValueError, KeyError) as error:
            raise PortError(f"{CONFIG}: the release in the set cannot be read: {error}") from error
        self.release = Release(self.manifest.release, self.manifest.stack, "", 0.0, {}, model, committed)
        self.whole = releases.read(self.release)
        self._items = {item.name: item for item in self.whole.backup.items}

    def images_in(self) -> list[Check]:
        """Those of the set that this host does not have; the others come from where their references lead."""
        found = []
        for taken in self.manifest.items:
            if isinstance(self._items.get(taken.name), ImageItem):
                self._say(f"loading {taken.name}")
                found.append(self._checked(taken, partial(self._images_in, taken)))
        return found

    def _images_in(self, taken: Taken) -> tuple[str, ...]:
        part = taken.parts[0]
        with self._vault.repository.reading(part.snapshot, part.path) as content:
            if found := images.flaws(content, part, len(set(taken.about["images"].values()))):
                return found
        if any(self._engine.image(image) is None for image in taken.about["images"].values()):
            with self._vault.repository.reading(part.snapshot, part.path) as content:
                images.load_images(self._engine, content, taken.about)
        return ()

    @property
    def items(self) -> tuple[Item, ...]:
        """Those that the set holds, as the stack declared them then."""
        return tuple(self._items[taken.name] for taken in self.manifest.items if taken.name in self._items)

    @property
    def data(self) -> Data:
        """The same, for a place to be found for it."""
        return Data(self.items, self.whole, {t.name: t.about.get("directories", ()) for t in self.manifest.items})

    def hand_over(self, folder: str) -> None:
        """What the stack's own folder had besides what a rollout writes, for a host that has none of it."""
        for name in os.listdir(self.files):
            place = os.path.join(folder, name)
            if name in _WRITTEN or os.path.lexists(place):
                continue
            there = os.path.join(self.files, name)
            os.makedirs(folder, exist_ok=True)
            if os.path.isdir(there):
                shutil.copytree(there, place, symlinks=True)
            else:
                shutil.copy2(there, place)

    @property
    def files(self) -> str:
        """The stack's own folder as it was."""
        return posixpath.join(self.folder, CONFIG, "files")

    # -- items ------------------------------------------------------------------------

    def choose(self, services: Collection[str]) -> None:
        """Which services are to run, besides those that have to run to be filled."""
        names = [taken.name for taken in self.manifest.items]
        chosen = {*services, *scratch.stores(self.whole.backup, names)}
        paths = {
            item.path: self._place(taken)
            for taken in self.manifest.items
            if isinstance(item := self._items.get(taken.name), PathItem)
        }
        self.stack = scratch.scratch(self.whole, chosen, self.folder, paths, self.items)
        for volume in self.stack.volumes:
            self._engine.create_volume(volume)
        for place in scratch.thrown_away(self.stack, self.folder):
            Path(place).mkdir(parents=True, exist_ok=True)
            Path(place).chmod(0o777)  # whoever the container is; the folder around it is root's alone

    def files_in(self) -> list[Check]:
        """Volumes, folders and SQLite databases, each compared. Files of a database go into its volume afterwards."""
        found = []
        for kind in (VolumeItem, PathItem, SqliteItem):
            for taken in self.manifest.items:
                if isinstance(self._items.get(taken.name), kind):
                    self._say(f"restoring {taken.name}")
                    found.append(self._checked(taken, partial(self._file_in, taken)))
        return found

    def stores_in(self) -> list[Check]:
        """Dumps and objects into the servers, which run by now."""
        found = []
        for taken in self.manifest.items:
            item = self._items.get(taken.name)
            if isinstance(item, PostgresItem):
                self._say(f"restoring {taken.name}")
                postgres = Postgres(self._engine, self._replica(item.service), item.user, "quaylock-restore")
                found.append(self._checked(taken, partial(self._database_in, taken, postgres, item.service)))
            elif isinstance(item, BucketItem):
                self._say(f"restoring {taken.name}")
                found.append(self._checked(taken, partial(self._bucket_in, taken, item)))
        return found

    def _bucket_in(self, taken: Taken, item: BucketItem) -> tuple[str, ...]:
        """Into the scratch stack's own store; one that is elsewhere is not written to, its objects are counted."""
        part = taken.parts[0]
        with self._vault.repository.reading(part.snapshot, part.path) as content:
            if not item.service:
                return bucket_archive.flaws(content, taken.about)
            address = self._engine.reached(self._replica(item.service))
            access, secret = (self._key(key) for key in (item.access_key, item.secret_key))
            server = s3.S3(s3.endpoint(address, item.port), access, secret, item.region, direct=True)
            restore_bucket(server, item.bucket, content, taken.about)
        return ()

    def _key(self, key: str) -> str:
        """The content of a secret as it is in the set."""
        paths = [f.host_path for f in self.whole.files if (f.kind, f.key) == ("secret", key)]
        kept = posixpath.join(self.files, "secrets", posixpath.basename(paths[0])) if paths else ""
        return Path(kept).read_text(errors="replace").strip() if kept and os.path.exists(kept) else ""

    def _checked(self, taken: Taken, put: Callable[[], tuple[str, ...]]) -> Check:
        try:
            differs = put()
        except PortError as error:
            return Check(f"item {taken.name}", False, str(error))
        if differs:
            return Check(f"item {taken.name}", False, "; ".join(differs))
        rows = sum(sum(part.rows.values()) for part in taken.parts)
        files = sum(part.files for part in taken.parts)
        said = [f"{taken.size} bytes", *([f"{files} files"] if files else []), *([f"{rows} rows"] if rows else [])]
        return Check(f"item {taken.name}", True, ", ".join(said))

    def _file_in(self, taken: Taken) -> tuple[str, ...]:
        item = self._items[taken.name]
        place = self._place(taken)
        self._room(taken, place)
        if isinstance(item, SqliteItem):
            return self.sqlite_in(taken, Path(place))
        if isinstance(item, PathItem):
            extract.named(self._vault, taken.parts[0], Path(place))
        else:
            extract.tree(self._vault, taken.parts[0], Path(place))
        return ()

    def sqlite_in(self, taken: Taken, path: Path) -> tuple[str, ...]:
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        part = taken.parts[0]
        extract.stream(self._vault, part, path)
        path.chmod(int(taken.about.get("mode", 0o600)))
        os.chown(path, *taken.about.get("owner", (-1, -1)))
        sqlite_copy.check(str(path))
        return differences([part], [Part(part.path, part.size, part.sha256, rows=sqlite_copy.rows(str(path)))])

    def _database_in(self, taken: Taken, postgres: Postgres, service: str) -> tuple[str, ...]:
        keys = next(s.volumes for s in self.stack.services if s.name == service)
        for volume in self.stack.volumes:
            if volume.key in keys:
                there = Path(self._engine.volume_folder(volume.name))
                self._free(taken.name, taken.size * DATABASE_ROOM + CLUSTER, there)
        postgres_back.ready(postgres)
        if found := postgres_back.misfits(postgres, taken):
            return tuple(found)
        return postgres_back.put(postgres, self._vault.repository, taken)

    def _place(self, taken: Taken) -> str:
        """Where an item is put: into the scratch stack's volume where it has that one, or into its folder."""
        item = self._items[taken.name]
        apart = posixpath.join(self.folder, "items", taken.name)
        volume = item.volume if isinstance(item, (VolumeItem, SqliteItem)) else ""
        own = next((v.name for v in self.stack.volumes if v.key == volume), "")
        root = self._engine.volume_folder(own) if own else apart
        if isinstance(item, SqliteItem):
            return posixpath.join(root, item.path if item.volume else posixpath.basename(item.path))
        if isinstance(item, PathItem):
            return posixpath.join(root, posixpath.basename(item.path))
        return root

    def _room(self, taken: Taken, place: str) -> None:
        there = Path(place)
        while not there.exists():
            there = there.parent
        self._free(taken.name, taken.size * ROOM, there)

    @staticmethod
    def _free(item: str, needed: float, there: Path) -> None:
        """Said before anything is written: who fills a disk takes others along."""
        free = shutil.disk_usage(there).free
        if free < needed:
            raise PortError(f"{item} needs {needed:.0f} bytes at {there}, and {free} are free; next: make room there")

    # -- services ---------------------------------------------------------------------

    def start(self, services: Collection[str]) -> list[Check]:
        """Bring these services up behind their gates, beside those that run already."""
        before = self.stack if self._turn else None
        wanted = replace(self.stack, services=tuple(s for s in self.stack.services if s.name in services))
        if not wanted.services:
            return []
        self._say(f"starting {', '.join(s.name for s in wanted.services)}")
        self._turn += 1
        host = self._host()
        name = f"r-drill-{self._turn}"
        host.journal.begin(name, self.name, "deploy", "drill", host.clock.now(), {})
        state = run(host, Rollout(name, wanted, previous=before, at_once=max(AT_ONCE, (os.cpu_count() or 1) // 2)))
        if state.outcome in (Outcome.DEPLOYED, Outcome.UNCHANGED):
            return [Check(f"service {s.name}", True, "healthy") for s in wanted.services]
        found = [Check(f"service {f.service}", False, _evidence(f.reason, f.said, f.logs)) for f in state.failures]
        found += [Check(f.path, False, f.problem) for f in state.findings]
        return found or [Check("services", False, state.outcome.value if state.outcome else "did not start")]

    def healthy(self, services: Collection[str]) -> list[Check]:
        """The services' own checks, asked now that the data is there."""
        return [self._healthy(service) for service in self.stack.services if service.name in services]

    def _healthy(self, service: Service) -> Check:
        gate = self._gate(service)
        name = self._replica(service.name)
        until, passes, said = time.monotonic() + gate.deadline, 0, ""
        while time.monotonic() < until:
            seen = self._engine.sample(name, gate, time.time(), True)
            if not seen.running:
                return Check(f"service {service.name}", False, f"{name} ended with exit code {seen.exit_code}")
            passes, said = (passes + 1, "") if seen.passed or not gate.probes else (0, seen.output)
            if passes >= gate.passes:
                return Check(f"service {service.name}", True, "healthy with the restored data")
            time.sleep(min(gate.cadence, 0.2))
        return Check(f"service {service.name}", False, f"is not healthy with the restored data: {said}")

    def _gate(self, service: Service) -> Gate:
        return completed(service, self._engine.image(self._pinned().get(service.image, service.image)))

    def _replica(self, service: str) -> str:
        for seen in self._engine.replicas(self.name):
            if seen.service == service and seen.running:
                return seen.name
        raise PortError(f"service {service} does not run in {self.name}")

    def _pinned(self) -> Mapping[str, str]:
        return {ref: image.id for ref, image in releases.pinned(self.release, self.whole).items()}

    def _host(self) -> Host:
        """The real one's engine, with files and a journal of the scratch stack's own and without a proxy."""
        if self._journal is None:
            self._journal = SqliteJournal(posixpath.join(self.folder, "journal.sqlite"))
        contents = {}
        for file in self.stack.files:
            kept = posixpath.join(self.files, f"{file.kind}s", posixpath.basename(file.host_path))
            with contextlib.suppress(OSError):
                contents[file.host_path] = Path(kept).read_bytes()
        return replace(
            self._real,
            ingress=None,
            folder=self.folder,
            journal=self._journal,
            contents=contents,
            pinned=releases.pinned(self.release, self.whole),
            kept=frozenset(),
            ingress_network="",
        )


def _evidence(reason: str, said: str, logs: str) -> str:
    last = " | ".join(logs.strip().splitlines()[-3:])
    return "; ".join(text for text in (reason, said, last) if text)
