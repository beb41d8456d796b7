# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which variables still hold a placeholder."""

from __future__ import annotations

DOCUMENTATION = r"""
name: placeholders
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: The variables of a host that still hold a placeholder
description:
  - Returns the paths of all variables of the host whose own text has the placeholder in it, never their values.
  - A variable that only refers to such a variable is not named.
options:
  _terms:
    description: The placeholder.
    required: true
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show what is still to be filled in
  ansible.builtin.debug:
    msg: "{{ query('quaylock.stacks.placeholders', 'CHANGE_THIS') }}"
"""

RETURN = r"""
_raw:
  description: Paths such as V(vault_calminer_db_password) or V(shop.tokens[0]), in alphabetical order.
  type: list
  elements: str
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

# What Ansible adds by itself: other hosts' variables, facts, results.
NOT_OURS = ("hostvars", "groups", "vars", "environment", "ansible_facts", "ansible_local")


def places(value: object, path: str, words: tuple[str, ...]) -> Iterator[str]:
    """Paths below `path` whose text has one of the words in it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from places(inner, f"{path}.{key}" if path else str(key), words)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from places(inner, f"{path}[{index}]", words)
    elif not isinstance(value, (bool, int, float, type(None))) and any(word in str(value) for word in words):
        yield path


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        ours = {
            name: value
            for name, value in (variables or {}).items()
            if name not in NOT_OURS and not name.startswith(("ansible_", "_", "preflight_"))
        }
        return sorted(places(ours, "", tuple(terms)))
