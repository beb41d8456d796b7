# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traefik's two configurations: the static one that it starts with, and the routes that its file provider watches.

The routes are one file, named to Traefik: what else lies in the folder is never read, so that nobody's invalid file can
take routes down. It is JSON, which is YAML too. It carries the routing table as a middleware that no router uses, which
Traefik's API repeats: so the running proxy can be asked what it was told, and a lost file can be written again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from ..model import Route
from ..yaml_text import dump
from .routing import (
    SERVED_BY,
    SERVER_HEADER,
    STAMP_HEADER,
    TOKEN_HEADER,
    Backend,
    Entrypoint,
    Member,
    Pool,
    Settings,
    State,
    Table,
    TableError,
    at,
    inside,
    prefix_of,
    read_table,
    table_json,
)

OLDEST = (3, 5)
"""Traefik's release whose keys are used here"""
FOLDER = "dynamic"
"""below conf/, mounted and watched as a folder: a mounted file would keep its first content"""
FILE = "routes.yaml"
ADMIN = "quaylock"
"""the entrypoint of ping and API; its port is not published, and the API wants the token"""
RESOLVER = "quaylock"
STORAGE = "/acme/acme.json"
ANYBODY = "any"
TABLE = "quaylock-table"
TABLE_HEADER = "X-Quaylock-Table"
THROTTLE = "100ms"

TIMEOUTS: Mapping[str, float] = {
    "connect": 3.0,
    "server": 120.0,
    "body": 21600.0,
    "keep_alive": 180.0,
}
"""`body` bounds a whole request, also an upload of hours"""
CIPHERS = [
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
    for key in ("ECDSA", "RSA")
]

_HEAD = "# Written by Quaylock; changes made by hand are overwritten.\n"


# what it starts with --------------------------------------------------------------------------------------------------


def static(settings: Settings) -> str:
    """traefik.yaml. Only a restart of Traefik takes another one."""
    after = {**TIMEOUTS, **settings.timeouts}
    entrypoints: dict[str, Any] = {ADMIN: {"address": f"{settings.listen}:{settings.health_port}"}}
    for door in settings.entrypoints:
        entrypoints[door.name] = _entrypoint(settings, door, door.port, after)
        if door.redirect:
            entrypoints[_plain(door)] = _entrypoint(settings, door, inside(door.redirect), after)
    made: dict[str, Any] = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "WARN", "noColor": True},
        "api": {"insecure": False, "dashboard": False},
        "ping": {"entryPoint": ADMIN},
        "entryPoints": entrypoints,
        "providers": {
            "providersThrottleDuration": THROTTLE,
            "file": {"filename": f"{settings.conf}/{FOLDER}/{FILE}", "watch": True},
        },
        "serversTransport": {
            # an application may close an idle connection just when a POST is sent on it: a fresh one cannot be lost
            "maxIdleConnsPerHost": -1,
            "forwardingTimeouts": {
                "dialTimeout": _seconds(after["connect"]),
                "responseHeaderTimeout": _seconds(after["server"]),
            },
        },
        "tcpServersTransport": {"dialTimeout": _seconds(after["connect"])},
    }
    if settings.access_log != "none":
        errors = {"filters": {"statusCodes": ["400-599"]}} if settings.access_log == "errors" else {}
        made["accessLog"] = {"format": "common", **errors}
    if settings.acme:
        acme: dict[str, Any] = {
            "email": settings.acme.email,
            "caServer": settings.acme.server,
            "storage": STORAGE,
            "keyType": "EC256",
        }
        if settings.acme.ca:
            acme["caCertificates"] = [f"{settings.conf}/{settings.acme.ca.partition(':')[0]}"]
        if settings.acme.challenge == "tls":
            acme["tlsChallenge"] = {}
        else:
            acme["httpChallenge"] = {"entryPoint": next(_plain(e) for e in settings.entrypoints if e.redirect)}
        made["certificatesResolvers"] = {RESOLVER: {"acme": acme}}
    return _HEAD + dump(made)


def _entrypoint(settings: Settings, door: Entrypoint, port: int, after: Mapping[str, float]) -> dict[str, Any]:
    trusted = {"trustedIPs": list(door.trusted)}
    return {
        **({"forwardedHeaders": trusted} if door.trusted else {}),
        **({"proxyProtocol": trusted} if door.proxy_protocol else {}),
        "address": f"{settings.listen}:{port}",
        "transport": {
            "respondingTimeouts": {
                "readTimeout": _seconds(after["body"]),
                "idleTimeout": _seconds(after["keep_alive"]),
            },
            "lifeCycle": {"graceTimeOut": "4s"},
        },
    }


def _plain(door: Entrypoint) -> str:
    """The entrypoint of its redirect."""
    return f"{door.name}-redirect"


def _seconds(count: float) -> str:
    return f"{round(count * 1000)}ms"


# what it watches ------------------------------------------------------------------------------------------------------


def stamp(table: Table) -> str:
    """Names exactly this configuration."""
    return hashlib.sha256(table_json(table).encode()).hexdigest()[:24]


def render(table: Table) -> str:
    """routes.yaml for this table."""
    # Traefik takes two braces, which a path may have, for the beginning of a template
    return _HEAD + json.dumps(dynamic(table), indent=1, sort_keys=True).replace("{{", "\\u007b\\u007b") + "\n"


def dynamic(table: Table) -> dict[str, Any]:
    settings = table.settings
    http: dict[str, Any] = {
        "routers": {
            "quaylock-api": {
                "entryPoints": [ADMIN],
                "rule": f'{_ours(settings)} && PathPrefix("/api")',
                "service": "api@internal",
            }
        },
        "services": {},
        "middlewares": _middlewares(table),
    }
    tcp: dict[str, Any] = {"routers": {}, "services": {}}
    for door in settings.entrypoints:
        if door.redirect and settings.encrypted(door):
            http["routers"][f"quaylock-{_plain(door)}"] = {
                "entryPoints": [_plain(door)],
                "rule": 'PathPrefix("/")',
                "priority": 1,
                "middlewares": [f"quaylock-{_plain(door)}"],
                "service": "noop@internal",
            }
    for backend in table.backends:
        for pool in backend.pools():
            part = tcp if pool.mode == "tcp" else http
            part["services"][pool.name] = _tcp_service(backend, pool) if pool.mode == "tcp" else _service(backend, pool)
        for member in _waiting(backend):
            for pool in backend.pools():
                if pool.mode == "http":
                    http["services"][_alone(pool.name, member)] = {"loadBalancer": {"servers": [_server(member, pool)]}}
        http["routers"].update(_routers(settings, backend))
        tcp["routers"].update(_tcp_routers(settings, backend))
    # Traefik refuses an empty section
    made: dict[str, Any] = {"http": {key: part for key, part in http.items() if part}}
    if tcp["routers"]:
        made["tcp"] = tcp
    return {**made, "tls": _tls(settings)}


def _middlewares(table: Table) -> dict[str, Any]:
    settings = table.settings
    made: dict[str, Any] = {
        TABLE: {"headers": {"customRequestHeaders": {TABLE_HEADER: json.dumps(json.loads(table_json(table)))}}},
        "quaylock-clean": {
            # Traefik itself drops what a client says about its own address in X-Forwarded-*
            "headers": {"customRequestHeaders": dict.fromkeys((TOKEN_HEADER, SERVER_HEADER, "Forwarded"), "")}
        },
        "quaylock-stamp": {"headers": {"customResponseHeaders": {STAMP_HEADER: stamp(table)}}},
        # only for connections that could not be made: what was sent is never sent twice
        "quaylock-again": {"retry": {"attempts": 3, "initialInterval": "50ms"}},
    }
    if settings.hsts:
        made["quaylock-hsts"] = {"headers": {"stsSeconds": settings.hsts}}
    for door in settings.entrypoints:
        if door.redirect and settings.encrypted(door):
            made[f"quaylock-{_plain(door)}"] = {
                "redirectScheme": {"scheme": "https", "port": str(door.published), "permanent": True}
            }
    for name in sorted({m.name for b in table.backends for m in _waiting(b)}):
        made[f"quaylock-by:{name}"] = {"headers": {"customResponseHeaders": {SERVED_BY: name}}}
    return made


def _waiting(backend: Backend) -> tuple[Member, ...]:
    """Those that only our own requests may reach."""
    return tuple(m for m in backend.members if m.state is State.DRAIN)


def _alone(pool: str, member: Member) -> str:
    return f"{pool}:{member.name}"


def _ours(settings: Settings) -> str:
    return f"Header({_text(TOKEN_HEADER)}, {_text(settings.token)})"


def _text(value: str) -> str:
    """A word of Traefik's rules; what is in it was checked with the route."""
    return json.dumps(value)


def _rule(route: Route) -> str:
    tests = [f"Host({_text(route.host.lower())})"] if route.host else []
    prefix = prefix_of(route.path)
    if prefix == "/":
        tests.append('PathPrefix("/")')
    else:
        tests.append(f"(Path({_text(prefix.rstrip('/'))}) || PathPrefix({_text(prefix)}))")
    return " && ".join(tests)


def _rank(route: Route) -> int:
    """A host of its own before any host; the longest path first."""
    return 10 + min(len(prefix_of(route.path)), 9_000) + (10_000 if route.host else 0)


def _routers(settings: Settings, backend: Backend) -> Iterator[tuple[str, dict[str, Any]]]:
    for staged, routes in ((False, backend.routes), (True, backend.staged)):
        for number, route in enumerate(routes):
            door = settings.entrypoint(route.entrypoint)
            if door is not None and route.mode == "http":
                name = f"{backend.prefix}{'staged' if staged else 'route'}-{number}"
                yield from _routers_of(settings, backend, door, name, route, staged)


def _routers_of(
    settings: Settings, backend: Backend, door: Entrypoint, name: str, route: Route, staged: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everybody's, unless the route is only staged; ours to anybody; ours to each server that waits."""
    encrypted = settings.encrypted(door)
    hsts = ["quaylock-hsts"] if encrypted and settings.hsts else []
    base: dict[str, Any] = {
        "entryPoints": [door.name, *([_plain(door)] if door.redirect and not encrypted else [])],
        "middlewares": ["quaylock-clean", *hsts, "quaylock-again"],
        **({"tls": {}} if encrypted else {}),
    }
    ours = f"{_ours(settings)} && {_rule(route)}"
    rank = _rank(route) + (200_000 if staged else 100_000)
    pool = backend.pool_of(route)
    if not staged:
        by_acme = {"tls": {"certResolver": RESOLVER}} if encrypted and settings.acme and route.host else {}
        yield name, {**base, "rule": _rule(route), "priority": _rank(route), "service": pool, **by_acme}
        asked = f"{ours} && Header({_text(SERVER_HEADER)}, {_text(ANYBODY)})"
        first = ["quaylock-stamp", *base["middlewares"]]
        yield f"{name}:{ANYBODY}", {**base, "rule": asked, "priority": rank, "middlewares": first, "service": pool}
    for member in _waiting(backend):
        asked = f"{ours} && Header({_text(SERVER_HEADER)}, {_text(member.name)})"
        yield (
            f"{name}:{member.name}",
            {
                **base,
                "rule": asked,
                "priority": rank + 1,
                "middlewares": [f"quaylock-by:{member.name}", *base["middlewares"]],
                "service": _alone(pool, member),
            },
        )


def _tcp_routers(settings: Settings, backend: Backend) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, route in enumerate(backend.routes):
        door = settings.entrypoint(route.entrypoint)
        if door is None or route.mode != "tcp":
            continue
        tls: dict[str, Any] = {"tls": {}} if settings.encrypted(door) else {}
        yield (
            f"{backend.prefix}route-{number}",
            {"entryPoints": [door.name], "rule": 'HostSNI("*")', "service": backend.pool_of(route), **tls},
        )


def _service(backend: Backend, pool: Pool) -> dict[str, Any]:
    made: dict[str, Any] = {"servers": servers(backend, pool)}
    check = _check(pool.check)
    if check:
        made["healthCheck"] = check
    return {"loadBalancer": made}


def _check(route: Route) -> dict[str, Any]:
    """Traefik knows one status, or all from 200 to 399; a check that it cannot judge is left out."""
    if len(route.statuses) == 1:
        status = {"status": route.statuses[0]}
    elif all(200 <= s < 400 for s in route.statuses):
        status = {}
    else:
        return {}
    host = {"hostname": route.host.lower()} if route.host else {}
    return {"path": route.check, "interval": "2s", "timeout": "5s", "followRedirects": False, **status, **host}


def servers(backend: Backend, pool: Pool) -> list[dict[str, str]]:
    """Who takes everybody's traffic, as Traefik writes it."""
    return [_server(m, pool) for m in backend.members if m.state is State.READY]


def _server(member: Member, pool: Pool) -> dict[str, str]:
    if pool.mode == "tcp":
        return {"address": at(member.address, pool.port)}
    return {"url": f"http://{at(member.address, pool.port)}"}


def _tcp_service(backend: Backend, pool: Pool) -> dict[str, Any]:
    return {"loadBalancer": {"servers": servers(backend, pool)}}


def _tls(settings: Settings) -> dict[str, Any]:
    made: dict[str, Any] = {"options": {"default": {"minVersion": "VersionTLS12", "cipherSuites": CIPHERS}}}
    files = [f"{settings.conf}/certs/{name.partition(':')[0]}" for name in settings.certificates]
    if files:
        pairs = [{"certFile": path, "keyFile": path} for path in files]
        made["certificates"] = pairs
        made["stores"] = {"default": {"defaultCertificate": pairs[0]}}
    return made


# what it carries ------------------------------------------------------------------------------------------------------


def carried(text: str) -> Table:
    """The table that a routes.yaml, or the answer of Traefik's API, carries; TableError for none."""
    try:
        made = json.loads("\n".join(line for line in text.splitlines() if not line.startswith("#")))
        middlewares = made["http"]["middlewares"] if "http" in made else made["middlewares"]
        found = middlewares.get(TABLE) or middlewares[f"{TABLE}@file"]
        return read_table(found["headers"]["customRequestHeaders"][TABLE_HEADER])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"no routing table in it ({type(error).__name__}: {error})") from error


# what it answers ------------------------------------------------------------------------------------------------------


def objections(answer: str, table: Table, stack: str, service: str) -> list[str]:
    """What in the answer of its API (/api/rawdata) is not as this backend asks for it, as sentences."""
    made = json.loads(answer)
    backend = table.backend(stack, service)
    wrong = [
        f"{kind[:-1]} {name.removesuffix('@file')}: {'; '.join(found.get('error') or found.get('err') or ['disabled'])}"
        for kind in ("routers", "services", "middlewares", "tcpRouters", "tcpServices")
        for name, found in (made.get(kind) or {}).items()
        if name.endswith("@file") and isinstance(found, dict) and found.get("status") == "disabled"
    ]
    for pool in backend.pools() if backend is not None else ():
        there = (made.get("tcpServices" if pool.mode == "tcp" else "services") or {}).get(f"{pool.name}@file")
        if there is None:
            wrong.append(f"there is no service {pool.name}")
            continue
        key = "address" if pool.mode == "tcp" else "url"
        loaded = sorted(s.get(key, "") for s in (there.get("loadBalancer") or {}).get("servers") or ())
        wanted = sorted(s[key] for s in servers(backend, pool)) if backend is not None else []
        if loaded != wanted:
            wrong.append(f"{pool.name} has {', '.join(loaded) or 'no server'} instead of {', '.join(wanted) or 'none'}")
        down = [url for url, state in (there.get("serverStatus") or {}).items() if state == "DOWN" and url in wanted]
        wrong += [f"{url} of {pool.name} is down" for url in down]
    return wrong


def version(answer: str) -> tuple[tuple[int, int], str]:
    """From /api/version: ((3, 6), "3.6.12"); ((0, 0), what it said) for a version without numbers."""
    try:
        text = str(json.loads(answer)["Version"])
    except (ValueError, KeyError, TypeError):
        return (0, 0), ""
    numbers = text.lstrip("v").split(".")
    if len(numbers) < 2 or not (numbers[0].isdigit() and numbers[1].isdigit()):
        return (0, 0), text
    return (int(numbers[0]), int(numbers[1])), text


# connections of its network namespace ---------------------------------------------------------------------------------


def connections(listing: str) -> list[tuple[str, bool]]:
    """From /proc/PID/net/tcp or tcp6, of what is open or being opened: (other side's address, is open)."""
    found = []
    for line in listing.splitlines()[1:]:
        words = line.split()
        if len(words) > 3 and words[3] in ("01", "02"):
            found.append((_address(words[2].rpartition(":")[0]), words[3] == "01"))
    return found


def _address(digits: str) -> str:
    """Four bytes at a time, each in the order of the host's processor (little endian, as all that Docker runs on)."""
    return str(ip_address(b"".join(bytes.fromhex(digits[n : n + 8])[::-1] for n in range(0, len(digits), 8))))
