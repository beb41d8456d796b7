# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The HAProxy ingress on real proxies: HAProxy of this machine as a process, and our image as a container.

Replicas are real containers of the test application; the ones that leave exit at once on SIGTERM.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import haproxy
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.haproxy import HAProxy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.routing import Entrypoint, Settings
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image
from ansible_collections.quaylock.stacks.tests.load import Load, under

docker = pytest.importorskip("docker")

PREFIX = "qhp"
SUBNET = os.environ.get("QUAYLOCK_TEST_SUBNET", "172.31.77.0/24")
COMMAND = [
    "haproxy",
    "-W",
    "-db",
    "-S",
    "/run/haproxy/master.sock,mode,660",
    "-f",
    "/usr/local/etc/haproxy/haproxy.cfg",
]
HTTP, TCP, DOOR = 18080, 18090, 18443

WEB = Route("http", 8000, host="shop.example.org", path="/", check="/version")


@dataclass
class Proxy:
    """A HAProxy that runs, its driver, and what the driver said about repairs."""

    folder: Path
    ingress: HAProxy
    settings: Settings
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.settings.address

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def log(self) -> str: ...
    def stop(self) -> None: ...

    def up(self) -> None:
        until = time.monotonic() + 10
        while any("does not answer" in said for said in self.ingress.problems("probe", {"probe": [WEB]})):
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)

    def restart(self) -> None:
        self.kill()
        self.start()
        self.up()

    def load(self, host: str = "shop.example.org", **about: Any) -> Load:
        return Load(f"{self.address}:{HTTP}", host=host, **about)

    def get(self, path: str = "/version", host: str = "shop.example.org", port: int = HTTP) -> tuple[int, str]:
        done = subprocess.run(
            [
                "curl",
                "-s",
                "-m",
                "5",
                "-w",
                "\n%{http_code}",
                "-H",
                f"Host: {host}",
                f"http://{self.address}:{port}{path}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        body, _sign, status = done.stdout.rpartition("\n")
        return int(status), body


class Local(Proxy):
    """Debian's haproxy as a process of this machine."""

    process: subprocess.Popen[bytes] | None = None

    def exec(self, command: Sequence[str]) -> tuple[int, str]:
        done = subprocess.run(list(command), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def signal(self, name: str) -> None:
        assert self.process is not None
        self.process.send_signal(getattr(signal, name))

    def start(self) -> None:
        command = ["haproxy", "-W", "-db", "-S", f"{self.settings.run}/master.sock,mode,660"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "-f", f"{self.settings.conf}/haproxy.cfg"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    stop = kill

    def log(self) -> str:
        return (self.folder / "log").read_text()


class Contained(Proxy):
    """Our image, as hardened as the role runs it."""

    container: Any = None
    network: str = ""

    def exec(self, command: Sequence[str]) -> tuple[int, str]:
        done = self.container.exec_run(list(command))
        return done.exit_code, done.output.decode()

    def signal(self, name: str) -> None:
        self.container.kill(name)

    def start(self) -> None:
        if self.container is None:
            client = docker.from_env()
            self.container = client.containers.create(
                recipe_image(docker.from_env(), "haproxy"),
                COMMAND,
                name=f"{PREFIX}-proxy-{secrets.token_hex(3)}",
                user="99:99",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
                volumes={
                    str(self.folder / "conf"): {"bind": "/usr/local/etc/haproxy", "mode": "ro"},
                    str(self.folder / "run"): {"bind": "/run/haproxy", "mode": "rw"},
                },
                network=self.network,
            )
            self.container.start()
            self.container.reload()
            address = self.container.attrs["NetworkSettings"]["Networks"][self.network]["IPAddress"]
            self.settings = replace(self.settings, address=address)
        else:
            self.container.start()

    def log(self) -> str:
        return str(self.container.logs().decode())

    def kill(self) -> None:
        self.container.kill()
        self.container.wait()

    def stop(self) -> None:
        if self.container is not None:
            self.container.remove(force=True)


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    client = docker.from_env()
    name = f"{PREFIX}-{secrets.token_hex(3)}"
    pool = docker.types.IPAMPool(subnet=SUBNET)
    made = client.networks.create(name, driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    yield name
    made.remove()


@pytest.fixture(scope="module")
def image() -> str:
    return web_image("local/q-web:dev")


# HAProxy 3.0 of our recipe always; Debian's own beside it, where it is installed
@pytest.fixture(params=["container", *(["process"] if shutil.which("haproxy") else [])])
def proxy(request: pytest.FixtureRequest, network: str) -> Iterator[Proxy]:
    # a short path: a socket's may have 107 characters
    folder = Path("/tmp") / f"{PREFIX}-{secrets.token_hex(4)}"
    for part in ("conf/certs", "run"):
        (folder / part).mkdir(parents=True)
    entrypoints = (Entrypoint("http", HTTP), Entrypoint("db", TCP, mode="tcp"))
    made: Proxy
    if request.param == "process":
        settings = Settings(
            entrypoints, listen="127.0.0.1", conf=f"{folder}/conf", run=f"{folder}/run", health_port=18404, maxconn=2000
        )
        made = Local(folder, None, settings)  # type: ignore[arg-type]
    else:
        for part in ("", "conf", "conf/certs", "run"):
            os.chown(folder / part, 99 if part == "run" else 0, 99)
            os.chmod(folder / part, 0o750)
        made = Contained(folder, None, Settings(entrypoints))  # type: ignore[arg-type]
        made.network = network
    made.ingress = HAProxy(str(folder), made, made.said.append)
    try:
        made.ingress.configure(made.settings)
        made.start()
        made.up()
        made.ingress.configure(made.settings)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


@dataclass
class Replicas:
    """Containers of the test application."""

    image: str
    network: str
    containers: dict[str, Any] = field(default_factory=dict)

    def start(self, name: str, version: str, port: int = 8000, **settings: str) -> str:
        """Runs, answers; returns its address."""
        client = docker.from_env()
        environment = {"VERSION": version, "EXIT_AT_ONCE": "1", "TCP_PORT": "9000", "PORT": str(port), **settings}
        made = client.containers.run(
            self.image, name=f"{PREFIX}-{name}", environment=environment, network=self.network, detach=True
        )
        self.containers[name] = made
        made.reload()
        address = self.address(name)
        until = time.monotonic() + 5
        while subprocess.run(["curl", "-sfo/dev/null", f"http://{address}:{port}/health"], check=False).returncode:
            assert time.monotonic() < until, made.logs()
            time.sleep(0.02)
        return address

    def address(self, name: str) -> str:
        return str(self.containers[name].attrs["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    def stop(self, name: str) -> None:
        self.containers.pop(name).remove(force=True)

    def term(self, name: str) -> None:
        self.containers[name].kill("SIGTERM")
        self.containers[name].wait(timeout=5)
        self.stop(name)


@pytest.fixture
def replicas(image: str, network: str) -> Iterator[Replicas]:
    made = Replicas(image, network)
    yield made
    for name in list(made.containers):
        made.stop(name)


def servers(proxy: Proxy, stack: str = "shop", service: str = "web") -> Mapping[str, str]:
    """Server -> state, as routes.json has it."""
    table = json.loads((proxy.folder / "conf/routes.json").read_text())
    for backend in table["backends"]:
        if (backend["stack"], backend["service"]) == (stack, service):
            return {m["name"]: m["state"] for m in backend["members"]}
    return {}


def test_a_first_deploy_is_routed_and_anything_else_is_404(proxy: Proxy, replicas: Replicas) -> None:
    ingress = proxy.ingress
    assert ingress.problems("shop", {"web": [WEB]}) == ()
    address = replicas.start("web-1", "v1")
    said = ingress.route("shop", "web", [WEB], {"web-1": address})
    assert "web-1" in said
    assert proxy.get()[0] == 200
    assert proxy.get(host="SHOP.example.org:80")[0] == 200
    assert proxy.get(host="other.example.org") == (404, "No service answers here.\n")
    assert ingress.routed("shop") == {"web": frozenset({"web-1"})}
    assert ingress.routes("shop") == {"web": (WEB,)}
    assert servers(proxy) == {"web-1": "ready"}


def test_switching_generations_under_load_loses_nothing(proxy: Proxy, replicas: Replicas) -> None:
    current = {"web-1": replicas.start("web-1", "v1"), "web-2": replicas.start("web-2", "v1")}
    proxy.ingress.route("shop", "web", [WEB], current)
    took = []
    with under(proxy.load(seconds=120)) as load:
        for round_ in range(2, 8):
            new = {f"web-{round_}{n}": replicas.start(f"web-{round_}{n}", f"v{round_}") for n in (1, 2)}
            began = time.monotonic()
            proxy.ingress.route("shop", "web", [WEB], new)
            took.append(time.monotonic() - began)
            assert proxy.ingress.routed("shop")["web"] == set(new)
            for name in current:
                assert "no open connection" in proxy.ingress.drain("shop", "web", name, 10)
                proxy.ingress.forget("shop", "web", name)
                replicas.term(name)
            assert servers(proxy) == dict.fromkeys(new, "ready")
            current = new
    print(load.report, "| switches took", [round(t, 3) for t in took])
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}\n{proxy.log()[-3000:]}"
    assert load.report.answered_by["v7"] > 10


def test_reloads_for_other_stacks_between_switches_lose_nothing(proxy: Proxy, replicas: Replicas) -> None:
    """A reload leaves idle clients on the previous worker: a switch has to reach them there too."""
    other = replicas.start("other", "other")
    current = {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], current)
    with under(proxy.load(seconds=120, mix={"keepalive": 4, "fresh": 3, "post": 3, "slow": 2, "idle": 20})) as load:
        for round_ in range(2, 7):
            route = Route("http", 8000, host=f"other{round_}.example.org", check="/version")
            proxy.ingress.route(f"other{round_}", "web", [route], {"other": other})
            new = {f"web-{round_}": replicas.start(f"web-{round_}", f"v{round_}")}
            proxy.ingress.route("shop", "web", [WEB], new)
            for name in current:
                assert "no open connection" in proxy.ingress.drain("shop", "web", name, 10)
                proxy.ingress.forget("shop", "web", name)
                replicas.term(name)
            assert proxy.get(host=f"other{round_}.example.org")[0] == 200
            current = new
            time.sleep(0.5)
        for round_ in range(2, 7):
            proxy.ingress.unroute(f"other{round_}", "web")
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}\n{proxy.log()[-3000:]}"
    assert load.report.kinds["idle"] > 20
    assert proxy.get(host="other3.example.org")[0] == 404


def test_routes_that_change_with_the_release_lose_nothing(proxy: Proxy, replicas: Replicas) -> None:
    """The new generation listens on another port: neither may be asked at the other's."""
    old = {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], old)
    made = replicas.start("web-2", "v2")
    with under(proxy.load(seconds=60, mix={"keepalive": 4, "fresh": 3, "post": 3, "idle": 10})) as load:
        new_route = replace(WEB, port=8001)
        with pytest.raises(PortError, match="503"):
            proxy.ingress.route("shop", "web", [new_route], {"web-2": made})
        assert proxy.ingress.routed("shop") == {"web": {"web-1"}}
        address = replicas.start("web-3", "v3", port=8001)
        proxy.ingress.route("shop", "web", [new_route], {"web-3": address})
        assert "no open connection" in proxy.ingress.drain("shop", "web", "web-1", 10)
        proxy.ingress.forget("shop", "web", "web-1")
        replicas.term("web-1")
        time.sleep(3)
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}\n{proxy.log()[-3000:]}"
    assert load.report.answered_by["v3"] > 10
    assert load.report.answered_by["v2"] == 0


def test_draining_waits_for_answers_under_way_also_across_a_reload(proxy: Proxy, replicas: Replicas) -> None:
    old = {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], old)
    slow = {"slow": 3}
    with proxy.load(mix=slow, slow_path="/slow?seconds=4", seconds=1) as load:
        time.sleep(0.7)
        new = {"web-2": replicas.start("web-2", "v2")}
        proxy.ingress.route("other", "web", [replace(WEB, host="other.example.org")], new)
        proxy.ingress.route("shop", "web", [WEB], new)
        assert "3 connections still open after 0.5" in proxy.ingress.drain("shop", "web", "web-1", 0.5)
        assert "no open connection after" in proxy.ingress.drain("shop", "web", "web-1", 10)
        proxy.ingress.forget("shop", "web", "web-1")
        replicas.term("web-1")
    assert load.report.failed == 0, load.report
    assert load.report.answered_by == {"v1": 3}


def test_a_release_that_fails_behind_the_proxy_never_gets_a_request(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    bad = replicas.start("web-2", "bad", FAIL_FORWARDED="1")
    with under(proxy.load()) as load:
        with pytest.raises(PortError) as caught:
            proxy.ingress.route("shop", "web", [WEB], {"web-2": bad})
        load.warm(200)
    assert load.report.failed == 0, load.report
    assert set(load.report.answered_by) == {"v1"}
    said = str(caught.value)
    assert "shop: web was not switched" in said
    assert "-> 500 by web-2 (wanted 200)" in said
    assert "web-1 serves as before" in said
    assert servers(proxy) == {"web-1": "ready"}
    assert proxy.ingress.routed("shop") == {"web": {"web-1"}}


def test_a_bad_first_release_is_not_routed(proxy: Proxy, replicas: Replicas) -> None:
    bad = replicas.start("web-1", "bad", FAIL_FORWARDED="1")
    with pytest.raises(PortError, match="it is not routed, as before"):
        proxy.ingress.route("shop", "web", [WEB], {"web-1": bad})
    assert proxy.get()[0] == 404
    assert proxy.ingress.routed("shop") == {}


def test_routing_twice_changes_nothing_and_returning_works(proxy: Proxy, replicas: Replicas) -> None:
    old = {"web-1": replicas.start("web-1", "v1")}
    new = {"web-2": replicas.start("web-2", "v2")}
    proxy.ingress.route("shop", "web", [WEB], old)
    before = (proxy.folder / "conf/haproxy.cfg").stat()
    proxy.ingress.route("shop", "web", [WEB], old)
    assert (proxy.folder / "conf/haproxy.cfg").stat() == before
    proxy.ingress.route("shop", "web", [WEB], new)
    assert servers(proxy) == {"web-1": "drain", "web-2": "ready"}
    proxy.restart()
    assert '"v2"' in proxy.get()[1] or "v2" in proxy.get()[1]
    proxy.ingress.route("shop", "web", [WEB], old)
    assert servers(proxy) == {"web-1": "ready", "web-2": "drain"}
    assert all("v1" in proxy.get()[1] for _turn in range(4))
    proxy.ingress.forget("shop", "web", "web-2")
    proxy.ingress.forget("shop", "web", "web-2")
    assert servers(proxy) == {"web-1": "ready"}


def test_a_replica_with_a_new_address_is_found_again(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    other = replicas.start("web-1b", "v1b")
    proxy.ingress.route("shop", "web", [WEB], {"web-1": other})
    assert "v1b" in proxy.get()[1]


BREAKAGES = {
    "routes.json is garbage": lambda conf: (conf / "routes.json").write_text('{"format": 1, "sett'),
    "routes.json is binary": lambda conf: (conf / "routes.json").write_bytes(bytes(range(256))),
    "routes.json is gone": lambda conf: (conf / "routes.json").unlink(),
    "haproxy.cfg is garbage": lambda conf: (conf / "haproxy.cfg").write_text("frontend {{"),
    "haproxy.cfg is gone": lambda conf: (conf / "haproxy.cfg").unlink(),
    "both are garbage": lambda conf: [(conf / n).write_text("]") for n in ("routes.json", "haproxy.cfg")],
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_lost_files_are_written_again(proxy: Proxy, replicas: Replicas, breakage: str) -> None:
    old, new = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    proxy.ingress.route("shop", "web", [WEB], old)
    proxy.ingress.route("shop", "web", [WEB], new)
    BREAKAGES[breakage](proxy.folder / "conf")
    with under(proxy.load()) as load:
        # another stack's change repairs it
        proxy.ingress.route("other", "web", [replace(WEB, host="other.example.org")], new)
    assert load.report.failed == 0, load.report
    assert servers(proxy) == {"web-1": "drain", "web-2": "ready"}
    if "routes.json" in breakage:
        assert any("routes.json is not a routing table" in said for said in proxy.said)
    proxy.restart()
    assert "web-2" in proxy.get()[1]
    assert proxy.get(host="other.example.org")[0] == 200


def test_a_proxy_that_cannot_start_without_its_configuration_gets_it_back(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    proxy.kill()
    (proxy.folder / "conf/haproxy.cfg").unlink()
    assert proxy.ingress.routed("shop") == {"web": {"web-1"}}
    assert any("does not answer" in said for said in proxy.said)
    assert any("does not answer" in problem for problem in proxy.ingress.problems("shop", {"web": [WEB]}))
    again = threading.Timer(1.0, proxy.start)
    again.start()
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.address("web-1")})
    again.join()
    assert proxy.get()[0] == 200


def test_a_proxy_that_is_down_is_an_error_with_a_next_step(proxy: Proxy, replicas: Replicas) -> None:
    proxy.kill()
    with pytest.raises(PortError, match=r"does not answer on .*admin\.sock: see `docker logs`"):
        proxy.ingress.route("shop", "web", [WEB], {"web-1": "172.31.77.99"})
    proxy.ingress.unroute("shop", "web")


def test_stacks_change_side_by_side(proxy: Proxy, replicas: Replicas) -> None:
    address = replicas.start("web-1", "v1")
    errors: list[BaseException] = []

    def stack(number: int) -> None:
        # a driver of its own, as in another process: the file lock is what keeps them apart
        driver = HAProxy(str(proxy.folder), proxy, proxy.said.append)  # type: ignore[arg-type]
        route = replace(WEB, host=f"s{number}.example.org")
        try:
            driver.route(f"s{number}", "web", [route], {f"s{number}-a": address})
            driver.route(f"s{number}", "web", [route], {f"s{number}-b": address})
            driver.drain(f"s{number}", "web", f"s{number}-a", 5)
            driver.forget(f"s{number}", "web", f"s{number}-a")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=stack, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for number in range(5):
        assert servers(proxy, f"s{number}") == {f"s{number}-b": "ready"}
        assert proxy.get(host=f"s{number}.example.org")[0] == 200


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


def test_an_unacceptable_configuration_is_never_loaded(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    before = (proxy.folder / "conf/haproxy.cfg").read_text()
    with pytest.raises(PortError, match="HAProxy does not accept the configuration, nothing was changed"):
        proxy.ingress.configure(replace(proxy.settings, run="relative path"))
    assert (proxy.folder / "conf/haproxy.cfg").read_text() == before
    assert proxy.get()[0] == 200


def test_a_port_that_is_taken_leaves_the_old_configuration(proxy: Proxy, replicas: Replicas) -> None:
    """It passes validation and fails in the new process: the reload says so, and the old worker goes on."""
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    taken = Entrypoint("more", 18081)
    if isinstance(proxy, Local):
        occupant = subprocess.Popen(["python3", "-m", "http.server", "18081", "--bind", "127.0.0.1"])
        time.sleep(0.5)
        try:
            with pytest.raises(PortError, match="did not take the new configuration, the old one is back"):
                proxy.ingress.configure(replace(proxy.settings, entrypoints=(*proxy.settings.entrypoints, taken)))
        finally:
            occupant.kill()
            occupant.wait()
    assert proxy.get()[0] == 200
    proxy.ingress.configure(replace(proxy.settings, entrypoints=(*proxy.settings.entrypoints, taken)))
    assert proxy.get(port=18081)[0] == 404
    assert proxy.get()[0] == 200


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


class KilledError(BaseException):
    """Nobody catches it: what comes after did not happen, as after SIGKILL."""


def test_a_switch_that_is_killed_anywhere_is_taken_up_by_the_next(
    proxy: Proxy, replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies before its nth word to HAProxy or write to the disk, for every n; then another driver goes on."""
    old, new = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    other = replace(WEB, host="other.example.org")
    proxy.ingress.route("shop", "web", [WEB], old)
    talk, write = haproxy._talk, HAProxy._put
    left = -1

    def count(*given: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError
        return talk(*given)

    def put(self: HAProxy, *given: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError
        write(self, *given)

    monkeypatch.setattr(haproxy, "_talk", count)
    monkeypatch.setattr(HAProxy, "_put", put)
    kills = 0
    with under(proxy.load(seconds=300, mix={"keepalive": 2, "fresh": 2, "post": 1, "idle": 4}, pause=0.01)) as load:
        for routes in ([WEB], [WEB, other]):
            for number in range(1, 200):
                left = number
                try:
                    proxy.ingress.route("shop", "web", routes, new)
                except KilledError:
                    kills += 1
                survived, left = left > 0, -1
                # the rollout's recovery routes back to what served, and forgets what did not
                proxy.ingress.route("shop", "web", [WEB], old)
                proxy.ingress.drain("shop", "web", "web-2", 5)
                proxy.ingress.forget("shop", "web", "web-2")
                assert servers(proxy) == {"web-1": "ready"}
                assert proxy.ingress.routed("shop") == {"web": {"web-1"}}
                if survived:
                    break
    print(f"{kills} kills:", load.report)
    assert kills > 20
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}"


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
