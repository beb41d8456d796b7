# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rollouts that pull from a registry: a tag that moves, and a disk that is full midway, on a second and small engine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures import waiting
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

from .conftest import ROOT, WEB, Harbour, web
from .images import REGISTRY, have

docker = pytest.importorskip("docker")
pytestmark = pytest.mark.integration

DISK = "110m"
BLOB = 75 << 20
"""bytes: its layer comes down, and has no room beside itself to be unpacked"""


until = partial(waiting.until, despite=(OSError, docker.errors.DockerException), rest=0.1)


def address(container: Any, network: str) -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


@pytest.fixture
def cleared(client: Any) -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def network(client: Any, cleared: contextlib.ExitStack) -> str:
    made = client.networks.create(f"qr-{secrets.token_hex(3)}")
    cleared.callback(made.remove)
    return str(made.name)


@pytest.fixture
def hub(client: Any, network: str, cleared: contextlib.ExitStack) -> Any:
    """The container of a registry."""
    wanted: dict[str, Any] = {"debian": {"recipe": "debian", "source": "build"}}
    wanted["qimg-registry"] = {"context": REGISTRY, "base": "debian", "source": "build"}
    outcome = have(client, wanted, unanswered={"docker.io": "not asked by tests"})
    container = client.containers.run(
        outcome.had["qimg-registry"].image.ref,
        name=f"{network}-registry",
        network=network,
        detach=True,
        ports={"5000/tcp": ("127.0.0.1", None)},
        tmpfs={"/var/lib/registry": "mode=1777"},
    )
    cleared.callback(container.remove, force=True, v=True)
    until(lambda: urllib.request.urlopen(f"http://{outside(container)}/v2/", timeout=1))
    return container


def outside(hub: Any) -> str:
    """The registry's address for this machine's engine."""
    return f"127.0.0.1:{until(lambda: (hub.reload(), hub.ports['5000/tcp'])[1])[0]['HostPort']}"


def push(client: Any, image: str, ref: str) -> None:
    """It is in the registry then, and not here."""
    name, _sign, tag = ref.rpartition(":")
    client.images.get(image).tag(name, tag)
    said = client.images.push(name, tag)
    assert "digest" in said, said
    client.images.remove(ref)


@pytest.fixture
def registry(client: Any, web_built: str, network: str, hub: Any) -> str:
    """Has web:small and web:big; its address as the second engine sees it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("Dockerfile", f"FROM {WEB}\nCOPY blob /blob\n".encode()), ("blob", os.urandom(BLOB))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    big = f"{network}:big"
    client.images.build(fileobj=buffer, custom_context=True, tag=big, rm=True)
    push(client, WEB, f"{outside(hub)}/web:small")
    push(client, big, f"{outside(hub)}/web:big")
    client.images.remove(big, force=True)
    return f"{address(hub, network)}:5000"


@pytest.fixture
def small_engine(client: Any, network: str, registry: str, cleared: contextlib.ExitStack) -> str:
    """A URL of an engine with a disk of DISK."""
    found = subprocess.run(
        [sys.executable, str(ROOT / "scripts/test_hosts.py")], capture_output=True, text=True, check=True, cwd=ROOT
    )
    container = client.containers.run(
        json.loads(found.stdout)["engine"],
        ["dockerd", "-H", "tcp://0.0.0.0:2375", "--tls=false", "--insecure-registry", registry, "--log-level", "warn"],
        entrypoint=["/sbin/boot"],
        name=f"{network}-engine",
        network=network,
        detach=True,
        cap_add=["SYS_ADMIN", "NET_ADMIN"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        cgroupns="private",
        tmpfs={"/run": "", "/tmp": "exec", "/var/lib/docker": f"exec,size={DISK}"},
    )
    cleared.callback(container.remove, force=True, v=True)
    url = f"tcp://{address(container, network)}:2375"
    try:
        until(lambda: docker.DockerClient(base_url=url).ping(), 30)
    except AssertionError:
        raise AssertionError(container.logs().decode()[-3000:]) from None
    return url


def test_disk_full_midway_in_a_pull(registry: str, small_engine: str, tmp_path: Path) -> None:
    """Nothing is changed, what serves serves on, and the finding is in the engine's own words."""
    there = docker.DockerClient(base_url=small_engine)
    harbour = Harbour("small", tmp_path, there, {"docker_host": small_engine})

    def service(tag: str, **environment: str) -> dict[str, Any]:
        # an engine in a container without privileges cannot exec
        gate = {"none": "nobody can ask it here"}
        update = {"update_config": {"monitor": "0.3s"}}
        image = f"{registry}/web:{tag}"
        return {"image": image, "environment": environment, "x-quaylock": {"gate": gate}, "deploy": update}

    def services(tag: str) -> dict[str, Any]:
        return {"web": service(tag), "other": service("small", TAG=tag)}

    harbour.deployed(services("small"))
    before = harbour.identities()
    answer = harbour.deploy(services("big"))
    assert (answer["outcome"], answer["changed"]) == ("refused", False), answer
    [finding] = answer["findings"]
    assert finding.startswith(f"services.web.image: {registry}/web:big cannot be had"), finding
    assert "no space left on device" in finding
    assert harbour.identities() == before
    assert not any("big" in tag for image in there.images.list() for tag in image.tags)
    assert harbour.journal.history("small")[0].outcome == "refused"
    assert harbour.deploy(services("small"))["outcome"] == "unchanged"


def test_the_same_tag_with_a_new_digest(
    client: Any, hub: Any, harbour: Harbour, web_built: str, cleared: contextlib.ExitStack
) -> None:
    """With pull_policy always the registry is asked each time; without it what is here under the tag stays."""
    ref = f"{outside(hub)}/web:stable"
    cleared.callback(client.images.remove, ref, force=True)
    made = {version: web_image(f"local/q-web:pull-{version}", version) for version in ("v1", "v2")}
    push(client, made["v1"], ref)
    services = {"web": web(image=ref)}
    first = harbour.deployed(services)
    before = harbour.identities()
    name, _sign, tag = ref.rpartition(":")
    client.images.get(made["v2"]).tag(name, tag)
    client.images.push(name, tag)
    client.images.get(made["v1"]).tag(name, tag)
    assert harbour.deploy(services)["outcome"] == "unchanged"
    assert harbour.identities() == before
    asking = {"web": web(image=ref, pull_policy="always")}
    moved = harbour.deployed(asking)
    assert "image changed" in " ".join(moved["plan"])
    digests = [answer["images"][ref]["digest"] for answer in (first, moved)]
    assert digests[0] != digests[1]
    [body] = harbour.containers().values()
    assert "VERSION=v2" in body["Config"]["Env"]
    same = harbour.deploy(asking)
    assert (same["outcome"], same["changed"]) == ("unchanged", False)
    for image in made.values():
        client.images.remove(image, force=True)
