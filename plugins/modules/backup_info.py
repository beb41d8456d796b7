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
extends_documentation_fragment:
  - quaylock.stacks.host.settings
  - quaylock.stacks.host.state
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
stacks:
  description:
    - How old the sets of this host are, for each C(stack). C(set) is the newest, C(at) the moment that it shows and
      C(proven_set), C(proven) the same of the newest that a drill restored; C(due) is when the next one is due, 0 for
      at the timer's next call; C(stale) says in words what is too old, and is empty where nothing is.
    - Times are in seconds since the epoch, 0 for never.
  returned: always
  type: list
  elements: dict
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import settings_in, shown, vault_of
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import staleness
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import SETTINGS_SPEC, STATE_SPEC, answering

SPEC: dict[str, Any] = {
    **SETTINGS_SPEC,
    **STATE_SPEC,
    "name": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    with answering(module):
        settings, now, name = settings_in(module.params["settings"]), time.time(), module.params["name"]
        vault = vault_of(settings, module.params["state_dir"])
        offered, proofs = vault.offered(name), vault.proofs(name)
        own = [manifest for manifest in offered if manifest.host == settings.host]
        stacks = []
        for stack in sorted({manifest.stack for manifest in own} | ({name} if name else set())):
            mine = [manifest for manifest in own if manifest.stack == stack]
            seen = staleness.seen(stack, now, mine, [proof for proof in proofs if proof.stack == stack], now)
            stacks.append(staleness.shown(seen, settings.of(stack), now))
    module.exit_json(changed=False, sets=[shown(manifest, proofs) for manifest in offered], stacks=stacks)


if __name__ == "__main__":
    main()
