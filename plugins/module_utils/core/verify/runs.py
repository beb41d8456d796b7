# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A container of its own from a service's definition, as `docker compose run` makes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..labels import ALIASES, ONE_OFF, create_body
from ..model import Image, Json, Service, Stack

LABEL = "quaylock.verify"
"""on what a verification runs: its id"""
_ENDPOINT = ("Aliases", "IPAMConfig", "MacAddress")
_HOST = ("PortBindings", "RestartPolicy")


def body(
    stack: Stack,
    service: Service,
    command: Sequence[str],
    environment: Mapping[str, str],
    image: Image,
    folder: str,
    release: str,
) -> Json:
    """The create body: nobody takes it for a replica, and what only one container can have is left out."""
    made: dict[str, Any] = dict(create_body(stack, service, 1, release, image, folder))
    labels = {key: value for key, value in made["Labels"].items() if key != ALIASES}
    made["Labels"] = {**labels, ONE_OFF: "True", LABEL: environment.get("QUAYLOCK_VERIFICATION", "")}
    host = {key: value for key, value in (made.get("HostConfig") or {}).items() if key not in _HOST}
    made["HostConfig"] = {**host, "RestartPolicy": {"Name": "no"}}
    made["Healthcheck"] = {"Test": ["NONE"]}
    made["Env"] = [*(made.get("Env") or ()), *(f"{key}={value}" for key, value in environment.items())]
    made.pop("ExposedPorts", None)
    if command:
        made["Cmd"] = list(command)
    endpoints = (made.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    if endpoints:
        kept = {n: {k: v for k, v in (e or {}).items() if k not in _ENDPOINT} for n, e in endpoints.items()}
        made["NetworkingConfig"] = {"EndpointsConfig": kept}
    return made


def name(stack: str, service: str, check: str, verification: str) -> str:
    return f"{stack}-{service}-{check}-{verification}"
