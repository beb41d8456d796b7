# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What HAProxy is told, and what is made of its answers. Answers were recorded from 2.6.12 and 3.0.11."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core import haproxy_config as language
from ansible_collections.quaylock.stacks.plugins.module_utils.core.haproxy_config import Row
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.routing import (
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


STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr \
srv_agent_port
4 shop:web:8000 1 web-1 172.30.0.5 2 0 1 1 618 15 3 2 6 0 0 0 - 8000 - 0 0 - - 0
4 shop:web:8000 2 web-0 172.30.0.4 2 8 1 1 0 1 0 1 6 0 0 0 - 8000 - 0 0 - - 0
4 shop:web:8000 3 web-2 172.30.0.6 0 0 1 1 0 1 0 1 6 0 0 0 - 8000 - 0 0 - - 0
4 shop:web:8000 4 web-3 172.30.0.7 2 0 0 0 0 1 0 1 6 0 0 0 - 8000 - 0 0 - - 0
4 shop:web:8000 5 web-4 172.30.0.8 0 1 1 1 0 1 0 1 6 0 0 0 - 8000 - 0 0 - - 0

"""


def test_servers_state() -> None:
    assert [(r.name, r.state, r.weight, r.up) for r in language.servers_state(STATE)] == [
        ("web-1", READY, 1, True),
        ("web-0", DRAIN, 1, True),
        ("web-2", READY, 1, False),
        ("web-3", DRAIN, 0, True),
        ("web-4", MAINT, 1, False),
    ]


@pytest.mark.parametrize("answer", ["", "Permission denied\n", "2\n# a b\n", "1\n# be_name srv_name\nx y\n"])
def test_another_answer_is_not_taken_for_servers(answer: str) -> None:
    with pytest.raises(TableError):
        language.servers_state(answer)


STAT = """# pxname,svname,qcur,qmax,scur,smax,slim,stot,econ,eresp,status,weight,check_status,last_chk,
http,FRONTEND,,,3,9,100,12,,,OPEN,,,,
shop:web:8000,web-1,1,0,2,3,,10,1,2,UP,1,L7OK,,
shop:web:8000,BACKEND,0,0,2,3,10,10,1,2,UP,1,,,

"""


def test_stat() -> None:
    (count,) = language.stat(STAT)
    assert (count.pool, count.name, count.sessions, count.total, count.failed) == ("shop:web:8000", "web-1", 3, 10, 3)
    assert (count.status, count.check) == ("UP", "L7OK")
    with pytest.raises(TableError):
        language.stat("Unknown command\n")


PROC = """#<PID>          <type>          <reloads>       <uptime>        <version>
1               master          11 [failed: 0]  0d00h00m07s     3.0.11-1+deb13u1
# workers
141             worker          0               0d00h00m00s     3.0.11-1+deb13u1
# old workers
119             worker          2               0d00h00m02s     3.0.11-1+deb13u1
86              worker          4               0d00h00m04s     3.0.11-1+deb13u1
# programs

"""


def test_workers_that_end_are_known() -> None:
    assert language.old_workers(PROC) == (119, 86)
    assert language.old_workers("") == ()


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("Version: 2.6.12-1+deb12u4", (2, 6)),
        ("Version: 3.0.11", (3, 0)),
        ("Version: 3.3-dev4-1234", (3, 3)),
        ("Uptime: 3", (0, 0)),
        ("Version: unknown", (0, 0)),
    ],
)
def test_version(line: str, number: tuple[int, int]) -> None:
    assert language.version(f"Name: HAProxy\n{line}\n")[0] == number


SESS = (
    "0x1: proto=tcpv4 src=127.0.0.1:41752 fe=db be=shop:db:5432:tcp srv=db-1 ts=00 epoch=0 age=1s calls=1 rate=1 cpu=0 "
    "lat=0 rq[f=808000h,i=0,an=00h] rp[f=80000000h,i=0,an=00h] scf=[8,0h,fd=13] scb=[5,1h,fd=14] exp=2s rc=0 c_exp=2s\n"
    "0x2: proto=tcpv4 src=127.0.0.1:37518 fe=db be=shop:db:5432:tcp srv=db-2 ts=00 epoch=0 age=1s calls=2 rate=2 cpu=0 "
    "lat=0 rq[f=808000h,i=0,an=00h] rp[f=80008000h,i=0,an=00h] scf=[8,0h,fd=15] scb=[8,1h,fd=16] exp=2s rc=0 c_exp=\n"
)


def test_sessions_that_only_connect_are_not_established() -> None:
    assert [(s.source, s.server, s.established) for s in language.sessions(SESS)] == [
        (41752, "db-1", False),
        (37518, "db-2", True),
    ]


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
        "forgotten",
        [row("a", READY), row("b", DRAIN)],
        [Member("a", "172.30.0.5")],
        ["set server b state maint", "del server b"],
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
    ("maintenance is kept apart", [row("web-1", MAINT)], True, {"web-1": MAINT}),
]


@pytest.mark.parametrize(("name", "rows", "complete", "states"), MERGES, ids=[m[0] for m in MERGES])
def test_what_runs_is_what_is(name: str, rows: list[Row], complete: bool, states: dict[str, State]) -> None:
    merged = language.merged(TABLE, rows, complete).backends[0]
    assert {m.name: m.state for m in merged.members} == states
