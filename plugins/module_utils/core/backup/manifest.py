# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A set in writing: what it holds, as of when, and how each part of it can be recognised. Written last, it is the set.

A set whose manifest is not in the repository does not exist: nothing of it can be restored, and it is collected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..model import Json

FORMAT = 1
"""of the manifest; a newer one is refused, because it may hold what this version would not restore"""


LEAP = 3600.0
"""seconds by which clocks of hosts may differ; what is further ahead was written while a clock was wrong"""


class Unreadable(ValueError):
    """This is no manifest that we know."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of an item, or one tree of files, as it was when it was written.

    `path` is where it lies in `snapshot`, restic's id. `sha256` is of the stream; of a tree it is of every file's name,
    kind, size and content in the order of names. `rows` counts a database's rows by table, at the moment it shows.
    """

    path: str
    size: int
    sha256: str
    snapshot: str = ""
    files: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """An item in a set. `about` has what a restore must match: versions, owners, encoding."""

    name: str
    kind: str
    parts: tuple[Part, ...]
    at: float
    """the moment that it shows, in seconds since the epoch"""
    set: str = ""
    """the earlier set that it was taken over from, "" where it was made for this one"""
    about: Json = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def snapshots(self) -> frozenset[str]:
        return frozenset(part.snapshot for part in self.parts)


@dataclass(frozen=True, slots=True)
class Manifest:
    """`at` is the consistency point, `quiet` the seconds that writers held still, `pinned` what keeps it for good."""

    id: str
    stack: str
    host: str
    at: float
    items: tuple[Taken, ...]
    release: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    """reference -> image id, of the release that served"""
    quiet: float = 0.0
    still: tuple[str, ...] = ()
    """the services that held still; where it is empty, each item is consistent by itself"""
    pinned: str = ""
    who: str = ""
    warnings: tuple[str, ...] = ()

    def item(self, name: str) -> Taken:
        return next(t for t in self.items if t.name == name)

    @property
    def size(self) -> int:
        return sum(taken.size for taken in self.items)

    @property
    def snapshots(self) -> frozenset[str]:
        return frozenset().union(*(taken.snapshots for taken in self.items))


def newest_first(sets: Iterable[Manifest], now: float) -> list[Manifest]:
    """Those from the future last: nobody knows when they were made, and what was made since is newer."""
    return sorted(sets, key=lambda m: (m.at > now + LEAP, -m.at, m.id))


def written(manifest: Manifest) -> bytes:
    """The manifest as it lies in the repository; the same set is the same bytes."""
    return json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1, sort_keys=True).encode() + b"\n"


def read(content: bytes) -> Manifest:
    """Raises Unreadable with what is wrong."""
    try:
        found: dict[str, Any] = json.loads(content)
        version = found.pop("format")
        if version != FORMAT:
            raise Unreadable(f"the manifest has format {version}, and this version of Quaylock knows {FORMAT}")
        items = tuple(_taken(entry) for entry in found.pop("items"))
        still, warnings = tuple(found.pop("still")), tuple(found.pop("warnings"))
        return Manifest(items=items, still=still, warnings=warnings, **found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"this is not a manifest: {type(error).__name__}: {error}") from error


def _taken(entry: dict[str, Any]) -> Taken:
    parts = tuple(Part(**part) for part in entry.pop("parts"))
    return Taken(parts=parts, warnings=tuple(entry.pop("warnings")), **entry)


def placed(manifest: Manifest, moved: Mapping[str, str]) -> Manifest:
    """The set with its snapshots as they are called here; `moved` is original id -> id, of those that were copied."""
    if not manifest.snapshots & moved.keys():
        return manifest
    items = tuple(
        replace(taken, parts=tuple(replace(p, snapshot=moved.get(p.snapshot, p.snapshot)) for p in taken.parts))
        for taken in manifest.items
    )
    return replace(manifest, items=items)


def differences(written: Iterable[Part], found: Iterable[Part]) -> tuple[str, ...]:
    """What was read beside what the manifest says of it, in words; empty where all of it is the same."""
    wanted, there = {p.path: p for p in written}, {p.path: p for p in found}
    said = [f"{path} is missing" for path in wanted.keys() - there.keys()]
    said += [f"{path} is not in the manifest" for path in there.keys() - wanted.keys()]
    for path in wanted.keys() & there.keys():
        said += _differs(path, wanted[path], there[path])
    return tuple(sorted(said))


def _differs(path: str, wanted: Part, there: Part) -> list[str]:
    if wanted.size != there.size:
        return [f"{path} has {there.size} bytes instead of {wanted.size}"]
    if wanted.files != there.files:
        return [f"{path} has {there.files} files instead of {wanted.files}"]
    if wanted.sha256 != there.sha256:
        return [f"{path} has another content: sha256 {there.sha256[:12]} instead of {wanted.sha256[:12]}"]
    tables = {t for t in wanted.rows.keys() | there.rows.keys() if wanted.rows.get(t) != there.rows.get(t)}
    return [
        f"{path}: {table} has {there.rows.get(table, 'no')} rows instead of {wanted.rows.get(table, 'none')}"
        for table in sorted(tables)
    ]
