#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Items of a set as files in a folder of the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Put items of a set into a folder, compared with the manifest
description:
  - Writes items of a set into folders of O(to) that are named after them, each whole or not at all, and compares them
    with what the manifest says of them. It touches nothing else, and no stack.
  - Dumps of databases come as files for C(pg_restore), with C(globals.sql) for the roles.
options:
  name:
    description: The stack.
    type: str
    required: true
  set:
    description: The set's id, or V(latest).
    type: str
    default: latest
  items:
    description: Names of items; all of them by default.
    type: list
    elements: str
    default: []
  to:
    description: A folder. It must not have a folder of any of the items' names.
    type: path
    required: true
  settings:
    description: The file with the host's backup settings, in JSON.
    type: path
    default: /etc/quaylock/backup/settings.json
  state_dir:
    description: Where manifests that were read are kept.
    type: path
    default: /var/lib/quaylock
requirements:
  - restic >= 0.14
attributes:
  check_mode:
    support: full
    description: It says what would be written, and refuses what cannot be.
  diff_mode:
    support: full
    description: There is never a difference.
"""

EXAMPLES = r"""
- name: Look into the database of last night
  quaylock.stacks.restore:
    name: calminer
    items: [database]
    to: /srv/scratch
"""

RETURN = r"""
set:
  description: The set's id.
  returned: always
  type: str
at:
  description: The moment that the set shows, in seconds since the epoch.
  returned: always
  type: float
items:
  description: Each with C(name), C(type), C(size) in bytes and C(path).
  returned: always
  type: list
  elements: dict
outcome:
  description: V(restored), V(planned) or V(refused).
  returned: always
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import vault_in
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import answering

SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "set": {"type": "str", "default": "latest"},
    "items": {"type": "list", "elements": "str", "default": []},
    "to": {"type": "path", "required": True},
    "settings": {"type": "path", "default": "/etc/quaylock/backup/settings.json"},
    "state_dir": {"type": "path", "default": "/var/lib/quaylock"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    with answering(module):
        vault = vault_in(params["settings"], params["state_dir"])
        answer = extract.extract(vault, params["name"], params["set"], params["items"], params["to"], module.check_mode)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
