# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where restored data goes: what lies there is moved aside and kept, and moved back where the restore fails."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Union

from ..items import BucketItem, Item, PathItem, PostgresItem, SqliteItem, VolumeItem
from ..model import Finding, Service, Stack

BESIDE = ("-wal", "-shm", "-journal")
"""what SQLite keeps beside a database; of another database it would destroy the restored one"""
BY_HAND = "restore it into a folder, with to, and put it in by hand"

Store = Union[PostgresItem, BucketItem]
"""what is restored into a server that runs, and whose volumes are exchanged afterwards"""


@dataclass(frozen=True, slots=True)
class Data:
    """What is restored: `items` of the `stack` as it was then.

    `directories` are where a store kept its files, in its container, by item; as far as the set says.
    """

    items: tuple[Item, ...]
    stack: Stack
    directories: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Move:
    """`target` is moved to `kept`, and `source` to `target`; `source` "" only moves aside. All are on one file system.

    `kept` does not exist before: that it exists says that the move was begun, `target` beside it that it was done.
    """

    what: str
    target: str
    kept: str
    source: str = ""

    @property
    def of_volume(self) -> bool:
        return self.what.startswith("volume ")


def kept_name(name: str, restore: str) -> str:
    """What a restore replaces is found again under this name: of a volume, a file or a folder."""
    return f"{name}.before-{restore}"


def whole_volumes(data: Data) -> tuple[str, ...]:
    """Keys of the volumes that are replaced as a whole: those of items, and those that hold a store's files."""
    found = [item.volume for item in data.items if isinstance(item, VolumeItem)]
    for item in _stores(data):
        found += _homes(data, item)
    return tuple(dict.fromkeys(found))


def files(data: Data) -> tuple[Item, ...]:
    """Items that are replaced as one file or folder, in a volume whose other content stays, or on the host."""
    whole = whole_volumes(data)
    return tuple(
        item
        for item in data.items
        if isinstance(item, PathItem) or (isinstance(item, SqliteItem) and item.volume not in whole)
    )


def problems(data: Data, now: Stack) -> list[Finding]:
    """Why items of the stack as it was then have no place in the stack as it is `now`."""
    found = []
    keys = {volume.key for volume in now.volumes}
    for item in data.items:
        path = f"items.{item.name}"
        volume = item.volume if isinstance(item, (VolumeItem, SqliteItem)) else ""
        if volume and volume not in keys:
            fix = "restore it into a folder, with to"
            found.append(Finding(path, f"volume {volume} is not in the stack any more", fix))
        if isinstance(item, BucketItem) and not item.service:
            problem = f"bucket {item.bucket} is at {item.endpoint}, and is nothing that a host exchanges"
            found.append(Finding(path, problem, "name the other items; to writes this one as a tar"))
    for item in _stores(data):
        found += [Finding(f"items.{item.name}", problem, BY_HAND) for problem in _homeless(data, item, now)]
    return found


def moves(
    data: Data, restore: str, folders: Mapping[str, str], kept: Mapping[str, str], restored: Mapping[str, str]
) -> tuple[Move, ...]:
    """All that is moved. The mappings are of volume key -> folder: the stack's, those that keep, the restored ones."""
    found = [Move(f"volume {key}", folders[key], kept[key], restored[key]) for key in whole_volumes(data)]
    for item in files(data):
        place = place_of(item, folders)
        found.append(Move(f"item {item.name}", place, kept_name(place, restore), staged(place, restore)))
        if isinstance(item, SqliteItem):
            found += [Move(f"item {item.name}", place + end, kept_name(place + end, restore)) for end in BESIDE]
    return tuple(found)


def place_of(item: Item, folders: Mapping[str, str]) -> str:
    """The file or folder of this host that an item is."""
    if isinstance(item, SqliteItem) and item.volume:
        return posixpath.join(folders[item.volume], item.path)
    return item.path if isinstance(item, (SqliteItem, PathItem)) else ""


def staged(place: str, restore: str) -> str:
    """What is restored waits beside its place, so that it only has to be renamed."""
    return f"{place}.restored-{restore}"


# -- stores -------------------------------------------------------------------------


def _stores(data: Data) -> list[Store]:
    return [i for i in data.items if isinstance(i, PostgresItem) or (isinstance(i, BucketItem) and i.service)]


def _homes(data: Data, item: Store) -> list[str]:
    """Keys of the volumes that hold its files; where the set does not say which, of those that nobody else has."""
    service = _service(data.stack, item)
    if service is None:
        return []
    if directories := data.directories.get(item.name, ()):
        return [key for directory in directories if (key := _mounted(service, data.stack, directory)[1])]
    others = {key for s in data.stack.services if s.name != item.service for key in s.volumes}
    return [key for key in service.volumes if key not in others]


def _homeless(data: Data, item: Store, now: Stack) -> list[str]:
    """Why a store's files cannot be exchanged. Its server would begin anew, or with those of somebody else."""
    then, service = _service(data.stack, item), _service(now, item)
    if service is None or then is None:
        return [f"service {item.service} is not in the stack any more"]
    found = []
    for directory in data.directories.get(item.name, ()):
        before, after = _mounted(then, data.stack, directory), _mounted(service, now, directory)
        if not before[1] or not after[1]:
            found.append(f"service {item.service} keeps {directory} in no volume of this stack")
        elif before != after:
            had, has = (f"volume {key} at {target}" for target, key in (before, after))
            found.append(f"service {item.service} kept {directory} in {had}, and has {has} now")
    homes = _homes(data, item)
    if not found and (not homes or not set(homes) <= set(service.volumes)):
        found.append(f"service {item.service} keeps its data in no volume of its own in this stack")
    for key in homes:
        others = [s.name for s in now.services if s.name != item.service and key in s.written]
        found += [f"volume {key}, which holds it, is written by {other} as well" for other in others]
    return found


def _service(stack: Stack, item: Store) -> Service | None:
    return next((service for service in stack.services if service.name == item.service), None)


def _mounted(service: Service, stack: Stack, directory: str) -> tuple[str, str]:
    """What a directory of a container lies in: where it is mounted, and the key of the volume, "" for anything else."""
    names = {volume.name: volume.key for volume in stack.volumes}
    host = service.container.get("HostConfig", {})
    found = [(mount["Target"], names.get(mount.get("Source", ""), "")) for mount in host.get("Mounts", ())]
    found += [(bind.split(":")[1], "") for bind in host.get("Binds", ())]
    around = [(posixpath.normpath(target), key) for target, key in found]
    around = [(target, key) for target, key in around if f"{directory}/".startswith(f"{target.rstrip('/')}/")]
    return max(around, key=lambda each: len(each[0]), default=("", ""))
