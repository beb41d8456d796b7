# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our own requests through a proxy: what is asked again, and what is the last word."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import confirmations, switching
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import Entrypoint, Settings

ROUTE = Route("http", 8000, host="shop.example.org", check="/version")
RESET = struct.pack("ii", 1, 0)
Answers = Callable[..., Settings]


def reset(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def hang_up(line: socket.socket) -> None:
    """Without a word."""


def says(status: str) -> Callable[[socket.socket], None]:
    return lambda line: line.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())


@pytest.fixture
def answers() -> Iterator[Answers]:
    """A proxy that treats each connection as the next of these does, and all others as the last one."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(*each: Callable[[socket.socket], None]) -> Settings:
        def serve() -> None:
            left = list(each)
            while True:
                try:
                    line, _peer = listener.accept()
                except OSError:
                    return
                with line:
                    line.recv(4096)
                    (left.pop(0) if len(left) > 1 else left[0])(line)

        threading.Thread(target=serve, daemon=True).start()
        return Settings((Entrypoint("http", listener.getsockname()[1]),), address="127.0.0.1")

    yield start
    listener.close()


@pytest.mark.parametrize("first", [reset, hang_up], ids=["reset", "hung up on"])
def test_who_was_hung_up_on_asks_again(answers: Answers, first: Callable[[socket.socket], None]) -> None:
    """As by a worker that ends and never took the connection."""
    settings = answers(first, says("200 OK"))
    told = []
    switching.patiently(True, lambda: told.append(confirmations.ask(settings, ROUTE, "web-1")))
    assert [answer.status for answer in told] == [200]


@pytest.mark.parametrize("always", [reset, hang_up], ids=["reset", "hung up on"])
def test_a_proxy_that_always_hangs_up_is_said_so(answers: Answers, always: Callable[[socket.socket], None]) -> None:
    settings = answers(always)
    with pytest.raises(confirmations.UnconfirmedError, match=r"shop\.example\.org.* was not answered: "):
        switching.patiently(False, lambda: confirmations.expect(ROUTE, confirmations.ask(settings, ROUTE, ""), "web-1"))


def test_a_bad_answer_is_the_last_word(answers: Answers) -> None:
    settings = answers(says("500 No"), says("200 OK"))
    with pytest.raises(confirmations.UnconfirmedError, match="-> 500 by web-1"):
        switching.patiently(True, lambda: confirmations.expect(ROUTE, confirmations.ask(settings, ROUTE, ""), "web-1"))
