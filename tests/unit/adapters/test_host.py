# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host is and has, asked of this machine's own /proc and of files in a folder."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import host

VERSIONS = [
    ("20.10.24+dfsg1", (20, 10, 24)),
    ("26.1.5", (26, 1, 5)),
    ("29.0.0-rc.1", (29, 0, 0)),
    ("7.1", (7, 1)),
    ("", ()),
]


@pytest.mark.parametrize(("text", "parts"), VERSIONS, ids=[v[0] or "none" for v in VERSIONS])
def test_versions_compare_as_numbers(text, parts):
    assert host.version_tuple(text) == parts


ADDRESSES = [
    # wanted        held           collide
    ("0.0.0.0", "127.0.0.1", True),
    ("127.0.0.1", "0.0.0.0", True),
    ("127.0.0.1", "::", True),
    ("", "10.0.0.1", True),
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", "10.0.0.1", False),
]


@pytest.mark.parametrize(("wanted", "held", "collide"), ADDRESSES)
def test_addresses_collide_where_the_kernel_would_refuse_them(wanted, held, collide):
    assert host.overlap(wanted, held) is collide


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_who_holds_a_port_is_found(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as own:
        try:
            own.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        own.listen()
        port = own.getsockname()[1]
        (seen,) = [each for each in host.listeners() if each.port == port and each.protocol == "tcp"]
        assert seen.address == address
        pid, command = host.holder(seen.inode)
        assert pid == str(os.getpid())
        assert command


def test_a_socket_that_does_not_listen_holds_nothing():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        assert own.getsockname()[1] not in [each.port for each in host.listeners()]


def test_free_space_of_a_path_that_is_not_there_is_that_of_its_file_system(tmp_path):
    free, seen = host.free_mb(str(tmp_path / "not" / "there"))
    assert free > 0
    assert seen == str(tmp_path)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"Version": "26.1.5"}).encode() if self.path == "/version" else b"no JSON"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def address_string(self):
        return "unix"


def test_an_engine_is_asked_by_its_socket(tmp_path):
    path = str(tmp_path / "engine.sock")
    with socketserver.UnixStreamServer(path, Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert host.ask_engine("/version", path) == {"Version": "26.1.5"}
        assert host.ask_engine("/other", path) is None
        server.shutdown()


@pytest.mark.parametrize("kind", ["absent", "file"])
def test_an_engine_that_does_not_answer_is_none(tmp_path, kind):
    path = tmp_path / "engine.sock"
    if kind == "file":
        path.write_text("")
    assert host.ask_engine("/version", str(path)) is None


def test_a_program_that_is_not_there_or_too_slow_has_an_exit_code_of_its_own():
    assert host.run("no-such-program-anywhere")[0] == 127
    assert host.run("sleep", "5", timeout=0.1)[0] == 124


APT = """\
docker.io:
  Installed: (none)
  Candidate: 26.1.5+dfsg1-9+b9
  Version table:
     26.1.5+dfsg1-9+b9 500
        500 http://deb.debian.org/debian trixie/main amd64 Packages
python3-docker:
  Installed: (none)
  Candidate: (none)
  Version table:
     7.1.0-2 -1
"""


def test_apt_is_asked_once_for_all_packages(tmp_path, monkeypatch):
    (tmp_path / "said").write_text(APT)
    (tmp_path / "apt-cache").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/said\n')
    (tmp_path / "apt-cache").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    packages = ["docker.io", "python3-docker", "docker-ce"]
    assert host.candidates(packages) == {"docker.io": "26.1.5+dfsg1-9+b9", "python3-docker": "", "docker-ce": ""}
    assert (tmp_path / "asked").read_text() == "policy docker.io python3-docker docker-ce\n"
    assert host.candidates([]) == {}
