#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The releases of a stack that a host keeps."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Kept releases of a stack, one of them in full, or what tells two of them apart
description:
  - Reads the journal, and looks whether images, secrets and configs of each kept release are still on the host. It
    changes nothing.
  - Values of environment variables and contents of secrets are never shown, only their names.
options:
  name:
    description: The stack.
    type: str
    required: true
  release:
    description: A release to show in full, by its id, or V(previous) for the one before the serving one.
    type: str
    default: ""
  against:
    description: The release that O(release) is compared with. The serving one by default.
    type: str
    default: ""
extends_documentation_fragment:
  - quaylock.stacks.host
  - quaylock.stacks.host.journal
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
- name: List what can be returned to
  quaylock.stacks.release_info:
    name: calminer
  register: __calminer

- name: Tell what a return would change
  quaylock.stacks.release_info:
    name: calminer
    release: previous
"""

RETURN = r"""
releases:
  description:
    - The kept releases, the serving one first, each with C(id), C(serving), C(at), C(who), C(commit), C(returned_to),
      C(restore_points), C(images), C(can_be_returned_to) and C(missing).
  returned: always
  type: list
  elements: dict
release:
  description:
    - The one that was asked for, with C(id), C(at), C(who), C(asked), C(restore_points), C(services), C(files) and
      C(members).
  returned: when a release was given
  type: dict
differences:
  description: What would change from O(against) to O(release), a line each.
  returned: when a release was given
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils import releases
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Finding, Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.core.releases import chosen, compare
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import (
    ENGINE_SPEC,
    JOURNAL_SPEC,
    STATE_SPEC,
    answering,
    require_sdk,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.host import open_host
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request, limits

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    **JOURNAL_SPEC,
    **STATE_SPEC,
    "name": {"type": "str", "required": True},
    "release": {"type": "str", "default": ""},
    "against": {"type": "str", "default": ""},
}


def info(params: dict[str, Any]) -> dict[str, Any]:
    """The answer. Raises Invalid for a release that is not kept."""
    name, keep = params["name"], params["releases_kept"]
    request = Request(name=name, releases_kept=keep, state_dir=params["state_dir"], docker_host=params["docker_host"])
    if found := limits(request):
        raise Invalid(found)
    if params["against"] and not params["release"]:
        raise Invalid((Finding("against", "there is nothing to compare with it", "name a release as well"),))
    host, journal = open_host(request)
    answer: dict[str, Any] = {"changed": False}
    answer["releases"] = releases.listing(journal, name, keep, host.engine, host.files)
    if params["release"]:
        kept = journal.releases(name, keep)
        wanted = chosen(name, params["release"], kept)
        before = chosen(name, params["against"], kept) if params["against"] else kept[0]
        answer["release"] = releases.shown(wanted)
        pair = (releases.version(before), releases.version(wanted))
        answer["differences"] = [str(difference) for difference in compare(*pair)]
    return answer


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    with answering(module):
        module.exit_json(**info(module.params))


if __name__ == "__main__":
    main()
