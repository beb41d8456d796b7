# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an operator may ask the proxy for, and what is refused, all at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy_settings import Wanted, settings_of
from ansible_collections.quaylock.stacks.plugins.module_utils.core.routing import Entrypoint

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
