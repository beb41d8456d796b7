# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What HAProxy is told at run time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy import haproxy_commands as language
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.haproxy_answers import Row
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import (
    Backend,
    Entrypoint,
    Member,
    Settings,
    State,
    Table,
)

READY, DRAIN, MAINT = State.READY, State.DRAIN, State.MAINT
WEB = Route("http", 8000, host="Shop.example.org", path="/", check="/health")
SHOP = Backend("shop", "web", (WEB,), (Member("web-1", "172.30.0.5", READY), Member("web-0", "172.30.0.4", DRAIN)))
SETTINGS = Settings((Entrypoint("http", 80), Entrypoint("db", 5432, mode="tcp")), token="secret")
TABLE = Table(SETTINGS, (SHOP,))


def row(name: str, state: State, address: str = "172.30.0.5", port: int = 8000, weight: int = 1) -> Row:
    return Row("shop:web:8000", name, address, port, state, weight, True)


STEPS = [
    # name, rows, members, commands (with the pool's name left out)
    ("nothing to do", [row("a", READY)], [Member("a", "172.30.0.5")], []),
    (
        "a switch: the new one first",
        [row("a", READY)],
        [Member("a", "172.30.0.5", DRAIN), Member("b", "172.30.0.6")],
        [
            "add server b 172.30.0.6:8000 check inter 1s fall 2 rise 1",
            "enable health b",
            "set server b state ready",
            "set server a state drain",
        ],
    ),
    (
        "back from a drain that a restart made a weight",
        [row("a", DRAIN, weight=0)],
        [Member("a", "172.30.0.5")],
        ["set server a state ready", "set server a weight 1"],
    ),
    (
        "another address",
        [row("a", READY)],
        [Member("a", "172.30.0.9")],
        ["set server a addr 172.30.0.9 port 8000", "set server a health up"],
    ),
    (
        "one that was stopped and is back",
        [replace(row("a", DRAIN), up=False), row("b", READY)],
        [Member("a", "172.30.0.5"), Member("b", "172.30.0.5", DRAIN)],
        ["set server a health up", "set server a state ready", "set server b state drain"],
    ),
    (
        "one that is down among those that serve",
        [replace(row("a", READY), up=False)],
        [Member("a", "172.30.0.5")],
        [],
    ),
    (
        "forgotten",
        [row("a", READY), row("b", DRAIN)],
        [Member("a", "172.30.0.5")],
        ["set server b state maint", "del server b"],
    ),
    (
        "another of the same name, whom clients of the first do not know",
        [row("a:11", DRAIN)],
        [Member("a", "172.30.0.9", DRAIN, "22")],
        [
            "add server a:22 172.30.0.9:8000 check inter 1s fall 2 rise 1",
            "enable health a:22",
            "set server a:22 state drain",
            "set server a:11 state maint",
            "del server a:11",
        ],
    ),
    (
        "left over",
        [row("a", READY), row("b", MAINT)],
        [Member("a", "172.30.0.5"), Member("b", "x", MAINT)],
        ["del server b"],
    ),
    (
        "IPv6",
        [],
        [Member("a", "fd00::5")],
        ["add server a [fd00::5]:8000 check inter 1s fall 2 rise 1", "enable health a", "set server a state ready"],
    ),
]


@pytest.mark.parametrize(("name", "rows", "members", "commands"), STEPS, ids=[s[0] for s in STEPS])
def test_steps(name: str, rows: list[Row], members: list[Member], commands: list[str]) -> None:
    other = Row("other:web:8000", "z", "172.30.0.99", 8000, READY, 1, True)
    made = language.steps([*rows, other], replace(SHOP, members=tuple(members)))
    assert [command.replace("shop:web:8000/", "") for command in made] == commands


@pytest.mark.parametrize(
    ("command", "answer", "no"),
    [
        ("add server p/a 1.2.3.4:80", "New server registered.\n", False),
        ("add server p/a 1.2.3.4:80", "Already exists a server with the same name in backend.\n", True),
        ("add server p/a 1.2.3.4:80", "", True),
        ("del server p/a", "Server deleted.\n", False),
        ("del server p/a", "Server still has connections attached to it, cannot remove it.\n", True),
        ("set server p/a state ready", "\n", False),
        ("set server p/a state ready", "Proxy is disabled.\n", True),
        ("set server p/a addr 1.2.3.4 port 80", "IP changed from '1.2.3.5' to '1.2.3.4' by 'stats socket'\n", False),
        ("set server p/a addr 1.2.3.4 port 80", "no need to change the addr, no need to change the port\n", False),
        ("set server p/a addr 1.2.3.4 port 80", "No such server.\n", True),
    ],
)
def test_a_no_is_heard(command: str, answer: str, no: bool) -> None:
    assert language.refused(command, answer) is no


MERGES = [
    ("the proxy's state wins", [row("web-1", DRAIN), row("web-0", READY)], True, {"web-1": DRAIN, "web-0": READY}),
    ("who is not there is gone", [row("web-1", READY)], True, {"web-1": READY}),
    ("unless the proxy has older routes", [row("web-1", READY)], False, {"web-1": READY, "web-0": DRAIN}),
    ("who was added is known", [row("web-1", READY), row("x", DRAIN)], True, {"web-1": READY, "x": DRAIN}),
    ("one that is known by a mark", [row("web-1:5a", READY)], True, {"web-1": READY}),
    ("two of a name: who serves", [row("web-1", READY), row("web-1:5a", DRAIN)], True, {"web-1": READY}),
    ("maintenance is kept apart", [row("web-1", MAINT)], True, {"web-1": MAINT}),
]


@pytest.mark.parametrize(("name", "rows", "complete", "states"), MERGES, ids=[m[0] for m in MERGES])
def test_what_runs_is_what_is(name: str, rows: list[Row], complete: bool, states: dict[str, State]) -> None:
    merged = language.merged(TABLE, rows, complete).backends[0]
    assert {m.name: m.state for m in merged.members} == states
