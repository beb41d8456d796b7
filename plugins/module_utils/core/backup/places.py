# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where restored data goes: what lies there is moved aside and kept, and moved back where the restore fails."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..items import BucketItem, Item, PathItem, PostgresItem, SqliteItem, VolumeItem
from ..model import Finding, Stack

BESIDE = ("-wal", "-shm", "-journal")
"""what SQLite keeps beside a database; of another database it would destroy the restored one"""


@dataclass(frozen=True, slots=True)
class Move:
    """`target` is moved to `kept`, and `source` to `target`; `source` "" only moves aside. All are on one file system.

    `kept` does not exist before: that it exists says that the move was begun, `target` beside it that it was done.
    """

    what: str
    target: str
    kept: str
    source: str = ""


def kept_name(name: str, restore: str) -> str:
    """What a restore replaces is found again under this name: of a volume, a file or a folder."""
    return f"{name}.before-{restore}"


def whole_volumes(items: Collection[Item], stack: Stack) -> tuple[str, ...]:
    """Keys of the volumes that are replaced as a whole: those of items, and those that only a database or store has."""
    found = [item.volume for item in items if isinstance(item, VolumeItem)]
    for item in items:
        if isinstance(item, PostgresItem) or (isinstance(item, BucketItem) and item.service):
            others = {key for s in stack.services if s.name != item.service for key in s.volumes}
            found += [key for s in stack.services if s.name == item.service for key in s.volumes if key not in others]
    return tuple(dict.fromkeys(found))


def files(items: Collection[Item], stack: Stack) -> tuple[Item, ...]:
    """Items that are replaced as one file or folder, in a volume whose other content stays, or on the host."""
    whole = whole_volumes(items, stack)
    return tuple(
        item
        for item in items
        if isinstance(item, PathItem) or (isinstance(item, SqliteItem) and item.volume not in whole)
    )


def problems(items: Collection[Item], then: Stack, now: Stack) -> list[Finding]:
    """Why items of the stack as it was `then` have no place in the stack as it is `now`."""
    found = []
    keys = {volume.key for volume in now.volumes}
    for item in items:
        path = f"items.{item.name}"
        volume = item.volume if isinstance(item, (VolumeItem, SqliteItem)) else ""
        if volume and volume not in keys:
            fix = "restore it into a folder, with to"
            found.append(Finding(path, f"volume {volume} is not in the stack any more", fix))
        if isinstance(item, PostgresItem) or (isinstance(item, BucketItem) and item.service):
            found += _homeless(item.service, path, then, now)
        elif isinstance(item, BucketItem):
            problem = f"bucket {item.bucket} is at {item.endpoint}, and is nothing that a host exchanges"
            found.append(Finding(path, problem, "name the other items; to writes this one as a tar"))
    return found


def _homeless(name: str, path: str, then: Stack, now: Stack) -> list[Finding]:
    service = next((s for s in now.services if s.name == name), None)
    before = next((s for s in then.services if s.name == name), None)
    fix = "restore it into a folder, with to, and put it in by hand"
    if service is None:
        return [Finding(path, f"service {name} is not in the stack any more", fix)]
    if not service.volumes or before is None or not set(before.volumes) <= set(service.volumes):
        return [Finding(path, f"service {name} keeps its data in no volume of this stack", fix)]
    return []


def moves(
    items: Collection[Item],
    stack: Stack,
    restore: str,
    folders: Mapping[str, str],
    kept: Mapping[str, str],
    restored: Mapping[str, str],
) -> tuple[Move, ...]:
    """All that is moved. The mappings are of volume key -> folder: the stack's, those that keep, the restored ones."""
    found = [Move(f"volume {key}", folders[key], kept[key], restored[key]) for key in whole_volumes(items, stack)]
    for item in files(items, stack):
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
