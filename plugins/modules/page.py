#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's page."""

from __future__ import annotations

DOCUMENTATION = r"""
module: page
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Write a host's page, an HTML file that shows its stacks, rollouts and releases
description:
  - Each rollout writes the page by itself; this writes it now, and tells the host under which name and through which
    entrypoints its services are reached.
  - The page is one file without scripts or anything from elsewhere. It replaces the one before it atomically.
options:
  path:
    description: The file.
    type: str
    default: /var/lib/quaylock/page/index.html
extends_documentation_fragment:
  - quaylock.stacks.host
  - quaylock.stacks.host.journal
  - quaylock.stacks.host.stacks
  - quaylock.stacks.host.config
  - quaylock.stacks.host.state
attributes:
  check_mode:
    support: full
    description: Nothing is written.
  diff_mode:
    support: none
    description: The page has the time in it, so it is always another one.
"""

EXAMPLES = r"""
- name: Write the page
  quaylock.stacks.page:
    host: shop.example.org
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils import page
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

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    **JOURNAL_SPEC,
    **STACKS_SPEC,
    **CONFIG_SPEC,
    **STATE_SPEC,
    "path": {"type": "str", "default": "/var/lib/quaylock/page/index.html"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    request = request_of(params, "")
    path = params["path"]
    with answering(module):
        found = list(limits(request))
        if not path.startswith("/"):
            found.append(Finding("path", f"{path!r} is not an absolute path", "name the file on the host"))
        if found:
            raise Invalid(tuple(found))
        if not module.check_mode:
            wrong = page.write(path, request, params["entrypoints"], params["host"])
            if wrong:
                module.fail_json(msg=wrong)
        # it has the time in it, so that saying changed each time would say nothing
        module.exit_json(changed=False, path=path)


if __name__ == "__main__":
    main()
