# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From an item to what reads it: which container, which folder, under which names in the repository."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..adapters import s3
from ..core.backup.manifest import Manifest, Taken
from ..core.items import CONFIG, BucketItem, ImageItem, Item, PathItem, PostgresItem, SqliteItem, VolumeItem
from ..core.model import Finding
from ..perform import Host
from ..ports import PortError, Repository
from .buckets import BucketSource
from .config import ConfigSource
from .files import SqliteSource, TreeSource
from .images import ImageSource
from .postgres import PostgresSource
from .vault import tags_of

if TYPE_CHECKING:
    from .run import Wish


class Source(Protocol):
    """One item while a set is made: see core/backup/commands.py for what each step means.

    `close` may come at any time, from another thread, and more than once; it breaks off whatever goes on.
    """

    def open(self) -> None: ...
    def freeze(self) -> None: ...
    def store(self) -> Taken: ...
    def read_back(self, taken: Taken) -> tuple[str, ...]: ...
    def close(self) -> None: ...


class Sources:
    """The sources of one set. `staging` is a folder on this host for copies that do not outlive the set.

    `before` is the set before this one, None where there is none.
    """

    def __init__(
        self,
        host: Host,
        repository: Repository,
        wish: Wish,
        set_: str,
        staging: str,
        before: Manifest | None = None,
    ) -> None:
        self._host, self._repository, self._wish = host, repository, wish
        self._set, self._staging, self._before = set_, staging, before
        self._folders: dict[str, str] = {}

    def findings(self) -> list[Finding]:
        """What stands against the set, all of it, before anything is touched."""
        found = []
        for item in self._items():
            path = f"x-quaylock.backup.items.{item.name}"
            service = item.service if isinstance(item, (PostgresItem, BucketItem)) else ""
            if service and not self._wish.replicas.get(service):
                found.append(Finding(path, f"service {service} does not run", "start it, or deploy the stack again"))
            elif service and self._wish.replicas[service][0].paused:
                name = self._wish.replicas[service][0].name
                found.append(Finding(path, f"{name} is paused, and answers nobody", f"docker unpause {name}"))
            if isinstance(item, (VolumeItem, SqliteItem)) and item.volume:
                found += self._placed(item.volume, path)
            if isinstance(item, BucketItem):
                found += self._opened_by(item, path)
            if isinstance(item, ImageItem):
                images = self._images(item)
                found += [
                    Finding(f"{path}.services", f"the release has no image of {service}", "deploy the stack again")
                    for service in item.services
                    if not images.get(self._wish.stack.service(service).image)
                ]
        if any(isinstance(item, BucketItem) for item in self._items()):
            why, fix = s3.missing()
            found += [Finding("x-quaylock.backup.items", f"a bucket needs boto3: {why}", fix)] if why else []
        return found

    def made(self) -> Mapping[str, Source]:
        record = self._wish.record
        stack = self._wish.stack.name
        label = f"{stack}.{CONFIG}.json"
        config = ConfigSource(self._repository, record, self._host.folder, label, self._tags(CONFIG))
        return {CONFIG: config, **{item.name: self._source(item) for item in self._items()}}

    def _items(self) -> list[Item]:
        return [item for item in self._wish.stack.backup.items if item.name in self._wish.items]

    def _tags(self, item: str) -> frozenset[str]:
        return tags_of(self._wish.stack.name, self._set, item)

    def _source(self, item: Item) -> Source:
        label = f"{self._wish.stack.name}.{item.name}"
        tags = self._tags(item.name)
        still = bool(self._wish.writers)
        engine: Any = self._host.engine
        if isinstance(item, PostgresItem):
            container = self._wish.replicas[item.service][0].name
            return PostgresSource(engine, self._repository, item, container, label, tags, f"quaylock-{self._set}")
        if isinstance(item, SqliteItem):
            folder = self._folders[item.volume] if item.volume else ""
            about = {"volume": item.volume, "file": item.path}
            staging = posixpath.join(self._staging, item.name)
            path = posixpath.join(folder, item.path)
            return SqliteSource(self._repository, item.name, path, f"{label}.sqlite", tags, staging, about)
        if isinstance(item, VolumeItem):
            folder = self._folders[item.volume]
            about = {"volume": item.volume}
            return TreeSource(self._repository, item.name, "volume", folder, tags, item.exclude, about, still)
        if isinstance(item, PathItem):
            return TreeSource(self._repository, item.name, "path", item.path, tags, item.exclude, warm=still)
        if isinstance(item, ImageItem):
            return ImageSource(engine, self._repository, item.name, self._images(item), f"{label}.tar", tags)
        before = {taken.name: taken for taken in self._before.items} if self._before else {}
        objects = before[item.name].about.get("objects", 0) if item.name in before else 0
        return BucketSource(lambda: self._server(item), self._repository, item, f"{label}.tar", tags, objects)

    # -- buckets and images -------------------------------------------------------

    def _server(self, item: BucketItem) -> s3.S3:
        """The server of a bucket, with the keys as they are on this host now."""
        endpoint = item.endpoint
        if not endpoint:
            engine: Any = self._host.engine
            address = engine.reached(self._wish.replicas[item.service][0].name)
            endpoint = s3.endpoint(address, item.port)
        access, secret = (self._key(key) for key in (item.access_key, item.secret_key))
        return s3.S3(endpoint, access, secret, item.region, direct=not item.endpoint)

    def _key(self, key: str) -> str:
        """The content of a secret of the stack, "" where this host does not have it."""
        paths = [f.host_path for f in self._wish.stack.files if (f.kind, f.key) == ("secret", key)]
        content = self._host.files.read(paths[0]) if paths else None
        return (content or b"").decode("utf-8", "replace").strip()

    def _opened_by(self, item: BucketItem, path: str) -> list[Finding]:
        keys = {"access_key": item.access_key, "secret_key": item.secret_key}
        return [
            Finding(f"{path}.{name}", f"secret {key} is empty or not on this host", "deploy the stack with its secrets")
            for name, key in keys.items()
            if not self._key(key)
        ]

    def _images(self, item: ImageItem) -> dict[str, str]:
        """Reference -> id, as the release that serves has them."""
        committed = self._wish.record["committed"].get("images", {})
        refs = {self._wish.stack.service(service).image for service in item.services}
        return {ref: str(committed[ref]["id"]) for ref in sorted(refs) if ref in committed}

    def _placed(self, key: str, path: str) -> list[Finding]:
        """Where a volume lies on this host."""
        name = next((v.name for v in self._wish.stack.volumes if v.key == key), "")
        try:
            self._folders[key] = self._host.engine.volume_folder(name)
        except PortError as error:
            return [Finding(f"{path}.volume", str(error), "back it up where its data lies")]
        return []
