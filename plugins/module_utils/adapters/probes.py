# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HTTP and TCP probes from this host to a replica's own address; each ends when its timeout does, whatever is sent."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Mapping

from ..core import reach
from ..core.model import HttpProbe, Json, TcpProbe
from ..ports import PortError

MOST = 65536
"""bytes of an answer that are looked at"""


def address(details: Json, first: str, network: Callable[[str], Json]) -> str:
    """An address of the replica that this host reaches, in the network `first` if it is there.

    `details` is the container's inspect body, `network` gives the inspect body of a network. Raises PortError.
    """
    if details["HostConfig"].get("NetworkMode") == "host":
        return "127.0.0.1"
    endpoints = details["NetworkSettings"].get("Networks") or {}
    where = {name: e.get("IPAddress") or e.get("GlobalIPv6Address") for name, e in endpoints.items()}
    named = [name for name in reach.ordered(where, first) if where[name]]
    if not named:
        raise PortError("the replica has no address in any network; ask inside it, with exec")
    for name in named:
        if reach.reached(network(name)):
            return str(where[name])
    raise PortError(f"this host has no address in {', '.join(named)}; ask inside the replica, with exec")


def ask(host: str, probe: HttpProbe | TcpProbe) -> str:
    """What was wrong, "" when it passed. Raises OSError and HTTPException."""
    if isinstance(probe, TcpProbe):
        with socket.create_connection((host, probe.port), timeout=probe.timeout):
            return ""
    try:
        status, body = request(
            host, probe.port, "GET", probe.path, {"User-Agent": "quaylock-gate"}, None, probe.timeout
        )
    except Late as late:
        return str(late)
    if status not in probe.statuses:
        return f"{status}: {body[:200]}"
    if probe.body is not None and probe.body not in body:
        return f"{status}, but {probe.body!r} is not in the answer: {body[:200]}"
    return ""


class Late(PortError):
    """There was no whole answer in time."""


def request(
    host: str,
    port: int,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout: float,
    most: int = MOST,
) -> tuple[int, str]:
    """Status and the beginning of the body of an answer. Raises Late, OSError and HTTPException."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    connection.connect()
    line = connection.sock
    late = threading.Event()

    def cut() -> None:
        # a socket's timeout starts again with every byte; this one does not
        late.set()
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    limit = threading.Timer(timeout, cut)
    limit.daemon = True
    limit.start()
    try:
        connection.request(method, path, body, headers={**headers, "Connection": "close"})
        answer = connection.getresponse()
        text = answer.read(most).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        if not late.is_set():
            raise
    finally:
        limit.cancel()
        connection.close()
    if late.is_set():
        raise Late(f"no whole answer within {timeout:g} s")
    return answer.status, text
