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
  host:
    description: The host's name in URLs.
    type: str
    default: localhost
  entrypoints:
    description: The proxy's entrypoints by name, each with C(port), C(address) and C(tls), for the URLs.
    type: dict
    default: {}
  ingress_folder:
    description: The folder of the proxy's configuration and sockets.
    type: path
    default: /var/lib/quaylock/ingress
  ingress_container:
    description: The proxy's container, that of the host's driver where it is empty.
    type: str
    default: ""
  ingress_network:
    description: The network on which the proxy reaches replicas.
    type: str
    default: quaylock_ingress
  releases_kept:
    description: How many releases are kept.
    type: int
    default: 5
  state_dir:
    description: Where the journal and the locks are.
    type: path
    default: /var/lib/quaylock
  config_dir:
    description: Where rendered stacks are.
    type: path
    default: /etc/quaylock
  docker_host:
    description: The engine's address, where it is not the usual socket.
    type: str
    default: ""
requirements:
  - docker >= 7.0.0 (the Python SDK)
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
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import answering, require_sdk
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings, Request, limits

SPEC: dict[str, Any] = {
    "path": {"type": "str", "default": "/var/lib/quaylock/page/index.html"},
    "host": {"type": "str", "default": "localhost"},
    "entrypoints": {"type": "dict", "default": {}},
    "ingress_folder": {"type": "path", "default": "/var/lib/quaylock/ingress"},
    "ingress_container": {"type": "str", "default": ""},
    "ingress_network": {"type": "str", "default": "quaylock_ingress"},
    "releases_kept": {"type": "int", "default": 5},
    "state_dir": {"type": "path", "default": "/var/lib/quaylock"},
    "config_dir": {"type": "path", "default": "/etc/quaylock"},
    "docker_host": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    doors = params["entrypoints"]
    ingress = IngressSettings(
        params["ingress_folder"],
        params["ingress_container"],
        params["ingress_network"],
        {name: int(door.get("port", 0)) for name, door in doors.items()},
    )
    request = Request(
        name="",
        ingress=ingress if doors else None,
        releases_kept=params["releases_kept"],
        state_dir=params["state_dir"],
        config_dir=params["config_dir"],
        docker_host=params["docker_host"],
    )
    path = params["path"]
    with answering(module):
        found = list(limits(request))
        if not path.startswith("/"):
            found.append(Finding("path", f"{path!r} is not an absolute path", "name the file on the host"))
        if found:
            raise Invalid(tuple(found))
        if not module.check_mode:
            wrong = page.write(path, request, doors, params["host"])
            if wrong:
                module.fail_json(msg=wrong)
        # it has the time in it, so that saying changed each time would say nothing
        module.exit_json(changed=False, path=path)


if __name__ == "__main__":
    main()
