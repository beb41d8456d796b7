# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a switch goes, whatever the proxy: staged, proved by our own requests, then for everybody, proved again.

A switch loses no request: a new server takes nothing but our own requests (a secret header picks it) until it answered
them; then it takes everybody's before the old ones are let go. What fails puts the table from before back.
"""

from __future__ import annotations

import abc
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from ..core.model import Route
from ..core.proxy.routing import Backend, Member, Settings, State, Table, TableError, conflicts, spoken, unsafe
from ..ports import PortError
from .confirmations import ANY, Answer, UnconfirmedError, ask, asked, expect
from .proxy_files import LOOK, locked

REQUESTS = 5
"""confirm a route, once its servers are ready"""
CANARY_REQUESTS = 2
"""confirm each new server, before it is"""


class Switching(abc.ABC):
    """The proxy of this host. `folder` holds conf/ and lock; `say` hears what was repaired."""

    keeps = True
    """whether it can keep clients with their replica while that drains"""
    quiet = 0.0
    """seconds without a connection after which a server counts as left"""

    def __init__(self, folder: str, say: Callable[[str], None] = lambda _: None) -> None:
        self._conf = os.path.join(folder, "conf")
        self._lock_path = os.path.join(folder, "lock")
        self._table_path = os.path.join(self._conf, "routes.json")
        self._say = say

    # the proxy's own part --------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _installed(self) -> bool: ...

    @abc.abstractmethod
    def _unfit(self) -> Sequence[str]:
        """Why the running proxy cannot be used, as sentences."""

    @abc.abstractmethod
    def _read_table(self) -> tuple[Table, bool]:
        """The table, and whether it stood where it belongs. Raises PortError where there is none at all."""

    @abc.abstractmethod
    def _load(self, needed: bool = True) -> Table:
        """The table, repaired and completed by what the proxy runs. `needed`: a proxy that is down is an error."""

    @abc.abstractmethod
    def _bring(self, table: Table, stack: str, service: str) -> bool:
        """The running proxy and the files get this table; returns whether the one before may still answer a while."""

    @abc.abstractmethod
    def _as_asked(self, table: Table, stack: str, service: str) -> None:
        """The proxy's own word that it runs this; otherwise UnconfirmedError."""

    @abc.abstractmethod
    def _answered_by(self, answer: Answer, servers: Mapping[str, str]) -> bool:
        """Whether an ordinary request was answered by one of these."""

    @abc.abstractmethod
    def _confirm_tcp(self, table: Table, backend: Backend, route: Route, servers: Mapping[str, str]) -> None: ...

    @abc.abstractmethod
    def _open_connections(self, backend: Backend, server: str) -> int:
        """How many of its requests or connections the proxy still carries. OSError when nobody answers."""

    # the Ingress -----------------------------------------------------------------------------------------------------

    def routes(self, stack: str) -> Mapping[str, Sequence[Route]]:
        """Service -> routes that the proxy was given for it."""
        if not self._installed():
            return {}
        table, _sound = self._read_table()
        return {b.service: b.routes for b in table.backends if b.stack == stack}

    def problems(self, stack: str, routes: Mapping[str, Sequence[Route]]) -> Sequence[str]:
        """Everything that would keep `route` from doing this, as sentences; changes nothing."""
        if not any(routes.values()):
            return ()
        if not self._installed():
            return (f"{stack}: this host has no ingress ({self._table_path} is not there); run the role ingress first",)
        said = [*self._unfit()]
        try:
            table, _sound = self._read_table()
        except PortError as error:
            return (*said, str(error))
        return (*said, *self._refused(table, stack, {s: tuple(r) for s, r in routes.items() if r}))

    def route(self, stack: str, service: str, routes: Sequence[Route], servers: Mapping[str, str]) -> str:
        began = time.monotonic()
        wrong = unsafe(servers)
        if wrong:
            raise PortError(f"{stack}: {service} cannot be routed: " + "; ".join(wrong))
        with self._locked():
            before = self._load()
            refused = self._refused(before, stack, {service: tuple(routes)})
            if refused:
                raise PortError("\n".join(refused))
            try:
                evidence = self._switch(before, stack, service, tuple(routes), servers)
            except (UnconfirmedError, PortError, OSError, TableError) as error:
                back = self._put_back(before, stack, service)
                raise PortError(f"{stack}: {service} was not switched: {reason(error)}\n  now     {back}") from error
        return f"{evidence}, in {time.monotonic() - began:.2f} s"

    def drain(self, stack: str, service: str, server: str, timeout: float) -> str:
        began = time.monotonic()
        with self._locked():
            table = self._load()
            backend = table.backend(stack, service)
            if backend is not None and server in backend.ready():
                members = tuple(replace(m, state=State.DRAIN) if m.name == server else m for m in backend.members)
                self._bring(table.having(replace(backend, members=members)), stack, service)
        if backend is None:
            return f"{server}: the proxy does not know it, so it holds no connection"
        since: float | None = None
        while True:
            try:
                found = self._open_connections(backend, server)
            except OSError as error:
                return f"{server}: the proxy does not answer ({reason(error)}), so it holds no connection"
            waited = time.monotonic() - began
            if found:
                since = None
            elif since is None:
                since = waited
            if since is not None and waited - since >= self.quiet:
                return f"{server}: no open connection after {waited:.1f} s"
            if waited >= timeout:
                return f"{server}: {found} connections still open after {waited:.1f} s"
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

    def _refused(self, table: Table, stack: str, routes: Mapping[str, Sequence[Route]]) -> tuple[str, ...]:
        unkept = [(s, r) for s, wanted in routes.items() for r in wanted if r.sticky and not self.keeps]
        return conflicts(table, stack, routes) + tuple(
            f"{stack}: {service}: {spoken(route)}: this proxy cannot keep clients with a replica that drains; "
            "drop `sticky`, or set ingress_driver: haproxy"
            for service, route in unkept
        )

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._lock_path)

    # a switch --------------------------------------------------------------------------------------------------------

    def _switch(
        self, before: Table, stack: str, service: str, routes: tuple[Route, ...], servers: Mapping[str, str]
    ) -> str:
        known = before.backend(stack, service) or Backend(stack, service, ())
        moved = {m.name for m in known.members if m.name in servers and m.address != servers[m.name]}
        sticky = any(route.sticky for route in routes)
        new = sorted({*servers} - known.ready() | moved)
        members = {m.name: m for m in known.members if m.state is not State.MAINT}
        # who comes back is still the one whom its clients know
        marks = {n: m.mark for n, m in members.items() if n not in moved}
        marks |= {n: secrets.token_hex(4) if sticky else "" for n in new if n not in marks}

        def having(states: Callable[[str], State]) -> tuple[Member, ...]:
            names = sorted({*members, *servers})
            return tuple(Member(n, servers.get(n) or members[n].address, states(n), marks[n]) for n in names)

        ready = having(lambda n: State.READY if n in servers else State.DRAIN)
        final = before.taking(stack, service, routes).having(Backend(stack, service, routes, ready))
        unsettled = False
        if new:
            # known to the proxy, but only to our own requests
            waiting = having(lambda n: State.DRAIN if n in new else members[n].state)
            staged = () if routes == known.routes else routes
            first = before.having(Backend(stack, service, known.routes, waiting, staged))
            unsettled = self._bring(first, stack, service)
            named = {m.name: m.server for m in waiting if m.name in new}
            patiently(unsettled, lambda: self._confirm_servers(first, routes, named))
        unsettled = self._bring(final, stack, service) or unsettled
        self._as_asked(final, stack, service)
        if servers:
            patiently(unsettled, lambda: self._confirm_routes(final, stack, service, routes, servers))
        doors = ", ".join(spoken(r) for r in routes) or "no route"
        who = ", ".join(f"{n} ({a})" for n, a in sorted(servers.items())) or "no server"
        return f"{stack}: {service} is served by {who} through {doors}" + (
            f", confirmed by {REQUESTS} requests each" if servers else ""
        )

    def _put_back(self, before: Table, stack: str, service: str) -> str:
        try:
            self._bring(before, stack, service)
        except (PortError, OSError, TableError) as error:
            return f"putting it back failed too: {reason(error)}; run the rollout again"
        backend = before.backend(stack, service)
        names = ", ".join(sorted(backend.ready())) if backend is not None else ""
        return f"{names} serves as before" if names else "it is not routed, as before"

    def _confirm_servers(self, table: Table, routes: Sequence[Route], named: Mapping[str, str]) -> None:
        """Each new server answers our own requests, through the entrypoint and the route's own rules.

        `named` is what the proxy calls it, by the replica's name.
        """
        for route in routes:
            if route.mode != "http":
                continue
            for name, server in named.items():
                for _turn in range(CANARY_REQUESTS):
                    answer = ask(table.settings, route, server)
                    if answer.served_by != server:
                        raise UnconfirmedError(
                            f"{asked(route)} for {name} was answered by {answer.served_by or 'nobody'}: "
                            f"{answer.status} {answer.body!r}",
                            transient=True,
                        )
                    expect(route, answer, name)

    def _confirm_routes(
        self, table: Table, stack: str, service: str, routes: Sequence[Route], servers: Mapping[str, str]
    ) -> None:
        """Ordinary requests reach the servers, and nobody else."""
        for route in routes:
            if route.mode == "tcp":
                self._confirm_tcp(table, Backend(stack, service, ()), route, servers)
                continue
            for _turn in range(REQUESTS):
                answer = ask(table.settings, route, ANY)
                if not self._answered_by(answer, servers):
                    raise UnconfirmedError(
                        f"{asked(route)} was answered by {answer.served_by or 'nobody'}: "
                        f"{answer.status} {answer.body!r}",
                        transient=True,
                    )
                expect(route, answer, answer.served_by or ", ".join(sorted(servers)))


def patiently(unsettled: bool, confirm: Callable[[], None]) -> None:
    """For a moment after a change, answers of before may still come: ask again."""
    until = time.monotonic() + (3.0 if unsettled else 0.3)
    while True:
        try:
            return confirm()
        except UnconfirmedError as error:
            if not error.transient or time.monotonic() > until:
                raise
        time.sleep(LOOK)


def with_token(settings: Settings, before: Table | None) -> Settings:
    """The settings with the secret that makes a request ours: their own, the one from before, or a new one."""
    known = settings.token or (before.settings.token if before is not None else "")
    return replace(settings, token=known or secrets.token_hex(16))


def without(table: Table, text: str) -> str:
    """The text without the secret, for people."""
    return text.replace(table.settings.token, "(secret)") if table.settings.token else text


def reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
