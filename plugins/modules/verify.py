#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask the checks that a stack declares of what serves now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Ask the checks of a stack, and keep the evidence
description:
  - Asks what the release that serves declares in C(x-quaylock.verify), side by side and bounded in time, and keeps what
    was asked and what came back in the host's journal, without the contents of secrets.
  - A rollout does so by itself. This module does it at any other time; it never undoes a release.
  - It fails where a check does not pass.
options:
  name:
    description: The stack.
    type: str
    required: true
  wait:
    description: Seconds to wait for somebody who works on the stack.
    type: float
    default: 0
  who:
    description: Who is asking, for the journal. The user of this host by default.
    type: str
    default: ""
  again:
    description: The command to run after a failure was mended, for the message.
    type: str
    default: correct it, then verify again
  config_dir:
    description: Where rendered stacks are.
    type: path
    default: /etc/quaylock
  state_dir:
    description: Where the journal and the locks are.
    type: path
    default: /var/lib/quaylock
extends_documentation_fragment:
  - quaylock.stacks.host
attributes:
  check_mode:
    support: full
    description: It lists what would be asked, and asks nothing.
  diff_mode:
    support: full
    description: There is never a difference.
"""

EXAMPLES = r"""
- name: Verify a stack
  quaylock.stacks.verify:
    name: calminer
"""

RETURN = r"""
outcome:
  description: V(verified), V(failed), V(planned) in check mode, or V(refused).
  returned: always
  type: str
release:
  description: The release that was asked.
  returned: when it was asked
  type: str
id:
  description: The verification's id in the journal.
  returned: when it was asked
  type: str
at:
  description: When it ended, in seconds since the epoch.
  returned: when it was asked
  type: float
seconds:
  description: How long it took.
  returned: when it was asked
  type: float
checks:
  description: >-
    Each with C(name), C(kind), C(outcome) (passed, failed, or not asked), C(asked), C(said) where it did not pass,
    C(output) in short, C(values), C(seconds) and C(tries). In check mode with C(name) and C(asked).
  returned: when there are any
  type: list
  elements: dict
failed_checks:
  description: The names of those that did not pass.
  returned: when it was asked
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils import verify
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import ENGINE_SPEC, answering, require_sdk
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    "name": {"type": "str", "required": True},
    "wait": {"type": "float", "default": 0},
    "who": {"type": "str", "default": ""},
    "again": {"type": "str", "default": "correct it, then verify again"},
    "config_dir": {"type": "path", "default": "/etc/quaylock"},
    "state_dir": {"type": "path", "default": "/var/lib/quaylock"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    request = Request(
        name=params["name"],
        who=params["who"] or os.environ.get("SUDO_USER") or os.environ.get("USER") or "root",
        wait=params["wait"],
        again=params["again"],
        state_dir=params["state_dir"],
        config_dir=params["config_dir"],
        docker_host=params["docker_host"],
    )
    with answering(module):
        answer = verify.verify(request, module.check_mode)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
