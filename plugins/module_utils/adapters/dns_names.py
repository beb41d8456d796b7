# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a container answers to its service's DNS names (network aliases): not before it passed, no more when it leaves.

The engine gives aliases only with a connection to a network, so they are changed by leaving it and joining it again
with the same address: 0.1 s, in which open connections pause and live on. That needs a network whose subnet was
configured, which is why ours are made that way, and an address that nobody else gets after a restart.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..core.labels import ALIASES, FIXED_SUBNET
from ..core.model import Json

Endpoints = dict[str, Any]
SENT_AGAIN = 1.5
"""seconds after which peers have sent again what fell into the gap (TCP: a lost SYN after 1 s); nothing shows that"""


def promised(details: Json) -> Mapping[str, list[str]]:
    """The aliases that a container is to have once it passed, by network; what another tool made has none."""
    text = (details["Config"].get("Labels") or {}).get(ALIASES, "")
    return json.loads(text) if text else {}


def lacking(details: Json) -> list[str]:
    """Networks in which a running container does not answer to all of its names."""
    endpoints = details["NetworkSettings"].get("Networks") or {}
    wanted = promised(details)
    return [n for n, names in wanted.items() if not set(names) <= set((endpoints.get(n) or {}).get("Aliases") or ())]


def can_wait(network: Json) -> bool:
    """Whether names can be given later in this network without another address."""
    return network.get("Driver") == "bridge" and FIXED_SUBNET in (network.get("Labels") or {})


def without_names(endpoints: Endpoints, network: str, address: str) -> Endpoints:
    """The endpoint as it is before the names are given: a fixed address, no aliases."""
    endpoint = {k: v for k, v in (endpoints[network] or {}).items() if k != "Aliases"}
    return {**endpoints, network: {**endpoint, "IPAMConfig": {"IPv4Address": address}}}


def rejoined(endpoint: Json | None, aliases: list[str], keeps: Callable[[str], bool]) -> Json:
    """How a container joins its network again: only its aliases differ; `keeps` says which addresses may stay."""
    there = endpoint or {}
    address = there.get("IPAddress") or ""
    made: dict[str, Any] = {"Aliases": aliases}
    if address and keeps(address):
        made["IPAMConfig"] = {"IPv4Address": address}
    if there.get("DriverOpts"):
        made["DriverOpts"] = there["DriverOpts"]
    return made


def first_fixed(subnet: str) -> int:
    """The engine hands addresses out from the bottom of a subnet: fixed ones are in its upper half."""
    network = ipaddress.ip_network(subnet)
    return int(network.network_address) + network.num_addresses // 2


def is_fixed(subnet: str, address: str) -> bool:
    return int(ipaddress.ip_address(address)) >= first_fixed(subnet)
