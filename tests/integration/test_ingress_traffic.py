# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes through real proxies, whichever: TCP, TLS, who the client is, WebSockets, uploads, hosts and paths."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import Entrypoint
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.integration import proxies
from ansible_collections.quaylock.stacks.tests.integration.proxies import (
    DOOR,
    HTTP,
    KINDS,
    SUBNET,
    TCP,
    TRAEFIK_LARGEST,
    WEB,
    Contained,
    Local,
    Proxy,
    Replicas,
)
from ansible_collections.quaylock.stacks.tests.load import Load, under

docker = pytest.importorskip("docker")
pytestmark = pytest.mark.integration

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
    dead = {"db-3": SUBNET.replace("0/24", "250")}
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


DOORS = (Entrypoint("http", DOOR, tls="if-certs", redirect=HTTP),)


@pytest.mark.parametrize("kind", proxies.marked(*KINDS))
def test_tls_is_used_once_a_certificate_is_there(kind: str, network: str, replicas: Replicas) -> None:
    with proxies.running(kind, network, entrypoints=DOORS) as proxy:
        _tls_comes_with_a_certificate(proxy, replicas)


def _tls_comes_with_a_certificate(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    assert proxy.get(port=DOOR)[0] == 200
    assert proxy.get()[0] == 200

    certificate(proxy.folder, "shop.example.org")
    proxy.ingress.configure(replace(proxy.settings, certificates=("shop.example.org.pem:1",)))
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
    assert answer.startswith(("HTTP/1.1 308", "HTTP/1.1 301"))
    assert f"location: https://shop.example.org:{DOOR}/a?b=c" in answer.replace("Location", "location")
    assert curl("--tls-max", "1.1", f"https://shop.example.org:{DOOR}/") == ""
    mix = {"keepalive": 3, "fresh": 3, "post": 2}
    tls = Load(f"{proxy.address}:{DOOR}", host="shop.example.org", mix=mix, tls=True, largest=TRAEFIK_LARGEST)
    with under(tls) as load:
        proxy.ingress.route("shop", "web", [WEB], {"web-3": replicas.start("web-3", "v3")})
        proxy.ingress.drain("shop", "web", "web-2", 5)
        proxy.ingress.forget("shop", "web", "web-2")
        replicas.term("web-2")
    assert load.report.failed == 0, load.report


def gateway_of(network: str) -> str:
    """This host's address in it."""
    config = docker.from_env().networks.get(network).attrs["IPAM"]["Config"][0]
    return str(config.get("Gateway") or SUBNET.replace("0/24", "1"))


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
    gateway = gateway_of(network)
    with http.server.ThreadingHTTPServer((gateway, 0), Headers) as origin:
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        route = replace(WEB, port=origin.server_address[1], check="/")
        proxy.ingress.route("shop", "web", [route], {"host": gateway})
        lies = (
            "X-Forwarded-For: 6.6.6.6",
            "X-Real-IP: 6.6.6.6",
            "X-Forwarded-Host: evil.example.org",
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
    assert "6.6.6.6" not in json.dumps(seen)
    assert "evil" not in json.dumps(seen)
    assert not {"forwarded", "x-quaylock-token", "x-quaylock-server"} & set(seen)


def test_websockets_live_until_the_drain_ends_and_none_is_cut(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1", EXIT_AT_ONCE="")})
    with under(proxy.load(mix={"ws": 6, "keepalive": 2}, seconds=60)) as load:
        proxy.ingress.route("shop", "web", [WEB], {"web-2": replicas.start("web-2", "v2", EXIT_AT_ONCE="")})
        # those that are open stay with the old replica: the drain sees them, and its time ends
        assert "6 connections still open" in proxy.ingress.drain("shop", "web", "web-1", 1.0)
        replicas.term("web-1")
        proxy.ingress.forget("shop", "web", "web-1")
        load.meets("v2")
        until(lambda: load.report.kinds["ws"] > 50, lambda: load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"


UPLOAD = 300 << 20


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes an upload as it comes, its last mebibyte only when it may, and says what it was."""

    protocol_version = "HTTP/1.1"
    nearly, may_end = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self._say(b"ok")

    def do_PUT(self) -> None:
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left:
            if left <= 1 << 20:
                self.nearly.set()
                self.may_end.wait(120)
            block = self.rfile.read(min(left, 1 << 20))
            if not block:
                return
            digest.update(block)
            left -= len(block)
        self._say(digest.hexdigest().encode())

    def _say(self, text: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


def test_a_large_upload_streams_through_a_switch(
    proxy: Proxy, network: str, replicas: Replicas, tmp_path: Path
) -> None:
    """Its bytes arrive while it runs, nothing of it is kept in the proxy, and the drain waits for its end."""
    gateway = gateway_of(network)
    whole = tmp_path / "upload"
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    with whole.open("wb") as file:
        for _turn in range(UPLOAD >> 20):
            file.write(block)
            digest.update(block)

    class OneSink(Sink):
        nearly, may_end = threading.Event(), threading.Event()

    with http.server.ThreadingHTTPServer((gateway, 0), OneSink) as origin:
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        port = origin.server_address[1]
        proxy.ingress.route("shop", "web", [replace(WEB, port=port, check="/")], {"host": gateway})
        new = {"web-1": replicas.start("web-1", "v1", port=port)}
        url = f"http://{proxy.address}:{HTTP}/upload"
        call = [
            "curl",
            "-sS",
            "-m",
            "120",
            "-T",
            str(whole),
            "-H",
            "Host: shop.example.org",
            url,
        ]
        upload = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert OneSink.nearly.wait(60), "it arrives while it runs"
        proxy.ingress.route("shop", "web", [replace(WEB, port=port)], new)
        assert '"v1"' in proxy.get()[1]
        assert "1 connections still open" in proxy.ingress.drain("shop", "web", "host", 1.0)
        OneSink.may_end.set()
        assert "no open connection" in proxy.ingress.drain("shop", "web", "host", 60)
        said, wrong = upload.communicate()
        origin.shutdown()
    assert said == digest.hexdigest(), wrong
    if isinstance(proxy, Contained):
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{proxy.pid()}/status").read_text())
        assert peak is not None
        assert int(peak[1]) < 250_000


HOSTS_AND_PATHS = [
    # host, path, who answers
    ("shop.example.org", "/", "any"),
    ("SHOP.example.org:80", "/x", "any"),
    ("shop.example.org", "/api", "api"),
    ("shop.example.org", "/api/x?y=/deep", "api"),
    ("shop.example.org", "/apix", "any"),
    ("shop.example.org", "/api/deep/er", "deep"),
    ("other.example.org", "/", "anywhere"),
    ("other.example.org", "/api/deep", "anywhere"),
    ("10.0.0.1", "/a%2Fb", "anywhere"),
]


def test_the_longest_path_of_the_closest_host_answers(proxy: Proxy, replicas: Replicas) -> None:
    for name, host, path in (
        ("any", "shop.example.org", "/"),
        ("api", "Shop.Example.org", "/api"),
        ("deep", "shop.example.org", "/api/deep/"),
        ("anywhere", "", "/"),
    ):
        route = Route("http", 8000, host=host, path=path, check=path, statuses=(200, 404))
        proxy.ingress.route(name, "web", [route], {name: replicas.start(name, name)})
    for host, path, who in HOSTS_AND_PATHS:
        call = ["curl", "-si", "-m", "5", "-H", f"Host: {host}", f"http://{proxy.address}:{HTTP}{path}"]
        answer = subprocess.run(call, capture_output=True, text=True, check=False).stdout.lower()
        assert f"x-version: {who}\n" in answer.replace("\r", ""), (host, path, answer)


BALANCER = SUBNET.replace("0/24", "200")
BEHIND = (
    Entrypoint("http", HTTP, trusted=(BALANCER,), proxy_protocol=True),
    Entrypoint("own", 18081, trusted=(BALANCER,)),
)
ASK = """
import json, socket, sys
at, port, first, header = sys.argv[1:]
line = socket.create_connection((at, int(port)), 5)
asked = first + "GET / HTTP/1.1\\r\\nHost: shop.example.org\\r\\nConnection: close\\r\\n" + header + "\\r\\n"
line.sendall(asked.encode())
print(b"".join(iter(lambda: line.recv(65536), b"")).decode().partition("\\r\\n\\r\\n")[2])
"""


@pytest.mark.parametrize("kind", proxies.CONTAINED)
def test_a_load_balancer_in_front_is_believed_and_nobody_else(kind: str, network: str) -> None:
    client, gateway = docker.from_env(), gateway_of(network)
    image = recipe_image(client, "python")
    with (
        http.server.ThreadingHTTPServer((gateway, 0), Headers) as origin,
        proxies.running(kind, network, entrypoints=BEHIND) as proxy,
    ):
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        route = replace(WEB, port=origin.server_address[1], check="/")
        proxy.ingress.route("shop", "web", [route, replace(route, entrypoint="own")], {"host": gateway})

        def seen(port: int, first: str, header: str) -> dict[str, list[str]]:
            """From the balancer's address."""
            address = client.api.create_networking_config(
                {network: client.api.create_endpoint_config(ipv4_address=BALANCER)}
            )
            made = client.api.create_container(
                image, ["python3", "-c", ASK, proxy.address, str(port), first, header], networking_config=address
            )
            try:
                client.api.start(made)
                client.api.wait(made)
                found: dict[str, list[str]] = json.loads(client.api.logs(made))
                return found
            finally:
                client.api.remove_container(made, force=True)

        told = seen(HTTP, "PROXY TCP4 198.51.100.7 192.0.2.1 4000 80\r\n", "X-Forwarded-For: 6.6.6.6\r\n")
        assert told["x-forwarded-for"] == ["198.51.100.7"]
        told = seen(18081, "", "X-Forwarded-For: 198.51.100.8\r\nX-Forwarded-Proto: https\r\n")
        assert ", ".join(told["x-forwarded-for"]) == f"198.51.100.8, {BALANCER}"
        assert told["x-forwarded-proto"] == ["https"]
        # whoever else says such things is not heard
        words = ["-H", "Host: shop.example.org", "-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: https"]
        call = ["curl", "-s", "-m", "5", *words, f"http://{proxy.address}:18081/"]
        told = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
        assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == ([gateway], ["http"])
        origin.shutdown()
