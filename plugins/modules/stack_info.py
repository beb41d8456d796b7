#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stacks are right now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_info
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Services, health, replicas, release and URLs of stacks on a host
description:
  - Reads the engine, the proxy and the journal. It changes nothing.
  - With O(watch) the action plugin of the same name asks again and again, and shows a board in the terminal.
options:
  name:
    description: The stack. Every stack that the host's journal knows when it is empty.
    type: str
    default: ""
  detailed:
    description: Also tell containers' releases, the kept releases, and the last rollouts with what went wrong.
    type: bool
    default: false
  watch:
    description: Keep looking, and show what changes, until it is interrupted or O(watch_for) is over.
    type: bool
    default: false
  watch_for:
    description: Seconds to watch; 0 until interrupted.
    type: float
    default: 0
  interval:
    description: Seconds between two looks.
    type: float
    default: 2
extends_documentation_fragment:
  - quaylock.stacks.host
  - quaylock.stacks.host.journal
  - quaylock.stacks.host.stacks
  - quaylock.stacks.host.config
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
- name: Look at a stack
  quaylock.stacks.stack_info:
    name: calminer
  register: __calminer
"""

RETURN = r"""
stacks:
  description:
    - One entry per stack, with C(name), C(present), C(healthy), C(in_progress), C(release), C(released_at),
      C(last_rollout), C(backup), C(verification), C(urls) and C(services).
    - C(backup) has C(declared), and of what the journal knows the newest C(set), its C(set_at), the last one that was
      C(proven), C(proven_at), and that drill's C(rto) and C(rpo) in seconds.
    - C(verification) is of the release that serves. It has C(declared), the number of its checks, and of the last time
      that they were asked the C(outcome) (V(verified), V(failed), or nothing), C(at), C(id), how many C(checks) there
      were, and the names of those that C(failed).
    - Each service has C(name), C(image), C(replicas), C(wanted), C(one_shot), C(health), C(restarts), C(routed),
      C(containers) and C(urls).
    - With O(detailed) or O(watch) a stack has C(releases) and C(rollouts) too, and C(log), the log of a rollout that is
      under way.
  returned: always
  type: list
  elements: dict
stack:
  description: The entry of O(name).
  returned: when a name was given
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils import page, status
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Finding, Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import (
    CONFIG_SPEC,
    ENGINE_SPEC,
    JOURNAL_SPEC,
    STACKS_SPEC,
    STATE_SPEC,
    answering,
    request_of,
    require_sdk,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.request import limits

MIN_INTERVAL = 0.5

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    **JOURNAL_SPEC,
    **STACKS_SPEC,
    **CONFIG_SPEC,
    **STATE_SPEC,
    "name": {"type": "str", "default": ""},
    "detailed": {"type": "bool", "default": False},
    "watch": {"type": "bool", "default": False},
    "watch_for": {"type": "float", "default": 0},
    "interval": {"type": "float", "default": 2},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    with answering(module):
        if params["interval"] < MIN_INTERVAL or params["watch_for"] < 0:
            least = f"{MIN_INTERVAL} at least"
            raise Invalid(
                (Finding("interval, watch_for", "they are seconds", f"interval {least}, watch_for 0 or more"),)
            )
        if refused := limits(request_of(params, "")):
            raise Invalid(refused)
        names = [params["name"]] if params["name"] else status.stacks(request_of(params, ""))
        look = page.detailed if params["detailed"] or params["watch"] else status.status
        found = [look(request_of(params, name), params["entrypoints"], params["host"]) for name in names]
        answer: dict[str, Any] = {"changed": False, "stacks": found}
        if params["name"]:
            answer["stack"] = found[0]
        module.exit_json(**answer)


if __name__ == "__main__":
    main()
