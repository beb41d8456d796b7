# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two trees have the same digest where a restore could not tell them apart, and no others."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Part
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.tree_digest import (
    FILE,
    FOLDER,
    LINK,
    Disordered,
    Entry,
    Tally,
    relative,
)

ROOT = Entry(b"", FOLDER, 0o755, 0, 0)
A = Entry(b"a", FILE, 0o644, 0, 0, 3, b"aa")
B = Entry(b"b", FILE, 0o644, 0, 0, 4, b"bb")
TREE = [ROOT, A, B]


def part(entries: list[Entry]) -> Part:
    tally = Tally()
    for entry in entries:
        tally.add(entry)
    return tally.part("/t", "id")


def test_a_tree_is_counted_with_its_folders() -> None:
    found = part(TREE)
    assert (found.path, found.snapshot, found.size, found.files) == ("/t", "id", 7, 3)
    assert part([ROOT]).files == 1, "an empty tree is a tree, and no stream"


OTHERS = {
    "as it was": TREE,
    "a name": [ROOT, replace(A, name=b"aa"), B],
    "a name that is no text": [ROOT, replace(A, name=b"a\xe9"), B],
    "a name that ends in a line": [ROOT, replace(A, name=b"a\n"), B],
    "a mode": [ROOT, replace(A, mode=0o600), B],
    "an owner": [ROOT, replace(A, uid=1), B],
    "a group": [ROOT, replace(A, gid=1), B],
    "a size": [ROOT, replace(A, size=30), B],
    "a content": [ROOT, replace(A, content=b"ab"), B],
    "a link instead": [ROOT, replace(A, kind=LINK), B],
    "a folder instead": [ROOT, replace(A, kind=FOLDER), B],
    "one less": [ROOT, A],
    "its own mode": [replace(ROOT, mode=0o700), A, B],
    "a folder around": [ROOT, replace(A, kind=FOLDER, size=0, content=b""), replace(B, name=b"a/b")],
}


@pytest.mark.parametrize(("one", "other"), list(combinations(OTHERS, 2)))
def test_another_tree_has_another_digest(one: str, other: str) -> None:
    assert part(OTHERS[one]).sha256 != part(OTHERS[other]).sha256


@pytest.mark.parametrize(
    ("names", "fine"),
    [
        ("a a/b a/c b", True),
        # a space comes before a slash, and yet the folder's own entries come first
        ("a a/b a.d a.d/e", True),
        ("a/b a", False),
        ("b a", False),
        ("a a", False),
        ("a.d a a/b", False),
    ],
)
def test_entries_come_in_the_order_of_their_names(names: str, fine: bool) -> None:
    entries = [Entry(name.encode(), FOLDER, 0o755, 0, 0) for name in names.split()]
    if fine:
        assert part([ROOT, *entries]).files == len(entries) + 1
    else:
        with pytest.raises(Disordered, match="came after"):
            part([ROOT, *entries])


@pytest.mark.parametrize(
    ("name", "left"),
    [(b"srv/t", b""), (b"srv/t/a/b", b"a/b"), (b"srv/tt", None), (b"srv", None), (b"t/a", None)],
)
def test_a_name_is_taken_relative_to_the_tree(name: bytes, left: bytes | None) -> None:
    assert relative(name, b"srv/t") == left
