# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What docker image prune does to kept releases, for real: on a second engine, where it takes nothing from anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid

from . import test_pulls as second
from .conftest import ROOT, Harbour

docker = pytest.importorskip("docker")
pytestmark = pytest.mark.integration

cleared, network, hub = second.cleared, second.network, second.hub
registry, small_engine = second.registry, second.small_engine
MOVING = "local/moving:1"


def test_what_prune_takes_and_how_it_comes_back(registry: str, small_engine: str, tmp_path: Path) -> None:
    there = docker.DockerClient(base_url=small_engine)
    harbour = Harbour("kept", tmp_path, there, {"docker_host": small_engine})
    tag = f"{registry}/web:small"

    def services(image: str) -> dict[str, Any]:
        # an engine in a container without privileges cannot exec
        update = {"update_config": {"monitor": "0.3s"}}
        return {"web": {"image": image, "x-quaylock": {"gate": {"none": "nobody can ask it here"}}, "deploy": update}}

    def built(version: str) -> str:
        folder = str(ROOT / "build/web")
        image, _said = there.images.build(
            path=folder, tag=MOVING, target="plain", buildargs={"VERSION": version}, rm=True
        )
        return str(image.id)

    def ids() -> set[str]:
        return {str(i.id) for i in there.images.list()}

    def back(release: str) -> dict[str, Any]:
        return deploy.deploy(harbour.request({}, release=release))

    pulled = harbour.deployed(services(tag))["rollout"]
    small = there.images.get(tag).id
    one = built("1")
    first = harbour.deployed(services(MOVING))["rollout"]
    two = built("2")
    harbour.deployed(services(MOVING))
    assert there.images.get(one).tags == [f"quaylock.kept/image:kept.{one[7:19]}"], "its tag has moved"
    there.images.prune(filters={"dangling": True})
    assert ids() >= {small, one, two}, "docker image prune: the name of ours keeps it"
    assert back(first)["outcome"] == "deployed"
    assert back("previous")["outcome"] == "deployed"
    there.images.prune(filters={"dangling": False})
    assert ids() == {two}, "docker image prune -a: nothing keeps what no container uses"
    with pytest.raises(Invalid) as refused:
        back(first)
    assert f"images.{MOVING}: {one[:19]} of release {first} is not on this host any more" in str(refused.value)
    assert f"can be returned to: {harbour.journal.releases('kept')[0].id}, " in str(refused.value)
    # what came from a registry comes again, and is the same, whatever its tag is today
    there.images.get(two).tag(f"{registry}/web", "small")
    assert deploy.check(harbour.request({}, release=pulled))["to_fetch"] == [tag]
    assert back(pulled)["outcome"] == "deployed"
    [body] = harbour.containers("web").values()
    assert (body["Image"], body["Config"]["Image"]) == (small, small)
    assert there.images.get(tag).id == two, "tags of the user are not moved"
