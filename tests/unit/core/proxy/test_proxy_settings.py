# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an operator may ask the proxy for, and what is refused, all at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.proxy_settings import (
    LETS_ENCRYPT,
    Wanted,
    settings_of,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import Entrypoint

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nx\n"  # gitleaks:allow


def wanted(entrypoints: dict[str, dict[str, object]], **more: object) -> Wanted:
    base = Wanted("/var/lib/quaylock/ingress", "ingress-haproxy", "172.30.0.2", entrypoints)
    return replace(base, **more)  # type: ignore[arg-type]


ACCEPTED = [
    ("plain", wanted({"web": {"port": 80}}), [Entrypoint("web", 80)]),
    ("an address is Docker's business", wanted({"web": {"port": 80, "address": "127.0.0.1"}}), [Entrypoint("web", 80)]),
    (
        "the profile's TLS is for the door with a redirect",
        wanted({"web": {"port": 443, "redirect": 80}, "x": {"port": 8080}}, tls="if-certs"),
        [Entrypoint("web", 443, tls="if-certs", redirect=80), Entrypoint("x", 8080)],
    ),
    (
        "its own word wins",
        wanted({"web": {"port": 443, "redirect": 80, "tls": "off"}}, tls="enforced"),
        [Entrypoint("web", 443, redirect=80)],
    ),
    (
        "behind a load balancer",
        wanted({"web": {"port": 80, "trusted": ["10.0.0.5", "10.1.0.0/24"], "proxy_protocol": True}}),
        [Entrypoint("web", 80, trusted=("10.0.0.5", "10.1.0.0/24"), proxy_protocol=True)],
    ),
    ("tcp", wanted({"db": {"port": 5432, "mode": "tcp"}}), [Entrypoint("db", 5432, mode="tcp")]),
]


@pytest.mark.parametrize(("name", "asked", "doors"), ACCEPTED, ids=[a[0] for a in ACCEPTED])
def test_accepted(name: str, asked: Wanted, doors: list[Entrypoint]) -> None:
    assert list(settings_of(asked).entrypoints) == doors


def test_a_renewed_certificate_is_another_one() -> None:
    asked = wanted({"web": {"port": 443, "tls": "enforced"}}, certificates={"a": PEM})
    renewed = replace(asked, certificates={"a": PEM.replace("x", "y")})
    assert settings_of(asked).certificates != settings_of(renewed).certificates
    assert "PRIVATE KEY" not in repr(settings_of(asked)) + repr(asked)


REFUSED = [
    ({"web": {}}, ["ingress_entrypoints.web.port: is 0, not a port"]),
    ({"web": {"port": "80"}}, ["is '80', not a port"]),
    ({"web": {"port": 80}, "b": {"port": 80}}, ["port 80 is ingress_entrypoints.web.port already"]),
    ({"web": {"port": 80, "tsl": "off"}}, ["ingress_entrypoints.web.tsl: is not a known key"]),
    ({"web": {"port": 80, "mode": "udp"}}, ["ingress_entrypoints.web.mode: is 'udp'"]),
    ({"web": {"port": 443, "tls": "enforced"}}, ["is enforced, and there is no certificate"]),
    ({"We b": {"port": 80}, "c": {"port": 0}}, ["ingress_entrypoints.We b: is not a name", "is 0, not a port"]),
    (
        {"a": {"port": 80}, "b": {"port": 10080}},
        ["is 10080 in the proxy, as port 80 of ingress_entrypoints.a.port already"],
    ),
    ({"a": {"port": 8404}}, ["port 8404 is the proxy's own health check already"]),
    ({"db": {"port": 5432, "mode": "tcp", "redirect": 80}}, ["redirect: is for http"]),
    ({"web": {"port": 80, "trusted": "10.0.0.5"}}, ["ingress_entrypoints.web.trusted: is '10.0.0.5'"]),
    (
        {"web": {"port": 80, "trusted": ["lb", "0.0.0.0/0"]}},
        ["trusted[0]: is 'lb', no address", "trusted[1]: is everyb"],
    ),
    ({"web": {"port": 80, "proxy_protocol": True}}, ["web.proxy_protocol: is believed of nobody"]),
    ({"web": {"port": 80, "proxy_protocol": "yes"}}, ["web.proxy_protocol: is 'yes'"]),
    ({"db": {"port": 5432, "mode": "tcp", "trusted": ["10.0.0.5"]}}, ["db.trusted: says nothing about a client"]),
]


@pytest.mark.parametrize(("entrypoints", "parts"), REFUSED, ids=[r[1][0] for r in REFUSED])
def test_refused(entrypoints: dict[str, dict[str, object]], parts: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        settings_of(wanted(entrypoints))
    assert len(caught.value.findings) == len(parts), caught.value
    for part in parts:
        assert part in str(caught.value)


def test_half_a_certificate_is_refused() -> None:
    with pytest.raises(Invalid, match=r"ingress_certificates\.a: is not a certificate with its key"):
        settings_of(wanted({"web": {"port": 80}}, certificates={"a": PEM.partition("-----BEGIN PRIVATE")[0]}))


TLS_DOOR: dict[str, dict[str, object]] = {"web": {"port": 443, "redirect": 80, "tls": "enforced"}}
BARE_DOOR: dict[str, dict[str, object]] = {"web": {"port": 443, "tls": "enforced"}}
CA = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def test_acme_is_accepted_for_traefik() -> None:
    asked = wanted(TLS_DOOR, driver="traefik", acme={"email": "a@example.org", "ca": CA})
    acme = settings_of(asked).acme
    assert acme is not None
    assert (acme.email, acme.server, acme.challenge) == ("a@example.org", LETS_ENCRYPT, "http")
    assert acme.ca.startswith("acme-ca.pem:")
    assert settings_of(wanted(BARE_DOOR, driver="traefik", acme={"email": "a@example.org", "challenge": "tls"})).acme
    assert settings_of(wanted(TLS_DOOR, driver="traefik", certificates={"a": PEM})).conf == "/etc/traefik"


ACME: dict[str, object] = {"email": "a@example.org"}
REFUSED_TOGETHER: list[tuple[str, dict[str, dict[str, object]], dict[str, object], list[str]]] = [
    (
        "acme with haproxy",
        TLS_DOOR,
        {"acme": ACME},
        ["ingress_acme: is not for HAProxy (set ingress_driver: traefik, or bring certificates"],
    ),
    ("another driver", TLS_DOOR, {"driver": "nginx", "certificates": {"a": PEM}}, ["ingress_driver: is 'nginx'"]),
    ("no email", TLS_DOOR, {"acme": {"challenge": "http"}}, ["ingress_acme.email: is '', not an address"]),
    (
        "all at once",
        TLS_DOOR,
        {"acme": {"email": "nobody", "server": "http://x", "challenge": "dns", "ca": "x", "mail": "y"}},
        [
            "ingress_acme.mail: is not a known key",
            "ingress_acme.email: is 'nobody'",
            "ingress_acme.server: is 'http://x'",
            "ingress_acme.challenge: is 'dns'",
            "ingress_acme.ca: is not a certificate",
        ],
    ),
    ("a key in the place of a certificate", TLS_DOOR, {"acme": {**ACME, "ca": PEM}}, ["ingress_acme.ca: is not a"]),
    ("no tls to use it", {"web": {"port": 80}}, {"acme": ACME}, ["ingress_acme: gets certificates that no entrypoint"]),
    ("no plain door", BARE_DOOR, {"acme": ACME}, ["ingress_acme.challenge: is answered on plain HTTP"]),
    (
        "tcp has no host",
        {**TLS_DOOR, "db": {"port": 5432, "mode": "tcp", "tls": "enforced"}},
        {"acme": ACME},
        ["ingress_entrypoints.db.tls: is for tcp, where ACME knows no host name"],
    ),
    (
        "a name that is taken",
        {"quaylock": {"port": 80}},
        {},
        ["ingress_entrypoints.quaylock: is a name that the proxy"],
    ),
    (
        "the name of a redirect",
        {"web": {"port": 443, "redirect": 80}, "web-redirect": {"port": 81}},
        {},
        ["ingress_entrypoints.web-redirect: is a name that the proxy"],
    ),
    ("a limit that it has not", {"web": {"port": 80}}, {"max_connections": 5}, ["ingress_max_connections: is not in"]),
    ("no seconds", {"web": {"port": 80}}, {"hsts": -1}, ["ingress_hsts: is -1"]),
    ("nobody", {"web": {"port": 80}}, {"max_connections": 0}, ["ingress_max_connections: is 0"]),
]


@pytest.mark.parametrize(("name", "doors", "more", "parts"), REFUSED_TOGETHER, ids=[r[0] for r in REFUSED_TOGETHER])
def test_refused_together(
    name: str, doors: dict[str, dict[str, object]], more: dict[str, object], parts: list[str]
) -> None:
    driver = "haproxy" if "haproxy" in name else "traefik"
    with pytest.raises(Invalid) as caught:
        settings_of(wanted(doors, **{"driver": driver, **more}))
    said = [str(finding) for finding in caught.value.findings]
    assert len(said) == len(parts), said
    for part in parts:
        assert any(part in finding for finding in said), said
