# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What drills say of sets, in writing and together."""

from __future__ import annotations

import json

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import proof
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Unreadable
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.proof import Check, Proof


def one(name: str, at: float, ok: bool = True) -> Proof:
    return Proof(name, "shop", "web-1", at, ok, 12.5, 3600.0, (Check("item db", ok, "7 rows"),), "timer")


def test_it_is_read_as_it_was_written() -> None:
    made = one("s-1", 100.0, False)
    assert proof.read(proof.written(made)) == made
    assert made.failures == ("item db: 7 rows",)
    assert one("s-1", 100.0).failures == ()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": 1}', json.dumps({"format": 2, "checks": []}).encode()]
)
def test_what_is_no_proof_is_refused(content: bytes) -> None:
    with pytest.raises(Unreadable):
        proof.read(content)


@pytest.mark.parametrize(
    ("said", "proven"),
    [
        ([], {}),
        ([one("a", 1)], {"a": 1}),
        ([one("a", 1), one("a", 5)], {"a": 5}),
        ([one("a", 5, False), one("a", 1)], {}),
        ([one("a", 1, False), one("a", 5), one("b", 2, False)], {"a": 5}),
    ],
)
def test_the_last_word_counts(said: list[Proof], proven: dict[str, float]) -> None:
    assert proof.proven(said, 10.0) == proven


def test_a_drill_from_the_future_has_no_word() -> None:
    ahead = one("a", 90000.0)
    assert proof.proven([one("a", 1, False), ahead], 10.0) == {}
    assert proof.proven([one("a", 1), ahead, one("a", 2, False)], 10.0) == {}
    assert proof.proven([one("a", 5), ahead], 10.0) == {"a": 5}
