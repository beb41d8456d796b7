# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a probe from this host gets to a replica: over which of its networks, and if over none, why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .model import ExecProbe, Finding, Json, Stack

_GATEWAY = "com.docker.network.bridge.gateway_mode_ipv4"
_INHIBIT = "com.docker.network.bridge.inhibit_ipv4"


def reached(network: Json) -> bool:
    """Whether the host itself has an address in it: a bridge does, internal or not; macvlan, ipvlan and overlay do not.

    `network` is a create or an inspect body of the Engine API.
    """
    options: Mapping[str, str] = network.get("Options") or {}
    isolated = options.get(_GATEWAY) == "isolated" or str(options.get(_INHIBIT, "")).lower() == "true"
    return (network.get("Driver") or "bridge") == "bridge" and not isolated


def ordered(networks: Iterable[str], first: str) -> list[str]:
    """The proxy's own network first: what is asked there is what the proxy will get."""
    return sorted(networks, key=lambda name: (name != first, name))


def unreachable(stack: Stack, existing: Mapping[str, Json]) -> tuple[Finding, ...]:
    """HTTP and TCP probes that could never pass. `existing` has inspect bodies by real name."""
    bodies = {n.key: existing.get(n.name) or n.body for n in stack.networks}
    drivers = {key: str(body.get("Driver") or "bridge") for key, body in bodies.items()}
    found = []
    for service in stack.services:
        networks = [key for key in service.networks if key in bodies]
        # a key that is none of the stack's is the proxy's network, which is a bridge
        if not networks or len(networks) < len(service.networks) or any(reached(bodies[key]) for key in networks):
            continue
        where = ", ".join(f"{key} ({drivers[key]})" for key in networks)
        found += [
            Finding(
                f"services.{service.name}.x-quaylock.gate.probes",
                f"{probe} cannot be asked: the host has no address in {where}",
                "ask inside the container with exec, or add a bridge network",
            )
            for probe in service.gate.probes
            if not isinstance(probe, ExecProbe)
        ]
    return tuple(found)
