#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sets in a host's repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Sets of a host's stacks, with what they hold
description:
  - Lists the host's sets in its repository, the newest first; those of other hosts where it has none, as after a
    disaster. It changes nothing.
options:
  name:
    description: The stack; all of them by default.
    type: str
    default: ""
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
    description: It only reads.
  diff_mode:
    support: full
    description: There is never a difference.
"""

EXAMPLES = r"""
- name: List what can be restored
  quaylock.stacks.backup_info:
    name: calminer
  register: __sets
"""

RETURN = r"""
sets:
  description:
    - Each with C(id), C(stack), C(host), C(at), C(release), C(items), C(size), C(quiet), C(still), C(pinned), C(who)
      and C(warnings).
    - C(proven) says when a drill restored it last, in seconds since the epoch, 0 for never; C(drill) has that drill's
      C(ok), C(rto), C(rpo) and C(failures), where there was one.
  returned: always
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import shown, vault_in
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import answering

SPEC: dict[str, Any] = {
    "name": {"type": "str", "default": ""},
    "settings": {"type": "path", "default": "/etc/quaylock/backup/settings.json"},
    "state_dir": {"type": "path", "default": "/var/lib/quaylock"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    with answering(module):
        vault = vault_in(module.params["settings"], module.params["state_dir"])
        proofs = vault.proofs(module.params["name"])
        sets = [shown(manifest, proofs) for manifest in vault.offered(module.params["name"])]
    module.exit_json(changed=False, sets=sets)


if __name__ == "__main__":
    main()
