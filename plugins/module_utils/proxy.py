# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The proxy's configuration as an operator asks for it: checked, then given to the driver."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .adapters import docker_engine
from .adapters.haproxy import HAProxy
from .adapters.local import HostFiles
from .core.model import Finding, Invalid
from .core.routing import HEALTH_PORT, Entrypoint, Settings, inside

KEYS = {"port", "address", "mode", "tls", "redirect"}
CHOICES = {"mode": ("http", "tcp"), "tls": ("off", "if-certs", "enforced")}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Wanted:
    """What the role asks for. `certificates` are PEM texts by name."""

    folder: str
    container: str
    address: str
    entrypoints: Mapping[str, Mapping[str, Any]]
    tls: str = "off"
    """of entrypoints with a redirect that do not say it themselves"""
    certificates: Mapping[str, str] = field(default_factory=dict, repr=False)
    hsts: int = 31536000
    access_log: str = "errors"
    max_connections: int = 10000
    uid: int = 99
    docker_host: str = ""


class ProxyContainer:
    """The proxy's container, for what its sockets do not offer."""

    def __init__(self, engine: docker_engine.DockerEngine, name: str) -> None:
        self._engine, self._name = engine, name

    def exec(self, command: Any) -> tuple[int, str]:
        return self._engine.exec(self._name, list(command))

    def signal(self, name: str) -> None:
        self._engine.signal(self._name, name)


def settings_of(wanted: Wanted) -> Settings:
    """Raises Invalid with every finding."""
    found: list[Finding] = []
    doors: list[Entrypoint] = []
    ports = {HEALTH_PORT: (HEALTH_PORT, "the proxy's own health check")}
    for name, given in wanted.entrypoints.items():
        door = {"tls": wanted.tls if "redirect" in given else "off", **given}
        path = f"ingress_entrypoints.{name}"
        if not _NAME.fullmatch(name):
            found.append(Finding(path, "is not a name", "lower case letters, digits, - and _"))
        found += [
            Finding(f"{path}.{k}", "is not a known key", f"one of {', '.join(sorted(KEYS))}") for k in {*given} - KEYS
        ]
        for key, choices in CHOICES.items():
            if door.get(key, choices[0]) not in choices:
                found.append(Finding(f"{path}.{key}", f"is {door[key]!r}", f"one of {', '.join(choices)}"))
        for key in ("port", "redirect"):
            number = door.get(key, 0)
            valid = isinstance(number, int) and 0 < number < 65536
            if not valid and (key in door or key == "port"):
                found.append(Finding(f"{path}.{key}", f"is {number!r}, not a port", "1 to 65535"))
            elif valid and inside(number) in ports:
                asked, other = ports[inside(number)]
                same = (
                    f"port {number} is" if asked == number else f"is {inside(number)} in the proxy, as port {asked} of"
                )
                found.append(Finding(f"{path}.{key}", f"{same} {other} already", "give each its own"))
            elif valid:
                ports[inside(number)] = (number, f"{path}.{key}")
        if "redirect" in door and door.get("mode") == "tcp":
            found.append(Finding(f"{path}.redirect", "is for http", "leave it out, or set mode: http"))
        if door["tls"] == "enforced" and not wanted.certificates:
            found.append(
                Finding(
                    f"{path}.tls",
                    "is enforced, and there is no certificate",
                    "set ingress_certificates, name: PEM text",
                )
            )
        if not found:
            doors.append(Entrypoint(name, door["port"], door.get("mode", "http"), door["tls"], door.get("redirect", 0)))
    for name, text in wanted.certificates.items():
        if not _FILE.fullmatch(name):
            found.append(Finding(f"ingress_certificates.{name}", "is not a name", "letters, digits, dots, - and _"))
        if "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY-----" not in text:
            found.append(
                Finding(
                    f"ingress_certificates.{name}",
                    "is not a certificate with its key",
                    "PEM text of the chain, then the key",
                )
            )
    if found:
        raise Invalid(tuple(found))
    return Settings(
        entrypoints=tuple(doors),
        address=wanted.address,
        certificates=tuple(sorted(f"{n}.pem:{_print(t)}" for n, t in wanted.certificates.items())),
        hsts=wanted.hsts,
        maxconn=wanted.max_connections,
        access_log=wanted.access_log,
    )


def _print(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def configure(wanted: Wanted, dry: bool = False) -> dict[str, Any]:
    """Make it so, or with `dry` only compare. Raises Invalid and PortError."""
    settings = settings_of(wanted)
    said: list[str] = []
    engine = docker_engine.DockerEngine(docker_engine.connect(wanted.docker_host))
    driver = HAProxy(wanted.folder, ProxyContainer(engine, wanted.container), said.append)
    before, after = driver.plan(settings)
    places = _places(wanted)
    certificates = _certificates(wanted)
    changed = before != after or bool(certificates) or any(not _as(path, *how) for path, how in places.items())
    answer: dict[str, Any] = {
        "said": said,
        "changed": changed,
        "diff": [{"before_header": "haproxy.cfg", "after_header": "haproxy.cfg", "before": before, "after": after}],
    }
    if dry:
        return answer
    for path, (mode, uid, gid) in places.items():
        Path(path).mkdir(parents=True, exist_ok=True)
        Path(path).chmod(mode)
        os.chown(path, uid, gid)
    for path, content in certificates.items():
        if content is None:
            Path(path).unlink(missing_ok=True)
        else:
            HostFiles().write(path, content, 0o640)
            os.chown(path, -1, wanted.uid)
    answer["changed"] = driver.configure(settings) or changed
    return answer


def _places(wanted: Wanted) -> dict[str, tuple[int, int, int]]:
    """Folders with mode, owner and group. The proxy reads conf by its group, and writes only into run."""
    base, proxy = wanted.folder, wanted.uid
    return {
        base: (0o755, 0, 0),
        f"{base}/conf": (0o750, 0, proxy),
        f"{base}/conf/certs": (0o750, 0, proxy),
        f"{base}/run": (0o750, proxy, proxy),
    }


def _as(path: str, mode: int, uid: int, gid: int) -> bool:
    try:
        found = Path(path).stat()
    except OSError:
        return False
    return (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, uid, gid)


def _certificates(wanted: Wanted) -> dict[str, bytes | None]:
    """Files to write, or to remove (None)."""
    folder = Path(wanted.folder) / "conf" / "certs"
    files = {str(folder / f"{name}.pem"): text.encode() for name, text in wanted.certificates.items()}
    there = {str(p): p.read_bytes() for p in folder.glob("*.pem")} if folder.is_dir() else {}
    changes: dict[str, bytes | None] = {p: c for p, c in files.items() if there.get(p) != c}
    return {**changes, **dict.fromkeys(p for p in there if p not in files)}
