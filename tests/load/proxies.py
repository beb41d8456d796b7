# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proxies for the proof: Quaylock's own, by driver, and the one that a user writes by hand. All are containers."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.integration.proxies import (
    CONTAINED,
    HTTP,
    TCP,
    TRAEFIK_LARGEST,
    Contained,
    running,
)

DRIVERS = tuple(CONTAINED)
LARGEST = {"traefik": TRAEFIK_LARGEST}
PORT = 8080
NETWORK_LABEL = {"quaylock.test": "load"}


@dataclass(frozen=True)
class Proxy:
    """Where clients knock, and what a rollout has to know of it."""

    target: str
    ingress: IngressSettings
    log: Callable[[], str]
    largest: int
    """bytes of a POST's body: see TRAEFIK_LARGEST"""


@contextlib.contextmanager
def network(name: str, subnet: str) -> Iterator[str]:
    client = docker.from_env()
    pool = docker.types.IPAMPool(subnet=subnet)
    made = client.networks.create(name, ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels=NETWORK_LABEL)
    try:
        yield name
    finally:
        made.remove()


def _container(name: str, network: str, volumes: Mapping[str, Any], command: list[str]) -> Any:
    client = docker.from_env()
    made = client.containers.create(
        recipe_image(client, "haproxy"),
        command,
        name=name,
        user="99:99",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        volumes=dict(volumes),
        network=network,
    )
    made.start()
    made.reload()
    return made


def _address(container: Any, network: str) -> str:
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


@contextlib.contextmanager
def ours(driver: str, network: str) -> Iterator[Proxy]:
    """Quaylock's proxy of that driver, as the role ingress runs it."""
    with running(driver, network) as made:
        assert isinstance(made, Contained)
        entrypoints = {"http": HTTP, "db": TCP}
        ingress = IngressSettings(str(made.folder), made.container.name, network, entrypoints, driver)
        yield Proxy(f"{made.address}:{HTTP}", ingress, lambda: made.log()[-5000:], LARGEST.get(driver, 20000))


BY_HAND = """
global
    maxconn 2000
    log stdout format raw local0
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    option redispatch
    retries 3
{resolvers}
frontend http
    bind :{port}
    use_backend live if {{ path_beg /ws }}
    default_backend web
backend web
    balance roundrobin
    {web}
backend live
    balance roundrobin
    {live}
"""
RESOLVERS = """
resolvers docker
    nameserver engine 127.0.0.11:53
    hold valid 1s
    resolve_retries 2
    timeout resolve 500ms
"""


@contextlib.contextmanager
def by_hand(name: str, network: str, folder: Path, backends: Mapping[str, str], resolvers: bool) -> Iterator[str]:
    """An HAProxy with a static configuration; gives the address where clients knock."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    text = BY_HAND.format(port=PORT, resolvers=RESOLVERS if resolvers else "", **backends)
    (folder / "haproxy.cfg").write_text(text)
    volumes = {str(folder): {"bind": "/usr/local/etc/haproxy", "mode": "ro"}}
    command = ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
    made = _container(name, network, volumes, command)
    try:
        address = _address(made, network)
        until = time.monotonic() + 20
        while subprocess.run(["curl", "-sfo/dev/null", f"http://{address}:{PORT}/version"], check=False).returncode:
            if time.monotonic() > until:
                raise RuntimeError(f"the proxy does not serve: {made.logs().decode()[-3000:]}")
            time.sleep(0.1)
        yield f"{address}:{PORT}"
    finally:
        made.remove(force=True)
        shutil.rmtree(folder, ignore_errors=True)
