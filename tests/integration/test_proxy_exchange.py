# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host goes from one proxy to the other and back; what its stacks have routed stays."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy, proxy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.proxy_settings import Wanted
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.integration import proxies
from ansible_collections.quaylock.stacks.tests.integration.proxies import PREFIX, SUBNET, WEB, Replicas

docker = pytest.importorskip("docker")
jinja2 = pytest.importorskip("jinja2")
pytestmark = pytest.mark.integration

image = proxies.image
TEMPLATE = Path(__file__).resolve().parents[2] / "roles/ingress/templates/compose.yaml.j2"
DOORS = {"http": {"port": int(os.environ.get("QUAYLOCK_TEST_PORT", "23480")), "address": "127.0.0.1"}}


@pytest.fixture
def place() -> Iterator[Path]:
    """A host's folders; what the stack made is gone in the end."""
    folder = Path("/tmp") / f"{PREFIX}-{secrets.token_hex(4)}"
    folder.mkdir()
    yield folder
    client = docker.from_env()
    for container in client.containers.list(all=True, filters={"label": f"com.docker.compose.project={folder.name}"}):
        container.remove(force=True)
    shutil.rmtree(folder)


class Host:
    """One on which the role ingress ran, with its own template and module."""

    def __init__(self, place: Path) -> None:
        self.place, self.network = place, f"{place.name}-net"

    def have(self, driver: str) -> dict[str, Any]:
        wanted = Wanted(str(self.place / "ingress"), self.container(driver), self.address, DOORS, driver=driver)
        configured = proxy.configure(wanted)
        environment = jinja2.Environment(trim_blocks=True, autoescape=False)
        text = environment.from_string(TEMPLATE.read_text()).render(
            ingress_driver=driver,
            images_resolved={driver: {"ref": recipe_image(docker.from_env(), driver)}},
            ingress_container=self.container(driver),
            ingress_dir=str(self.place / "ingress"),
            ingress_entrypoints=DOORS,
            ingress_address=self.address,
            ingress_network=self.network,
            ingress_subnet=SUBNET,
            ingress_limit_cpus="1.0",
            ingress_limit_memory="512M",
            profile_health_interval="1s",
            __ingress=configured,
        )
        return deploy.deploy(self.request(self.place.name, yaml.safe_load(text)))

    def request(self, name: str, definition: dict[str, Any]) -> Request:
        return Request(name, definition, state_dir=str(self.place / "state"), config_dir=str(self.place / "config"))

    def container(self, driver: str) -> str:
        return f"{self.place.name}-{driver}"

    @property
    def address(self) -> str:
        return SUBNET.replace("0/24", "2")

    def driver(self) -> Any:
        name = proxy.installed(str(self.place / "ingress"))
        engine = proxy.docker_engine.DockerEngine(proxy.docker_api.connect(""))
        return proxy.driver_of(name, str(self.place / "ingress"), engine, self.container(name))


def test_each_takes_the_place_of_the_other_and_keeps_the_routes(place: Path, image: str) -> None:
    host = Host(place)
    assert host.have("haproxy")["outcome"] == "deployed"
    replicas = Replicas(image, host.network)
    try:
        host.driver().route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
        for turn, driver in enumerate(("traefik", "haproxy", "traefik"), start=2):
            answer = host.have(driver)
            assert answer["outcome"] == "deployed", answer
            names = {c.name for c in docker.from_env().containers.list(filters={"name": place.name})}
            assert names == {host.container(driver)}
            assert until(lambda: host.driver().routed("shop")) == {"web": {f"web-{turn - 1}"}}
            new = {f"web-{turn}": replicas.start(f"web-{turn}", f"v{turn}")}
            assert "confirmed" in host.driver().route("shop", "web", [WEB], new)
            assert not host.have(driver)["changed"]
    finally:
        for name in list(replicas.containers):
            replicas.stop(name)
        for name in ("traefik", "haproxy"):
            with_name = docker.from_env().containers.list(all=True, filters={"name": host.container(name)})
            for container in with_name:
                container.remove(force=True)
        for network in docker.from_env().networks.list(names=[host.network]):
            network.remove()
