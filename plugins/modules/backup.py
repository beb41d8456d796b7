#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a set, one consistent backup of a whole stack or nothing; verify one, or remove those that retention lets go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Back up a stack as one set, or not at all; verify sets, and remove old ones
description:
  - Makes a set of everything that the serving release of a stack declares under C(x-quaylock.backup), in a restic
    repository. See C(docs/backups.md).
  - Writers hold still together for a moment, in which every item is frozen, and go on before anything is streamed.
    Everything is read back and compared before the manifest is written, which makes it a set.
  - Whatever goes wrong, the writers go on, and nothing of it stays in the repository. A run that was killed is cleared
    away by the next one, and by the next rollout of the stack.
options:
  name:
    description: The stack.
    type: str
    required: true
  action:
    description:
      - V(make) makes a set. V(verify) reads O(set) from the repository to its last byte and compares it with its
        manifest. V(prune) removes the sets that the retention in O(settings) lets go, and what only they held.
    type: str
    choices: [make, verify, prune]
    default: make
  set:
    description: The set to verify, by its id or V(latest).
    type: str
    default: latest
  pin:
    description: Why the set is to stay whatever its age; it is not pinned by default.
    type: str
    default: ""
extends_documentation_fragment:
  - quaylock.stacks.host
  - quaylock.stacks.host.config
  - quaylock.stacks.host.state
  - quaylock.stacks.host.settings
  - quaylock.stacks.host.asked
requirements:
  - boto3 where a stack has an item of the type C(bucket)
attributes:
  check_mode:
    support: full
    description: It says what the set would hold, and refuses what cannot be backed up.
  diff_mode:
    support: full
    description: There is never a difference; the plan is in RV(plan).
"""

EXAMPLES = r"""
- name: Back CalMiner up
  quaylock.stacks.backup:
    name: calminer
  register: __backup

- name: Read the newest one to its last byte
  quaylock.stacks.backup:
    name: calminer
    action: verify

- name: Keep one for good
  quaylock.stacks.backup:
    name: calminer
    pin: before the move to the new data centre
"""

RETURN = r"""
set:
  description: The set's id.
  returned: when one was begun
  type: str
  sample: s-20261121-020003-4f1a
outcome:
  description:
    - V(made), V(failed), V(incomplete), V(planned) or V(refused) of a set that is made; V(whole) or V(damaged) of one
      that is verified; V(kept) after sets were removed.
  returned: always
  type: str
plan:
  description: The items, C(+) where they are taken anew and C(=) where an earlier set's is not due yet.
  returned: unless it was refused
  type: list
  elements: str
items:
  description:
    - Each with C(name), C(type), C(size) in bytes and C(set), the one that it was taken for; of a set that is verified
      with C(name), C(ok) and C(said).
  returned: when a set was made or verified
  type: list
  elements: dict
fates:
  description: Each set with C(id), C(stays) and C(why).
  returned: when sets are removed
  type: list
  elements: dict
size:
  description: Bytes of all items, as they are and not as they are stored.
  returned: when a set was made
  type: int
quiet:
  description: Seconds in which writers held still.
  returned: when a set was made
  type: float
at:
  description: The moment that the set shows, in seconds since the epoch.
  returned: when a set was made
  type: float
warnings:
  description: What is odd about an item, such as a bucket that is empty and was not before.
  returned: when a set was made
  type: list
  elements: str
notes:
  description: What was found and mended first, and what could not be put back.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import keeping, run, verifying
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import settings_in, vault_in
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import (
    ASKED_SPEC,
    CONFIG_SPEC,
    ENGINE_SPEC,
    SETTINGS_SPEC,
    STATE_SPEC,
    answering,
    backup_request,
    require_sdk,
)

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    **CONFIG_SPEC,
    **STATE_SPEC,
    **SETTINGS_SPEC,
    **ASKED_SPEC,
    "name": {"type": "str", "required": True},
    "action": {"type": "str", "choices": ["make", "verify", "prune"], "default": "make"},
    "set": {"type": "str", "default": "latest"},
    "pin": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    request = backup_request(params, "mend that, then back it up again")
    with answering(module):
        vault = vault_in(params["settings"], params["state_dir"])
        if params["action"] == "verify":
            answer = verifying.verify(vault, request.name, params["set"])
        elif params["action"] == "prune":
            rule = settings_in(params["settings"]).of(request.name).rule
            answer = keeping.keep(request, vault, rule, module.check_mode)
        else:
            answer = run.back_up(request, vault, params["pin"], module.check_mode)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
