# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Placeholders are named by their path, and only where they stand."""

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.lookup.placeholders import places

CASES = [
    # name             variables                                          paths
    ("plain", {"a": "CHANGE_THIS"}, ["a"]),
    ("inside a text", {"url": "postgres://u:CHANGE_THIS@db"}, ["url"]),
    ("nested", {"a": {"b": ["x", "CHANGE_THIS"]}}, ["a.b[1]"]),
    ("a reference is none", {"a": "{{ vault_a }}", "vault_a": "CHANGE_THIS"}, ["vault_a"]),
    ("filled in", {"a": "secret", "n": 3, "b": None, "t": True}, []),
    ("a key is none", {"CHANGE_THIS": "x"}, []),
]


@pytest.mark.parametrize(("variables", "paths"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_placeholders_are_found_where_they_stand(variables, paths):
    assert list(places(variables, "", ("CHANGE_THIS",))) == paths
