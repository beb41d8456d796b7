# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which secrets of a host are the same."""

from __future__ import annotations

DOCUMENTATION = r"""
name: repeated_secrets
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: The secrets of a host that have the same value
description:
  - Returns the paths of the host's variables whose name has one of the prefixes and whose value another one of them
    has, too, never the values. One line for each value, its paths joined with C(and).
  - Empty values, values without letters and digits, and placeholders are none.
options:
  _terms:
    description: Prefixes of names.
    required: true
    type: list
    elements: str
  placeholder:
    description: The text that stands for a value which is still to be given.
    type: str
    default: CHANGE_THIS
"""

EXAMPLES = r"""
- name: Show what opens more than one door
  ansible.builtin.debug:
    msg: "{{ query('quaylock.stacks.repeated_secrets', 'vault_') }}"
"""

RETURN = r"""
_raw:
  description: Such as V(vault_shop_db_password and vault_shop_admin_password), in alphabetical order.
  type: list
  elements: str
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase


def values(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every text below `path`, with its own path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from values(inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from values(inner, f"{path}[{index}]")
    elif not isinstance(value, (bool, type(None))):
        yield path, str(value)


def repeated(variables: Mapping[str, Any], prefixes: tuple[str, ...], placeholder: str) -> list[str]:
    seen: dict[str, list[str]] = {}
    for name in sorted(variables):
        if name.startswith(prefixes):
            for path, text in values(variables[name], name):
                seen.setdefault(text, []).append(path)
    return sorted(
        " and ".join(paths)
        for text, paths in seen.items()
        if len(paths) > 1 and placeholder not in text and any(letter.isalnum() for letter in text)
    )


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        return repeated(variables or {}, tuple(terms), str(self.get_option("placeholder")))
