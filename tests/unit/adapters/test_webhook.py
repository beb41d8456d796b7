# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A webhook on a real HTTP server: what it takes, what it refuses, and that its URL is never said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.webhook import Webhook
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

TOKEN = "hunter2"


class Server(ThreadingHTTPServer):
    """Answers with the codes in turn, the last one for good; -1 says nothing for a while, 0 hangs up."""

    daemon_threads = True
    codes: list[int]
    got: list[Any]


class Answering(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
        code = self.server.codes.pop(0) if len(self.server.codes) > 1 else self.server.codes[0]
        if code == -1:
            time.sleep(4)
        if code <= 0:
            self.close_connection = True
            return
        self.send_response(code)
        if code in (301, 302, 307):
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Not on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Answering)
    made.codes, made.got = [200], []
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def hook(path: Path, url: str) -> Webhook:
    (path / "webhook").write_text(f"{url}\n")
    return Webhook(str(path / "webhook"), timeout=2.0, pauses=(0.01, 0.01))


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/{TOKEN}?a=b"


def test_it_gets_json(server: Server, tmp_path: Path) -> None:
    hook(tmp_path, url(server)).post({"event": "failed", "text": "web-1: shop: ä"})
    assert server.got == [(f"/{TOKEN}?a=b", "application/json", {"event": "failed", "text": "web-1: shop: ä"})]


@pytest.mark.parametrize("codes", [[503, 200], [0, -1, 204], [429, 500, 201]])
def test_it_is_tried_again(server: Server, tmp_path: Path, codes: list[int]) -> None:
    server.codes = list(codes)
    hook(tmp_path, url(server)).post({"a": 1})
    assert len(server.got) == len(codes)


@pytest.mark.parametrize(
    ("codes", "tries", "said"),
    [
        ([500], 3, "HTTP 500"),
        ([404], 1, "HTTP 404"),
        ([302], 1, "HTTP 302"),
        ([307], 1, "HTTP 307"),
        ([0], 3, "RemoteDisconnected"),
    ],
)
def test_a_refusal_is_said_without_the_url(
    server: Server, tmp_path: Path, codes: list[int], tries: int, said: str
) -> None:
    server.codes = codes
    with pytest.raises(PortError, match=f"the webhook did not take it: {said}") as refused:
        hook(tmp_path, url(server)).post({"a": 1})
    assert len(server.got) == tries
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "wrong", ["http://127.0.0.1:1/hunter2", "http://hunter2.invalid/", "https://127.0.0.1:1/hunter2"]
)
def test_nobody_there(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(PortError, match="did not take it") as refused:
        hook(tmp_path, wrong).post({"a": 1})
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("wrong", ["", "file:///etc/passwd?hunter2", "hunter2"])
def test_what_is_no_url_is_not_asked(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(PortError, match="has no http:// or https:// URL") as refused:
        hook(tmp_path, wrong).post({"a": 1})
    assert TOKEN not in str(refused.value)
    with pytest.raises(PortError, match="cannot be read"):
        Webhook(str(tmp_path / "missing")).post({})
