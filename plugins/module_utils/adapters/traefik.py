# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traefik as an Ingress: one file of routes that it watches, and its API, which has to repeat what the file says.

Where the truth is: the running process says what is routed; `conf/dynamic/routes.yaml` says the same, so that a restart
changes nothing; `conf/routes.json` is a copy. Any one of them can be lost, and two of them if the process still runs.

Traefik swaps whole configurations. One that answers a request of ours with our stamp has the routes that go with it,
and who takes traffic by them its API has said. Connections are counted in the network namespace of the proxy: it opens
one for each request, so that none is left when the last answer is through.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol

from ..core.model import Route
from ..core.proxy import traefik_config as language
from ..core.proxy.routing import TOKEN_HEADER, Backend, Settings, Table, TableError, read_table, table_json
from ..ports import PortError
from .confirmations import Answer, UnconfirmedError, ask, connect, expect
from .proxy_files import LOOK, put, text_of
from .switching import REQUESTS, Switching, reason, with_token, without

TCP = 3.0
"""seconds until TCP connections through the proxy have to be established"""
API = 5.0
"""seconds for one answer of the API"""
LOAD = 10.0
"""seconds until Traefik has to say that it runs what was written; in the middle of it the file is written again"""
SETTLED = 1.0
"""seconds in which Traefik takes up what a killed run has written"""
RETURN = 5.0
"""seconds that a restarting Traefik gets"""


class Container(Protocol):
    """The proxy's container, as far as the API does not reach."""

    def pid(self) -> int: ...
    def restart(self) -> None: ...


class Traefik(Switching):
    """The driver."""

    keeps = False
    quiet = 0.2
    """a request that was let in just before a switch has its connection by then"""

    def __init__(self, folder: str, container: Container, say: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(folder, say)
        self._static_path = os.path.join(self._conf, "traefik.yaml")
        self._watched = os.path.join(self._conf, language.FOLDER)
        self._config_path = os.path.join(self._watched, language.FILE)
        self._admin_path = os.path.join(folder, "admin.json")
        self._container = container
        self._stamp = ""
        """of what it was seen to run last"""

    # the Ingress -----------------------------------------------------------------------------------------------------

    def routed(self, stack: str) -> Mapping[str, frozenset[str]]:
        """Service -> servers that get traffic, by the running proxy's word (by the file's, said so, if it is down)."""
        if not self._installed():
            return {}
        table = self._running()
        if table is None:
            self._say(f"the proxy does not answer; what it routes is read from {self._config_path}")
            table, _sound = self._read_table()
        return {b.service: b.ready() for b in table.backends if b.stack == stack}

    def _unfit(self) -> Sequence[str]:
        self._look_around()
        try:
            number, text = language.version(self._api("/api/version"))
        except OSError as error:
            return [f"the proxy does not answer: {reason(error)}; see `docker logs` of the stack ingress"]
        if number >= language.OLDEST:
            return []
        oldest = ".".join(str(n) for n in language.OLDEST)
        return [f"the proxy is Traefik {text or '(no version)'}; needed is {oldest} or newer"]

    # the host's own part: what the role configures --------------------------------------------------------------------

    def plan(self, settings: Settings) -> tuple[str, str]:
        """Both files as they are and as they would be with these settings; what stacks routed stays."""
        table = self._with(settings)
        before = text_of(self._static_path) + text_of(self._config_path)
        return without(table, before), without(table, language.static(table.settings) + language.render(table))

    def configure(self, settings: Settings) -> bool:
        """Make it so; what only a restart takes is left to who runs the container. Returns whether anything changed."""
        os.makedirs(self._watched, exist_ok=True)
        with self._locked():
            table = self._with(settings)
            changed = False
            admin = {"address": settings.address, "port": settings.health_port, "token": table.settings.token}
            for path, text, mode in (
                (self._admin_path, json.dumps(admin) + "\n", 0o600),
                (self._static_path, language.static(table.settings), 0o640),
            ):
                if text_of(path) != text:
                    put(path, text, mode)
                    changed = True
            changed = text_of(self._config_path) != language.render(table) or changed
            if self._running() is not None:
                self._run(table)
            self._write(table)
            self._look_around()
            return changed

    def _with(self, settings: Settings) -> Table:
        try:
            table = self._running() or self._read_table()[0]
        except PortError:
            table = Table(settings)
        return replace(table, settings=with_token(settings, table))

    # its word for a switch -------------------------------------------------------------------------------------------

    def _as_asked(self, table: Table, stack: str, service: str) -> None:
        wrong = language.objections(self._api("/api/rawdata"), table, stack, service)
        if wrong:
            raise UnconfirmedError("Traefik says: " + "; ".join(wrong))

    def _answered_by(self, answer: Answer, servers: Mapping[str, str]) -> bool:
        """By the configuration in which nobody else is listed."""
        return bool(servers) and answer.stamp == self._stamp

    def _confirm_servers(self, table: Table, routes: Sequence[Route], named: Mapping[str, str]) -> None:
        super()._confirm_servers(table, routes, named)
        known = {m.name: m.address for b in table.backends for m in b.members}
        for route in routes:
            for name in named if route.mode == "tcp" else ():
                # Traefik cannot try a TCP server before everybody is sent to it: this host can
                try:
                    _reach(known[name], route.port)
                except OSError as error:
                    raise UnconfirmedError(
                        f"tcp {route.entrypoint}: {name} at {known[name]}:{route.port} is not reached: {reason(error)}"
                    ) from error

    def _confirm_routes(
        self, table: Table, stack: str, service: str, routes: Sequence[Route], servers: Mapping[str, str]
    ) -> None:
        super()._confirm_routes(table, stack, service, routes, servers)
        for route in routes:
            for _turn in range(REQUESTS if route.mode == "http" else 0):
                expect(route, ask(table.settings, route, ""), ", ".join(sorted(servers)))

    def _confirm_tcp(self, table: Table, backend: Backend, route: Route, servers: Mapping[str, str]) -> None:
        """Connections through the entrypoint stay open, and the proxy has as many to the servers."""
        with ExitStack() as opened:
            lines = [opened.enter_context(connect(table.settings, route)) for _turn in range(REQUESTS)]
            until = time.monotonic() + TCP
            while True:
                found = [c for address in servers.values() for c in self._connections(address)]
                established = sum(open_ for open_ in found)
                closed = sum(_is_closed(line) for line in lines)
                if established >= REQUESTS and established == len(found) and not closed:
                    return
                if closed or time.monotonic() > until:
                    raise UnconfirmedError(
                        f"tcp {route.entrypoint}: {REQUESTS - closed} of {REQUESTS} connections stayed open, and the "
                        f"proxy has {established} to {', '.join(sorted(servers))} ({backend.pool_of(route)})"
                    )
                time.sleep(LOOK)

    def _open_connections(self, backend: Backend, server: str) -> int:
        address = next((m.address for m in backend.members if m.name == server), "")
        return len(self._connections(address)) if address else 0

    def _connections(self, address: str) -> list[bool]:
        """Of the proxy to this address: whether each is established. Raises OSError when the proxy does not run."""
        pid = self._container.pid()
        if not pid:
            raise ConnectionError("its container does not run")
        wanted = str(ip_address(address))
        found: list[bool] = []
        for name in ("tcp", "tcp6"):
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                found += [open_ for other, open_ in language.connections(file.read()) if other == wanted]
        return found

    # the proxy, brought to a table -----------------------------------------------------------------------------------

    def _bring(self, table: Table, stack: str, service: str) -> bool:
        del stack, service  # every change writes all routes
        self._look_around()
        if self._running() is not None:
            self._run(table)
        self._write(table)
        return True

    def _run(self, table: Table) -> None:
        """Write the routes and hear from the running process that it has them."""
        wanted, text = language.stamp(table), language.render(table)
        began = time.monotonic()
        writes = 0
        while True:
            waited = time.monotonic() - began
            if waited >= writes * LOAD / 2:
                # a second time in the middle: an event that was missed comes again
                if text_of(self._config_path) != text or writes:
                    self._put_routes(text)
                writes += 1
            running = self._running()
            if running is not None and language.stamp(running) == wanted:
                self._stamp = wanted
                return
            if waited > LOAD:
                raise PortError(f"Traefik did not take up {self._config_path} within {LOAD:.0f} s; see its log")
            time.sleep(LOOK)

    def _put_routes(self, text: str) -> None:
        # the new file grows up outside of the folder that Traefik watches
        put(self._config_path, text, through=self._conf)

    def _write(self, table: Table) -> None:
        text = language.render(table)
        if text_of(self._config_path) != text:
            self._put_routes(text)
        if text_of(self._table_path) != table_json(table):
            put(self._table_path, table_json(table))

    def _look_around(self) -> None:
        with suppress(OSError):
            for name in sorted({*os.listdir(self._watched)} - {language.FILE}):
                self._say(f"{os.path.join(self._watched, name)} is not ours; Traefik does not read it, remove it")

    # what is there ---------------------------------------------------------------------------------------------------

    def _installed(self) -> bool:
        return any(os.path.exists(path) for path in (self._table_path, self._config_path, self._admin_path))

    def _load(self, needed: bool = True) -> Table:
        if not self._installed():
            raise PortError(f"this host has no ingress ({self._table_path} is not there); run the role ingress first")
        table, sound = self._read_table()
        running = self._settled(table, sound)
        if running is None and needed:
            running = self._awaited(table)
        table = running or table
        if not sound or text_of(self._config_path) != language.render(table):
            self._write(table)
        if running is not None:
            self._stamp = language.stamp(running)
        return table

    def _settled(self, table: Table, sound: bool) -> Table | None:
        """What the process runs, once it had the time to take up a sound file."""
        until = time.monotonic() + SETTLED
        while True:
            running = self._running()
            if running is None or not sound or running == table:
                return running
            if time.monotonic() > until:
                self._say(f"the proxy does not run what {self._config_path} says; the file is written from the proxy")
                return running
            time.sleep(LOOK)

    def _awaited(self, table: Table) -> Table:
        """A proxy that comes back, or that runs without its routes: those it gets, if need be by a restart."""
        self._write(table)
        until = time.monotonic() + RETURN
        restarted = False
        while True:
            running = self._running()
            if running is not None:
                return running
            if self._pings() and not restarted and time.monotonic() > until - RETURN * 0.6:
                self._say("the proxy runs without its routes and does not take them up: it is restarted")
                self._container.restart()
                restarted = True
                until = time.monotonic() + RETURN
            if time.monotonic() > until:
                raise PortError(
                    "the proxy does not answer: see `docker logs` of the stack ingress, and roll it out again"
                )
            time.sleep(5 * LOOK)

    def _read_table(self) -> tuple[Table, bool]:
        """The table, and whether routes.yaml was sound; otherwise from the running proxy, or from the copy."""
        try:
            return language.carried(text_of(self._config_path)), True
        except TableError as error:
            problem = f"{self._config_path} is not a routing table ({reason(error)})"
        running = self._running()
        if running is not None:
            self._say(f"{problem}; taken from the running proxy")
            return running, False
        try:
            table = read_table(text_of(self._table_path))
        except TableError:
            raise PortError(
                f"{problem}, and neither the proxy nor {self._table_path} has one; run the role ingress"
            ) from None
        self._say(f"{problem}; taken from {self._table_path}")
        return table, False

    def _running(self) -> Table | None:
        """What the process runs; None if nobody answers, or if it runs without our routes."""
        try:
            return language.carried(self._api("/api/rawdata"))
        except (OSError, TableError):
            return None

    def _pings(self) -> bool:
        try:
            return bool(self._api("/ping"))
        except OSError:
            return False

    # its API ---------------------------------------------------------------------------------------------------------

    def _api(self, path: str) -> str:
        """OSError where nobody answers, or not with 200."""
        for address, port, token in self._places():
            connection = http.client.HTTPConnection(address, port, timeout=API)
            try:
                connection.request("GET", path, headers={TOKEN_HEADER: token, "Connection": "close"})
                answer = connection.getresponse()
                text = answer.read().decode("utf-8", "replace")
                if answer.status == 200:
                    return text
                raise ConnectionError(f"GET http://{address}:{port}{path} -> {answer.status}")
            except http.client.HTTPException as error:
                raise ConnectionError(f"GET http://{address}:{port}{path}: {reason(error)}") from error
            finally:
                connection.close()
        raise ConnectionError(f"neither {self._admin_path} nor {self._table_path} says where it is")

    def _places(self) -> list[tuple[str, int, str]]:
        """Where the API is, and the secret that it wants, by the first file that says so."""
        with suppress(ValueError, KeyError, TypeError):
            made = json.loads(text_of(self._admin_path))
            return [(str(made["address"]), int(made["port"]), str(made["token"]))]
        for read, path in ((language.carried, self._config_path), (read_table, self._table_path)):
            with suppress(TableError):
                settings = read(text_of(path)).settings
                return [(settings.address, settings.health_port, settings.token)]
        return []


def _reach(address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=TCP):
        pass


def _is_closed(line: socket.socket) -> bool:
    """Whether the other side has closed; nothing is read that somebody else could want."""
    if isinstance(line, ssl.SSLSocket):
        line.settimeout(0)
        try:
            return line.recv(1) == b""
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError:
            return True
    try:
        return line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
