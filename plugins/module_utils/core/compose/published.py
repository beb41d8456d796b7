# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ports that a service publishes on the host or exposes to its networks, in Compose's short and long syntax."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from .nodes import Node, plain

_SHORT = re.compile(
    r"(?:(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>\d+(?:\.\d+){3})):)?(?:(?P<host>\d+(?:-\d+)?)?:)?"
    r"(?P<target>\d+(?:-\d+)?)(?:/(?P<protocol>\w+))?"
)
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class Port:
    """One port of the container on the host. `published` is "" (any), "8080", or a range to pick from, "8080-8090"."""

    target: int
    published: str = ""
    host_ip: str = ""
    protocol: str = "tcp"

    @property
    def fixed(self) -> int:
        """The one host port that it takes, 0 where the engine picks."""
        return int(self.published) if self.published.isdigit() else 0


def ports(node: Node) -> list[Port]:
    found: list[Port] = []
    for entry in node.entries():
        found += [_long(entry)] if hasattr(entry.value, "keys") else _short(entry)
    return list(dict.fromkeys(found))


def exposed(node: Node) -> list[str]:
    """`expose` as the engine names ports: "8000/tcp"."""
    names = []
    for entry in node.entries():
        number, _slash, protocol = entry.text(loose=True).partition("/")
        low, high = _range(entry, number)
        if protocol not in ("", *_PROTOCOLS):
            entry.refuse(f"{protocol!r} is not one of {', '.join(_PROTOCOLS)}")
        names += [f"{port}/{protocol or 'tcp'}" for port in range(low, high + 1)] if low else []
    return names


def _short(entry: Node) -> list[Port]:
    text = plain(entry.value)
    match = _SHORT.fullmatch(text) if entry.text(loose=True) else None
    if not match:
        entry.refuse(f"{text!r} is not a port", 'write "8080:80", "127.0.0.1:8080:80" or "8080:80/udp"')
        return []
    address = match["six"] or match["four"] or ""
    protocol = (match["protocol"] or "tcp").lower()
    if address:
        _address(entry, address)
    if protocol not in _PROTOCOLS:
        entry.refuse(f"{protocol!r} is not one of {', '.join(_PROTOCOLS)}")
    low, high = _range(entry, match["target"])
    if not low:
        return []
    if match["host"] in (None, "0"):
        return [Port(port, "", address, protocol) for port in range(low, high + 1)]
    first, last = _range(entry, match["host"])
    if low == high and first != last:
        return [Port(low, match["host"], address, protocol)]
    if last - first != high - low:
        entry.refuse(
            f"maps {last - first + 1} host ports to {high - low + 1} of the container", "make the ranges equal"
        )
        return []
    return [Port(low + step, str(first + step), address, protocol) for step in range(high - low + 1)]


def _long(entry: Node) -> Port:
    target = entry.at("target").integer(0, 1, 65535)
    if not entry.has("target"):
        entry.refuse("has no target", "name the container's port: target: 80")
    published = entry.at("published").text("0", loose=True)
    if published == "0":
        published = ""
    else:
        first, last = _range(entry.at("published"), published)
        published = str(first) if first == last else published
    address = entry.at("host_ip").text()
    if address:
        _address(entry.at("host_ip"), address)
    protocol = entry.at("protocol").one_of(_PROTOCOLS, "tcp")
    # "ingress" is Compose's own default; on one host there is no other meaning than the host's port
    entry.at("mode").one_of(("host", "ingress"), "ingress")
    entry.at("name").text()
    entry.at("app_protocol").text()
    entry.close()
    return Port(target, published, address, protocol)


def _range(node: Node, text: str) -> tuple[int, int]:
    """(first, last), or (0, 0) after a refusal."""
    low, _dash, high = text.partition("-")
    if low.isdigit() and (high or low).isdigit():
        first, last = int(low), int(high or low)
        if 1 <= first <= last <= 65535:
            return first, last
    node.refuse(f"{text!r} is not a port or a range of ports", "1 to 65535, as 8000 or 8000-8010")
    return 0, 0


def _address(node: Node, text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        node.refuse(f"{text!r} is not an IP address")
