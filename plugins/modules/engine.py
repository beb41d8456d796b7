#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start, reload or restart the engine, with or without systemd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Start, reload or restart the Docker engine, with or without systemd
description:
  - Starts the engine by systemd where it runs, otherwise by the distribution's init script, and if there is none or
    it fails, directly. It is done when the engine answers on its socket, not when a program said so.
  - An engine that answers already is left alone by O(state=started).
  - An engine that somebody else started by hand is never reloaded or restarted.
options:
  state:
    description:
      - V(started) starts an engine that does not answer.
      - V(reloaded) lets a running engine read its configuration again; containers do not notice.
      - V(restarted) ends and starts it. Containers live on only where the engine has live-restore.
    type: str
    choices: [started, reloaded, restarted]
    default: started
  socket:
    description: The engine's socket.
    type: path
    default: /var/run/docker.sock
  timeout:
    description: Seconds until an engine that does not answer has failed.
    type: int
    default: 60
  log:
    description: Where an engine that is started directly writes its log.
    type: path
    default: /var/log/docker.log
attributes:
  check_mode:
    support: full
    description: It says what it would do.
  diff_mode:
    support: none
    description: A process has no diff.
"""

EXAMPLES = r"""
- name: Have an engine that answers
  quaylock.stacks.engine:
"""

RETURN = r"""
managed_by:
  description: How the engine was started, V(systemd), V(service) or V(direct); empty for an engine that was there.
  returned: always
  type: str
version:
  description: The version of the engine that answers.
  returned: when it answers
  type: str
"""

import json
import os
import signal
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import host

INIT_SCRIPT = "/etc/init.d/docker"
# Debian's init script raises limits and ends where it may not, as in a container.
DEFAULTS = "/etc/default/docker"
ULIMIT = 'ulimit() { command ulimit "$@" 2>/dev/null || :; }'


def answers(socket: str, until: float) -> bool:
    while time.monotonic() < until:
        if host.ask_engine("/version", socket) is not None:
            return True
        time.sleep(0.2)
    return False


def allow_low_limits() -> None:
    try:
        with open(DEFAULTS, encoding="utf-8") as text:
            present = text.read()
    except FileNotFoundError:
        present = ""
    if "ulimit()" not in present:
        with open(DEFAULTS, "a", encoding="utf-8") as text:
            text.write(f"\n# Limits that may not be raised are left as they are.\n{ULIMIT}\n")


def direct(log: str) -> None:
    """Outlives us and our session; its pid is kept, so that a later run knows it for ours."""
    pid = host.leave_running("dockerd", "--pidfile", "/run/docker.pid", log=log)
    with open(host.DIRECT_PID, "w", encoding="utf-8") as text:
        text.write(f"{pid}\n")


def tail(path: str, lines: int = 8) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return "\n".join(text.read().splitlines()[-lines:])
    except OSError:
        return ""


def start(socket: str, timeout: float, log: str) -> tuple[str, list[str]]:
    """How it was started ("" for not at all) and what every way that was tried had to say."""
    said: list[str] = []
    until = time.monotonic() + timeout
    if host.systemd_runs():
        rc, text = host.run("systemctl", "enable", "--now", "docker.socket", "docker.service", timeout=timeout)
        if rc == 0 and answers(socket, until):
            return "systemd", said
        journal = host.run("journalctl", "-u", "docker.service", "-n", "8", "--no-pager", "-o", "cat")[1]
        return "", [f"systemctl enable --now docker: {text.strip() or 'no answer from the engine'}", journal.strip()]
    if os.path.exists(INIT_SCRIPT):
        allow_low_limits()
        rc, text = host.run("service", "docker", "start", timeout=timeout)
        if rc == 0 and answers(socket, min(until, time.monotonic() + timeout / 2)):
            return "service", said
        said += [f"service docker start: exit code {rc}: {text.strip()}", tail(log)]
        host.run("service", "docker", "stop")
    direct(log)
    if answers(socket, until):
        return "direct", said
    return "", [*said, f"dockerd: no answer within {timeout:.0f} s; the end of {log}:", tail(log)]


def stop(how: str, timeout: float) -> None:
    if how == "systemd":
        host.run("systemctl", "stop", "docker.service", timeout=timeout)
    elif how == "service":
        host.run("service", "docker", "stop", timeout=timeout)
    else:
        pid = pid_of(how)
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + timeout
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < until and not reaped(pid):
            time.sleep(0.1)


def pid_of(how: str) -> int:
    path = {"service": "/var/run/docker-ssd.pid", "direct": host.DIRECT_PID}[how]
    with open(path, encoding="utf-8") as text:
        return int(text.read())


def reaped(pid: int) -> bool:
    """A process that ended and waits for its parent counts as gone."""
    return "\nState:\tZ" in tail(f"/proc/{pid}/status", 100)


def reload(how: str, socket: str, wanted: bool | None) -> None:
    """SIGHUP has no answer: the wait is for live-restore to be what the file says, because a restart may follow."""
    if how == "systemd":
        host.run("systemctl", "reload", "docker.service")
    else:
        os.kill(pid_of(how), signal.SIGHUP)
    until = time.monotonic() + 5
    while time.monotonic() < until and wanted is not None:
        if (host.ask_engine("/info", socket) or {}).get("LiveRestoreEnabled") is wanted:
            return
        time.sleep(0.1)


def live_restore(path: str) -> bool | None:
    """What daemon.json says about it, None for nothing."""
    try:
        with open(path, encoding="utf-8") as text:
            return json.load(text).get("live-restore")
    except (OSError, ValueError):
        return None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "reloaded", "restarted"], "default": "started"},
            "socket": {"type": "path", "default": host.SOCKET},
            "timeout": {"type": "int", "default": 60},
            "log": {"type": "path", "default": "/var/log/docker.log"},
        },
        supports_check_mode=True,
    )
    wanted, socket, timeout = module.params["state"], module.params["socket"], float(module.params["timeout"])
    now = host.ask_engine("/version", socket)
    how = host.service_manages_engine() if now else ""
    if now and (wanted == "started" or not how):
        module.exit_json(changed=False, managed_by=how, version=now["Version"])
    if module.check_mode:
        module.exit_json(changed=True, managed_by=how)
    if now and wanted == "reloaded":
        reload(how, socket, live_restore("/etc/docker/daemon.json"))
        module.exit_json(changed=True, managed_by=how, version=now["Version"])
    if now:
        stop(how, timeout)
    how, said = start(socket, timeout, module.params["log"])
    if not how:
        module.fail_json(
            msg="the Docker engine does not start:\n"
            + "\n".join(f"  {line}" for text in said for line in text.splitlines())
        )
    module.exit_json(changed=True, managed_by=how, version=host.ask_engine("/version", socket)["Version"])


if __name__ == "__main__":
    main()
