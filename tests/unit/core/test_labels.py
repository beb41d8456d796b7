# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a replica is known again: by Compose, and by the next rollout."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.quaylock.stacks.plugins.module_utils.core import labels
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Image, Network

from .stage import NETWORK, service, stack

IMAGE = Image("web:1", "sha256:abc", "web@sha256:def")
BODY = {
    "Env": ["A=1"],
    "HostConfig": {"Init": True},
    "NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": ["web"]}, "outside": None}},
}
WEB = replace(service("web", after="db job$", restarts=("db",)), container=BODY, labels={"mine": "kept"})
STACK = stack(WEB, networks=(NETWORK, Network("outside", "real-outside", external=True)))


def made() -> dict:
    return dict(labels.create_body(STACK, WEB, 2, "r1", IMAGE, "/etc/quaylock/stacks/shop"))


def test_the_labels_of_a_replica() -> None:
    assert made()["Labels"] == {
        "mine": "kept",
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "2",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.config-hash": "spec-1",
        "com.docker.compose.depends_on": "db:service_healthy:true,job:service_completed_successfully:false",
        "com.docker.compose.image": "sha256:abc",
        "com.docker.compose.project.working_dir": "/etc/quaylock/stacks/shop",
        "com.docker.compose.project.config_files": "/etc/quaylock/stacks/shop/compose.yaml",
        "quaylock.rollout": "r1",
        "quaylock.spec": "spec-1",
        "quaylock.image": "sha256:abc",
        "quaylock.aliases": '{"shop_default": ["web"]}',
    }


def test_the_image_is_asked_for_by_its_name() -> None:
    assert made()["Image"] == "web:1"


def test_networks_get_their_real_names_in_the_same_order() -> None:
    assert list(made()["NetworkingConfig"]["EndpointsConfig"].items()) == [
        ("shop_default", {"Aliases": ["web"]}),
        ("real-outside", None),
    ]


def test_the_rest_is_the_services_own() -> None:
    assert made()["Env"] == ["A=1"]
    assert made()["HostConfig"] == {"Init": True}
    assert "NetworkingConfig" not in labels.create_body(STACK, service("job"), 1, "r1", IMAGE, "/x")


def test_the_service_itself_is_not_changed() -> None:
    before = repr(WEB.container)
    made()["Labels"]["x"] = "y"
    assert repr(WEB.container) == before


def test_ours_win_over_the_users() -> None:
    """The model refuses such labels; here they could only do harm."""
    bad = replace(WEB, labels={labels.PROJECT: "other", labels.SPEC: "other"})
    found = labels.create_body(STACK, bad, 1, "r1", IMAGE, "/x")["Labels"]
    assert (found[labels.PROJECT], found[labels.SPEC]) == ("shop", "spec-1")
