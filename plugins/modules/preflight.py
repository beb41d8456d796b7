#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse a host before anything on it is changed, with everything that is wrong with it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Check a host before anything on it is changed
description:
  - Checks root, Python, memory, free disk, ports and the engine, and fails with all findings at once.
  - Changes nothing and needs nothing but Python on the host.
options:
  disk:
    description: Paths that need free space. One that does not exist yet stands for the file system it will be on.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path.
        type: path
        required: true
      free_mb:
        description: MiB that have to be free.
        type: int
        required: true
  memory_mb:
    description: MiB of memory that the host has to have.
    type: int
    default: 0
  ports:
    description: Ports that have to be free, or already held by a container of ours.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      address:
        description: The host's address; V(0.0.0.0) is every one.
        type: str
        default: 0.0.0.0
      protocol:
        description: TCP or UDP.
        type: str
        choices: [tcp, udp]
        default: tcp
      purpose:
        description: Who wants it, for the message.
        type: str
        default: ""
  entrypoints:
    description:
      - Entrypoints of the proxy by name, each with C(port), and optionally C(address) and C(redirect).
      - Their ports have to be free too.
    type: dict
    default: {}
  engine_minimum:
    description: The oldest engine that is good enough, if there is one already.
    type: str
    default: "20.10"
  python_minimum:
    description: The oldest Python that is good enough.
    type: str
    default: "3.10"
  root:
    description: Whether the checks have to run as root.
    type: bool
    default: true
  findings:
    description: What was found elsewhere already, to be told with the rest.
    type: list
    elements: str
    default: []
  warnings:
    description: What was found elsewhere already and is told without being refused.
    type: list
    elements: str
    default: []
  socket:
    description: The engine's socket.
    type: path
    default: /var/run/docker.sock
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
"""

EXAMPLES = r"""
- name: Check the host
  quaylock.stacks.preflight:
    disk: [{path: /var/lib/docker, free_mb: 10240}]
    ports: [{port: 443, purpose: the entrypoint https}]
"""

RETURN = r"""
findings:
  description: What is wrong, each with what to do about it.
  returned: always
  type: list
  elements: str
"""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import host


def name_of(container: Mapping[str, Any]) -> str:
    return str(container["Names"][0]).lstrip("/")


def ours(container: Mapping[str, Any]) -> bool:
    """What a rollout put there is looked at by the next rollout."""
    return "quaylock.rollout" in (container.get("Labels") or {})


def port_findings(wanted: list[dict[str, Any]], socket: str) -> Iterator[str]:
    if not wanted:
        return
    listening = host.listeners()
    containers = list(host.published(socket))
    for want in wanted:
        address, port, protocol = want["address"], want["port"], want["protocol"]
        what = f"port {port}/{protocol}" + (f" on {address}" if address not in ("", "0.0.0.0") else "")
        purpose = f", wanted for {want['purpose']}," if want["purpose"] else ""
        fix = "stop it, or choose another port"
        holding = [c for ip, number, kind, c in containers if (number, kind) == (port, protocol)
                   and host.overlap(ip, address)]  # fmt: skip
        if any(ours(container) for container in holding):
            continue
        if holding:
            yield f"{what}{purpose} is taken by container {name_of(holding[0])} ({holding[0]['Image']}): {fix}"
            continue
        for seen in listening:
            if (seen.port, seen.protocol) == (port, protocol) and host.overlap(seen.address, address):
                pid, command = host.holder(seen.inode)
                who = f"process {pid} ({command})" if pid else "a process that only root may see"
                yield f"{what}{purpose} is taken by {who}: {fix}"
                break


def findings(params: Mapping[str, Any]) -> Iterator[str]:
    """Everything that speaks against this host, each with its fix."""
    if params["root"] and os.geteuid() != 0:
        yield f"these checks run as uid {os.geteuid()}, not as root: set ansible_become, or connect as root"
    python = platform.python_version()
    if host.version_tuple(python) < host.version_tuple(params["python_minimum"]):
        yield (
            f"{sys.executable} is Python {python}, older than {params['python_minimum']}: "
            "upgrade the distribution, or point ansible_python_interpreter at a newer one"
        )
    memory = host.memory_mb()
    if memory is not None and memory < params["memory_mb"]:
        yield f"{memory} MiB of memory, {params['memory_mb']} are wanted: add memory, or lower preflight_memory_mb"
    for want in params["disk"]:
        free, seen = host.free_mb(want["path"])
        if free < want["free_mb"]:
            yield (
                f"{free} MiB are free for {want['path']} (looked at {seen}), {want['free_mb']} are wanted: "
                "make room, or lower preflight_disk_free_mb"
            )
    engine = host.engine_facts(params["socket"])
    if engine["version"] and host.version_tuple(engine["version"]) < host.version_tuple(params["engine_minimum"]):
        yield (
            f"the engine is {engine['version']}, older than {params['engine_minimum']}: "
            "upgrade it (apt-get install --only-upgrade docker.io, or docker-ce)"
        )
    doors = [
        {
            "port": int(door[key]),
            "address": door.get("address", "0.0.0.0"),
            "protocol": "tcp",
            "purpose": f"the entrypoint {name}" + (", redirect" if key == "redirect" else ""),
        }
        for name, door in params["entrypoints"].items()
        for key in ("port", "redirect")
        if door.get(key)
    ]
    yield from port_findings([*params["ports"], *doors], params["socket"])
    yield from params["findings"]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "disk": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "free_mb": {"type": "int", "required": True},
                },
            },
            "memory_mb": {"type": "int", "default": 0},
            "ports": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "port": {"type": "int", "required": True},
                    "address": {"type": "str", "default": "0.0.0.0"},
                    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
                    "purpose": {"type": "str", "default": ""},
                },
            },
            "entrypoints": {"type": "dict", "default": {}},
            "engine_minimum": {"type": "str", "default": "20.10"},
            "python_minimum": {"type": "str", "default": "3.10"},
            "root": {"type": "bool", "default": True},
            "findings": {"type": "list", "elements": "str", "default": []},
            "warnings": {"type": "list", "elements": "str", "default": []},
            "socket": {"type": "path", "default": host.SOCKET},
        },
        supports_check_mode=True,
    )
    for line in module.params["warnings"]:
        module.warn(line)
    found = list(findings(module.params))
    if found:
        module.fail_json(
            msg="refused, and nothing was changed:\n" + "\n".join(f"  - {line}" for line in found), findings=found
        )
    module.exit_json(changed=False, findings=[])


if __name__ == "__main__":
    main()
