# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secrets that are the same are named by their paths, never by what they are."""

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.lookup.repeated_secrets import repeated

CASES = [
    # name               variables                                                    what is said
    ("different", {"vault_a": "one", "vault_b": "two"}, []),
    ("the same", {"vault_b": "one", "vault_a": "one"}, ["vault_a and vault_b"]),
    ("three", {"vault_a": "x", "vault_b": "x", "vault_c": {"d": ["x"]}}, ["vault_a and vault_b and vault_c.d[0]"]),
    ("two pairs", {"vault_a": "x", "vault_b": "y", "vault_c": "y", "vault_d": "x"}, ["vault_a and vault_d", "vault_b and vault_c"]),
    ("a variable that refers to one", {"vault_a": "one", "shop_password": "one"}, []),
    ("nothing yet", {"vault_a": "", "vault_b": "", "vault_c": {}, "vault_d": {}}, []),
    ("placeholders are somebody else's finding", {"vault_a": "CHANGE_THIS", "vault_b": "CHANGE_THIS"}, []),
    ("switches", {"vault_a": True, "vault_b": True, "vault_c": None, "vault_d": None}, []),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_secrets_that_are_the_same_are_named(variables, said):
    assert repeated(variables, ("vault_",), "CHANGE_THIS") == said
