# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The proxy of a host, as its operator asks for it: places, certificates, then the driver's own configuration."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .adapters import docker_api, docker_engine
from .adapters.haproxy import HAProxy
from .adapters.local import HostFiles
from .adapters.proxy_files import text_of
from .adapters.traefik import Traefik
from .core.proxy import traefik_config
from .core.proxy.proxy_settings import ACME_CA, DRIVERS, Wanted, settings_of

DRIVER_FILE = "driver"
"""names the driver that the folder was configured for"""


class ProxyContainer:
    """The proxy's container, for what its sockets and its API do not offer."""

    def __init__(self, engine: docker_engine.DockerEngine, name: str) -> None:
        self._engine, self._name = engine, name

    def exec(self, command: Sequence[str]) -> tuple[int, str]:
        return self._engine.exec(self._name, list(command))

    def signal(self, name: str) -> None:
        self._engine.signal(self._name, name)

    def pid(self) -> int:
        return self._engine.pid(self._name)

    def restart(self) -> None:
        self._engine.stop(self._name, 5.0)
        self._engine.start(self._name)


def driver_of(
    name: str,
    folder: str,
    engine: docker_engine.DockerEngine,
    container: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> HAProxy | Traefik:
    """The driver with this name (DRIVERS)."""
    of = ProxyContainer(engine, container or f"ingress-{name}")
    return (Traefik if name == "traefik" else HAProxy)(folder, of, say)


def installed(folder: str) -> str:
    """Which driver a host's proxy was configured for; the first one where nothing says it."""
    name = text_of(os.path.join(folder, DRIVER_FILE)).strip()
    return name if name in DRIVERS else DRIVERS[0]


def configure(wanted: Wanted, dry: bool = False) -> dict[str, Any]:
    """Make it so, or with `dry` only compare. Raises Invalid and PortError."""
    settings = settings_of(wanted)
    said: list[str] = []
    engine = docker_engine.DockerEngine(docker_api.connect(wanted.docker_host))
    driver = driver_of(wanted.driver, wanted.folder, engine, wanted.container, said.append)
    before, after = driver.plan(settings)
    places = _places(wanted)
    files = _files(wanted)
    name = "haproxy.cfg" if wanted.driver == "haproxy" else "traefik.yaml and routes.yaml"
    changed = before != after or bool(files) or any(not _as(path, *how) for path, how in places.items())
    answer: dict[str, Any] = {
        "said": said,
        "changed": changed,
        "start": "",
        "diff": [{"before_header": name, "after_header": name, "before": before, "after": after}],
    }
    if wanted.driver == "traefik":
        started_with = traefik_config.static(settings) + (settings.acme.ca if settings.acme else "")
        answer["start"] = hashlib.sha256(started_with.encode()).hexdigest()[:12]
    if dry:
        return answer
    for path, (mode, uid, gid) in places.items():
        Path(path).mkdir(parents=True, exist_ok=True)
        Path(path).chmod(mode)
        os.chown(path, uid, gid)
    for path, content in files.items():
        if content is None:
            Path(path).unlink(missing_ok=True)
        else:
            HostFiles().write(path, content, 0o640)
            os.chown(path, -1, wanted.uid)
    answer["changed"] = driver.configure(settings) or changed
    return answer


def _places(wanted: Wanted) -> dict[str, tuple[int, int, int]]:
    """Folders with mode, owner and group. The proxy reads conf by its group, and writes only into run, or acme."""
    base, proxy = wanted.folder, wanted.uid
    own = {f"{base}/run": (0o750, proxy, proxy)}
    if wanted.driver == "traefik":
        own = {f"{base}/conf/dynamic": (0o750, 0, proxy), f"{base}/acme": (0o700, proxy, proxy)}
    return {base: (0o755, 0, 0), f"{base}/conf": (0o750, 0, proxy), f"{base}/conf/certs": (0o750, 0, proxy), **own}


def _as(path: str, mode: int, uid: int, gid: int) -> bool:
    try:
        found = Path(path).stat()
    except OSError:
        return False
    return (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, uid, gid)


def _files(wanted: Wanted) -> dict[str, bytes | None]:
    """Certificates to write, or to remove (None)."""
    conf = Path(wanted.folder) / "conf"
    files = {str(conf.parent / DRIVER_FILE): f"{wanted.driver}\n".encode()}
    files |= {str(conf / "certs" / f"{name}.pem"): text.encode() for name, text in wanted.certificates.items()}
    if wanted.acme.get("ca"):
        files[str(conf / ACME_CA)] = str(wanted.acme["ca"]).encode()
    known = [*(conf / "certs").glob("*.pem"), conf / ACME_CA, conf.parent / DRIVER_FILE]
    if installed(wanted.folder) != wanted.driver:
        # of the time when this driver had the host before; routes.json is what the other one leaves
        known.append(conf / "dynamic" / "routes.yaml")
    there = {str(p): p.read_bytes() for p in known if p.is_file()}
    changes: dict[str, bytes | None] = {p: c for p, c in files.items() if there.get(p) != c}
    return {**changes, **dict.fromkeys(p for p in there if p not in files)}
