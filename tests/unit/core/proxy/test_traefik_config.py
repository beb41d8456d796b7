# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Traefik is told, what it carries back, and what is made of its answers (recorded from 3.6.12)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy import traefik_config as language
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import (
    Acme,
    Backend,
    Entrypoint,
    Member,
    Settings,
    State,
    Table,
    TableError,
)

READY, DRAIN = State.READY, State.DRAIN
WEB = Route("http", 8000, host="Shop.example.org", path="/", check="/health")
DB = Route("db", 5432, mode="tcp", check="")
SHOP = Backend("shop", "web", (WEB,), (Member("web-1", "172.30.0.5", READY), Member("web-0", "172.30.0.4", DRAIN)))
STORE = Backend("shop", "db", (DB,), (Member("db-1", "fd00::7"),))
DOORS = (Entrypoint("http", 80), Entrypoint("db", 5432, mode="tcp"))
SETTINGS = Settings(DOORS, token="secret", conf="/etc/traefik")
TABLE = Table(SETTINGS, (STORE, SHOP))
TLS = replace(SETTINGS, entrypoints=(Entrypoint("http", 443, tls="enforced", redirect=80),), certificates=("a.pem:1",))
ACME = replace(TLS, certificates=(), acme=Acme("a@example.org", "https://acme.example.org/dir"))


def read(table: Table) -> dict[str, Any]:
    """As Traefik reads it."""
    made: dict[str, Any] = yaml.safe_load(language.render(table))
    return made


def routers(table: Table) -> dict[str, Any]:
    made: dict[str, Any] = read(table)["http"]["routers"]
    return made


def test_only_ready_servers_take_traffic_and_waiting_ones_our_requests() -> None:
    http = read(TABLE)["http"]
    assert http["services"]["shop:web:8000"]["loadBalancer"]["servers"] == [{"url": "http://172.30.0.5:8000"}]
    assert http["services"]["shop:web:8000:web-0"]["loadBalancer"]["servers"] == [{"url": "http://172.30.0.4:8000"}]
    to_waiting = [r for r in http["routers"].values() if r["service"] == "shop:web:8000:web-0"]
    assert [r["rule"] for r in to_waiting] == [
        'Header("x-quaylock-token", "secret") && Host("shop.example.org") && PathPrefix("/") '
        '&& Header("x-quaylock-server", "web-0")'
    ]
    assert read(TABLE)["tcp"] == {
        "routers": {
            "shop:db:route-0": {"entryPoints": ["db"], "rule": 'HostSNI("*")', "service": "shop:db:5432:tcp"},
        },
        "services": {"shop:db:5432:tcp": {"loadBalancer": {"servers": [{"address": "[fd00::7]:5432"}]}}},
    }


RULES = [
    # host, path, rule
    ("", "/", 'PathPrefix("/")'),
    ("A.example.org", "/", 'Host("a.example.org") && PathPrefix("/")'),
    ("", "/api", '(Path("/api") || PathPrefix("/api/"))'),
    ("", "/api/", '(Path("/api") || PathPrefix("/api/"))'),
    ("", "/{{x}}", '(Path("/{{x}}") || PathPrefix("/{{x}}/"))'),
]


@pytest.mark.parametrize(("host", "path", "rule"), RULES)
def test_rules(host: str, path: str, rule: str) -> None:
    table = Table(SETTINGS, (replace(SHOP, routes=(replace(WEB, host=host, path=path),), members=()),))
    assert routers(table)["shop:web:route-0"]["rule"] == rule
    # two braces begin a template, whatever they are in
    assert "{{" not in language.render(table)
    assert language.carried(language.render(table)) == table


def test_our_requests_go_before_a_closer_host_before_a_longer_path() -> None:
    def rank(name: str, route: Route, staged: bool = False) -> int:
        given = {"routes": (), "staged": (route,)} if staged else {"routes": (route,)}
        made = routers(Table(SETTINGS, (replace(SHOP, **given),)))
        return int(made[name]["priority"])

    plain, deep = replace(WEB, host=""), replace(WEB, host="", path="/a/b")
    ordered = [
        rank("shop:web:route-0", plain),
        rank("shop:web:route-0", deep),
        rank("shop:web:route-0", WEB),
        rank("shop:web:route-0", replace(WEB, path="/a")),
        rank("shop:web:route-0:any", plain),
        rank("shop:web:route-0:web-0", plain),
        rank("shop:web:staged-0:web-0", plain, staged=True),
    ]
    assert ordered == sorted(ordered)
    assert len({*ordered}) == len(ordered)


def test_nothing_of_ours_and_no_lie_reaches_an_application() -> None:
    made = read(TABLE)["http"]
    taken = made["middlewares"]["quaylock-clean"]["headers"]["customRequestHeaders"]
    assert taken == {"x-quaylock-token": "", "x-quaylock-server": "", "Forwarded": ""}
    for name, router in made["routers"].items():
        assert name == "quaylock-api" or "quaylock-clean" in router["middlewares"]
    static = yaml.safe_load(language.static(SETTINGS))
    assert all("forwardedHeaders" not in door for door in static["entryPoints"].values())


def test_the_api_wants_the_secret_and_there_is_no_dashboard() -> None:
    static = yaml.safe_load(language.static(SETTINGS))
    assert static["api"] == {"insecure": False, "dashboard": False}
    assert "docker" not in static["providers"]
    api = routers(TABLE)["quaylock-api"]
    assert api["entryPoints"] == ["quaylock"]
    assert api["rule"].startswith('Header("x-quaylock-token", "secret") &&')
    # only the file that we write is read
    assert static["providers"]["file"] == {"filename": "/etc/traefik/dynamic/routes.yaml", "watch": True}
    assert "secret" not in language.static(SETTINGS)


def test_tls_redirects_insists_and_is_new_enough() -> None:
    made = read(Table(TLS, (SHOP,)))
    router = made["http"]["routers"]["shop:web:route-0"]
    assert (router["entryPoints"], router["tls"], "quaylock-hsts" in router["middlewares"]) == (["http"], {}, True)
    redirect = made["http"]["routers"]["quaylock-http-redirect"]
    assert redirect["entryPoints"] == ["http-redirect"]
    assert made["http"]["middlewares"]["quaylock-http-redirect"]["redirectScheme"] == {
        "scheme": "https",
        "port": "443",
        "permanent": True,
    }
    assert made["tls"]["options"]["default"]["minVersion"] == "VersionTLS12"
    pair = {"certFile": "/etc/traefik/certs/a.pem", "keyFile": "/etc/traefik/certs/a.pem"}
    assert made["tls"]["certificates"] == [pair]
    assert made["tls"]["stores"] == {"default": {"defaultCertificate": pair}}


def test_without_tls_both_ports_serve_the_same() -> None:
    plain = replace(TLS, entrypoints=(Entrypoint("http", 443, tls="if-certs", redirect=80),), certificates=())
    router = routers(Table(plain, (SHOP,)))["shop:web:route-0"]
    assert router["entryPoints"] == ["http", "http-redirect"]
    assert "tls" not in router


CHALLENGES = [("http", {"httpChallenge": {"entryPoint": "http-redirect"}}), ("tls", {"tlsChallenge": {}})]


@pytest.mark.parametrize(("challenge", "part"), CHALLENGES)
def test_acme(challenge: str, part: dict[str, Any]) -> None:
    asked = replace(ACME, acme=Acme("a@example.org", "https://acme.example.org/dir", challenge, "acme-ca.pem:abc"))
    acme = yaml.safe_load(language.static(asked))["certificatesResolvers"]["quaylock"]["acme"]
    assert acme == {
        "email": "a@example.org",
        "caServer": "https://acme.example.org/dir",
        "storage": "/acme/acme.json",
        "keyType": "EC256",
        "caCertificates": ["/etc/traefik/acme-ca.pem"],
        **part,
    }
    made = routers(Table(asked, (SHOP,)))
    assert made["shop:web:route-0"]["tls"] == {"certResolver": "quaylock"}
    # our own requests need no certificate of their own
    assert made["shop:web:route-0:any"]["tls"] == {}


CHECKS = [
    ((200,), {"status": 200}),
    ((200, 204, 301), {}),
    ((200, 401), None),
]


@pytest.mark.parametrize(("statuses", "part"), CHECKS)
def test_a_check_that_traefik_cannot_judge_is_left_out(statuses: tuple[int, ...], part: dict[str, int] | None) -> None:
    table = Table(SETTINGS, (replace(SHOP, routes=(replace(WEB, statuses=statuses),)),))
    check = read(table)["http"]["services"]["shop:web:8000"]["loadBalancer"].get("healthCheck")
    if part is None:
        assert check is None
    else:
        assert {k: v for k, v in check.items() if k == "status"} == part
        assert (check["path"], check["hostname"], check["followRedirects"]) == ("/health", "shop.example.org", False)


def test_every_change_has_another_stamp_and_the_table_comes_back() -> None:
    other = TABLE.having(replace(SHOP, members=()))
    assert language.stamp(TABLE) != language.stamp(other)
    assert language.stamp(TABLE) == language.stamp(language.carried(language.render(TABLE)))
    assert language.carried(language.render(other)) == other


@pytest.mark.parametrize("text", ["", "http: {{", "{}", "]", '{"http": {"middlewares": {}}}', "\0\1", "null"])
def test_no_table_is_an_error(text: str) -> None:
    with pytest.raises(TableError):
        language.carried(text)


def answer(table: Table = TABLE, **changed: Any) -> str:
    """/api/rawdata for a table."""
    made = read(table)
    parts = {
        "routers": made["http"]["routers"],
        "services": made["http"]["services"],
        "middlewares": made["http"]["middlewares"],
        "tcpRouters": made["tcp"]["routers"],
        "tcpServices": made["tcp"]["services"],
    }
    said = {
        kind: {f"{name}@file": {**found, "status": "enabled"} for name, found in part.items()}
        for kind, part in parts.items()
    }
    for place, value in changed.items():
        kind, _sign, name = place.partition("__")
        said[kind][name.replace("_", ":") + "@file"].update(value)
    return json.dumps(said)


OBJECTIONS = [
    # name, what the API says besides, objections
    ("as asked", {}, []),
    (
        "another server",
        {"services__shop_web_8000": {"loadBalancer": {"servers": [{"url": "http://172.30.0.9:8000"}]}}},
        ["shop:web:8000 has http://172.30.0.9:8000 instead of http://172.30.0.5:8000"],
    ),
    (
        "down",
        {"services__shop_web_8000": {"serverStatus": {"http://172.30.0.5:8000": "DOWN"}}},
        ["http://172.30.0.5:8000 of shop:web:8000 is down"],
    ),
    (
        "a router that it refuses",
        {"routers__shop_web_route-0": {"status": "disabled", "error": ["unsupported function: Nonsense"]}},
        ["router shop:web:route-0: unsupported function: Nonsense"],
    ),
]


@pytest.mark.parametrize(("name", "changed", "said"), OBJECTIONS, ids=[o[0] for o in OBJECTIONS])
def test_objections(name: str, changed: dict[str, Any], said: list[str]) -> None:
    assert language.carried(answer()) == TABLE
    assert language.objections(answer(**changed), TABLE, "shop", "web") == said


def test_a_service_that_is_missing_is_an_objection() -> None:
    without = json.loads(answer())
    del without["tcpServices"]
    assert language.objections(json.dumps(without), TABLE, "shop", "db") == ["there is no service shop:db:5432:tcp"]


VERSIONS = [
    ('{"Version":"3.6.12","Codename":"cheddar"}', (3, 6)),
    ('{"Version":"v3.5.0-rc1"}', (3, 5)),
    ('{"Version":"dev"}', (0, 0)),
    ("<html>", (0, 0)),
]


@pytest.mark.parametrize(("text", "number"), VERSIONS)
def test_version(text: str, number: tuple[int, int]) -> None:
    assert language.version(text)[0] == number


TCP4 = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:46A0 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 1 1 0 100 0 0 10 0
   1: 02004FAC:9FB8 03004FAC:1F40 01 00000000:00000000 00:00000000 00000000 65532        0 2 1 0 20 4 30 10 -1
   2: 02004FAC:9FBA 04004FAC:1F40 02 00000000:00000000 00:00000000 00000000 65532        0 3 1 0 20 4 30 10 -1
   3: 02004FAC:9FBC 03004FAC:1F40 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF00000100007F:1F90 000000FD000000000000000007000000:1538 01 0
"""


def test_connections_are_counted_while_they_are_open_or_being_opened() -> None:
    assert language.connections(TCP4) == [("172.79.0.3", True), ("172.79.0.4", False)]
    assert language.connections(TCP6) == [("fd00::7", True)]
    assert language.connections("") == []
