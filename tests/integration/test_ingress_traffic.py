# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes through real proxies, whichever: TCP, TLS, who the client is, WebSockets, uploads, hosts and paths."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.routing import Entrypoint
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.integration import proxies
from ansible_collections.quaylock.stacks.tests.integration.proxies import (
    DOOR,
    HTTP,
    KINDS,
    SUBNET,
    TCP,
    WEB,
    Local,
    Proxy,
    Replicas,
)
from ansible_collections.quaylock.stacks.tests.load import Load, under

docker = pytest.importorskip("docker")

network, image, replicas = proxies.network, proxies.image, proxies.replicas
proxy = proxies.proxy_of(*KINDS)


def test_tcp_routes_are_switched_by_counting_connections(proxy: Proxy, replicas: Replicas) -> None:
    route = Route("db", 9000, check="", mode="tcp")
    old, new = ({name: replicas.start(name, name)} for name in ("db-1", "db-2"))
    proxy.ingress.route("shop", "db", [route], old)

    def who() -> str:
        done = subprocess.run(
            ["timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{proxy.address}/{TCP}; read -r line <&3; echo $line"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    assert "db-1" in who()
    proxy.ingress.route("shop", "db", [route], new)
    assert "db-2" in who()
    dead = {"db-3": "172.31.77.250"}
    with pytest.raises(PortError, match="tcp db"):
        proxy.ingress.route("shop", "db", [route], dead)
    assert proxy.ingress.routed("shop") == {"db": {"db-2"}}
    assert "db-2" in who()
    assert proxy.ingress.problems("other", {"db": [route]}) == (
        "other: db: tcp db -> :9000: taken by service db of stack shop",
    )


def certificate(folder: Path, name: str) -> None:
    done = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run(
        [*done, "-keyout", str(folder / "key"), "-out", str(folder / "crt")], check=True, capture_output=True
    )
    (folder / "conf/certs" / f"{name}.pem").write_text((folder / "crt").read_text() + (folder / "key").read_text())
    os.chmod(folder / "conf/certs" / f"{name}.pem", 0o644)


def test_tls_is_used_once_a_certificate_is_there(proxy: Proxy, replicas: Replicas) -> None:
    door = Entrypoint("http", DOOR, tls="if-certs", redirect=HTTP)
    settings = replace(proxy.settings, entrypoints=(door,))
    proxy.ingress.configure(settings)
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    assert proxy.get(port=DOOR)[0] == 200
    assert proxy.get()[0] == 200

    certificate(proxy.folder, "shop.example.org")
    proxy.ingress.configure(replace(settings, certificates=("shop.example.org.pem:1",)))
    proxy.ingress.route("shop", "web", [WEB], {"web-2": replicas.start("web-2", "v2")})

    def curl(*words: str) -> str:
        base = ["curl", "-si", "-m", "5", "--cacert", str(proxy.folder / "crt")]
        resolve = ["--resolve", f"shop.example.org:{DOOR}:{proxy.address}"]
        return subprocess.run([*base, *resolve, *words], capture_output=True, text=True, check=False).stdout

    answer = curl(f"https://shop.example.org:{DOOR}/version")
    assert answer.startswith("HTTP/2 200")
    assert "strict-transport-security: max-age=" in answer
    assert "v2" in answer
    answer = curl("-H", "Host: shop.example.org:80", f"http://{proxy.address}:{HTTP}/a?b=c")
    assert answer.startswith("HTTP/1.1 308")
    assert f"location: https://shop.example.org:{DOOR}/a?b=c" in answer
    assert curl("--tls-max", "1.1", f"https://shop.example.org:{DOOR}/") == ""
    mix = {"keepalive": 3, "fresh": 3, "post": 2}
    tls = Load(f"{proxy.address}:{DOOR}", host="shop.example.org", mix=mix, tls=True)
    with under(tls) as load:
        proxy.ingress.route("shop", "web", [WEB], {"web-3": replicas.start("web-3", "v3")})
        proxy.ingress.drain("shop", "web", "web-2", 5)
        proxy.ingress.forget("shop", "web", "web-2")
        replicas.term("web-2")
    assert load.report.failed == 0, load.report


class Headers(http.server.BaseHTTPRequestHandler):
    """Answers with the request's headers."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): self.headers.get_all(name) for name in self.headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_applications_see_the_client_and_nothing_of_ours(proxy: Proxy, network: str) -> None:
    gateway = docker.from_env().networks.get(network).attrs["IPAM"]["Config"][0].get("Gateway") or SUBNET.replace(
        "0/24", "1"
    )
    with http.server.ThreadingHTTPServer((gateway, 0), Headers) as origin:
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        route = replace(WEB, port=origin.server_address[1], check="/")
        proxy.ingress.route("shop", "web", [route], {"host": gateway})
        lies = (
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "Forwarded: for=6.6.6.6",
            "X-Quaylock-Token: guess",
        )
        command = ["curl", "-s", "-H", "Host: shop.example.org", *(word for lie in lies for word in ("-H", lie))]
        command.append(f"http://{proxy.address}:{HTTP}/")
        seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        origin.shutdown()
    assert seen["x-forwarded-proto"] == ["http"]
    assert seen["x-forwarded-host"] == ["shop.example.org"]
    assert seen["x-forwarded-for"] == ["127.0.0.1" if isinstance(proxy, Local) else gateway]
    assert not {"forwarded", "x-quaylock-token", "x-quaylock-server"} & set(seen)
