#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The repositories that a host's backups go to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_repository
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Have a host's backup repositories, and a recovery key in each
description:
  - Makes the repositories that the host's settings name where they are missing. One that is there has to open with the
    host's password, and is never made anew.
  - Adds a second key, whose password the host does not keep, so that the sets outlive the host. The password is handed
    to restic in memory.
options:
  recovery:
    description:
      - The password of the recovery key. It is added to the repositories that have none; one that is there stays.
      - Empty to only say which repositories lack one.
    type: str
    default: ""
extends_documentation_fragment:
  - quaylock.stacks.host.settings
attributes:
  check_mode:
    support: full
    description: It says what would be made, and reads only. Before there are settings it says that all would be.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Have the repositories
  quaylock.stacks.backup_repository:
    recovery: "{{ vault_backup_recovery_password }}"
  no_log: true
"""

RETURN = r"""
made:
  description: The repositories that were made, V(repository) and V(offsite).
  returned: always
  type: list
  elements: str
recovery_added:
  description: Those that have got a recovery key now.
  returned: always
  type: list
  elements: str
recovery_lacking:
  description: Those that have none.
  returned: always
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.repositories import prepare
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import settings_in
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import SETTINGS_SPEC, answering

SPEC: dict[str, Any] = {
    **SETTINGS_SPEC,
    "recovery": {"type": "str", "default": "", "no_log": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    path = module.params["settings"]
    if module.check_mode and not os.path.exists(path):
        module.exit_json(changed=True, made=["repository"], recovery_added=[], recovery_lacking=[])
    with answering(module):
        answer = prepare(settings_in(path), module.params["recovery"], module.check_mode)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
