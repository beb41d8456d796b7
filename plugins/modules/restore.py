#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A set back into its stack, or items of it as files in a folder of the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Put a set back into its stack, or items of it into a folder
description:
  - Without O(to) the set goes back into its stack. It is restored beside the stack first, on a network without a way
    out, and compared with its manifest; only then the stack stops, its data is exchanged, and it is rolled out behind
    its gates. One-shots run again. Where the stack does not become healthy, it gets its own data back.
  - What is replaced is kept, and RV(kept) says where. A run that is killed is undone by the next rollout or backup.
  - On a host that has no release of the stack, it is rolled out as the set knows it, with its secrets and configs.
  - With O(to) items are written into folders that are named after them, each whole or not at all, and compared; nothing
    else is touched. Dumps of databases come as files for C(pg_restore), with C(globals.sql) for the roles.
options:
  name:
    description: The stack.
    type: str
    required: true
  set:
    description:
      - The set's id, or V(latest), or V(restore-point), which is the one that was taken before anything changed what
        O(release) had left (C(x-quaylock.backup_before)).
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
    default: ""
  stop:
    description: The stack may be stopped. Otherwise a stack that runs is refused.
    type: bool
    default: false
  release:
    description: The kept release that the stack is rolled out as, by its id or V(previous); the serving one by default.
    type: str
    default: ""
extends_documentation_fragment:
  - quaylock.stacks.host
  - quaylock.stacks.host.journal
  - quaylock.stacks.host.stacks
  - quaylock.stacks.host.config
  - quaylock.stacks.host.state
  - quaylock.stacks.host.settings
  - quaylock.stacks.host.asked
attributes:
  check_mode:
    support: full
    description: It says what would be restored, and refuses what cannot be.
  diff_mode:
    support: full
    description: There is never a difference.
"""

EXAMPLES = r"""
- name: Bring the stack back to last night
  quaylock.stacks.restore:
    name: calminer
    stop: true

- name: Look into the database of last night
  quaylock.stacks.restore:
    name: calminer
    items: [database]
    to: /srv/scratch

- name: Return to a release with the data that it had left
  quaylock.stacks.restore:
    name: calminer
    release: previous
    set: restore-point
    stop: true
"""

RETURN = r"""
set:
  description: The set's id.
  returned: always
  type: str
restore:
  description: The restore's id, which ends the names of what it kept.
  returned: when a stack was restored
  type: str
items:
  description: With O(to), each with C(name), C(type), C(size) in bytes and C(path).
  returned: with O(to)
  type: list
  elements: dict
at:
  description: The moment that the set shows, in seconds since the epoch.
  returned: with O(to)
  type: float
outcome:
  description: V(restored), V(planned), V(refused) or V(rolled back).
  returned: always
  type: str
checks:
  description: Each with C(what), C(ok) and C(said), as it was beside the stack.
  returned: when a stack was restored
  type: list
  elements: dict
kept:
  description: Volumes, files and folders that hold what was replaced, until somebody removes them.
  returned: when a stack was restored
  type: list
  elements: str
seconds:
  description: From the beginning to a stack that is healthy.
  returned: when a stack was restored
  type: float
stopped:
  description: Seconds of these in which the stack did not serve.
  returned: when a stack was restored
  type: float
notes:
  description: What was found and mended first.
  returned: when a stack was restored
  type: list
  elements: str
"""

from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract, restoring
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import vault_in
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import (
    ASKED_SPEC,
    CONFIG_SPEC,
    ENGINE_SPEC,
    JOURNAL_SPEC,
    SETTINGS_SPEC,
    STACKS_SPEC,
    STATE_SPEC,
    answering,
    asker,
    request_of,
    require_sdk,
)

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    **JOURNAL_SPEC,
    **STACKS_SPEC,
    **CONFIG_SPEC,
    **STATE_SPEC,
    **SETTINGS_SPEC,
    **ASKED_SPEC,
    "name": {"type": "str", "required": True},
    "set": {"type": "str", "default": "latest"},
    "items": {"type": "list", "elements": "str", "default": []},
    "to": {"type": "path", "default": ""},
    "stop": {"type": "bool", "default": False},
    "release": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    if not params["to"]:
        require_sdk(module)
    with answering(module):
        vault = vault_in(params["settings"], params["state_dir"])
        if params["to"]:
            answer = extract.extract(
                vault, params["name"], params["set"], params["items"], params["to"], module.check_mode
            )
        else:
            request = replace(
                request_of(params, params["name"]),
                who=asker(params),
                wait=params["wait"],
                release=params["release"],
                again="mend that, then restore it again",
                backup_settings=params["settings"],
            )
            choice = restoring.Choice(params["set"], tuple(params["items"]), params["stop"])
            answer = restoring.restore(request, vault, choice, module.check_mode)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
