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
import fcntl
import http.client
import os
import secrets
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..core import haproxy_config as language
from ..core.model import Route
from ..core.routing import (
    Backend,
    Entrypoint,
    Member,
    Settings,
    State,
    Table,
    TableError,
    conflicts,
    owner_of,
    read_table,
    spoken,
    table_json,
    unsafe,
)
from ..ports import PortError

REQUESTS = 5
"""confirm a route, once its servers are ready"""
CANARY_REQUESTS = 2
"""confirm each new server, before it is"""
TCP = 3.0
"""seconds until a TCP connection through the proxy has to be established"""
ANSWER = 10.0
"""seconds for one of those requests"""
SOCKET = 5.0
"""seconds for one command to HAProxy"""
MASTER = 2.0
"""seconds that HAProxy's master may be out of reach"""
RELOAD = 15.0
"""seconds until a reloaded HAProxy has to say that it has the new configuration"""
RETURN = 5.0
"""seconds that a restarting HAProxy gets"""
LOCK = 120.0
"""seconds to wait for another stack's change"""
LOOK = 0.02
"""seconds between two looks"""


class Container(Protocol):
    """The proxy's container, as far as the sockets do not reach."""

    def exec(self, command: Sequence[str]) -> tuple[int, str]: ...
    def signal(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    served_by: str


class UnconfirmedError(Exception):
    """A confirmation that failed. `transient`: it was not a new server's own answer, so asking again may help."""

    def __init__(self, evidence: str, transient: bool = False) -> None:
        super().__init__(evidence)
        self.transient = transient


class HAProxy:
    """The proxy of this host. `folder` holds conf/, run/ and lock; `say` hears what was repaired."""

    def __init__(
        self,
        folder: str,
        container: Container,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._conf = os.path.join(folder, "conf")
        self._admin_path = os.path.join(folder, "run", "admin.sock")
        self._master_path = os.path.join(folder, "run", "master.sock")
        self._lock_path = os.path.join(folder, "lock")
        self._config_path = os.path.join(self._conf, "haproxy.cfg")
        self._table_path = os.path.join(self._conf, "routes.json")
        self._container = container
        self._say = say

    # the Ingress -----------------------------------------------------------------------------------------------------

    def routed(self, stack: str) -> Mapping[str, frozenset[str]]:
        """Service -> servers that get traffic, by the running proxy's word (by the file's, said so, if it is down)."""
        if not self._installed():
            return {}
        try:
            rows = self._rows()
        except (OSError, TableError) as error:
            self._say(f"the proxy does not answer ({_reason(error)}); what it routes is read from {self._table_path}")
            table, _text = self._read_table()
            return {b.service: b.ready() for b in table.backends if b.stack == stack}
        found: dict[str, set[str]] = {}
        for row in rows:
            owner = owner_of(row.pool)
            if owner is not None and owner[0] == stack:
                found.setdefault(owner[1], set()).update({row.name} if row.state is State.READY else ())
        return {service: frozenset(names) for service, names in found.items()}

    def routes(self, stack: str) -> Mapping[str, Sequence[Route]]:
        """Service -> routes that the proxy was given for it."""
        if not self._installed():
            return {}
        table, _text = self._read_table()
        return {b.service: b.routes for b in table.backends if b.stack == stack}

    def problems(self, stack: str, routes: Mapping[str, Sequence[Route]]) -> Sequence[str]:
        """Everything that would keep `route` from doing this, as sentences; changes nothing."""
        if not any(routes.values()):
            return ()
        if not self._installed():
            return (f"{stack}: this host has no ingress ({self._table_path} is not there); run the role ingress first",)
        said = []
        try:
            number, text = language.version(self._admin("show info"))
            if number < language.OLDEST:
                oldest = ".".join(str(n) for n in language.OLDEST)
                said.append(f"the proxy is HAProxy {text or '(no version)'}; needed is {oldest} or newer")
        except OSError as error:
            said.append(
                f"the proxy does not answer on {self._admin_path}: {_reason(error)}; "
                "see `docker logs` of the stack ingress"
            )
        try:
            table, _text = self._read_table()
        except PortError as error:
            return (*said, str(error))
        return (*said, *conflicts(table, stack, {s: tuple(r) for s, r in routes.items() if r}))

    def route(self, stack: str, service: str, routes: Sequence[Route], servers: Mapping[str, str]) -> str:
        began = time.monotonic()
        wrong = unsafe(servers)
        if wrong:
            raise PortError(f"{stack}: {service} cannot be routed: " + "; ".join(wrong))
        with self._locked():
            before = self._load()
            refused = conflicts(before, stack, {service: tuple(routes)})
            if refused:
                raise PortError("\n".join(refused))
            try:
                evidence = self._switch(before, stack, service, tuple(routes), servers)
            except (UnconfirmedError, PortError, OSError, TableError) as error:
                back = self._put_back(before, stack, service)
                raise PortError(f"{stack}: {service} was not switched: {_reason(error)}\n  now     {back}") from error
        return f"{evidence}, in {time.monotonic() - began:.2f} s"

    def drain(self, stack: str, service: str, server: str, timeout: float) -> str:
        began = time.monotonic()
        with self._locked():
            table = self._load()
            backend = table.backend(stack, service)
            if backend is not None and server in backend.ready():
                members = tuple(replace(m, state=State.DRAIN) if m.name == server else m for m in backend.members)
                self._bring(table.having(replace(backend, members=members)), stack, service)
        while True:
            try:
                sessions = self._open_sessions(stack, service, server)
            except OSError as error:
                return f"{server}: the proxy does not answer ({_reason(error)}), so it holds no connection"
            waited = time.monotonic() - began
            if sessions == 0:
                return f"{server}: no open connection after {waited:.1f} s"
            if waited >= timeout:
                return f"{server}: {sessions} connections still open after {waited:.1f} s"
            time.sleep(2 * LOOK)

    def forget(self, stack: str, service: str, server: str) -> None:
        with self._locked():
            table = self._load()
            backend = table.backend(stack, service)
            if backend is None or all(m.name != server for m in backend.members):
                return
            kept = tuple(m for m in backend.members if m.name != server)
            self._bring(table.having(replace(backend, members=kept)), stack, service)

    def unroute(self, stack: str, service: str) -> None:
        with self._locked():
            table = self._load(needed=False)
            if table.backend(stack, service) is not None:
                self._bring(table.without(stack, service), stack, service)

    # the host's own part: what the role configures --------------------------------------------------------------------

    def plan(self, settings: Settings) -> tuple[str, str]:
        """haproxy.cfg as it is and as it would be with these settings; what stacks routed stays. Changes nothing."""
        table = self._with(settings)
        return self._text(self._config_path), language.render(table)

    def configure(self, settings: Settings) -> bool:
        """Make it so; a running proxy is reloaded if it has to be. Returns whether anything changed."""
        os.makedirs(self._conf, exist_ok=True)
        with self._locked():
            table = self._with(settings)
            same = (self._text(self._config_path), self._text(self._table_path)) == _texts(table)
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
        token = settings.token or table.settings.token or secrets.token_hex(16)
        return replace(table, settings=replace(settings, token=token))

    # a switch --------------------------------------------------------------------------------------------------------

    def _switch(
        self, before: Table, stack: str, service: str, routes: tuple[Route, ...], servers: Mapping[str, str]
    ) -> str:
        known = before.backend(stack, service) or Backend(stack, service, ())
        serving = known.ready()
        new = sorted(set(servers) - serving)
        moved = {m.name for m in known.members if m.name in servers and m.address != servers[m.name]}
        new = sorted({*new, *moved})
        members = {m.name: m for m in known.members if m.state is not State.MAINT}
        final = before.taking(stack, service, routes).having(
            Backend(
                stack,
                service,
                routes,
                tuple(
                    Member(n, servers.get(n) or members[n].address, State.READY if n in servers else State.DRAIN)
                    for n in sorted({*members, *servers})
                ),
            )
        )
        reloads = False
        if new:
            # known to the proxy, but only to our own requests
            waiting = tuple(
                Member(n, servers.get(n) or members[n].address, State.DRAIN if n in new else members[n].state)
                for n in sorted({*members, *servers})
            )
            fresh = not known.routes
            staged = before.having(
                Backend(
                    stack,
                    service,
                    () if fresh else known.routes,
                    waiting,
                    () if routes == known.routes else routes,
                )
            )
            reloads = self._bring(staged, stack, service)
            self._patiently(reloads, lambda: self._confirm_servers(staged, routes, new))
        reloads = self._bring(final, stack, service) or reloads
        rows = self._rows()
        self._as_asked(rows, final, stack, service)
        if servers:
            self._patiently(reloads, lambda: self._confirm_routes(final, stack, service, routes, servers))
        doors = ", ".join(spoken(r) for r in routes) or "no route"
        who = ", ".join(f"{n} ({a})" for n, a in sorted(servers.items())) or "no server"
        return f"{stack}: {service} is served by {who} through {doors}" + (
            f", confirmed by {REQUESTS} requests each" if servers else ""
        )

    def _put_back(self, before: Table, stack: str, service: str) -> str:
        try:
            self._bring(before, stack, service)
        except (PortError, OSError, TableError) as error:
            return f"putting it back failed too: {_reason(error)}; run the rollout again"
        backend = before.backend(stack, service)
        names = ", ".join(sorted(backend.ready())) if backend is not None else ""
        return f"{names} serves as before" if names else "it is not routed, as before"

    def _as_asked(self, rows: Sequence[language.Row], table: Table, stack: str, service: str) -> None:
        backend = table.backend(stack, service)
        if backend is None:
            return
        there = {(r.pool, r.name): r for r in rows}
        wrong = []
        for pool in backend.pools():
            for member in backend.members:
                row = there.get((pool.name, member.name))
                if row is None:
                    wrong.append(f"{pool.name} has no server {member.name}")
                elif row.state is not member.state:
                    wrong.append(f"{member.name} is in {row.state.value} instead of {member.state.value}")
                elif member.state is State.READY and not row.up:
                    wrong.append(f"{member.name} is down: {self._check_of(pool.name, member.name)}")
        if wrong:
            raise UnconfirmedError("HAProxy says: " + "; ".join(wrong))

    def _check_of(self, pool: str, server: str) -> str:
        counts = language.stat(self._admin("show stat"))
        return next((f"{c.status} {c.check}" for c in counts if (c.pool, c.name) == (pool, server)), "not listed")

    # confirmations ---------------------------------------------------------------------------------------------------

    def _patiently(self, reloaded: bool, confirm: Callable[[], None]) -> None:
        """After a reload the previous worker may still accept a connection or two: ask again for a moment."""
        until = time.monotonic() + (3.0 if reloaded else 0.3)
        while True:
            try:
                return confirm()
            except UnconfirmedError as error:
                if not error.transient or time.monotonic() > until:
                    raise
            time.sleep(LOOK)

    def _confirm_servers(self, table: Table, routes: Sequence[Route], names: Sequence[str]) -> None:
        """Each new server answers our own requests, through the entrypoint and the route's own rules."""
        for route in routes:
            if route.mode != "http":
                continue
            for name in names:
                for _turn in range(CANARY_REQUESTS):
                    answer = self._ask(table, route, name)
                    if answer.served_by != name:
                        raise UnconfirmedError(
                            f"{_asked(route)} for {name} was answered by {answer.served_by or 'nobody'}: "
                            f"{answer.status} {answer.body!r}",
                            transient=True,
                        )
                    _expect(route, answer)

    def _confirm_routes(
        self, table: Table, stack: str, service: str, routes: Sequence[Route], servers: Mapping[str, str]
    ) -> None:
        """Ordinary requests reach the servers, and nobody else."""
        for route in routes:
            if route.mode == "tcp":
                self._confirm_tcp(table, Backend(stack, service, ()).pool_of(route), route, servers)
                continue
            for _turn in range(REQUESTS):
                answer = self._ask(table, route, "any")
                if answer.served_by not in servers:
                    raise UnconfirmedError(
                        f"{_asked(route)} was answered by {answer.served_by or 'nobody'}: "
                        f"{answer.status} {answer.body!r}",
                        transient=True,
                    )
                _expect(route, answer)

    def _confirm_tcp(self, table: Table, pool: str, route: Route, servers: Mapping[str, str]) -> None:
        """Connections through the entrypoint are established, by HAProxy's own word, to the servers and nobody else."""
        entrypoint = self._door(table, route)
        with contextlib.ExitStack() as opened:
            lines = [opened.enter_context(self._connect(table, entrypoint, route)) for _turn in range(REQUESTS)]
            sources = {line.getsockname()[1] for line in lines}
            until = time.monotonic() + TCP
            while True:
                found = [
                    s for s in language.sessions(self._admin("show sess")) if s.source in sources and s.pool == pool
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

    def _door(self, table: Table, route: Route) -> Entrypoint:
        entrypoint = table.settings.entrypoint(route.entrypoint)
        if entrypoint is None:
            raise PortError(f"the ingress has no entrypoint {route.entrypoint}")
        return entrypoint

    def _connect(self, table: Table, entrypoint: Entrypoint, route: Route) -> socket.socket:
        at = (table.settings.address, entrypoint.port)
        try:
            plain = socket.create_connection(at, timeout=ANSWER)
            if not table.settings.encrypted(entrypoint):
                return plain
            # our own proxy on our own network: what is proved is the route, the certificate is for clients
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context.wrap_socket(plain, server_hostname=route.host or None)
        except OSError as error:
            raise UnconfirmedError(
                f"entrypoint {entrypoint.name} at {at[0]}:{at[1]} does not answer: {_reason(error)}", transient=True
            ) from error

    def _ask(self, table: Table, route: Route, server: str) -> Answer:
        entrypoint = self._door(table, route)
        connection = http.client.HTTPConnection(table.settings.address, entrypoint.port, timeout=ANSWER)
        connection.sock = self._connect(table, entrypoint, route)
        headers = {
            "Host": route.host or "localhost",
            "User-Agent": "quaylock",
            "Connection": "close",
            language.TOKEN_HEADER: table.settings.token,
            language.SERVER_HEADER: server,
        }
        try:
            connection.request("GET", route.check, headers=headers)
            answer = connection.getresponse()
            body = answer.read(300).decode("utf-8", "replace")
            return Answer(answer.status, body, answer.getheader(language.SERVED_BY, ""))
        except (OSError, http.client.HTTPException) as error:
            raise UnconfirmedError(f"{_asked(route)} was not answered: {_reason(error)}") from error
        finally:
            connection.close()

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
        for command in language.steps(self._rows(), backend):
            answer = self._admin(command)
            if command.startswith("del server") and language.refused(command, answer):
                self._delete(command)
            elif language.refused(command, answer):
                raise PortError(f"HAProxy refused `{command}`: {answer.strip()}")

    def _delete(self, command: str) -> None:
        """A server with connections cannot be deleted: end them; if they do not end, it stays in maintenance."""
        server = command.split()[2]
        self._admin(f"shutdown sessions server {server}")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            answer = self._admin(command)
            if not language.refused(command, answer) or "No such server" in answer:
                return
            time.sleep(LOOK)
        self._say(f"HAProxy keeps {server} in maintenance until its next reload: {answer.strip()}")

    def _reload(self, table: Table) -> None:
        """Validate, put in place, reload, hear from the new process that it has it; otherwise the old file is back."""
        candidate = self._config_path + ".next"
        self._put(candidate, language.render(table))
        code, output = self._container.exec(["haproxy", "-c", "-f", f"{table.settings.conf}/haproxy.cfg.next"])
        if code:
            os.unlink(candidate)
            raise PortError(f"HAProxy does not accept the configuration, nothing was changed:\n{output.strip()}")
        previous = self._text(self._config_path)
        os.replace(candidate, self._config_path)
        wanted = language.structure(table)
        answer = self._ask_reload()
        until = time.monotonic() + RELOAD
        while self._running_structure() != wanted:
            if "Success=0" in answer or time.monotonic() > until:
                if previous:
                    self._put(self._config_path, previous)
                    self._ask_reload()
                raise PortError(f"HAProxy did not take the new configuration, the old one is back: {answer.strip()}")
            time.sleep(LOOK)

    def _ask_reload(self) -> str:
        try:
            return self._master("reload", timeout=RELOAD)
        except OSError as error:
            self._say(f"the master does not answer on {self._master_path} ({_reason(error)}); it gets SIGUSR2")
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
            if self._text(self._config_path) != language.render(table):
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
        if not sound or self._text(self._config_path) != language.render(table):
            self._write(table)
        return table

    def _merged(self, table: Table) -> Table:
        running = self._running_structure()
        if not running:
            return table
        return language.merged(table, self._rows(), running == language.structure(table))

    def _read_table(self) -> tuple[Table, bool]:
        """The table, and whether routes.json was sound; otherwise from the running proxy, or from its configuration."""
        try:
            return read_table(self._text(self._table_path)), True
        except TableError as error:
            problem = f"{self._table_path} is not a routing table ({_reason(error)})"
        sources: tuple[tuple[str, Callable[[], str]], ...] = (
            ("the running proxy", lambda: self._admin("show env")),
            (self._config_path, lambda: self._text(self._config_path)),
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
            return language.variable(self._admin(f"show env {language.STRUCTURE}"), language.STRUCTURE)
        except OSError:
            return ""

    def _rows(self) -> tuple[language.Row, ...]:
        return language.servers_state(self._admin("show servers state"))

    def _old_workers(self) -> tuple[int, ...]:
        try:
            return language.old_workers(self._master("show proc"))
        except OSError as error:
            self._say(
                f"the master does not answer on {self._master_path} ({_reason(error)}): "
                "requests that began before the last reload are not waited for"
            )
            return ()

    def _open_sessions(self, stack: str, service: str, server: str) -> int:
        prefix = Backend(stack, service, ()).prefix
        answers = [self._admin("show stat")]
        for pid in self._old_workers():
            with contextlib.suppress(OSError):
                answers.append(self._master(f"@!{pid} show stat"))
        found = 0
        for answer in answers:
            with contextlib.suppress(TableError):
                found += sum(
                    c.sessions for c in language.stat(answer) if c.name == server and c.pool.startswith(prefix)
                )
        return found

    # sockets and files -----------------------------------------------------------------------------------------------

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
            if self._text(path) != text:
                self._put(path, text)

    def _text(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def _put(self, path: str, text: str) -> None:
        """Atomic; readable for the group of the folder, which is the proxy's."""
        descriptor, temporary = tempfile.mkstemp(dir=self._conf, prefix=".")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o640)
                os.fchown(file.fileno(), -1, os.stat(self._conf).st_gid)
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        folder = os.open(self._conf, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One change of the proxy at a time; the kernel frees the lock when its holder dies."""
        with open(self._lock_path, "a", encoding="utf-8") as file:
            until = time.monotonic() + LOCK
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise PortError(f"another rollout has held {self._lock_path} for {LOCK:.0f} s") from None
                time.sleep(LOOK)
            yield


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


def _asked(route: Route) -> str:
    return f"GET {route.check} (host {route.host or 'any'}) through entrypoint {route.entrypoint}"


def _expect(route: Route, answer: Answer) -> None:
    if answer.status not in route.statuses:
        wanted = " or ".join(str(s) for s in route.statuses)
        raise UnconfirmedError(
            f"{_asked(route)} -> {answer.status} by {answer.served_by} (wanted {wanted}): {answer.body!r}"
        )


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
