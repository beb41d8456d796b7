# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The proxy as an operator asks for it: checked, all findings at once, and read as settings of its driver."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from ..model import Finding, Invalid
from .routing import HEALTH_PORT, Acme, Entrypoint, Settings, inside

DRIVERS = ("haproxy", "traefik")
KEYS = {"port", "address", "mode", "tls", "redirect", "trusted", "proxy_protocol"}
CHOICES = {"mode": ("http", "tcp"), "tls": ("off", "if-certs", "enforced")}
ACME_KEYS = {"email", "server", "challenge", "ca"}
CHALLENGES = ("http", "tls")
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
ACME_CA = "acme-ca.pem"
MAX_CONNECTIONS = 10000
RESERVED = {"quaylock"}
PLACES = {"haproxy": "/usr/local/etc/haproxy", "traefik": "/etc/traefik"}
"""where each proxy sees conf/"""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_DIRECTORY = re.compile(r"https://[^\s/]+/\S+")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_KEY = "PRIVATE KEY-----"


@dataclass(frozen=True)
class Wanted:
    """What the role asks for. `certificates` are PEM texts by name; `acme` has ACME_KEYS, or nothing."""

    folder: str
    container: str
    address: str
    entrypoints: Mapping[str, Mapping[str, Any]]
    tls: str = "off"
    """of entrypoints with a redirect that do not say it themselves"""
    certificates: Mapping[str, str] = field(default_factory=dict, repr=False)
    hsts: int = 31536000
    access_log: str = "errors"
    max_connections: int = MAX_CONNECTIONS
    uid: int = 99
    docker_host: str = ""
    driver: str = "haproxy"
    acme: Mapping[str, Any] = field(default_factory=dict)


def settings_of(wanted: Wanted) -> Settings:
    """Raises Invalid with every finding."""
    found: list[Finding] = []
    if wanted.driver not in DRIVERS:
        found.append(Finding("ingress_driver", f"is {wanted.driver!r}", f"one of {', '.join(DRIVERS)}"))
    found += _numbers(wanted)
    doors = _entrypoints(wanted, found)
    found += _certificates(wanted)
    acme = _acme(wanted, doors, found)
    if found:
        raise Invalid(tuple(found))
    return Settings(
        entrypoints=tuple(doors),
        address=wanted.address,
        conf=PLACES[wanted.driver],
        certificates=tuple(sorted(f"{n}.pem:{_print(t)}" for n, t in wanted.certificates.items())),
        hsts=wanted.hsts,
        maxconn=wanted.max_connections,
        access_log=wanted.access_log,
        acme=acme,
    )


def _numbers(wanted: Wanted) -> Iterator[Finding]:
    if wanted.hsts < 0:
        yield Finding("ingress_hsts", f"is {wanted.hsts}", "seconds, 0 for none")
    if wanted.max_connections < 1:
        yield Finding("ingress_max_connections", f"is {wanted.max_connections}", "1 or more")
    elif wanted.driver == "traefik" and wanted.max_connections != MAX_CONNECTIONS:
        yield Finding("ingress_max_connections", "is not in Traefik", "leave it out, or set ingress_driver: haproxy")


def _entrypoints(wanted: Wanted, found: list[Finding]) -> list[Entrypoint]:
    """The sound ones; adds to what was found."""
    doors: list[Entrypoint] = []
    ports = {HEALTH_PORT: (HEALTH_PORT, "the proxy's own health check")}
    for name, given in wanted.entrypoints.items():
        door = {"tls": wanted.tls if "redirect" in given else "off", **given}
        path = f"ingress_entrypoints.{name}"
        before = len(found)
        if not _NAME.fullmatch(name):
            found.append(Finding(path, "is not a name", "lower case letters, digits, - and _"))
        if name in RESERVED or any(name == f"{n}-redirect" for n, d in wanted.entrypoints.items() if "redirect" in d):
            found.append(Finding(path, "is a name that the proxy itself uses", "choose another"))
        found += [
            Finding(f"{path}.{k}", "is not a known key", f"one of {', '.join(sorted(KEYS))}") for k in {*given} - KEYS
        ]
        for key, choices in CHOICES.items():
            if door.get(key, choices[0]) not in choices:
                found.append(Finding(f"{path}.{key}", f"is {door[key]!r}", f"one of {', '.join(choices)}"))
        for key in ("port", "redirect"):
            number = door.get(key, 0)
            valid = isinstance(number, int) and 0 < number < 65536
            if not valid and (key in door or key == "port"):
                found.append(Finding(f"{path}.{key}", f"is {number!r}, not a port", "1 to 65535"))
            elif valid and inside(number) in ports:
                asked, other = ports[inside(number)]
                same = (
                    f"port {number} is" if asked == number else f"is {inside(number)} in the proxy, as port {asked} of"
                )
                found.append(Finding(f"{path}.{key}", f"{same} {other} already", "give each its own"))
            elif valid:
                ports[inside(number)] = (number, f"{path}.{key}")
        if "redirect" in door and door.get("mode") == "tcp":
            found.append(Finding(f"{path}.redirect", "is for http", "leave it out, or set mode: http"))
        if door["tls"] == "enforced" and not wanted.certificates and not wanted.acme:
            found.append(
                Finding(
                    f"{path}.tls",
                    "is enforced, and there is no certificate",
                    "set ingress_certificates, name: PEM text; or ingress_acme, with Traefik",
                )
            )
        found += _trust(door, path)
        if len(found) == before:
            doors.append(
                Entrypoint(
                    name,
                    door["port"],
                    door.get("mode", "http"),
                    door["tls"],
                    door.get("redirect", 0),
                    tuple(door.get("trusted") or ()),
                    bool(door.get("proxy_protocol")),
                )
            )
    return doors


def _trust(door: Mapping[str, Any], path: str) -> Iterator[Finding]:
    trusted, protocol = door.get("trusted", []), door.get("proxy_protocol", False)
    if not isinstance(trusted, list):
        yield Finding(f"{path}.trusted", f"is {trusted!r}", "a list of addresses and networks of load balancers")
        return
    for number, entry in enumerate(trusted):
        try:
            everybody = ip_network(str(entry), strict=False).prefixlen == 0
        except ValueError:
            yield Finding(
                f"{path}.trusted[{number}]", f"is {entry!r}, no address or network", "such as 10.0.0.5 or 10.0.0.0/24"
            )
            continue
        if everybody:
            yield Finding(f"{path}.trusted[{number}]", "is everybody", "name the load balancers alone")
    if not isinstance(protocol, bool):
        yield Finding(f"{path}.proxy_protocol", f"is {protocol!r}", "true or false")
    elif protocol and not trusted:
        yield Finding(f"{path}.proxy_protocol", "is believed of nobody", "name the load balancers in trusted")
    elif trusted and not protocol and door.get("mode") == "tcp":
        yield Finding(
            f"{path}.trusted", "says nothing about a client without HTTP", "add proxy_protocol: true, or drop it"
        )


def _certificates(wanted: Wanted) -> Iterator[Finding]:
    for name, text in wanted.certificates.items():
        if not _FILE.fullmatch(name):
            yield Finding(f"ingress_certificates.{name}", "is not a name", "letters, digits, dots, - and _")
        if _CERTIFICATE not in text or _KEY not in text:
            yield Finding(
                f"ingress_certificates.{name}",
                "is not a certificate with its key",
                "PEM text of the chain, then the key",
            )


def _acme(wanted: Wanted, doors: list[Entrypoint], found: list[Finding]) -> Acme | None:
    """Adds to what was found. `doors` are the sound ones."""
    given = wanted.acme
    if not given:
        return None
    path = "ingress_acme"

    def wrong(key: str, problem: str, fix: str) -> None:
        found.append(Finding(f"{path}.{key}" if key else path, problem, fix))

    for key in sorted({*given} - ACME_KEYS):
        wrong(key, "is not a known key", f"one of {', '.join(sorted(ACME_KEYS))}")
    email, server = str(given.get("email") or ""), str(given.get("server") or LETS_ENCRYPT)
    challenge, authority = str(given.get("challenge") or "http"), str(given.get("ca") or "")
    if wanted.driver == "haproxy":
        wrong("", "is not for HAProxy", "set ingress_driver: traefik, or bring certificates in ingress_certificates")
    if not _EMAIL.fullmatch(email):
        wrong("email", f"is {email!r}, not an address", "the authority writes to it when certificates expire")
    if not _DIRECTORY.fullmatch(server):
        wrong("server", f"is {server!r}", "the https address of an ACME directory")
    if challenge not in CHALLENGES:
        wrong("challenge", f"is {challenge!r}", "http (HTTP-01) or tls (TLS-ALPN-01)")
    if authority and (_CERTIFICATE not in authority or _KEY in authority):
        wrong("ca", "is not a certificate", "PEM text of the certificate that the ACME server's own is signed by")
    encrypted = [door for door in doors if door.tls != "off"]
    if doors and not encrypted:
        wrong("", "gets certificates that no entrypoint uses", "set ingress_tls or tls of an entrypoint to enforced")
    elif challenge == "http" and doors and not any(door.redirect for door in doors):
        wrong(
            "challenge", "is answered on plain HTTP, and no entrypoint has a redirect", "add redirect: 80, or use tls"
        )
    found += [
        Finding(
            f"ingress_entrypoints.{door.name}.tls",
            "is for tcp, where ACME knows no host name to ask for",
            "bring a certificate in ingress_certificates, or set tls: off",
        )
        for door in encrypted
        if door.mode == "tcp" and not wanted.certificates
    ]
    ca = f"{ACME_CA}:{_print(authority)}" if authority else ""
    return Acme(email, server, challenge, ca)


def _print(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
