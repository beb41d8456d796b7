# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real proxies and replicas for tests: HAProxy and Traefik in our images, and HAProxy of this machine as a process.

Replicas are real containers of the test application; the ones that leave exit at once on SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.haproxy import HAProxy
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.traefik import Traefik
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import Entrypoint, Settings
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.load import Load

docker = pytest.importorskip("docker")

NEIGHBOUR = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
"""of tests that run side by side: each side has names and a subnet of its own"""
PREFIX = os.environ.get("QUAYLOCK_TEST_PREFIX", "qhp") + (str(NEIGHBOUR) if NEIGHBOUR else "")
SUBNET = f"172.31.{77 + NEIGHBOUR}.0/24"
HTTP, TCP, DOOR = 18080, 18090, 18443
TRAEFIK_LARGEST = 3000
"""bytes of a POST's body, and of its echo. A longer answer that comes at once may be cut by any proxy that is made of Go's
own HTTP/1 (golang/go#40747), switch or not: one in a hundred on a busy machine, none for clients that speak HTTP/2"""
PAUSE = 0.01
"""seconds that a client rests after an answer: above a thousand requests a second in all, which leaves the processors to
whom they switch between; `make load` asks as fast as it can"""

WEB = Route("http", 8000, host="shop.example.org", path="/", check="/version")
CONTAINED = ["haproxy", "traefik"]
KINDS = [*CONTAINED, *(["haproxy-process"] if shutil.which("haproxy") else [])]
"""HAProxy 3.0 and Traefik of our recipes always; Debian's own HAProxy beside them, where it is installed"""


def marked(*kinds: str, more: tuple[str, ...] = ()) -> list[Any]:
    """Kinds as parameters; the second HAProxy, and `more`, are for `make integration MORE=yes`: they take minutes."""
    return [pytest.param(k, marks=pytest.mark.more) if k in ("haproxy-process", *more) else k for k in kinds]


@dataclass
class Proxy:
    """A proxy that runs, its driver, and what the driver said about repairs."""

    folder: Path
    ingress: HAProxy | Traefik
    settings: Settings
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.settings.address

    @property
    def configuration(self) -> Path:
        """What its driver writes of routes."""
        found = "dynamic/routes.yaml" if isinstance(self.ingress, Traefik) else "haproxy.cfg"
        return self.folder / "conf" / found

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def log(self) -> str: ...
    def stop(self) -> None: ...

    def up(self) -> None:
        def answers() -> bool:
            return not any("does not answer" in s for s in self.ingress.problems("probe", {"probe": [WEB]}))

        until(answers, self.log)

    def restarted(self) -> None:
        self.kill()
        self.start()
        self.up()

    @property
    def driver(self) -> str:
        return "traefik" if isinstance(self.ingress, Traefik) else "haproxy"

    def another(self) -> HAProxy | Traefik:
        """A driver of its own, as in another process: the file lock is what keeps them apart."""
        return type(self.ingress)(str(self.folder), self, self.said.append)  # type: ignore[arg-type]

    def load(self, host: str = "shop.example.org", **about: Any) -> Load:
        if isinstance(self.ingress, Traefik):
            about.setdefault("largest", TRAEFIK_LARGEST)
        return Load(f"{self.address}:{HTTP}", host=host, **{"pause": PAUSE, **about})

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
    """One of our images, as hardened as the role runs it."""

    recipe = ""
    command: Sequence[str] = ()
    user = ""
    mounts: Mapping[str, tuple[str, str]] = {}
    container: Any = None
    network: str = ""

    def exec(self, command: Sequence[str]) -> tuple[int, str]:
        done = self.container.exec_run(list(command))
        return done.exit_code, done.output.decode()

    def signal(self, name: str) -> None:
        self.container.kill(name)

    def pid(self) -> int:
        self.container.reload()
        return int(self.container.attrs["State"]["Pid"])

    def restart(self) -> None:
        self.container.restart(timeout=5)

    def start(self) -> None:
        if self.container is None:
            client = docker.from_env()
            self.container = client.containers.create(
                recipe_image(client, self.recipe),
                list(self.command),
                name=f"{PREFIX}-proxy-{secrets.token_hex(3)}",
                user=f"{self.user}:{self.user}",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
                tmpfs={"/tmp": ""},
                volumes={
                    str(self.folder / part): {"bind": target, "mode": mode}
                    for part, (target, mode) in self.mounts.items()
                },
                network=self.network,
            )
            self.container.start()
            self.container.reload()
            address = self.container.attrs["NetworkSettings"]["Networks"][self.network]["IPAddress"]
            self.settings = replace(self.settings, address=address)
            # where it is asked is known from now on
            self.ingress.configure(self.settings)
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


class ContainedHAProxy(Contained):
    recipe = "haproxy"
    command = (
        "haproxy", "-W", "-db", "-S", "/run/haproxy/master.sock,mode,660", "-f", "/usr/local/etc/haproxy/haproxy.cfg",
    )  # fmt: skip
    user = "99"
    mounts: Mapping[str, tuple[str, str]] = {"conf": ("/usr/local/etc/haproxy", "ro"), "run": ("/run/haproxy", "rw")}


class ContainedTraefik(Contained):
    recipe = "traefik"
    command = ("traefik", "--configFile=/etc/traefik/traefik.yaml")
    user = "99"
    mounts: Mapping[str, tuple[str, str]] = {"conf": ("/etc/traefik", "ro"), "acme": ("/acme", "rw")}


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


@contextlib.contextmanager
def running(
    kind: str, network: str, files: Mapping[str, str] = MappingProxyType({}), **changed: Any
) -> Iterator[Proxy]:
    """A proxy of that kind; `files` lie in its folder before it starts, `changed` are settings."""
    # a short path: a socket's may have 107 characters
    folder = Path("/tmp") / f"{PREFIX}-{secrets.token_hex(4)}"
    for part in ("conf/certs", "conf/dynamic", "run", "acme"):
        (folder / part).mkdir(parents=True)
    settings = Settings((Entrypoint("http", HTTP), Entrypoint("db", TCP, mode="tcp")))
    made: Proxy
    if kind == "haproxy-process":
        own = {"listen": "127.0.0.1", "conf": f"{folder}/conf", "run": f"{folder}/run"}
        made = Local(folder, None, replace(settings, **own, health_port=18404, maxconn=2000))  # type: ignore[arg-type]
    else:
        made = (ContainedTraefik if kind == "traefik" else ContainedHAProxy)(folder, None, settings)  # type: ignore[arg-type]
        made.network = network
        group = int(made.user)
        for part in ("", "conf", "conf/certs", "conf/dynamic", "run", "acme"):
            os.chown(folder / part, group if part in ("run", "acme") else 0, group)
            os.chmod(folder / part, 0o700 if part == "acme" else 0o750)
        if kind == "traefik":
            made.settings = replace(settings, conf="/etc/traefik")
    made.settings = replace(made.settings, **changed)
    for name, text in files.items():
        (folder / name).write_text(text)
    made.ingress = (Traefik if kind == "traefik" else HAProxy)(str(folder), made, made.said.append)  # type: ignore[arg-type]
    try:
        made.ingress.configure(made.settings)
        made.start()
        made.up()
        made.ingress.configure(made.settings)
        made.said.clear()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def proxy_of(*kinds: str, more: tuple[str, ...] = ()) -> Callable[..., Iterator[Proxy]]:
    """A fixture that runs each of these kinds."""

    @pytest.fixture(params=marked(*kinds, more=more))
    def proxy(request: pytest.FixtureRequest, network: str) -> Iterator[Proxy]:
        with running(request.param, network) as made:
            yield made

    return proxy


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
        call = ["curl", "-sfo/dev/null", f"http://{address}:{port}/health"]
        until(lambda: not subprocess.run(call, check=False).returncode, made.logs, rest=0.02)
        return address

    def address(self, name: str) -> str:
        return str(self.containers[name].attrs["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    def about(self, name: str) -> dict[str, Any]:
        """What it says of itself, past any proxy."""
        with urllib.request.urlopen(f"http://{self.address(name)}:8000/version", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def tell(self, name: str, what: str) -> None:
        """What `/web tell` knows."""
        code, said = self.containers[name].exec_run(["/web", "tell", what])
        assert code == 0, said

    def stop(self, name: str) -> None:
        self.containers.pop(name).remove(force=True)

    def term(self, name: str) -> None:
        self.containers[name].kill("SIGTERM")
        self.containers[name].wait(timeout=60)
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
