# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy's configuration from a routing table, and the table from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy import haproxy_config as language
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import (
    Backend,
    Entrypoint,
    Member,
    Settings,
    State,
    Table,
    TableError,
)

READY, DRAIN, MAINT = State.READY, State.DRAIN, State.MAINT
WEB = Route("http", 8000, host="Shop.example.org", path="/", check="/health")
SHOP = Backend("shop", "web", (WEB,), (Member("web-1", "172.30.0.5", READY), Member("web-0", "172.30.0.4", DRAIN)))
SETTINGS = Settings((Entrypoint("http", 80), Entrypoint("db", 5432, mode="tcp")), token="secret")
TABLE = Table(SETTINGS, (SHOP,))


def frontend(table: Table, name: str = "http") -> list[str]:
    """The lines of one block."""
    blocks = [block.splitlines() for block in language.render(table).split("\n\n")]
    return next([line.strip() for line in block[1:]] for block in blocks if block[0] == f"frontend {name}")


def block(table: Table, head: str) -> list[str]:
    found = [part.splitlines() for part in language.render(table).split("\n\n")]
    return next(([line.strip() for line in part[1:]] for part in found if part[0] == head), [])


def test_a_pool_lists_ready_and_draining_servers() -> None:
    lines = block(TABLE, "backend shop:web:8000")
    assert "server web-1 172.30.0.5:8000 check inter 1s fall 2 rise 1" in lines
    assert "server web-0 172.30.0.4:8000 check inter 1s fall 2 rise 1 weight 0" in lines
    assert "http-check send meth GET uri '/health' ver HTTP/1.1 hdr Host 'shop.example.org'" in lines
    assert "http-check expect status 200" in lines


def test_a_sticky_pool_lets_a_cookie_name_the_replica_also_one_that_drains() -> None:
    assert "cookie" not in "\n".join(block(TABLE, "backend shop:web:8000")).lower()
    members = (Member("web-1", "172.30.0.5", READY, "a1"), Member("web-0", "172.30.0.4", DRAIN, "b2"))
    sticky = replace(SHOP, routes=(replace(WEB, sticky=True),), members=members)
    other = replace(sticky, service="api")
    lines = block(TABLE.having(sticky), "backend shop:web:8000")
    asked = [line for line in lines if "req.cook(" in line]
    assert len(asked) == 1
    name = asked[0].rpartition("req.cook(")[2].rstrip(")")
    # by the name of the server, mark and all: HAProxy's `cookie` is not for servers that come at run time
    assert "use-server %[var(txn.sticky)] if { var(txn.sticky) -m found }" in lines
    assert [line.split(" ")[1] for line in lines if line.startswith("server ")] == ["web-1:a1", "web-0:b2"]
    told = [line for line in lines if "Set-Cookie" in line]
    assert all(f'"{name}=%[srv_name]; Path=/; HttpOnly; SameSite=Lax' in line for line in told)
    # over TLS only for TLS; and only to whom it says something new
    assert [("; Secure" in line, "{ ssl_fc }" in line, "srv_name,strcmp(txn.sticky)" in line) for line in told] == [
        (True, True, True),
        (False, True, True),
    ]
    assert not any(name in line for line in block(TABLE.having(other), "backend shop:api:8000"))


def test_privileged_ports_are_lifted() -> None:
    assert "bind :10080" in frontend(TABLE)


@pytest.mark.parametrize(
    ("name", "changed", "same"),
    [
        ("a member more", TABLE.having(replace(SHOP, members=(*SHOP.members, Member("web-2", "172.30.0.6")))), True),
        ("no member", TABLE.having(replace(SHOP, members=())), True),
        ("another path", TABLE.having(replace(SHOP, routes=(replace(WEB, path="/a", check="/a"),))), False),
        ("a staged route", TABLE.having(replace(SHOP, staged=(WEB,))), False),
        ("no backend", TABLE.without("shop", "web"), False),
        ("another entrypoint", replace(TABLE, settings=replace(SETTINGS, entrypoints=())), False),
        ("a renewed certificate", replace(TABLE, settings=replace(SETTINGS, certificates=("a.pem:1",))), False),
        ("a timeout", replace(TABLE, settings=replace(SETTINGS, timeouts={"server": 5.0})), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_members_change_without_a_reload(name: str, changed: Table, same: bool) -> None:
    assert (language.structure(changed) == language.structure(TABLE)) is same


def test_staged_routes_are_for_our_own_requests_only() -> None:
    table = TABLE.having(replace(SHOP, staged=(replace(WEB, port=9000),)))
    lines = [line for line in frontend(table) if line.startswith("use_backend shop")]
    assert lines == [
        "use_backend shop:web:9000 if { var(txn.quaylock) -m found } { var(txn.host) -m str 'shop.example.org' }",
        "use_backend shop:web:8000 if { var(txn.host) -m str 'shop.example.org' }",
    ]


@pytest.mark.parametrize(
    ("entrypoint", "certificates", "has", "lacks"),
    [
        (Entrypoint("http", 443, tls="off"), ("a.pem:1",), ["bind :10443"], "ssl"),
        (Entrypoint("http", 443, tls="if-certs", redirect=80), (), ["bind :10443", "bind :10080"], "ssl"),
        (
            Entrypoint("http", 443, tls="if-certs", redirect=80),
            ("a.pem:1",),
            [
                "bind :10443 ssl crt /usr/local/etc/haproxy/certs/ alpn h2,http/1.1",
                'http-after-response set-header Strict-Transport-Security "max-age=31536000"',
                "http-request set-header X-Forwarded-Proto https",
            ],
            "10080",
        ),
        (
            Entrypoint("http", 443, tls="enforced"),
            (),
            ["bind :10443 ssl crt /usr/local/etc/haproxy/certs/ alpn h2,http/1.1"],
            "X-Forwarded-Proto http ",
        ),
    ],
)
def test_tls(entrypoint: Entrypoint, certificates: tuple[str, ...], has: list[str], lacks: str) -> None:
    table = Table(replace(SETTINGS, entrypoints=(entrypoint,), certificates=certificates))
    lines = frontend(table)
    assert [line for line in has if line not in lines] == []
    assert lacks not in "\n".join(lines)
    assert "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets" in language.render(table)


@pytest.mark.parametrize(
    ("published", "location"),
    [
        (443, "https://%[req.hdr(host),host_only]%[pathq]"),
        (8443, "https://%[req.hdr(host),host_only]:8443%[pathq]"),
    ],
)
def test_a_redirect_names_the_port_that_clients_see(published: int, location: str) -> None:
    door = Entrypoint("http", published, tls="enforced", redirect=80)
    lines = frontend(Table(replace(SETTINGS, entrypoints=(door,))), "http-redirect")
    assert lines == ["bind :10080", f"http-request redirect code 308 location {location}"]


def test_a_worker_that_ends_hands_requests_to_the_current_one() -> None:
    assert "use_backend quaylock_current_http if { stopping }" in frontend(TABLE)
    assert block(TABLE, "backend quaylock_current_http") == [
        "retry-on conn-failure empty-response",
        "http-request disable-l7-retry unless { method GET HEAD OPTIONS }",
        "server current unix@/run/haproxy/http.sock send-proxy-v2",
    ]
    assert "bind unix@/run/haproxy/http.sock accept-proxy mode 600" in frontend(TABLE)


def test_a_tcp_entrypoint_has_one_backend_or_rejects() -> None:
    assert "tcp-request connection reject" in frontend(TABLE, "db")
    database = Backend("shop", "db", (Route("db", 5432, check="", mode="tcp"),))
    assert "default_backend shop:db:5432:tcp" in frontend(TABLE.having(database), "db")


def test_without_a_token_nobody_can_pick_a_server() -> None:
    table = replace(TABLE, settings=replace(SETTINGS, token=""))
    assert "set-var(txn.quaylock)" not in language.render(table)


ODD = Backend("shop", "web", (replace(WEB, host="", path="/it's/", check="/it's/ok"),))


@pytest.mark.parametrize("table", [TABLE, Table(SETTINGS), Table(SETTINGS, (ODD, replace(SHOP, service="b")))])
def test_the_configuration_carries_its_table(table: Table) -> None:
    bare = replace(table, backends=tuple(replace(b, members=()) for b in table.backends))
    lines = language.render(table).splitlines()
    assert language.carried(lines) == bare
    # the running process repeats what it was given
    shown = [line.strip()[len("setenv ") :].replace(" '", "=", 1)[:-1] for line in lines if " setenv " in line]
    assert language.carried(["HOME=/", *shown]) == bare


@pytest.mark.parametrize("text", ["", "frontend {{", "setenv QUAYLOCK_SETTINGS '[]'", "QUAYLOCK_SETTINGS={}", "\0\1"])
def test_no_table_is_an_error(text: str) -> None:
    with pytest.raises(TableError):
        language.carried(text.splitlines())
