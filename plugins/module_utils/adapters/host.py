# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host is and has, read with the standard library alone: this runs before anything was installed.

It also has to run on a Python that is too old for the rest, in order to say so: nothing newer than 3.9 in here.
"""

from __future__ import annotations

import glob
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

SOCKET = "/var/run/docker.sock"
SDK_PYTHON = "/opt/quaylock/venv/bin/python"
DIRECT_PID = "/run/quaylock-dockerd.pid"
"""written where the engine was started by us, without any service manager"""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_engine(path: str, socket_path: str = SOCKET, timeout: float = 5.0) -> Any:
    """GET from the engine's socket, None where nobody answers with JSON."""
    connection = _Unix(socket_path, timeout)
    try:
        connection.request("GET", path, headers={"Host": "docker"})
        answer = connection.getresponse()
        body = answer.read()
        return json.loads(body) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def version_tuple(text: str) -> tuple[int, ...]:
    """ "20.10.24+dfsg1" -> (20, 10, 24)"""
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0].split("-")[0])[:3])


def systemd_runs() -> bool:
    return os.path.isdir("/run/systemd/system")


def os_release() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(name, encoding="utf-8") as lines:
                for line in lines:
                    key, sign, value = line.strip().partition("=")
                    if sign:
                        found[key] = value.strip("\"'")
            return found
        except OSError:
            continue
    return found


def run(*call: str, timeout: float = 20.0) -> tuple[int, str]:
    """Exit code (127: no such program, 124: too slow) and all that was said."""
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    try:
        # run_command has no timeout, and there may be no module
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            call,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        return 127, f"{call[0]}: not found"
    except subprocess.TimeoutExpired:
        return 124, f"{' '.join(call)}: no end within {timeout:.0f} s"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def leave_running(*call: str, log: str) -> int:
    """Start a program that outlives us, in a session of its own; its pid."""
    with open(log, "ab") as out:
        # run_command waits for the end
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            call, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/"
        )
    return process.pid


def candidates(packages: Sequence[str]) -> dict[str, str]:
    """The version of each that apt would install, "" for none. apt reads its lists once for all of them."""
    said = run("apt-cache", "policy", *packages, timeout=60.0)[1] if packages else ""
    found = dict(re.findall(r"^(\S+):\n(?: .*\n)*? +Candidate: (\S+)$", said, re.MULTILINE))
    return {package: found.get(package, "").replace("(none)", "") for package in packages}


def sdk_version(python: str) -> str:
    """The version of the Docker SDK that an interpreter has, "" for none. requests has to be there as well."""
    if not os.access(python, os.X_OK):
        return ""
    rc, said = run(python, "-c", "import docker, requests; print(docker.__version__)")
    return said.strip().splitlines()[-1] if rc == 0 and said.strip() else ""


def service_manages_engine() -> str:
    """How the running engine was started: systemd, service, direct (by us), or "" by somebody else's hand."""
    if systemd_runs() and run("systemctl", "is-active", "--quiet", "docker.service")[0] == 0:
        return "systemd"
    for pidfile, how in (("/var/run/docker-ssd.pid", "service"), (DIRECT_PID, "direct")):
        pid = _read(pidfile).strip()
        if pid.isdigit() and "dockerd" in _read(f"/proc/{pid}/cmdline"):
            return how
    return ""


def engine_facts(socket_path: str = SOCKET) -> dict[str, Any]:
    """The engine, whether it runs or is only installed."""
    answer = ask_engine("/version", socket_path)
    binary = shutil.which("dockerd", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin") or ""
    facts: dict[str, Any] = {
        "answers": answer is not None,
        "binary": binary,
        "version": answer["Version"] if answer else "",
        "api": answer["ApiVersion"] if answer else "",
        "managed_by": "",
        "validates": False,
        "running": 0,
        "live_restore": False,
    }
    if answer:
        info = ask_engine("/info", socket_path, timeout=20.0) or {}
        facts["managed_by"] = service_manages_engine()
        facts["running"] = info.get("ContainersRunning", 0)
        facts["live_restore"] = info.get("LiveRestoreEnabled", False)
        facts["data_root"] = info.get("DockerRootDir", "")
    if binary and not answer:
        found = re.search(r"version ([0-9][^\s,]*)", run(binary, "--version")[1])
        facts["version"] = found.group(1) if found else ""
    # dockerd --validate came with 23.0
    facts["validates"] = bool(binary) and version_tuple(facts["version"] or "0") >= (23,)
    return facts


class Listener(NamedTuple):
    address: str
    port: int
    protocol: str
    inode: str


def listeners() -> list[Listener]:
    """Every listening TCP and bound UDP socket, from /proc/net."""
    found = []
    for name, protocol, family in (
        ("tcp", "tcp", socket.AF_INET),
        ("tcp6", "tcp", socket.AF_INET6),
        ("udp", "udp", socket.AF_INET),
        ("udp6", "udp", socket.AF_INET6),
    ):
        for line in _read(f"/proc/net/{name}").splitlines()[1:]:
            part = line.split()
            # 0A is LISTEN; an unconnected UDP socket is 07
            if part[3] != ("0A" if protocol == "tcp" else "07"):
                continue
            address, _sign, port = part[1].partition(":")
            words = bytes.fromhex(address)
            packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
            found.append(Listener(socket.inet_ntop(family, packed), int(port, 16), protocol, part[9]))
    return found


def overlap(one: str, other: str) -> bool:
    """Whether two sockets on these addresses would collide ("" is every address)."""
    every = ("", "0.0.0.0", "::")
    return one in every or other in every or one == other


def holder(inode: str) -> tuple[str, str]:
    """(pid, what runs) of the process that holds a socket, ("", "") where we may not look."""
    for entry in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(entry) == f"socket:[{inode}]":
                pid = entry.split("/")[2]
                return pid, _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        except OSError:
            continue
    return "", ""


def published(socket_path: str = SOCKET) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
    """(address, port, protocol, container as the engine lists it) for every published port."""
    for container in ask_engine("/containers/json", socket_path) or []:
        for port in container.get("Ports") or []:
            if port.get("PublicPort"):
                yield port.get("IP", ""), port["PublicPort"], port["Type"], container


def free_mb(path: str) -> tuple[int, str]:
    """Free MiB for root on the file system that has (or will have) this path, and the path that was looked at."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    seen = os.statvfs(path)
    return seen.f_bavail * seen.f_frsize // 2**20, path


def memory_mb() -> int | None:
    """All memory of the host in MiB; None where /proc says nothing."""
    found = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    return int(found.group(1)) // 1024 if found else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except OSError:
        return ""
