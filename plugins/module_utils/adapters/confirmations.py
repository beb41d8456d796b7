# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our own requests through an entrypoint of the proxy: what was asked, and who answered."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from ..core.model import Route
from ..core.proxy.routing import SERVED_BY, SERVER_HEADER, STAMP_HEADER, TOKEN_HEADER, Entrypoint, Settings
from ..ports import PortError

ANSWER = 10.0
"""seconds for one of those requests"""
ANY = "any"
"""asks for no server in particular"""


@dataclass(frozen=True, slots=True)
class Answer:
    """`stamp` names the configuration that answered, where the proxy says so."""

    status: int
    body: str
    served_by: str
    stamp: str = ""


class UnconfirmedError(Exception):
    """A confirmation that failed. `transient`: it was not a new server's own answer, so asking again may help."""

    def __init__(self, evidence: str, transient: bool = False) -> None:
        super().__init__(evidence)
        self.transient = transient


def entrypoint_of(settings: Settings, route: Route) -> Entrypoint:
    entrypoint = settings.entrypoint(route.entrypoint)
    if entrypoint is None:
        raise PortError(f"the ingress has no entrypoint {route.entrypoint}")
    return entrypoint


def connect(settings: Settings, route: Route) -> socket.socket:
    entrypoint = entrypoint_of(settings, route)
    at = (settings.address, entrypoint.port)
    try:
        plain = socket.create_connection(at, timeout=ANSWER)
        if not settings.encrypted(entrypoint):
            return plain
        # our own proxy on our own network: what is proved is the route, the certificate is for clients
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=route.host or None)
    except OSError as error:
        raise UnconfirmedError(
            f"entrypoint {entrypoint.name} at {at[0]}:{at[1]} does not answer: {error or type(error).__name__}",
            transient=True,
        ) from error


def ask(settings: Settings, route: Route, server: str) -> Answer:
    """One request to the route's check. Without a `server` it is one like everybody's."""
    entrypoint = entrypoint_of(settings, route)
    connection = http.client.HTTPConnection(settings.address, entrypoint.port, timeout=ANSWER)
    connection.sock = connect(settings, route)
    headers = {"Host": route.host or "localhost", "User-Agent": "quaylock", "Connection": "close"}
    if server:
        headers |= {TOKEN_HEADER: settings.token, SERVER_HEADER: server}
    try:
        connection.request("GET", route.check, headers=headers)
        answer = connection.getresponse()
        body = answer.read(300).decode("utf-8", "replace")
        return Answer(answer.status, body, answer.getheader(SERVED_BY, ""), answer.getheader(STAMP_HEADER, ""))
    except (OSError, http.client.HTTPException) as error:
        # a worker that hangs for a second keeps its listener from the next one, and resets who waited there
        raise UnconfirmedError(
            f"{asked(route)} was not answered: {error or type(error).__name__}",
            transient=isinstance(error, ConnectionError),
        ) from error
    finally:
        connection.close()


def asked(route: Route) -> str:
    return f"GET {route.check} (host {route.host or 'any'}) through entrypoint {route.entrypoint}"


def expect(route: Route, answer: Answer, who: str) -> None:
    if answer.status not in route.statuses:
        wanted = " or ".join(str(s) for s in route.statuses)
        raise UnconfirmedError(f"{asked(route)} -> {answer.status} by {who} (wanted {wanted}): {answer.body!r}")
