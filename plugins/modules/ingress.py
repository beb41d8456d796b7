#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Configure the proxy of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ingress
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Configure the proxy of a host
description:
  - Writes the proxy's configuration and certificates, and keeps what stacks have routed. A proxy that runs takes it up
    without losing anything; what only a restart of Traefik takes changes RV(start), which its container carries.
  - The proxy itself is a container that the role C(ingress) rolls out.
options:
  folder:
    description: The folder on the host. It gets C(conf), and C(run) or C(acme), which the container mounts.
    type: path
    default: /var/lib/quaylock/ingress
  driver:
    description: The proxy.
    type: str
    choices: [haproxy, traefik]
    default: haproxy
  container:
    description: The proxy's container, C(ingress-) and the driver where it is empty.
    type: str
    default: ""
  address:
    description: The proxy's address on its network, where switches are confirmed.
    type: str
    required: true
  entrypoints:
    description: Entrypoints by name, each with C(port), and optionally C(mode), C(tls) and C(redirect).
    type: dict
    required: true
  tls:
    description: How an entrypoint with C(redirect) speaks where it does not say so itself.
    type: str
    choices: ["off", if-certs, enforced]
    default: "off"
  certificates:
    description: Certificates by name, each the PEM text of chain and key. Others in the folder are removed.
    type: dict
    default: {}
  acme:
    description:
      - How certificates come by ACME, for V(traefik) - C(email), C(server) (the address of its directory; by default
        that of Let's Encrypt), C(challenge) (V(http) for HTTP-01, V(tls) for TLS-ALPN-01) and C(ca), PEM text of the
        certificate that the ACME server itself is known by, where that is not a public one.
    type: dict
    default: {}
  hsts:
    description: Seconds for Strict-Transport-Security; 0 for none.
    type: int
    default: 31536000
  access_log:
    description: Which requests are logged.
    type: str
    choices: [all, errors, none]
    default: errors
  max_connections:
    description: Connections at the same time. Traefik has no such limit, and leaves the default only.
    type: int
    default: 10000
  uid:
    description: The user that the proxy runs as, whichever it is, so that one can take the place of the other.
    type: int
    default: 99
extends_documentation_fragment:
  - quaylock.stacks.host
attributes:
  check_mode:
    support: full
    description: It only compares.
  diff_mode:
    support: full
    description: The configuration before and after.
"""

EXAMPLES = r"""
- name: Listen on port 8080
  quaylock.stacks.ingress:
    address: 172.30.0.2
    entrypoints:
      web: {port: 8080}

- name: Certificates from Let's Encrypt
  quaylock.stacks.ingress:
    driver: traefik
    address: 172.30.0.2
    entrypoints:
      web: {port: 443, redirect: 80, tls: enforced}
    acme: {email: operator@example.org}
"""

RETURN = r"""
said:
  description: What the driver repaired or found odd.
  returned: always
  type: list
  elements: str
start:
  description: Names what the proxy has to be started with; another one asks for another container. Empty for HAProxy.
  returned: always
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils import proxy
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import ENGINE_SPEC, answering, require_sdk

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    "folder": {"type": "path", "default": "/var/lib/quaylock/ingress"},
    "driver": {"type": "str", "choices": ["haproxy", "traefik"], "default": "haproxy"},
    "container": {"type": "str", "default": ""},
    "address": {"type": "str", "required": True},
    "entrypoints": {"type": "dict", "required": True},
    "tls": {"type": "str", "choices": ["off", "if-certs", "enforced"], "default": "off"},
    "certificates": {"type": "dict", "default": {}, "no_log": True},
    "acme": {"type": "dict", "default": {}},
    "hsts": {"type": "int", "default": 31536000},
    "access_log": {"type": "str", "choices": ["all", "errors", "none"], "default": "errors"},
    "max_connections": {"type": "int", "default": 10000},
    "uid": {"type": "int", "default": 99},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    with answering(module):
        wanted = proxy.Wanted(
            folder=params["folder"],
            driver=params["driver"],
            container=params["container"] or f"ingress-{params['driver']}",
            address=params["address"],
            entrypoints=params["entrypoints"],
            tls=params["tls"],
            certificates=params["certificates"],
            acme=params["acme"],
            hsts=params["hsts"],
            access_log=params["access_log"],
            max_connections=params["max_connections"],
            uid=params["uid"],
            docker_host=params["docker_host"],
        )
        answer = proxy.configure(wanted, dry=module.check_mode)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
