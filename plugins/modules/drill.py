#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prove a set: restore it beside its stack, compare it, and have it healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drill
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Restore a set beside its stack, and tell whether it is what it says
description:
  - Restores a set into volumes and containers of its own, on a network without a way out, compares every item with the
    manifest, and asks the health checks of the services that keep the data, and of those in
    C(x-quaylock.backup.drill). Then all of it is removed again. The stack itself goes on meanwhile.
  - What was found out is kept beside the set in the repository. Retention removes nothing that no newer proven set
    replaces.
options:
  name:
    description: The stack.
    type: str
    required: true
  set:
    description: The set's id, or V(latest).
    type: str
    default: latest
extends_documentation_fragment:
  - quaylock.stacks.host
  - quaylock.stacks.host.config
  - quaylock.stacks.host.state
  - quaylock.stacks.host.settings
  - quaylock.stacks.host.asked
attributes:
  check_mode:
    support: full
    description: It says what would be restored.
  diff_mode:
    support: full
    description: There is never a difference.
"""

EXAMPLES = r"""
- name: Prove the newest set
  quaylock.stacks.drill:
    name: calminer
"""

RETURN = r"""
set:
  description: The set's id.
  returned: always
  type: str
outcome:
  description: V(proven), V(failed), V(planned) or V(refused).
  returned: always
  type: str
at:
  description: When it ended, in seconds since the epoch.
  returned: when it was tried
  type: float
rto:
  description: Seconds from the repository to services that are healthy with the data.
  returned: when it was tried
  type: float
rpo:
  description: Age of the set in seconds when the drill began, which is what a disaster would have lost.
  returned: when it was tried
  type: float
checks:
  description: Each with C(what), C(ok) and C(said).
  returned: when it was tried
  type: list
  elements: dict
notes:
  description: What could not be written down.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import vault_in
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
    "set": {"type": "str", "default": "latest"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    request = backup_request(params, "make a new set, and drill that")
    with answering(module):
        vault = vault_in(params["settings"], params["state_dir"])
        answer = drill.drill(request, vault, params["set"], module.check_mode)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
