# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Volumes and folders of the host, file by file, and SQLite databases among them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ..adapters import sqlite_copy
from ..core.backup.manifest import Part, Taken
from ..core.backup.repository import Saved
from ..ports import PortError, Repository

BLOCK = 2**20


class TreeSource:
    """A folder. While writers hold still only what changed since `open` is read: the rest is stored already."""

    def __init__(
        self,
        repository: Repository,
        name: str,
        kind: str,
        folder: str,
        tags: Collection[str],
        exclude: tuple[str, ...] = (),
        about: dict[str, Any] | None = None,
        warm: bool = True,
    ) -> None:
        self._repository, self._name, self._kind, self._folder = repository, name, kind, folder
        self._tags, self._exclude, self._about, self._warm = tags, exclude, about or {}, warm
        self._first: Saved | None = None
        self._saved: Saved | None = None
        self._at = 0.0

    def open(self) -> None:
        if not Path(self._folder).exists():
            raise PortError(f"{self._folder} does not exist")
        if self._warm:
            self._first = self._repository.save(self._folder, self._tags, self._exclude)

    def freeze(self) -> None:
        self._at = time.time()
        parent = self._first.snapshot if self._first else ""
        self._saved = self._repository.save(self._folder, self._tags, self._exclude, parent)

    def store(self) -> Taken:
        """What lies in the repository, read there: the folder itself is another one by now."""
        if self._saved is None:
            raise PortError(f"{self._name} was not frozen")
        part = self._repository.tree_of(self._saved)
        about = {"folder": self._folder, **self._about}
        return Taken(self._name, self._kind, (part,), self._at, about=about, warnings=self._saved.warnings)

    def read_back(self, taken: Taken) -> tuple[str, ...]:  # noqa: ARG002
        """`store` has done it; nothing else is there to compare with."""
        return ()

    def close(self) -> None:
        """The first snapshot is in no set, and is collected once nobody writes any more."""
        self._repository.break_off(self._tags)


class SqliteSource:
    """A database file: its online backup goes to `staging`, a folder of this item alone, and from there on."""

    def __init__(
        self,
        repository: Repository,
        name: str,
        path: str,
        label: str,
        tags: Collection[str],
        staging: str,
        about: dict[str, Any] | None = None,
    ) -> None:
        self._repository, self._name, self._path, self._label = repository, name, path, label
        self._tags, self._staging, self._about = tags, staging, about or {}
        self._copy = str(Path(staging) / "copy.sqlite")
        self._at = 0.0
        self._closed = threading.Event()

    def open(self) -> None:
        if not Path(self._path).is_file():
            raise PortError(f"{self._path} does not exist")
        shutil.rmtree(self._staging, ignore_errors=True)

    def freeze(self) -> None:
        self._at = time.time()
        sqlite_copy.copy(self._path, self._copy)

    def store(self) -> Taken:
        sqlite_copy.check(self._copy)
        part = self._repository.stream(self._label, self._tags, self._pump)
        found = Path(self._path).stat()
        about = {"path": self._path, "mode": found.st_mode & 0o7777, "owner": [found.st_uid, found.st_gid]}
        counted = Part(part.path, part.size, part.sha256, part.snapshot, rows=sqlite_copy.rows(self._copy))
        return Taken(self._name, "sqlite", (counted,), self._at, about={**about, **self._about})

    def read_back(self, taken: Taken) -> tuple[str, ...]:
        part = taken.parts[0]
        found = self._repository.read_back(part)
        same = (found.size, found.sha256) == (part.size, part.sha256)
        return () if same else (f"{part.path} is not what was written",)

    def close(self) -> None:
        self._closed.set()
        self._repository.break_off(self._tags)
        shutil.rmtree(self._staging, ignore_errors=True)

    def _pump(self, write: Callable[[bytes | memoryview], None]) -> None:
        with open(self._copy, "rb") as file:
            while block := file.read(BLOCK):
                if self._closed.is_set():
                    raise PortError(f"{self._name} was broken off")
                write(block)
