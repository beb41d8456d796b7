# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HTTP and TCP probes against servers of this machine, patient ones among them."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import probes, processes
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import HttpProbe, TcpProbe
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

Server = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def server() -> Iterator[Server]:
    """Gives every connection to a function; the port."""
    listeners: list[socket.socket] = []

    def start(answer: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    line, _peer = listener.accept()
                except OSError:
                    return
                with line:
                    try:
                        line.recv(4096)
                        answer(line)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def says(text: str) -> Callable[[socket.socket], None]:
    return lambda line: line.sendall(text.encode())


def answered(status: str, body: str, more: str = "") -> Callable[[socket.socket], None]:
    return says(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n{body}")


CASES = [
    # name                       answer                                     probe's own                      what was wrong
    ("well",                     answered("200 OK", "fine"),                {},                              ""),
    ("not well",                 answered("503 No", "db is away"),          {},                              "503: db is away"),
    ("another status is fine",   answered("401 Who", ""),                   {"statuses": (200, 401)},        ""),
    ("only another status is",   answered("200 OK", "x"),                   {"statuses": (204,)},            "200: x"),
    ("redirects are answers",    answered("302 Go", "", "Location: /x\r\n"), {},                             "302: "),
    ("with the right body",      answered("200 OK", '{"db": "ok"}'),        {"body": '"ok"'},                ""),
    ("with another body",        answered("200 OK", '{"db": "away"}'),      {"body": '"ok"'},                "200, but '\"ok\"' is not in the answer: {\"db\": \"away\"}"),
    ("with a long body",         answered("200 OK", "x" * 100000 + "end"),  {"body": "end"},                 "200, but 'end' is not in the answer: " + "x" * 200),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "own", "wrong"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_an_http_probe(server: Server, answer: Any, own: Any, wrong: str) -> None:
    assert probes.ask("127.0.0.1", HttpProbe(server(answer), "/health", **own)) == wrong


def drip(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _turn in range(200):
        line.sendall(b"x")
        time.sleep(0.05)


def silent(line: socket.socket) -> None:
    time.sleep(10)


@pytest.mark.parametrize("answer", [drip, silent], ids=["a byte now and then", "nothing at all"])
def test_a_probe_ends_when_its_timeout_does(server: Server, answer: Callable[[socket.socket], None]) -> None:
    began = time.monotonic()
    probe = HttpProbe(server(answer), timeout=0.3)
    try:
        said = probes.ask("127.0.0.1", probe)
    except TimeoutError as error:
        said = str(error)
    assert "no whole answer within 0.3 s" in said or "timed out" in said
    assert time.monotonic() - began < 9


def test_what_is_not_http_is_an_error_with_words(server: Server) -> None:
    import http.client

    with pytest.raises(http.client.HTTPException):
        probes.ask("127.0.0.1", HttpProbe(server(says("220 smtp.example.org ready\r\n"))))


def test_a_tcp_probe_is_a_connection(server: Server) -> None:
    assert probes.ask("127.0.0.1", TcpProbe(server(says("")))) == ""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        probes.ask("127.0.0.1", TcpProbe(free))


BRIDGE, LAN = {"Driver": "bridge"}, {"Driver": "macvlan"}


def details(mode: str = "a", **addresses: str) -> dict[str, Any]:
    ends = {
        n: {"IPAddress": "" if ":" in a else a, "GlobalIPv6Address": a if ":" in a else ""}
        for n, a in addresses.items()
    }
    return {"HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": ends}}


ADDRESSES = [
    # name                          the replica                                        the drivers             the address, or what is said
    ("its only one",                details(a="10.0.0.2"),                             {"a": BRIDGE},          "10.0.0.2"),
    ("the proxy's before others",   details(a="10.0.0.2", proxys="10.9.0.2"),          {"a": BRIDGE, "proxys": BRIDGE}, "10.9.0.2"),
    ("one that the host reaches",   details(a="10.0.0.2", b="10.1.0.2"),               {"a": LAN, "b": BRIDGE}, "10.1.0.2"),
    ("IPv6 alone",                  details(a="fd00::2"),                              {"a": BRIDGE},          "fd00::2"),
    ("the host's own network",      details("host"),                                   {},                     "127.0.0.1"),
    ("no network",                  details("none", none=""),                          {},                     "has no address in any network"),
    ("none that the host reaches",  details(a="10.0.0.2", b="10.1.0.2"),               {"a": LAN, "b": LAN},   "this host has no address in a, b"),
]  # fmt: skip


@pytest.mark.parametrize(("replica", "drivers", "expected"), [c[1:] for c in ADDRESSES], ids=[c[0] for c in ADDRESSES])
def test_the_address_that_is_asked(replica: Any, drivers: dict[str, Any], expected: str) -> None:
    if " " in expected:
        with pytest.raises(PortError, match=expected):
            probes.address(replica, "proxys", drivers.__getitem__)
    else:
        assert probes.address(replica, "proxys", drivers.__getitem__) == expected


HERE = "http+docker://localhost"


@pytest.mark.parametrize(
    ("url", "about", "cgroup"),
    [
        ("http://10.0.0.1:2375", {}, "/docker/abc123"),
        (HERE, {"Running": False}, "/docker/abc123"),
        (HERE, {"Pid": 0}, "/docker/abc123"),
        (HERE, {"Pid": 1}, "/docker/abc123"),
        (HERE, {"ContainerID": ""}, "/docker/abc123"),
        (HERE, {}, "/docker/another"),
    ],
)
def test_a_process_that_is_not_surely_that_one_is_left_alone(
    tmp_path: Path, url: str, about: dict[str, Any], cgroup: str
) -> None:
    process = subprocess.Popen(["sleep", "60"])
    (tmp_path / str(process.pid)).mkdir()
    (tmp_path / str(process.pid) / "cgroup").write_text(f"0::{cgroup}\n")
    body = {"Running": True, "Pid": process.pid, "ContainerID": "abc123"}
    assert processes.end(url, {**body, **about}, str(tmp_path)) is False
    assert processes.end(HERE, {**body, "Pid": 4194000}, str(tmp_path)) is False, "it ended by itself"
    assert process.poll() is None
    (tmp_path / str(process.pid) / "cgroup").write_text("0::/system.slice/docker-abc123.scope\n")
    assert processes.end(HERE, body, str(tmp_path)) is True
    assert process.wait(60) == -9


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    """By the kernel's own table, in which only the container's name is put in place."""
    shell = subprocess.Popen(["sh", "-c", "sleep 61 & sleep 61; sleep 61; true"], stdin=subprocess.DEVNULL)

    def below() -> list[int]:
        return [child for level in processes.descendants(shell.pid, processes.parents("/proc")) for child in level]

    until(lambda: len(below()) == 2, below)
    children = below()
    table = Mixed(tmp_path, shell.pid)
    assert processes.end(HERE, {"Running": True, "Pid": shell.pid, "ContainerID": "abc123"}, str(table.path)) is True
    assert shell.wait(60) in (-9, 0), "killed, or at its end because its commands were"
    assert not processes.descendants(shell.pid, processes.parents("/proc"))
    until(lambda: not any(map(_runs, children)), lambda: "a child goes on")


class Mixed:
    """/proc as it is, except for the control group of one process."""

    def __init__(self, path: Path, pid: int) -> None:
        self.path = path
        (path / str(pid)).mkdir()
        (path / str(pid) / "cgroup").write_text("0::/docker/abc123\n")
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and entry.name != str(pid):
                (path / entry.name).symlink_to(entry)


def test_descendants_are_found_over_generations() -> None:
    assert processes.descendants(5, {5: 1, 6: 5, 7: 6, 8: 6, 9: 2}) == [{6}, {7, 8}]


def _runs(pid: int) -> bool:
    """A process that nobody buried yet does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
