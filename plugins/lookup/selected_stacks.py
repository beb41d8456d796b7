# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which stacks this run is about."""

from __future__ import annotations

DOCUMENTATION = r"""
name: selected_stacks
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: The stacks of a host that this run is about
description:
  - Returns the entries of the host's list C(stacks), checked.
  - When C(stacks) is a string, as in C(-e stacks=calminer,shop), it names a selection. The list itself is then read
    from the inventory below the extra variable that hides it.
options:
  _terms:
    description: Names to select, or nothing for what the variable C(stacks) says.
    required: false
    type: list
    elements: str
  optional:
    description: Whether stacks that only run where they are named belong to it, as for what takes everything down.
    type: bool
    default: false
notes:
  - Each entry is V({name, role}) for a role of this collection (or any role by its full name), or V({name, compose})
    for a Compose file, with the optional keys C(overrides), C(variables), C(secrets) and C(profiles).
  - A stack with V(wanted=false) is left out of every run that does not name it.
  - A relative path of a Compose file starts from the working directory, or else from the inventory's folder.
  - All that is wrong with the list is said at once.
  - A name that only another host of the inventory has selects nothing here. A name that no host has is refused.
"""

EXAMPLES = r"""
- name: Say what runs here
  ansible.builtin.debug:
    msg: "{{ query('quaylock.stacks.selected_stacks') | map(attribute='name') }}"

# stacks:
#   - {name: calminer, role: calminer}
#   - {name: shop, compose: stacks/shop/compose.yaml, variables: {SHOP_TAG: "1.4.2"}}
#   - {name: lakehouse, role: lakehouse, wanted: false}
"""

RETURN = r"""
_raw:
  description: The selected entries in the inventory's order.
  type: list
  elements: dict
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.vars.manager import VariableManager

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
ROLE = re.compile(r"[A-Za-z_][\w.]*\Z")
KEYS = {
    "name": str,
    "role": str,
    "compose": (str, list),
    "overrides": list,
    "variables": dict,
    "secrets": dict,
    "profiles": list,
    "wanted": bool,
}
ONLY_COMPOSE = ("overrides", "variables", "secrets", "profiles")


def findings(stacks: object) -> list[str]:
    """Everything that is wrong with the inventory's list, one line each."""
    if not isinstance(stacks, Sequence) or isinstance(stacks, (str, bytes)):
        return [f"stacks: a list is wanted, this is {stacks!r}"]
    found: list[str] = []
    seen: dict[str, int] = {}
    for index, entry in enumerate(stacks):
        where = f"stacks[{index}]"
        if not isinstance(entry, Mapping):
            found.append(f"{where}: a mapping with name and role or compose is wanted, this is {entry!r}")
            continue
        name = entry.get("name")
        if not isinstance(name, str) or not NAME.match(name):
            found.append(f"{where}.name: {name!r} is no stack name (small letters, digits, _ and -; not _ or - first)")
        elif name in seen:
            found.append(f"{where}.name: {name} is already the name of stacks[{seen[name]}]")
        else:
            seen[name] = index
            where = f"stacks[{index}] ({name})"
        found += [f"{where}: unknown key {key!r}; known: {', '.join(KEYS)}" for key in entry if key not in KEYS]
        if ("role" in entry) == ("compose" in entry):
            found.append(f"{where}: exactly one of role and compose is wanted")
        found += [
            f"{where}.{key}: {_words(KEYS[key])} is wanted, this is {entry[key]!r}"
            for key in entry
            if key in KEYS and key != "name" and not isinstance(entry[key], KEYS[key])  # type: ignore[arg-type]
        ]
        role = entry.get("role")
        if isinstance(role, str):
            if not ROLE.match(role):
                found.append(f"{where}.role: {role!r} is not the name of a role")
            extra = [key for key in ONLY_COMPOSE if key in entry]
            found += [f"{where}.{key}: belongs to compose; a role has variables of its own" for key in extra]
    return found


def select(stacks: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The entries that are named, in the inventory's order, and the names that this list does not have."""
    known = [entry["name"] for entry in stacks]
    return [entry for entry in stacks if entry["name"] in wanted], [name for name in wanted if name not in known]


def always(stacks: Sequence[Mapping[str, Any]], optional: bool = False) -> list[Mapping[str, Any]]:
    """The entries of a run that names none."""
    return [entry for entry in stacks if optional or entry.get("wanted", True)]


def names_of(selection: str) -> list[str]:
    return [name for name in (part.strip() for part in selection.split(",")) if name]


def located(stacks: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries with their Compose files as absolute paths, and what is in none of the folders."""
    found: list[str] = []

    def place(name: str, key: str, path: object) -> object:
        if not isinstance(path, str):
            return path
        tries = [os.path.join(folder, os.path.expanduser(path)) for folder in folders]
        if there := [each for each in tries if os.path.isfile(each)]:
            return os.path.abspath(there[0])
        found.append(f"{name}.{key}: there is no file {path}; looked for {' and '.join(dict.fromkeys(tries))}")
        return path

    answer = []
    for entry in stacks:
        entry = dict(entry)
        for key in ("compose", "overrides"):
            if key in entry:
                paths = entry[key] if isinstance(entry[key], list) else [entry[key]]
                entry[key] = [place(str(entry["name"]), key, path) for path in paths]
        answer.append(entry)
    return answer, found


def _words(kind: object) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(
        {"str": "a string", "list": "a list", "dict": "a mapping", "bool": "true or false"}[k.__name__] for k in kinds
    )


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        wanted = [name for term in terms for name in names_of(term)]
        stacks = self._templar.template(variables["stacks"]) if "stacks" in variables else None
        host = variables.get("inventory_hostname", "this host")
        if isinstance(stacks, str):
            wanted = wanted or names_of(stacks)
            if not wanted:
                raise AnsibleError("-e stacks= names no stack; leave it out for all of them")
            stacks = self._listed(variables, host)
        if stacks is None:
            raise AnsibleError(
                f"{host}: no variable stacks says what runs here (group_vars/all/main.yml; [] for nothing)"
            )
        if wrong := findings(stacks):
            raise AnsibleError(f"{host}: the list stacks is refused:\n" + "\n".join(f"  {line}" for line in wrong))
        chosen, absent = select(stacks, wanted) if wanted else (always(stacks, self.get_option("optional")), [])
        # A stack of another host is no mistake: with several hosts, each takes its own part of the selection.
        if absent and (unknown := [name for name in absent if name not in (known := self._known_anywhere(variables))]):
            raise AnsibleError(f"no host has a stack named {', '.join(unknown)}; known: {', '.join(known) or 'none'}")
        chosen, missing = located(chosen, [os.getcwd(), str(variables.get("inventory_dir") or os.getcwd())])
        if missing:
            raise AnsibleError(f"{host}: the list stacks is refused:\n" + "\n".join(f"  {line}" for line in missing))
        return chosen

    def _known_anywhere(self, variables: dict[str, Any]) -> list[str]:
        hosts = [host.name for host in variables["hostvars"]._inventory.get_hosts(pattern="all")]
        entries = (entry for host in hosts for entry in self._listed(variables, host) or [])
        return sorted({str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry})

    def _listed(self, variables: dict[str, Any], name: str) -> Any:
        """A host's `stacks` as if no extra variable had been given: an extra variable hides every other."""
        hostvars = variables["hostvars"]
        inventory, loader = hostvars._inventory, hostvars._loader
        below = VariableManager(loader=loader, inventory=inventory)
        below._extra_vars = {}
        found = below.get_vars(host=inventory.get_host(name), include_hostvars=False)
        if "stacks" not in found:
            return None
        templar = self._templar.copy_with_new_env(available_variables={**found, "hostvars": hostvars})
        return templar.template(found["stacks"])
