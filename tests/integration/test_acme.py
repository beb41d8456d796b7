# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates by ACME, from a real ACME server (pebble) to the client of a routed host."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import Acme, Entrypoint
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import fixture_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.integration import proxies
from ansible_collections.quaylock.stacks.tests.integration.proxies import DOOR, HTTP, PREFIX, WEB, Proxy, Replicas

docker = pytest.importorskip("docker")
pytestmark = pytest.mark.integration

network, image, replicas = proxies.network, proxies.image, proxies.replicas
HOST = "shop.example.org"
DIRECTORY, MANAGEMENT, DNS = 14000, 15000, 8055


@dataclass
class Authority:
    """pebble and the name server that it asks. `ca` is the certificate that pebble itself is known by."""

    name: str
    ca: str
    address: str
    names: str

    def root(self) -> str:
        """What it signs certificates with, new at each of its starts."""
        trusting = ssl._create_unverified_context()
        with urllib.request.urlopen(f"https://{self.address}:{MANAGEMENT}/roots/0", context=trusting) as answer:
            return str(answer.read().decode())

    def send_to(self, address: str) -> None:
        """Every name is there."""
        body = json.dumps({"ip": address}).encode()
        urllib.request.urlopen(f"http://{self.names}:{DNS}/set-default-ipv4", data=body).close()


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    client = docker.from_env()
    ref, name = fixture_image(client, "pebble"), f"{PREFIX}-pebble-{secrets.token_hex(3)}"
    place = tmp_path_factory.mktemp("pebble")
    place.chmod(0o755)
    key, crt = place / "key.pem", place / "crt.pem"
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}")
    openssl(*new, "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(crt))
    key.chmod(0o644)
    config = {
        "listenAddress": f"0.0.0.0:{DIRECTORY}",
        "managementListenAddress": f"0.0.0.0:{MANAGEMENT}",
        "certificate": "/pebble/crt.pem",
        "privateKey": "/pebble/key.pem",
        "httpPort": HTTP,
        "tlsPort": DOOR,
    }
    (place / "config.json").write_text(json.dumps({"pebble": config}))

    def run(what: str, *command: str, **more: Any) -> tuple[Any, str]:
        made = client.containers.run(ref, list(command), name=f"{what}", network=network, detach=True, **more)
        made.reload()
        return made, str(made.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])

    names, dns = run(
        f"{name}-dns", "pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""
    )
    made, address = run(
        name,
        *("pebble", "-config", "/pebble/config.json", "-dnsserver", f"{dns}:8053"),
        environment={"PEBBLE_VA_NOSLEEP": "1"},
        volumes={str(place): {"bind": "/pebble", "mode": "ro"}},
    )
    found = Authority(name, crt.read_text(), address, dns)
    try:

        def answers() -> bool:
            found.root()
            found.send_to("127.0.0.1")
            return True

        until(answers, lambda: made.logs().decode() + names.logs().decode(), OSError, rest=0.1)
        yield found
    finally:
        for container in (made, names):
            container.remove(force=True)


def served(proxy: Proxy, root: Path) -> tuple[int, str]:
    """Status and body for a client that trusts the authority alone; status 0 where the certificate is not its."""
    call = ["curl", "-s", "-m", "5", "-w", "\n%{http_code}", "--cacert", str(root)]
    call += ["--resolve", f"{HOST}:{DOOR}:{proxy.address}", f"https://{HOST}:{DOOR}/version"]
    body, _sign, status = subprocess.run(call, capture_output=True, text=True, check=False).stdout.rpartition("\n")
    return int(status), body


def trusted(proxy: Proxy, root: Path) -> str:
    """The body, once the certificate is there."""

    def found() -> str:
        status, body = served(proxy, root)
        return body if status == 200 else ""

    return until(found, lambda: proxy.log()[-3000:])


def serial(proxy: Proxy) -> str:
    call = f"openssl s_client -connect {proxy.address}:{DOOR} -servername {HOST} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    return subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("challenge", ["http", "tls"])
def test_a_routed_host_gets_its_certificate(
    challenge: str, authority: Authority, network: str, replicas: Replicas, tmp_path: Path
) -> None:
    acme = Acme("operator@example.org", f"https://{authority.name}:{DIRECTORY}/dir", challenge, "acme-ca.pem:1")
    doors = (Entrypoint("http", DOOR, tls="enforced", redirect=HTTP),)
    files = {"conf/acme-ca.pem": authority.ca}
    root = tmp_path / "root.pem"
    root.write_text(authority.root())
    with proxies.running("traefik", network, files, entrypoints=doors, acme=acme) as proxy:
        authority.send_to(proxy.address)
        proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
        trusted(proxy, root)
        kept = proxy.folder / "acme/acme.json"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert HOST in kept.read_text()
        # a switch and a restart ask for nothing new
        first = serial(proxy)
        assert "serial=" in first
        proxy.ingress.route("shop", "web", [WEB], {"web-2": replicas.start("web-2", "v2")})
        proxy.restarted()
        assert '"v2"' in trusted(proxy, root)
        assert serial(proxy) == first
        with pytest.raises(PortError, match="its certificate comes by ACME, which asks for host names"):
            proxy.ingress.route("any", "web", [WEB.__class__("http", 8000, check="/version")], {"web-2": "172.31.77.9"})
