# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who gets which request, and which routes cannot be had."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import (
    Backend,
    Entrypoint,
    Member,
    Settings,
    State,
    Table,
    TableError,
    conflicts,
    inside,
    owner_of,
    read_table,
    resolve,
    rules,
    table_json,
    unsafe,
)

SETTINGS = Settings((Entrypoint("http", 80), Entrypoint("admin", 8080), Entrypoint("db", 5432, mode="tcp")))


def http(host: str = "", path: str = "/", **more: object) -> Route:
    return replace(Route("http", 8000, host=host, path=path, check=path), **more)  # type: ignore[arg-type]


TABLE = Table(
    SETTINGS,
    (
        Backend("any", "web", (http(),)),
        Backend("shop", "api", (http("shop.example.org", "/api"),)),
        Backend("shop", "deep", (http("shop.example.org", "/api/v2/"),)),
        Backend("shop", "web", (http("shop.example.org"),), staged=(http("new.example.org"),)),
        Backend("other", "files", (http("", "/files"),)),
    ),
)


@pytest.mark.parametrize(
    ("host", "path", "service"),
    [
        ("shop.example.org", "/", "shop:web:8000"),
        ("SHOP.example.org", "/x", "shop:web:8000"),
        ("shop.example.org", "/api", "shop:api:8000"),
        ("shop.example.org", "/api/v1?x=/", "shop:api:8000"),
        ("shop.example.org", "/apix", "shop:web:8000"),
        ("shop.example.org", "/api/v2", "shop:deep:8000"),
        ("shop.example.org", "/files", "shop:web:8000"),
        ("b.example.org", "/files/a", "other:files:8000"),
        ("b.example.org", "/", "any:web:8000"),
        ("new.example.org", "/", "any:web:8000"),
    ],
)
def test_the_own_host_then_the_longest_path_wins(host: str, path: str, service: str) -> None:
    assert resolve(TABLE, "http", host, path) == service
    assert resolve(TABLE, "admin", host, path) == ""


def test_staged_rules_come_first() -> None:
    assert [r.staged for r in rules(TABLE, "http")] == [True, False, False, False, False, False]


CONFLICTS = [
    ("free", {"web": [http("a.example.org")]}, []),
    ("its own route again", {"web": [http("shop.example.org")]}, []),
    ("a route that moves within the stack", {"new": [http("shop.example.org", "/api")], "api": []}, []),
    ("no such entrypoint", {"web": [http("a", entrypoint="https")]}, ["no such entrypoint (it has: http, admin, db)"]),
    ("another stack's place", {"web": [http("", "/files/")]}, ["taken by service files of stack other"]),
    (
        "twice",
        {"a": [http("a.example.org")], "b": [http("A.example.org")]},
        ["asked for twice in this stack (also by a)"],
    ),
    ("TCP on an HTTP entrypoint", {"web": [http(mode="tcp")]}, ["the route is tcp, the entrypoint is http"]),
    ("HTTP on a TCP entrypoint", {"web": [http(entrypoint="db")]}, ["the route is http, the entrypoint is tcp"]),
    (
        "TCP twice",
        {"a": [Route("db", 1, mode="tcp")], "b": [Route("db", 2, mode="tcp")]},
        ["asked for twice in this stack (also by a)"],
    ),
    ("a host with a port", {"web": [http("a:80")]}, ["host 'a:80' is no host name"]),
    ("an injection", {"web": [http("a", "/x' }\n  bind :1")]}, ["path", "check"]),
    ("no status", {"web": [http("a.example.org", statuses=())]}, ["has to name HTTP statuses"]),
    (
        "a check outside of the path",
        {"web": [http("a.example.org", "/app", check="/health")]},
        ["its check /health goes to any:web:8000, so the switch could not be confirmed; choose a check under /app"],
    ),
    (
        "all at once",
        {"a": [http("x y"), http(entrypoint="nope")], "b": [http("", "/files")]},
        ["host 'x y' is no host name", "no such entrypoint", "taken by service files"],
    ),
]


@pytest.mark.parametrize(("name", "routes", "parts"), CONFLICTS, ids=[c[0] for c in CONFLICTS])
def test_conflicts(name: str, routes: dict[str, list[Route]], parts: list[str]) -> None:
    said = conflicts(TABLE, "shop", routes)
    assert len(said) == len(parts), said
    for sentence, part in zip(said, parts, strict=True):
        assert part in sentence
        assert sentence.startswith("shop: ")


def test_a_moved_route_leaves_its_old_service() -> None:
    moved = TABLE.taking("shop", "new", [http("shop.example.org", "/api")])
    assert moved.backend("shop", "api") is None
    assert moved.backend("shop", "web") == TABLE.backend("shop", "web")


def test_pools_are_by_port_and_mode() -> None:
    routes = (http(), http("b.example.org", check="/other"), http(port=9000), Route("db", 5432, mode="tcp"))
    pools = Backend("s", "x", routes).pools()
    assert [(p.name, p.mode, p.port, p.check.check) for p in pools] == [
        ("s:x:8000", "http", 8000, "/"),
        ("s:x:9000", "http", 9000, "/"),
        ("s:x:5432:tcp", "tcp", 5432, "/"),
    ]


@pytest.mark.parametrize(
    ("name", "owner"),
    [("a_b:c:80", ("a_b", "c")), ("a:b:80:tcp", ("a", "b")), ("quaylock_nowhere", None), ("MASTER", None)],
)
def test_owner_of(name: str, owner: tuple[str, str] | None) -> None:
    assert owner_of(name) == owner


@pytest.mark.parametrize(("published", "port"), [(80, 10080), (443, 10443), (1023, 11023), (1024, 1024), (8080, 8080)])
def test_inside(published: int, port: int) -> None:
    assert inside(published) == port


@pytest.mark.parametrize(
    ("name", "address", "safe"),
    [
        ("shop-web-1", "172.30.0.5", True),
        ("shop-web-1", "fd00::5", True),
        ("shop-web-1", "", False),
        ("shop-web-1", "db.example.org", False),
        ("shop web", "172.30.0.5", False),
        ("a;b", "172.30.0.5", False),
    ],
)
def test_unsafe(name: str, address: str, safe: bool) -> None:
    assert (unsafe({name: address}) == ()) is safe


def test_the_table_survives_its_file() -> None:
    members = (Member("a", "172.30.0.5"), Member("b", "172.30.0.6", State.DRAIN))
    table = TABLE.having(Backend("z", "z", (http("z"),), members))
    assert read_table(table_json(table)) == table


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "settings": {}, "backends": []}', "\x00", "null", "7"]
)
def test_garbage_is_no_table(text: str) -> None:
    with pytest.raises(TableError):
        read_table(text)
