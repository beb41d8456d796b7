# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A folder is read in its repository once, when it is stored; a stream is read there and compared."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.backup.config import ConfigSource
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.files import TreeSource
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Part
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Saved


class Counted:
    """A repository that has what was written, and counts who reads; `spoilt` are streams that lost their end."""

    def __init__(self) -> None:
        self.streams: dict[str, bytes] = {}
        self.read: list[str] = []
        self.spoilt: set[str] = set()

    def stream(self, name: str, _tags: Any, pump: Any) -> Part:
        pieces: list[bytes] = []
        pump(pieces.append)
        self.streams[f"/{name}"] = b"".join(pieces)
        return self._part(f"/{name}")

    def save(self, folder: str, _tags: Any, _exclude: Any = (), _parent: str = "") -> Saved:
        return Saved("snapshot", folder)

    def tree_of(self, saved: Saved) -> Part:
        self.read.append(saved.path)
        return Part(saved.path, 1, "0" * 64, saved.snapshot, files=1)

    def tree(self, folder: str, tags: Any) -> tuple[Part, tuple[str, ...]]:
        return self.tree_of(self.save(folder, tags)), ()

    def read_back(self, part: Part) -> Part:
        self.read.append(part.path)
        return self._part(part.path)

    def _part(self, path: str) -> Part:
        content = self.streams[path][: -1 if path in self.spoilt else None]
        return Part(path, len(content), hashlib.sha256(content).hexdigest(), "snapshot")


def test_a_folder_is_read_once(tmp_path: Any) -> None:
    repository: Any = Counted()
    source = TreeSource(repository, "uploads", "volume", str(tmp_path), ["set=1"])
    source.open()
    source.freeze()
    taken = source.store()
    assert source.read_back(taken) == ()
    assert repository.read == [str(tmp_path)]


def test_of_a_configuration_the_record_is_compared_and_the_folder_is_read_once(tmp_path: Any) -> None:
    repository: Any = Counted()
    source = ConfigSource(repository, {"release": "r-1"}, str(tmp_path), "shop.config.json", ["set=1"])
    source.freeze()
    taken = source.store()
    assert source.read_back(taken) == ()
    assert repository.read == [str(tmp_path), "/shop.config.json"]
    repository.spoilt.add("/shop.config.json")
    assert len(source.read_back(taken)) == 1
