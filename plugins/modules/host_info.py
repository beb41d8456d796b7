#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host is, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: What a Docker host is and has, in one call
description:
  - Tells the distribution, the init system, the engine (running, installed or absent, and who manages it),
    C(daemon.json), and which Python interpreter has a Docker SDK that is new enough.
  - Changes nothing and needs nothing but Python on the host.
options:
  socket:
    description: The engine's socket.
    type: path
    default: /var/run/docker.sock
  daemon_json:
    description: The engine's configuration file.
    type: path
    default: /etc/docker/daemon.json
  packages:
    description: Packages whose version in the distribution is wanted.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
"""

EXAMPLES = r"""
- name: Look at the host
  quaylock.stacks.host_info:
    packages: [docker.io, python3-docker]
  register: host
"""

RETURN = r"""
host:
  description: What was found.
  returned: always
  type: dict
  sample:
    distribution: debian
    codename: trixie
    architecture: amd64
    systemd: true
    python: {path: /usr/bin/python3, version: 3.13.5, sdk: 7.1.0}
    sdk_python: /usr/bin/python3
    engine: {answers: true, version: 26.1.5, managed_by: systemd, running: 3, live_restore: true, validates: true}
    daemon: {live-restore: true}
    daemon_problem: ""
    packages: {docker.io: 26.1.5+dfsg1-9+b9, python3-docker: 7.1.0-3}
"""

import json
import platform
import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import host


def daemon_of(path: str) -> tuple[dict, str]:
    """The engine's configuration and what is wrong with the file ("" for nothing)."""
    try:
        with open(path, encoding="utf-8") as text:
            content = text.read()
        found = json.loads(content) if content.strip() else {}
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError) as problem:
        return {}, str(problem)
    return (found, "") if isinstance(found, dict) else ({}, "it is JSON, but not an object")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "default": host.SOCKET},
            "daemon_json": {"type": "path", "default": "/etc/docker/daemon.json"},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    release = host.os_release()
    interpreters = {python: host.sdk_version(python) for python in (sys.executable, host.SDK_PYTHON)}
    enough = [python for python, version in interpreters.items() if host.version_tuple(version) >= (7,)]
    daemon, daemon_problem = daemon_of(module.params["daemon_json"])
    module.exit_json(
        changed=False,
        host={
            "distribution": release.get("ID", ""),
            "codename": release.get("VERSION_CODENAME", ""),
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "systemd": host.systemd_runs(),
            "python": {
                "path": sys.executable,
                "version": platform.python_version(),
                "sdk": interpreters[sys.executable],
            },
            "sdk_python": enough[0] if enough else "",
            "engine": host.engine_facts(module.params["socket"]),
            "daemon": daemon,
            "daemon_problem": daemon_problem,
            "packages": host.candidates(module.params["packages"]),
        },
    )


if __name__ == "__main__":
    main()
