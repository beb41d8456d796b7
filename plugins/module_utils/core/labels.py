# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The create body of one replica: the service's own, and the labels by which Compose and Quaylock know it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .model import Image, Json, Service, Stack

ROLLOUT = "quaylock.rollout"
SPEC = "quaylock.spec"
IMAGE = "quaylock.image"
ALIASES = "quaylock.aliases"
"""network -> DNS names, as JSON: a replica gets them when it passed, not with its creation"""
FIXED_SUBNET = "quaylock.subnet"
"""on a network: its subnet was configured, so that a container can leave it and come back with its address"""
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"


def create_body(stack: Stack, service: Service, number: int, rollout: str, image: Image, folder: str) -> Json:
    """Docker Engine API, POST /containers/create. Networks get their real names; `folder` is the project's."""
    names = {n.key: n.name for n in stack.networks}
    depends = ",".join(f"{d.service}:{d.condition.value}:{str(d.restart).lower()}" for d in service.depends_on)
    labels = {
        **service.labels,
        PROJECT: stack.name,
        SERVICE: service.name,
        NUMBER: str(number),
        ONE_OFF: "False",
        "com.docker.compose.config-hash": service.spec,
        "com.docker.compose.depends_on": depends,
        "com.docker.compose.image": image.id,
        "com.docker.compose.project.working_dir": folder,
        "com.docker.compose.project.config_files": f"{folder}/compose.yaml",
        ROLLOUT: rollout,
        SPEC: service.spec,
        IMAGE: image.id,
    }
    body: dict[str, Any] = {**service.container, "Image": image.ref, "Labels": labels}
    networking: Mapping[str, Any] = service.container.get("NetworkingConfig") or {}
    endpoints: Mapping[str, Any] = networking.get("EndpointsConfig") or {}
    if endpoints:
        body["NetworkingConfig"] = {"EndpointsConfig": {names.get(k, k): v for k, v in endpoints.items()}}
        aliases = {names.get(k, k): v["Aliases"] for k, v in endpoints.items() if (v or {}).get("Aliases")}
        labels[ALIASES] = json.dumps(aliases, sort_keys=True)
    return body
