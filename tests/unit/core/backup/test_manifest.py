# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A manifest survives its writing, and nothing else passes for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import (
    Manifest,
    Part,
    Taken,
    Unreadable,
    differences,
    placed,
    read,
    written,
)

DUMP = Part("/db/shop.dump", 2048, "aa" * 32, "f00", rows={"public.orders": 12})
ROLES = Part("/db/globals.sql", 100, "bb" * 32, "f01")
TREE = Part("/uploads", 4096, "cc" * 32, "f02", files=7)
SET = Manifest(
    id="s-1",
    stack="shop",
    host="q1",
    at=1_800_000_000.5,
    items=(
        Taken("db", "postgres", (DUMP, ROLES), 1_800_000_000.25, about={"version": "16.11", "encoding": "UTF8"}),
        Taken("uploads", "volume", (TREE,), 1_799_000_000.0, "s-0", warnings=("one file had no reader",)),
    ),
    release="r-1",
    images={"shop:1": "sha256:1"},
    quiet=0.75,
    still=("api",),
    pinned="r-1",
    who="timer",
)


def test_a_manifest_survives_its_writing() -> None:
    assert read(written(SET)) == SET
    assert written(SET) == written(read(written(SET)))
    assert (SET.size, SET.snapshots, SET.item("db").size) == (2048 + 100 + 4096, {"f00", "f01", "f02"}, 2148)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 2}, "has format 2, and this version of Quaylock knows 1"),
        ({"format": None}, "has format None"),
        ({"items": [{}]}, "not a manifest: KeyError"),
        ({"items": 3}, "not a manifest"),
        ({"surprise": 1}, "not a manifest: TypeError"),
    ],
)
def test_something_else_is_no_manifest(change: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(json.dumps({**json.loads(written(SET)), **change}).encode())


def test_a_copy_names_its_snapshots_as_they_are_called_there() -> None:
    there = placed(SET, {"f00": "aa0", "f02": "aa2", "elsewhere": "aa9"})
    assert there.snapshots == {"aa0", "f01", "aa2"}
    assert [part.path for part in there.item("db").parts] == [DUMP.path, ROLES.path]
    assert placed(there, {"aa0": "f00", "aa2": "f02"}) == SET
    assert placed(SET, {}) is SET


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}'])
def test_garbage_is_no_manifest(content: bytes) -> None:
    with pytest.raises(Unreadable, match="not a manifest"):
        read(content)


@pytest.mark.parametrize("end", [2, 100, 500])
def test_a_truncated_one_is_none(end: int) -> None:
    with pytest.raises(Unreadable):
        read(written(SET)[:-end])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((DUMP, ROLES), ()),
        ((ROLES, DUMP), ()),
        ((DUMP,), ("/db/globals.sql is missing",)),
        ((DUMP, ROLES, TREE), ("/uploads is not in the manifest",)),
        ((replace(DUMP, size=1000), ROLES), ("/db/shop.dump has 1000 bytes instead of 2048",)),
        ((replace(DUMP, sha256="dd" * 32), ROLES), ("/db/shop.dump has another content: sha256 dddddddddddd instead of aaaaaaaaaaaa",)),
        ((replace(DUMP, files=1), ROLES), ("/db/shop.dump has 1 files instead of 0",)),
        ((replace(DUMP, rows={"public.orders": 11}), ROLES), ("/db/shop.dump: public.orders has 11 rows instead of 12",)),
        ((replace(DUMP, rows={}), ROLES), ("/db/shop.dump: public.orders has no rows instead of 12",)),
        ((replace(DUMP, rows={"public.orders": 12, "x": 0}), ROLES), ("/db/shop.dump: x has 0 rows instead of none",)),
    ],
)  # fmt: skip
def test_what_differs_is_named(found: tuple[Part, ...], said: tuple[str, ...]) -> None:
    assert differences((DUMP, ROLES), found) == said
