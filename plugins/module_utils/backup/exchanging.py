# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restored data takes the place of what a stack has: laid ready beside it, exchanged by renaming, and put back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..adapters import moving
from ..core.backup import places
from ..core.backup.places import Move
from ..core.items import Item, SqliteItem
from ..core.model import Finding, Invalid, Stack, Volume
from ..journal import SqliteJournal
from ..perform import Host
from ..ports import PortError
from . import extract, undoing
from .scratch import Scratch
from .vault import Vault


class Exchange:
    """That of one restore, of what it has `tried`. Whatever it does is in the journal before: see undoing.recover."""

    def __init__(self, host: Host, journal: SqliteJournal, vault: Vault, tried: Scratch, restore: str) -> None:
        self._host, self._journal, self._vault, self._tried, self._id = host, journal, vault, tried, restore
        self._name = tried.manifest.stack
        self._staged: list[str] = []
        self._keeping: dict[str, str] = {}
        """volume that keeps what is replaced -> where it is kept, by the key of what is replaced"""
        self._nothing: set[str] = set()
        """those of them that would keep nothing: there was no volume to be replaced"""
        self._moves: tuple[Move, ...] = ()
        self._begun = False

    def prepare(self, stack: Stack) -> None:
        """Lay everything beside its place. Raises Invalid for what has none in the `stack` as it is to be."""
        data = self._tried.data
        if homeless := places.problems(data, stack):
            raise Invalid(tuple(homeless))
        engine = self._host.engine
        real = {volume.key: volume for volume in stack.volumes}
        whole = places.whole_volumes(data)
        self._keeping = {key: places.kept_name(real[key].name, self._id) for key in whole}
        folders: dict[str, str] = {}
        inside = [item.volume for item in places.files(data) if isinstance(item, SqliteItem) and item.volume]
        for key in dict.fromkeys((*whole, *inside)):
            if not engine.volumes([real[key].name]):
                self._nothing.add(key)
            engine.create_volume(real[key])
            folders[key] = engine.volume_folder(real[key].name)
        self._staged = [places.staged(places.place_of(item, folders), self._id) for item in places.files(data)]
        self._write_down({"staged": self._staged, "volumes": list(self._keeping.values())})
        kept = {key: self._keeper(key) for key in whole}
        restored = {v.key: engine.volume_folder(v.name) for v in self._tried.stack.volumes}
        for item, place in zip(places.files(data), self._staged, strict=True):
            self._lay(item, Path(place))
        self._moves = places.moves(data, self._id, folders, kept, restored)
        if wrong := moving.obstacles(self._moves):
            raise Invalid(tuple(Finding("set", text, "restore it into a folder, with to") for text in wrong))

    def perform(self) -> None:
        """The stack stops, and has other data. Raises PortError."""
        self._write_down({"moves": [asdict(move) for move in self._moves]})
        undoing.stop(self._host, self._name, self._journal)
        self._begun = True
        for move in self._moves:
            moving.move(move)

    def undo(self) -> None:
        """Everything as it was, at whatever point this is. Raises PortError with what could not be put back."""
        if self._begun:
            undoing.put_back(self._host, self._name, self._moves, self._journal)
        self._begun = False
        undoing.clear(self._host, self._staged, self._keeping.values())

    def finish(self) -> list[str]:
        """What keeps the old data. What would keep nothing goes if it can: from here on nothing is undone."""
        keeping, moves, self._keeping, self._moves = self._keeping, self._moves, {}, ()
        self._staged, self._begun = [], False
        for name in [name for key, name in keeping.items() if key in self._nothing]:
            with contextlib.suppress(PortError):
                self._host.engine.remove_volume(name)
        for move in moves:
            if moving.kept_nothing(move):
                with contextlib.suppress(OSError):
                    moving.remove(move.kept)
        volumes = sorted(name for key, name in keeping.items() if key not in self._nothing)
        paths = [move.kept for move in moves if not move.of_volume and os.path.exists(move.kept)]
        return [*(f"volume {name}" for name in volumes), *paths]

    def _keeper(self, key: str) -> str:
        """The folder that a volume's content is moved to: that of another volume, which is shown as one."""
        name = self._keeping[key]
        labels = {"com.docker.compose.volume": key, "quaylock.kept-of": self._name}
        body = {"Driver": "local", "DriverOpts": {}, "Labels": labels}
        self._host.engine.create_volume(Volume(key, name, body=body))
        folder = self._host.engine.volume_folder(name)
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # that it is there will say that something was moved into it
        return folder

    def _lay(self, item: Item, place: Path) -> None:
        """One item as a file or folder."""
        taken = self._tried.manifest.item(item.name)
        moving.remove(str(place))
        if isinstance(item, SqliteItem):
            self._tried.sqlite_in(taken, place)
        else:
            extract.named(self._vault, taken.parts[0], place)

    def _write_down(self, details: Mapping[str, object]) -> None:
        self._journal.log(self._id, self._host.clock.now(), "do", dict(details))
