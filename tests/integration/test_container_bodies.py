# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our create bodies against the containers, networks and volumes that Compose itself makes of the same file.

Both are created on a real engine, never started, and inspected.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_files import load
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer

pytestmark = pytest.mark.integration

FIXTURE = Path(__file__).parents[1] / "fixtures" / "compose" / "bodies"
PROJECT = f"ql-bodies-{os.getpid()}"
IMAGE = f"{PROJECT}:1"
VARIABLES = {"IMAGE": IMAGE, "NET": f"10.213.{os.getpid() % 120}", "PORT": str(47000 + os.getpid() % 500)}
SERVICES = ["plain", "process", "unchecked", "security", "limits", "older", "rare", "network", "host", "mounts"]


@dataclass(frozen=True)
class Pair:
    client: Any
    stack: Stack

    def theirs(self, service: str) -> dict[str, Any]:
        return dict(self.client.api.inspect_container(f"{PROJECT}-{service}-1"))

    def ours(self, service: str) -> dict[str, Any]:
        return dict(self.client.api.inspect_container(f"{PROJECT}-ours-{service}"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    compose = compose_peer()
    folder = tmp_path_factory.mktemp("bodies")
    shutil.copytree(FIXTURE, folder, dirs_exist_ok=True)
    client = docker.from_env()
    changes = ['CMD ["/empty"]', 'ENTRYPOINT ["/enter"]', "ENV FROM_IMAGE=1"]
    client.api.import_image_from_data(small_image(), repository=PROJECT, tag="1", changes=changes)
    command = [compose, "-p", PROJECT, "-f", "compose.yaml"]
    environment = {**os.environ, **VARIABLES}
    try:
        made = subprocess.run(
            [*command, "create"], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        stack = ours(folder)
        for service in stack.services:
            create(client, stack, service.name)
        yield Pair(client, stack)
    finally:
        for container in client.api.containers(all=True, filters={"name": PROJECT}):
            client.api.remove_container(container["Id"], v=True, force=True)
        mine = {"label": f"com.docker.compose.project={PROJECT}"}
        for network in client.api.networks(filters=mine):
            client.api.remove_network(network["Id"])
        for volume in client.api.volumes(filters=mine)["Volumes"] or ():
            client.api.remove_volume(volume["Name"])
        client.images.remove(IMAGE, force=True)
        client.close()


def small_image() -> bytes:
    """A file system with one file; the containers are not started."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    return buffer.getvalue()


def ours(folder: Path) -> Stack:
    loaded = load([str(folder / "compose.yaml")], VARIABLES)
    context = Context(str(folder), str(folder), dict.fromkeys(loaded.secrets, "f"), dict.fromkeys(loaded.configs, "f"))
    stack = read(PROJECT, loaded.definition, context)
    for file in stack.files:
        Path(file.host_path).parent.mkdir(exist_ok=True)
        Path(file.host_path).write_text("content")
    return stack


def create(client: Any, stack: Stack, name: str) -> None:
    """What an adapter does for the engines of API 1.41: real names, and the first network only."""
    service = stack.service(name)
    body = {**service.container, "Image": service.image}
    if service.networks:
        key = service.networks[0]
        real = next(network.name for network in stack.networks if network.key == key)
        body["HostConfig"] = {**body["HostConfig"], "NetworkMode": real}
        body["NetworkingConfig"] = {"EndpointsConfig": {real: body["NetworkingConfig"]["EndpointsConfig"][key]}}
    client.api.create_container_from_config(body, f"{PROJECT}-ours-{name}")


def told(value: Any) -> Any:
    """A value without the difference between nothing and an empty list."""
    if isinstance(value, dict):
        return {key: told(entry) for key, entry in value.items() if entry not in (None, [], {}, "")}
    return [told(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SERVICES)
def test_the_process_is_the_one_that_compose_makes(pair: Pair, name: str) -> None:
    seen = [told(dict(pair_side["Config"])) for pair_side in (pair.ours(name), pair.theirs(name))]
    for config in seen:
        config["Labels"] = {k: v for k, v in config.get("Labels", {}).items() if not k.startswith("com.docker.compose")}
        config["Env"] = sorted(config.get("Env", []))
        if "Hostname" not in pair.stack.service(name).container:
            config.pop("Hostname", None)
        for attached in ("AttachStdout", "AttachStderr"):
            config.pop(attached)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", SERVICES)
def test_the_host_gives_what_it_gives_to_compose(pair: Pair, name: str) -> None:
    seen = [told(dict(pair_side["HostConfig"])) for pair_side in (pair.ours(name), pair.theirs(name))]
    for host in seen:
        # the engine takes a capability with and without its prefix
        host["CapAdd"] = [name.removeprefix("CAP_") for name in host.get("CapAdd", [])]
        # compared as the engine understood them, below; an empty policy is "no"
        host.pop("Binds", None)
        host.pop("Mounts", None)
        host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0, **told(host["RestartPolicy"])}
        host["Ulimits"] = sorted(host.get("Ulimits", []), key=lambda limit: str(limit["Name"]))
        host["ExtraHosts"] = sorted(host.get("ExtraHosts", []))
    assert seen[0] == seen[1]


def test_the_file_system_is_mounted_alike(pair: Pair) -> None:
    seen = []
    for side in (pair.ours("mounts"), pair.theirs("mounts")):
        mounts = {
            m["Destination"]: (m["Type"], m.get("Name"), m["Source"], m["RW"], m["Propagation"]) for m in side["Mounts"]
        }
        mounts["/anonymous"] = ("volume", None, "", True, "")
        seen.append(mounts)
    for target in ("/run/secrets/token", "/etc/token", "/etc/settings.ini"):
        ours_there, theirs_there = seen[0].pop(target), seen[1].pop(target)
        assert (ours_there[0], ours_there[3]) == (theirs_there[0], theirs_there[3]) == ("bind", False)
    assert seen[0] == seen[1]
    specified = [
        {m["Target"]: m for m in side["HostConfig"]["Mounts"]} for side in (pair.ours("mounts"), pair.theirs("mounts"))
    ]
    assert told(specified[0]["/scratch"]) == told(specified[1]["/scratch"])
    assert specified[0]["/fresh"]["VolumeOptions"]["NoCopy"] is True


@pytest.mark.parametrize("name", ["plain", "rare", "network"])
def test_a_service_is_found_by_the_same_names(pair: Pair, name: str) -> None:
    service = pair.stack.service(name)
    real = {network.key: network.name for network in pair.stack.networks}
    networks = pair.theirs(name)["NetworkSettings"]["Networks"]
    assert {real[key] for key in service.networks} == set(networks)
    for key in service.networks:
        endpoint, seen = service.container["NetworkingConfig"]["EndpointsConfig"][key], networks[real[key]]
        assert set(endpoint["Aliases"]) <= set(seen["Aliases"])
        assert endpoint.get("IPAMConfig") == told(seen["IPAMConfig"])


def test_networks_and_volumes_are_compose_s_own(pair: Pair) -> None:
    for network in pair.stack.networks:
        seen = pair.client.api.inspect_network(network.name)
        assert (seen["Driver"], seen["Internal"], seen["Attachable"]) == (
            network.body["Driver"],
            network.body["Internal"],
            network.body["Attachable"],
        )
        assert network.body["Labels"].items() <= seen["Labels"].items()
    for volume in pair.stack.volumes:
        seen = pair.client.api.inspect_volume(volume.name)
        assert seen["Driver"] == volume.body["Driver"]
        assert volume.body["Labels"].items() <= seen["Labels"].items()


def test_a_network_of_ours_is_one_that_the_engine_makes(pair: Pair) -> None:
    body = next(network.body for network in pair.stack.networks if network.key == "zone")
    theirs = pair.client.api.inspect_network(f"{PROJECT}_zone")
    answer = pair.client.api.post(
        pair.client.api._url("/networks/create"),
        json={
            **body,
            "Name": f"{PROJECT}-ours",
            "IPAM": {**body["IPAM"], "Config": [{"Subnet": f"10.213.{os.getpid() % 120 + 120}.0/24"}]},
        },
    )
    assert answer.status_code == 201, answer.text
    try:
        seen = pair.client.api.inspect_network(answer.json()["Id"])
        for key in ("Driver", "EnableIPv6", "Internal", "Attachable", "Scope"):
            assert seen[key] == theirs[key]
    finally:
        pair.client.api.remove_network(answer.json()["Id"])
