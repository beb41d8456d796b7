# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which traffic goes to whom: the routing table of one proxy, as a value.

A backend is one service of one stack. It has one pool per port and mode that its routes name; every member (replica)
of the backend is in every pool. `staged` routes are known to the proxy but only our own confirmation requests follow
them, so that a changed route is proved before anybody depends on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

from ..model import Route

FORMAT = 1
"""of the JSON form"""

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_PATH = re.compile(r"/[^\s'\"\\\x00-\x20\x7f?#]*")
_CHECK = re.compile(r"/[^\s'\"\\\x00-\x20\x7f#]*")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")

TOKEN_HEADER = "x-quaylock-token"  # noqa: S105 - a header's name
SERVER_HEADER = "x-quaylock-server"
SERVED_BY = "x-quaylock-served-by"
STAMP_HEADER = "x-quaylock-stamp"

HEALTH_PORT = 8404
HIGHEST_PRIVILEGED = 1023
LIFT = 10000
"""a privileged port P is served inside the proxy's container as P + LIFT: the proxy is not root"""


class TableError(Exception):
    """A routing table that cannot be read; the text says why."""


class State(str, Enum):
    """What a member is allowed to get."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """A door of the proxy. `published` is the port on the host, `port` the one inside the proxy's container.

    `tls`: off, if-certs (TLS once a certificate is there) or enforced. `redirect` is a published port that speaks plain
    HTTP and sends everybody to this entrypoint while that has TLS, and serves the same while it has not (0 = none).
    `trusted` are the addresses and networks of load balancers in front of it: what they say of a client in
    X-Forwarded-* is passed on; with `proxy_protocol` their connections begin with the PROXY protocol.
    """

    name: str
    published: int
    mode: str = "http"
    tls: str = "off"
    redirect: int = 0
    trusted: tuple[str, ...] = ()
    proxy_protocol: bool = False

    @property
    def port(self) -> int:
        return inside(self.published)


def inside(published: int) -> int:
    """The port in the proxy's container for a port of the host."""
    return published if published > HIGHEST_PRIVILEGED else published + LIFT


@dataclass(frozen=True, slots=True)
class Acme:
    """Certificates by ACME. `server` is its directory; `challenge`: http or tls; `ca` is a file name in conf/."""

    email: str
    server: str
    challenge: str = "http"
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the host's operator decided, and what the proxy's place looks like. Times are seconds.

    `address` is where the proxy is asked for a confirmation; `token` makes a request a confirmation (a secret).
    `conf` and `run` are the proxy's own view of the two folders. `certificates` are "file name:fingerprint".
    `health_port` answers 200 to whoever asks whether the proxy works. `access_log`: all, errors or none.
    """

    entrypoints: tuple[Entrypoint, ...] = ()
    address: str = "127.0.0.1"
    listen: str = ""
    token: str = ""
    conf: str = "/usr/local/etc/haproxy"
    run: str = "/run/haproxy"
    health_port: int = HEALTH_PORT
    certificates: tuple[str, ...] = ()
    hsts: int = 31536000
    maxconn: int = 10000
    access_log: str = "errors"
    timeouts: Mapping[str, float] = field(default_factory=dict)
    acme: Acme | None = None

    def entrypoint(self, name: str) -> Entrypoint | None:
        return next((e for e in self.entrypoints if e.name == name), None)

    def encrypted(self, entrypoint: Entrypoint) -> bool:
        return entrypoint.tls == "enforced" or (entrypoint.tls == "if-certs" and bool(self.certificates or self.acme))


@dataclass(frozen=True, slots=True)
class Member:
    """One replica behind the proxy, by container name.

    A replica of a sticky service has a `mark` of its own: the name alone may be another replica's one day, whom
    clients of this one know nothing of.
    """

    name: str
    address: str
    state: State = State.READY
    mark: str = ""

    @property
    def server(self) -> str:
        """What the proxy calls it."""
        return f"{self.name}:{self.mark}" if self.mark else self.name


@dataclass(frozen=True, slots=True)
class Pool:
    """What HAProxy calls a backend. `check` is the route whose check path HAProxy asks by itself."""

    name: str
    mode: str
    port: int
    check: Route
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Backend:
    stack: str
    service: str
    routes: tuple[Route, ...]
    members: tuple[Member, ...] = ()
    staged: tuple[Route, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return (self.stack, self.service)

    @property
    def prefix(self) -> str:
        """How the names of all its pools start."""
        return f"{self.stack}:{self.service}:"

    def pools(self) -> tuple[Pool, ...]:
        found: dict[str, Pool] = {}
        routes = (*self.routes, *self.staged)
        sticky = {self.pool_of(route) for route in routes if route.sticky}
        for route in routes:
            name = self.pool_of(route)
            found.setdefault(name, Pool(name, route.mode, route.port, route, name in sticky))
        return tuple(found.values())

    def pool_of(self, route: Route) -> str:
        return f"{self.prefix}{route.port}" + (":tcp" if route.mode == "tcp" else "")

    def ready(self) -> frozenset[str]:
        return frozenset(m.name for m in self.members if m.state is State.READY)


def at(address: str, port: int) -> str:
    """An address and a port as proxies write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def replica_of(server: str) -> tuple[str, str]:
    """(name, mark) of what the proxy calls a replica."""
    name, _sign, mark = server.partition(":")
    return name, mark


def owner_of(pool: str) -> tuple[str, str] | None:
    """(stack, service) of a pool's name; None for the names that are not ours."""
    parts = pool.split(":")
    return (parts[0], parts[1]) if len(parts) >= 3 else None


@dataclass(frozen=True, slots=True)
class Table:
    settings: Settings
    backends: tuple[Backend, ...] = ()

    def backend(self, stack: str, service: str) -> Backend | None:
        return next((b for b in self.backends if b.key == (stack, service)), None)

    def having(self, backend: Backend) -> Table:
        """The table with this backend in the place of the one with the same key."""
        others = (b for b in self.backends if b.key != backend.key)
        return replace(self, backends=tuple(sorted((*others, backend), key=lambda b: b.key)))

    def without(self, stack: str, service: str) -> Table:
        return replace(self, backends=tuple(b for b in self.backends if b.key != (stack, service)))

    def taking(self, stack: str, service: str, routes: Sequence[Route]) -> Table:
        """The table where no other service of the stack holds one of these routes any more (it moved)."""
        taken = {place(r) for r in routes}
        kept = (
            replace(b, routes=tuple(r for r in b.routes if place(r) not in taken))
            if b.stack == stack and b.service != service
            else b
            for b in self.backends
        )
        return replace(self, backends=tuple(b for b in kept if b.routes or b.key == (stack, service)))


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an entrypoint's decision. `path` ends in a slash and is compared with the request's path + "/"."""

    host: str
    path: str
    pool: str
    staged: bool


def place(route: Route) -> tuple[str, str, str]:
    """What only one service can have: (entrypoint, host, path prefix); a TCP route has the whole entrypoint."""
    if route.mode == "tcp":
        return (route.entrypoint, "", "")
    return (route.entrypoint, route.host.lower(), prefix_of(route.path))


def prefix_of(path: str) -> str:
    """The path as a prefix of whole segments: /api takes /api and /api/x, not /apix."""
    return path.rstrip("/") + "/"


def rules(table: Table, entrypoint: str) -> tuple[Rule, ...]:
    """Staged ones first; a host of its own before any host; the longest path first."""
    found = [
        Rule(route.host.lower(), prefix_of(route.path), backend.pool_of(route), staged)
        for backend in table.backends
        for staged, routes in ((True, backend.staged), (False, backend.routes))
        for route in routes
        if route.entrypoint == entrypoint
    ]
    return tuple(sorted(found, key=lambda r: (not r.staged, not r.host, -len(r.path), r.host, r.path, r.pool)))


def resolve(table: Table, entrypoint: str, host: str, path: str) -> str:
    """The pool that answers an ordinary request, "" for none."""
    asked = path.split("?", 1)[0] + "/"
    for rule in rules(table, entrypoint):
        if not rule.staged and rule.host in ("", host.lower()) and asked.startswith(rule.path):
            return rule.pool
    return ""


def conflicts(table: Table, stack: str, routes: Mapping[str, Sequence[Route]]) -> tuple[str, ...]:
    """Why these routes cannot all be had, as sentences."""
    said: list[str] = []
    taken = {place(r): b for b in table.backends if b.stack != stack for r in b.routes}
    asked: dict[tuple[str, str, str], str] = {}
    known = ", ".join(e.name for e in table.settings.entrypoints) or "none"
    for service, wanted in routes.items():
        where = f"{stack}: {service}"
        if not _NAME.fullmatch(stack) or not _NAME.fullmatch(service):
            said.append(f"{where}: a routed service's name has letters, digits, dot, dash and underscore only")
        for route in wanted:
            text = f"{where}: {spoken(route)}"
            entrypoint = table.settings.entrypoint(route.entrypoint)
            if entrypoint is None:
                said.append(
                    f"{text}: the ingress has no such entrypoint (it has: {known}); add it to ingress_entrypoints"
                )
                continue
            if entrypoint.mode != route.mode:
                said.append(f"{text}: the route is {route.mode}, the entrypoint is {entrypoint.mode}")
                continue
            holder = taken.get(place(route))
            if holder is not None:
                said.append(f"{text}: taken by service {holder.service} of stack {holder.stack}")
            elif place(route) in asked:
                said.append(f"{text}: asked for twice in this stack (also by {asked[place(route)]})")
            asked.setdefault(place(route), service)
            said += [f"{text}: {problem}" for problem in _unfit(route)]
            if table.settings.acme and not route.host and route.mode == "http" and table.settings.encrypted(entrypoint):
                said.append(f"{text}: its certificate comes by ACME, which asks for host names; give the route a host")
    wanted_table = table
    for service, wanted in routes.items():
        wanted_table = wanted_table.taking(stack, service, wanted)
    for service, wanted in routes.items():
        wanted_table = wanted_table.having(Backend(stack, service, tuple(wanted)))
    if not said:
        said += _unconfirmable(wanted_table, stack, routes)
    return tuple(said)


def _unfit(route: Route) -> Iterable[str]:
    if not 0 < route.port < 65536:
        yield f"port {route.port} is no port"
    if route.mode != "http":
        return
    if route.host and not _HOST.fullmatch(route.host.lower()):
        yield f"host {route.host!r} is no host name"
    if not _PATH.fullmatch(route.path):
        yield f"path {route.path!r} has to start with / and to be without spaces, quotes, ? and #"
    if not _CHECK.fullmatch(route.check):
        yield f"check {route.check!r} has to start with / and to be without spaces, quotes and #"
    if not route.statuses or any(not 100 <= s <= 599 for s in route.statuses):
        yield f"status {list(route.statuses)} has to name HTTP statuses"


def _unconfirmable(table: Table, stack: str, routes: Mapping[str, Sequence[Route]]) -> Iterable[str]:
    for service, wanted in routes.items():
        for route in wanted:
            if route.mode != "http":
                continue
            pool = resolve(table, route.entrypoint, route.host, route.check)
            if pool != Backend(stack, service, ()).pool_of(route):
                yield (
                    f"{stack}: {service}: {spoken(route)}: its check {route.check} goes to {pool or 'nobody'}, "
                    f"so the switch could not be confirmed; choose a check under {route.path} that this service answers"
                )


def spoken(route: Route) -> str:
    """A route for people."""
    if route.mode == "tcp":
        return f"tcp {route.entrypoint} -> :{route.port}"
    return f"{route.entrypoint} {route.host or '(any host)'}{route.path} -> :{route.port}"


def unsafe(servers: Mapping[str, str]) -> tuple[str, ...]:
    """Names or addresses that HAProxy would misread."""
    return tuple(
        f"server {name!r} at {address!r}: not a container name with an IP address"
        for name, address in servers.items()
        if not _NAME.fullmatch(name) or not _ADDRESS.fullmatch(address)
    )


# the table as JSON ---------------------------------------------------------------------------------------------------


def settings_json(settings: Settings) -> dict[str, Any]:
    return asdict(settings)


def backend_json(backend: Backend, members: bool = True) -> dict[str, Any]:
    """`members=False` is the part that only a reload can change."""
    made = asdict(backend)
    if not members:
        del made["members"]
    else:
        made["members"] = [{**m, "state": State(m["state"]).value} for m in made["members"]]
    return made


def table_json(table: Table) -> str:
    made = {
        "format": FORMAT,
        "settings": settings_json(table.settings),
        "backends": [backend_json(b) for b in table.backends],
    }
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def read_table(text: str) -> Table:
    """The table of a routes.json; TableError when it is not one."""
    try:
        made = json.loads(text)
        if made["format"] != FORMAT:
            raise TableError(f"format {made['format']!r} instead of {FORMAT}")
        return Table(read_settings(made["settings"]), tuple(read_backend(b) for b in made["backends"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{type(error).__name__}: {error}") from error


def read_settings(made: Mapping[str, Any]) -> Settings:
    return Settings(
        **{
            **made,
            "entrypoints": tuple(
                Entrypoint(**{**e, "trusted": tuple(e.get("trusted", ()))}) for e in made["entrypoints"]
            ),
            "certificates": tuple(made["certificates"]),
            "acme": Acme(**made["acme"]) if made.get("acme") else None,
        }
    )


def read_backend(made: Mapping[str, Any]) -> Backend:
    return Backend(
        str(made["stack"]),
        str(made["service"]),
        tuple(_read_route(r) for r in made["routes"]),
        tuple(Member(m["name"], m["address"], State(m["state"]), m.get("mark", "")) for m in made.get("members", ())),
        tuple(_read_route(r) for r in made.get("staged", ())),
    )


def _read_route(made: Mapping[str, Any]) -> Route:
    return Route(**{**made, "statuses": tuple(made["statuses"])})
