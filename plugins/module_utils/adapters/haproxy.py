# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy as an Ingress: replicas change through its sockets, routes by a reload that was validated before.

Where the truth is: which servers there are, the running process says; which routes there are, `conf/routes.json` says;
`conf/haproxy.cfg` always says both, so that a restart of the proxy changes nothing. Any one of them can be lost.

A switch loses no request: a new server takes nothing but our own requests (a secret header picks it, though it is in
drain) until it answered them; then it becomes ready before the old ones drain. Draining counts the requests of every
worker process: a reload leaves the previous ones alive until they have answered what they took.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ..core.model import Route
from ..core.proxy import haproxy_answers as answers
from ..core.proxy import haproxy_commands as commands
from ..core.proxy import haproxy_config as language
from ..core.proxy.routing import (
    Backend,
    Settings,
    State,
    Table,
    TableError,
    owner_of,
    read_table,
    replica_of,
    table_json,
)
from ..ports import PortError
from .confirmations import Answer, UnconfirmedError, connect
from .proxy_files import LOOK, put, text_of
from .switching import REQUESTS, Switching, reason, with_token, without

TCP = 3.0
"""seconds until a TCP connection through the proxy has to be established"""
SOCKET = 5.0
"""seconds for one command to HAProxy"""
MASTER = 2.0
"""seconds that HAProxy's master may be out of reach"""
RELOAD = 15.0
"""seconds until a reloaded HAProxy has to say that it has the new configuration"""
RETURN = 5.0
"""seconds that a restarting HAProxy gets"""
COMES_BACK = 5
"""seconds after which a client that was kept with its replica is not expected to ask it again"""


class Container(Protocol):
    """The proxy's container, as far as the sockets do not reach."""

    def exec(self, command: Sequence[str]) -> tuple[int, str]: ...
    def signal(self, name: str) -> None: ...


class HAProxy(Switching):
    """The driver."""

    def __init__(self, folder: str, container: Container, say: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(folder, say)
        self._admin_path = os.path.join(folder, "run", "admin.sock")
        self._master_path = os.path.join(folder, "run", "master.sock")
        self._config_path = os.path.join(self._conf, "haproxy.cfg")
        self._container = container

    # the Ingress -----------------------------------------------------------------------------------------------------

    def routed(self, stack: str) -> Mapping[str, frozenset[str]]:
        """Service -> servers that get traffic, by the running proxy's word (by the file's, said so, if it is down)."""
        if not self._installed():
            return {}
        try:
            rows = self._rows()
        except (OSError, TableError) as error:
            self._say(f"the proxy does not answer ({reason(error)}); what it routes is read from {self._table_path}")
            table, _text = self._read_table()
            return {b.service: b.ready() for b in table.backends if b.stack == stack}
        found: dict[str, set[str]] = {}
        for row in rows:
            owner = owner_of(row.pool)
            if owner is not None and owner[0] == stack:
                found.setdefault(owner[1], set()).update({replica_of(row.name)[0]} if row.state is State.READY else ())
        return {service: frozenset(names) for service, names in found.items()}

    def _unfit(self) -> Sequence[str]:
        try:
            number, text = answers.version(self._admin("show info"))
        except OSError as error:
            return [
                f"the proxy does not answer on {self._admin_path}: {reason(error)}; "
                "see `docker logs` of the stack ingress"
            ]
        if number >= language.OLDEST:
            return []
        oldest = ".".join(str(n) for n in language.OLDEST)
        return [f"the proxy is HAProxy {text or '(no version)'}; needed is {oldest} or newer"]

    # the host's own part: what the role configures --------------------------------------------------------------------

    def plan(self, settings: Settings) -> tuple[str, str]:
        """haproxy.cfg as it is and as it would be with these settings; what stacks routed stays. Changes nothing."""
        table = self._with(settings)
        return without(table, text_of(self._config_path)), without(table, language.render(table))

    def configure(self, settings: Settings) -> bool:
        """Make it so; a running proxy is reloaded if it has to be. Returns whether anything changed."""
        os.makedirs(self._conf, exist_ok=True)
        with self._locked():
            table = self._with(settings)
            same = (text_of(self._config_path), text_of(self._table_path)) == _texts(table)
            reload = self._running_structure() not in ("", language.structure(table))
            if reload:
                self._reload(table)
            self._write(table)
            return reload or not same

    def _with(self, settings: Settings) -> Table:
        try:
            table = self._read_table()[0]
            table = self._merged(table)
        except PortError:
            table = Table(settings)
        return replace(table, settings=with_token(settings, table))

    # its word for a switch -------------------------------------------------------------------------------------------

    def _as_asked(self, table: Table, stack: str, service: str) -> None:
        backend = table.backend(stack, service)
        if backend is None:
            return
        there = {(r.pool, r.name): r for r in self._rows()}
        wrong = []
        for pool in backend.pools():
            for member in backend.members:
                row = there.get((pool.name, member.server))
                if row is None:
                    wrong.append(f"{pool.name} has no server {member.server}")
                elif row.state is not member.state:
                    wrong.append(f"{member.name} is in {row.state.value} instead of {member.state.value}")
                elif member.state is State.READY and not row.up:
                    wrong.append(f"{member.name} is down: {self._check_of(pool.name, member.server)}")
        if wrong:
            raise UnconfirmedError("HAProxy says: " + "; ".join(wrong))

    def _check_of(self, pool: str, server: str) -> str:
        counts = answers.stat(self._admin("show stat"))
        return next((f"{c.status} {c.check}" for c in counts if (c.pool, c.name) == (pool, server)), "not listed")

    def _answered_by(self, answer: Answer, servers: Mapping[str, str]) -> bool:
        return replica_of(answer.served_by)[0] in servers

    def _confirm_tcp(self, table: Table, backend: Backend, route: Route, servers: Mapping[str, str]) -> None:
        """Connections through the entrypoint are established, by HAProxy's own word, to the servers and nobody else."""
        pool = backend.pool_of(route)
        with contextlib.ExitStack() as opened:
            lines = [opened.enter_context(connect(table.settings, route)) for _turn in range(REQUESTS)]
            sources = {line.getsockname()[1] for line in lines}
            until = time.monotonic() + TCP
            while True:
                found = [
                    s for s in answers.sessions(self._admin("show sess")) if s.source in sources and s.pool == pool
                ]
                if sum(s.established and s.server in servers for s in found) == REQUESTS:
                    return
                if time.monotonic() > until:
                    seen = ", ".join(sorted({s.server or "nobody" for s in found})) or "nobody"
                    raise UnconfirmedError(
                        f"tcp {route.entrypoint}: {sum(s.established for s in found)} of {REQUESTS} connections "
                        f"were established to {', '.join(sorted(servers))} within {TCP:.0f} s (tried: {seen})"
                    )
                time.sleep(LOOK)

    # the proxy, brought to a table -----------------------------------------------------------------------------------

    def _bring(self, table: Table, stack: str, service: str) -> bool:
        """The running proxy and the files get this table; returns whether that took a reload."""
        running = self._running_structure()
        reload = running != language.structure(table)
        if reload and running:
            self._reload(table)
        backend = table.backend(stack, service)
        if backend is not None and running:
            self._step(backend)
        self._write(table)
        return reload

    def _step(self, backend: Backend) -> None:
        for command in commands.steps(self._rows(), backend):
            answer = self._admin(command)
            if command.startswith("del server") and commands.refused(command, answer):
                self._delete(command)
            elif commands.refused(command, answer):
                raise PortError(f"HAProxy refused `{command}`: {answer.strip()}")

    def _delete(self, command: str) -> None:
        """A server with connections cannot be deleted: end them; if they do not end, it stays in maintenance."""
        server = command.split()[2]
        self._admin(f"shutdown sessions server {server}")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            answer = self._admin(command)
            if not commands.refused(command, answer) or "No such server" in answer:
                return
            time.sleep(LOOK)
        self._say(f"HAProxy keeps {server} in maintenance until its next reload: {answer.strip()}")

    def _reload(self, table: Table) -> None:
        """Validate, put in place, reload, hear from the new process that it has it; otherwise the old file is back."""
        candidate = self._config_path + ".next"
        put(candidate, language.render(table))
        code, output = self._container.exec(["haproxy", "-c", "-f", f"{table.settings.conf}/haproxy.cfg.next"])
        if code:
            os.unlink(candidate)
            raise PortError(f"HAProxy does not accept the configuration, nothing was changed:\n{output.strip()}")
        previous = text_of(self._config_path)
        os.replace(candidate, self._config_path)
        wanted = language.structure(table)
        answer = self._ask_reload()
        until = time.monotonic() + RELOAD
        while self._running_structure() != wanted:
            if "Success=0" in answer or time.monotonic() > until:
                if previous:
                    put(self._config_path, previous)
                    self._ask_reload()
                raise PortError(f"HAProxy did not take the new configuration, the old one is back: {answer.strip()}")
            time.sleep(LOOK)

    def _ask_reload(self) -> str:
        try:
            return self._master("reload", timeout=RELOAD)
        except OSError as error:
            self._say(f"the master does not answer on {self._master_path} ({reason(error)}); it gets SIGUSR2")
            self._container.signal("SIGUSR2")
            return ""

    # what is there ---------------------------------------------------------------------------------------------------

    def _installed(self) -> bool:
        return os.path.exists(self._table_path) or os.path.exists(self._config_path)

    def _load(self, needed: bool = True) -> Table:
        """The table, repaired and completed by what the proxy runs. `needed`: a proxy that is down is an error."""
        if not self._installed():
            raise PortError(f"this host has no ingress ({self._table_path} is not there); run the role ingress first")
        table, sound = self._read_table()
        until = time.monotonic() + RETURN
        while not self._running_structure():
            if text_of(self._config_path) != language.render(table):
                self._say(f"{self._config_path} did not agree with the routing table and was written again")
                self._write(table)
            if not needed:
                return table
            if time.monotonic() > until:
                raise PortError(
                    f"the proxy does not answer on {self._admin_path}: see `docker logs` of the stack ingress, "
                    "and roll it out again"
                )
            time.sleep(5 * LOOK)
        table = self._merged(table)
        if not sound or text_of(self._config_path) != language.render(table):
            self._write(table)
        if self._running_structure() not in ("", language.structure(table)):
            # it was starting while the files were written, or whoever reloaded it was killed before they were
            self._say(f"the proxy does not run the routes of {self._table_path}; it is reloaded")
            self._reload(table)
        return table

    def _merged(self, table: Table) -> Table:
        running = self._running_structure()
        if not running:
            return table
        return commands.merged(table, self._rows(), running == language.structure(table))

    def _read_table(self) -> tuple[Table, bool]:
        """The table, and whether routes.json was sound; otherwise from the running proxy, or from its configuration."""
        try:
            return read_table(text_of(self._table_path)), True
        except TableError as error:
            problem = f"{self._table_path} is not a routing table ({reason(error)})"
        sources: tuple[tuple[str, Callable[[], str]], ...] = (
            ("the running proxy", lambda: self._admin("show env")),
            (self._config_path, lambda: text_of(self._config_path)),
        )
        for name, source in sources:
            try:
                table = language.carried(source().splitlines())
            except (OSError, TableError):
                continue
            self._say(f"{problem}; taken from {name}")
            return table, False
        raise PortError(f"{problem}, and neither the proxy nor {self._config_path} has one; run the role ingress")

    def _running_structure(self) -> str:
        """The fingerprint of what the current worker was configured with, "" if nobody answers."""
        try:
            return answers.variable(self._admin(f"show env {language.STRUCTURE}"), language.STRUCTURE)
        except OSError:
            return ""

    def _rows(self) -> tuple[answers.Row, ...]:
        return answers.servers_state(self._admin("show servers state"))

    def _old_workers(self) -> tuple[int, ...]:
        try:
            return answers.old_workers(self._master("show proc"))
        except OSError as error:
            self._say(
                f"the master does not answer on {self._master_path} ({reason(error)}): "
                "requests that began before the last reload are not waited for"
            )
            return ()

    def _open_connections(self, backend: Backend, server: str) -> int:
        prefix = backend.prefix
        sticky = {pool.name for pool in backend.pools() if pool.sticky}
        said = [self._admin("show stat")]
        for pid in self._old_workers():
            with contextlib.suppress(OSError):
                said.append(self._master(f"@!{pid} show stat"))
        found = 0
        for answer in said:
            with contextlib.suppress(TableError):
                counts = [
                    c for c in answers.stat(answer) if c.pool.startswith(prefix) and replica_of(c.name)[0] == server
                ]
                found += sum(c.sessions or int(c.pool in sticky and 0 <= c.idle < COMES_BACK) for c in counts)
        return found

    def _admin(self, command: str) -> str:
        return _talk(self._admin_path, command, SOCKET)

    def _master(self, command: str, timeout: float = SOCKET) -> str:
        """To the master process. For some 50 ms of a reload HAProxy 2.6 has none that listens."""
        until = time.monotonic() + MASTER
        while True:
            try:
                return _talk(self._master_path, command, timeout)
            except (ConnectionRefusedError, FileNotFoundError, ConnectionResetError):
                if time.monotonic() > until:
                    raise
            time.sleep(LOOK)

    def _write(self, table: Table) -> None:
        config, routes = _texts(table)
        for path, text in ((self._config_path, config), (self._table_path, routes)):
            if text_of(path) != text:
                put(path, text)


def _texts(table: Table) -> tuple[str, str]:
    return language.render(table), table_json(table)


def _talk(path: str, command: str, timeout: float) -> str:
    """One command, its whole answer; OSError when nobody answers in time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout)
        line.connect(path)
        line.sendall(command.encode() + b"\n")
        line.shutdown(socket.SHUT_WR)
        parts = []
        while part := line.recv(65536):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "replace")
