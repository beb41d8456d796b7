# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is made of HAProxy's answers, which were recorded from 2.6.12 and 3.0.11."""

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy import haproxy_answers as language
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import State, TableError

READY, DRAIN, MAINT = State.READY, State.DRAIN, State.MAINT

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
