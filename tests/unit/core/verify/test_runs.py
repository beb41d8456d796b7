# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The container of a run: the service's own, but for what makes it a replica."""

from __future__ import annotations

import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Image
from ansible_collections.quaylock.stacks.plugins.module_utils.core.verify import runs

STACK = """
services:
  api:
    image: api
    container_name: the-api
    command: [serve]
    environment: {MODE: prod}
    user: "1000"
    restart: always
    ports: ["8000:8000"]
    networks: {back: {aliases: [inside], ipv4_address: 10.9.0.5}}
    volumes: ["data:/data"]
    healthcheck: {test: [CMD, "true"]}
networks: {back: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}
volumes: {data: }
"""


def test_what_only_one_container_can_have_is_left_out() -> None:
    stack = read("shop", yaml.safe_load(STACK), Context("/srv/shop", "/etc/q/shop"))
    environment = {"QUAYLOCK_VERIFICATION": "v-1"}
    made = runs.body(stack, stack.service("api"), ("check", "-v"), environment, Image("api", "sha256:1"), "/f", "r-1")
    assert made["Cmd"] == ["check", "-v"]
    assert made["Env"] == ["MODE=prod", "QUAYLOCK_VERIFICATION=v-1"]
    assert (made["User"], made["Image"]) == ("1000", "api")
    assert made["Healthcheck"] == {"Test": ["NONE"]}
    assert "ExposedPorts" not in made
    assert "PortBindings" not in made["HostConfig"]
    assert made["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert made["HostConfig"]["Mounts"] or made["HostConfig"]["Binds"]
    assert made["NetworkingConfig"]["EndpointsConfig"] == {"shop_back": {}}
    assert made["Labels"]["com.docker.compose.oneoff"] == "True"
    assert made["Labels"][runs.LABEL] == "v-1"
    assert "quaylock.aliases" not in made["Labels"]
    own = runs.body(stack, stack.service("api"), (), environment, Image("api", "sha256:1"), "/f", "r-1")
    assert own["Cmd"] == ["serve"]
