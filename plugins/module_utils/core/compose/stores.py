# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The top level of a Compose model besides its services: networks, volumes, secrets and configs."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Union

from ..model import Finding, MountedFile, Network, Volume
from .nodes import Node
from .scope import Context, host_path

_SWARM = "belongs to Docker Swarm; leave it out on a single host"


def networks(node: Node, stack: str) -> dict[str, Network]:
    """All networks of the stack, with `default`, which every Compose project has."""
    result = {key: _network(entry, key, stack) for key, entry in node.items()}
    if "default" not in result:
        result["default"] = _network(Node(None, "networks.default", node.findings), "default", stack)
    return result


def is_bind(driver: str, options: Mapping[str, Any]) -> bool:
    """Whether a volume of the local driver is a folder of the host under another name."""
    return driver == "local" and "bind" in str(options.get("o", "")).split(",") and "device" in options


def volumes(node: Node, stack: str, context: Context) -> dict[str, Volume]:
    result = {}
    for key, entry in node.items():
        external, name = _identity(entry, key, stack)
        driver = entry.at("driver").text("local")
        options = entry.at("driver_opts").table()
        if is_bind(driver, options):
            options["device"] = host_path(entry.at("driver_opts").at("device"), options["device"], context)
        labels = _labels(entry, stack, "volume", key)
        entry.close()
        body = {"Driver": driver, "DriverOpts": options, "Labels": labels}
        result[key] = Volume(key, name, external, {} if external else body)
    return result


def files(node: Node, kind: str, context: Context) -> dict[str, MountedFile | Finding]:
    """Secrets or configs. What has no content yet becomes the Finding that a service using it raises."""
    return {key: _file(entry, kind, key, context) for key, entry in node.items()}


def _network(node: Node, key: str, stack: str) -> Network:
    external, name = _identity(node, key, stack)
    driver = node.at("driver").text("bridge")
    if driver == "overlay":
        node.at("driver").refuse("an overlay network needs Docker Swarm", "leave it out: bridge is the default")
    ipam = _ipam(node.at("ipam"))
    options = node.at("driver_opts").table()
    if not node.at("enable_ipv4").flag(True):
        node.at("enable_ipv4").refuse("a network without IPv4 needs Docker Engine 28", "leave it out")
    body: dict[str, Any] = {
        "Driver": driver,
        "Internal": node.at("internal").flag(),
        "Attachable": node.at("attachable").flag(),
        "EnableIPv6": node.at("enable_ipv6").flag(),
        "Options": options,
        "Labels": _labels(node, stack, "network", key),
        "CheckDuplicate": True,
    }
    if ipam:
        body["IPAM"] = ipam
    node.close()
    return Network(key, name, external, {} if external else body)


def _identity(node: Node, key: str, stack: str) -> tuple[bool, str]:
    """Whether it is somebody else's, and its real name. `external: {name: x}` is Compose's older spelling."""
    written = node.at("external")
    name = node.at("name").text()
    if isinstance(written.value, Mapping):
        external, name = True, written.at("name").text(name)
        written.close()
    else:
        external = written.flag()
    if external:
        for other in ("driver", "driver_opts", "ipam", "internal", "attachable", "enable_ipv6", "labels"):
            if node.at(other).value:
                node.at(other).refuse("describes something external", "leave it out, or drop external")
    return external, name or (key if external else f"{stack}_{key}")


def _labels(node: Node, stack: str, kind: str, key: str) -> dict[str, str]:
    """The user's labels, and those by which `docker compose` knows its own."""
    own = {"com.docker.compose.project": stack, f"com.docker.compose.{kind}": key}
    return {**{k: v or "" for k, v in node.at("labels").pairs().items()}, **own}


def _ipam(node: Node) -> dict[str, Any]:
    if not node.value:
        return {}
    pools = []
    for entry in node.at("config").entries():
        subnet = _subnet(entry.at("subnet"))
        pool: dict[str, Any] = {"Subnet": entry.at("subnet").text()} if entry.has("subnet") else {}
        _subnet(entry.at("ip_range"))
        for key, field in (("ip_range", "IPRange"), ("gateway", "Gateway")):
            if entry.has(key):
                pool[field] = entry.at(key).text()
        if entry.has("gateway"):
            inside(entry.at("gateway"), [subnet] if subnet else [])
        auxiliary = entry.at("aux_addresses").table()
        if auxiliary:
            pool["AuxiliaryAddresses"] = auxiliary
        entry.close()
        pools.append(pool)
    options = node.at("options").table()
    ipam: dict[str, Any] = {"Driver": node.at("driver").text("default"), "Config": pools}
    node.close()
    return {**ipam, "Options": options} if options else ipam


Subnet = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def _subnet(node: Node) -> Subnet | None:
    if node.given:
        try:
            return ipaddress.ip_network(node.text(), strict=False)
        except ValueError:
            node.refuse(f"{node.text()!r} is not a subnet", "write it as 172.28.0.0/16")
    return None


def inside(node: Node, subnets: list[Subnet]) -> None:
    """Refuse an address that is none, or that lies in none of the subnets."""
    try:
        address = ipaddress.ip_address(node.text())
    except ValueError:
        node.refuse(f"{node.text()!r} is not an IP address")
        return
    if subnets and not any(address in subnet for subnet in subnets):
        node.refuse(f"{address} lies outside of {', '.join(map(str, subnets))}")


def subnets(network: Network) -> list[Subnet]:
    """The configured subnets of a network of ours; broken ones were refused when the network was read."""
    result = []
    for pool in network.body.get("IPAM", {}).get("Config", ()):
        try:
            result.append(ipaddress.ip_network(pool.get("Subnet", ""), strict=False))
        except ValueError:
            continue
    return result


def _file(node: Node, kind: str, key: str, context: Context) -> MountedFile | Finding:
    external = node.at("external").flag()
    path = node.at("file").text()
    sources = [source for source in ("file", "environment", "content") if node.has(source)]
    if kind == "secret" and "content" in sources:
        node.at("content").refuse("a secret's content never lies in the stack's file", f"set stack_secrets.{key}")
    if len(sources) > 1:
        node.refuse(f"has several sources: {', '.join(sources)}", "keep one")
    node.at("name").text()
    node.at("labels").pairs()
    node.close({"driver": _SWARM, "driver_opts": _SWARM, "template_driver": _SWARM})
    fingerprint = (context.secrets if kind == "secret" else context.configs).get(key)
    if fingerprint is not None:
        return MountedFile(kind, key, f"{context.config_dir}/{kind}s/{key}-{fingerprint}", fingerprint)
    if path and not external:
        return MountedFile(kind, key, host_path(node.at("file"), path, context), external=True)
    if external:
        problem = f"only Docker Swarm can provide an external {kind}"
        return Finding(node.at("external").path, problem, f"set stack_{kind}s.{key}")
    return Finding(node.path, "has no content", f"set stack_{kind}s.{key}")
