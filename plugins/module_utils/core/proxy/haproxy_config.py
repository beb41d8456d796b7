# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy's configuration from a routing table.

The configuration carries the routing table in environment variables (`setenv`), which the running process repeats on
`show env`: so the proxy itself can be asked what it was configured with, and a lost file can be written again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .routing import (
    SERVED_BY,
    SERVER_HEADER,
    TOKEN_HEADER,
    Backend,
    Entrypoint,
    Pool,
    Rule,
    Settings,
    State,
    Table,
    TableError,
    at,
    backend_json,
    inside,
    read_backend,
    read_settings,
    rules,
    settings_json,
)

OLDEST = (2, 6)
"""HAProxy's release from which servers can be added, checked and deleted at run time"""

STRUCTURE = "QUAYLOCK_STRUCTURE"
SETTINGS = "QUAYLOCK_SETTINGS"
BACKEND = "QUAYLOCK_BACKEND_"

NOWHERE = "quaylock_nowhere"
STICKY = "quaylock-"
"""how the names of cookies begin that keep a client with its replica"""
CONFIRMING = "{ var(txn.quaylock) -m found }"

TIMEOUTS: Mapping[str, float] = {
    "connect": 3.0,
    "client": 60.0,
    "server": 120.0,
    "request": 10.0,
    "keep_alive": 60.0,
    "queue": 10.0,
    "tunnel": 3600.0,
    "check": 5.0,
}
CHECKED = {"http": "check inter 1s fall 2 rise 1", "tcp": "check inter 2s fall 2 rise 1"}
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


def render(table: Table) -> str:
    """haproxy.cfg for this table."""
    return _rendered(table, structure(table))


def structure(table: Table) -> str:
    """What only a reload can change, as a fingerprint: everything but the members."""
    bare = replace(table, backends=tuple(replace(b, members=()) for b in table.backends))
    return hashlib.sha256(_rendered(bare, "").encode()).hexdigest()[:24]


def _rendered(table: Table, fingerprint: str) -> str:
    blocks = [_head(table, fingerprint), _defaults(table.settings)]
    if table.settings.health_port:
        blocks.append(_health(table.settings))
    for entrypoint in table.settings.entrypoints:
        blocks += _doors(table, entrypoint)
    blocks.append(
        [
            f"backend {NOWHERE}",
            "    mode http",
            '    http-request return status 404 content-type "text/plain; charset=utf-8" '
            'string "No service answers here.\\n"',
        ]
    )
    blocks += [_pool(table.settings, backend, pool) for backend in table.backends for pool in backend.pools()]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _head(table: Table, fingerprint: str) -> list[str]:
    settings = table.settings
    carried = {**settings_json(settings), "backends": len(table.backends)}
    return [
        "# Written by Quaylock; changes made by hand are overwritten.",
        "global",
        f"    setenv {STRUCTURE} '{fingerprint}'",
        f"    setenv {SETTINGS} {_quoted(json.dumps(carried, sort_keys=True))}",
        *(
            f"    setenv {BACKEND}{number} {_quoted(json.dumps(backend_json(b, members=False), sort_keys=True))}"
            for number, b in enumerate(table.backends)
        ),
        "    log stdout format raw local0 info",
        # connections come in pairs; a maxconn of more than the container's limit would keep it from starting
        f"    fd-hard-limit {2 * settings.maxconn + 200}",
        f"    stats socket {settings.run}/admin.sock mode 660 level admin expose-fd listeners",
        "    stats timeout 30s",
        f"    ssl-default-bind-ciphers {CIPHERS}",
        "    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
        "    tune.ssl.default-dh-param 2048",
    ]


def _quoted(text: str) -> str:
    """One word for HAProxy, whatever is in it (JSON: a quote can be written as an escape)."""
    return "'" + text.replace("'", "\\u0027") + "'"


def _defaults(settings: Settings) -> list[str]:
    after = {**TIMEOUTS, **settings.timeouts}

    def milliseconds(name: str) -> str:
        return f"{round(after[name] * 1000)}ms"

    return [
        "defaults",
        "    mode http",
        "    timeout connect " + milliseconds("connect"),
        "    timeout client " + milliseconds("client"),
        "    timeout server " + milliseconds("server"),
        "    timeout http-request " + milliseconds("request"),
        "    timeout http-keep-alive " + milliseconds("keep_alive"),
        "    timeout queue " + milliseconds("queue"),
        "    timeout tunnel " + milliseconds("tunnel"),
        "    timeout check " + milliseconds("check"),
        "    option redispatch 1",
        "    retries 3",
        "    # an application may close an idle connection just when a POST is sent on it: a fresh one cannot be lost",
        "    option http-server-close",
        '    http-error status 503 content-type "text/plain; charset=utf-8" '
        'string "This service has no replica that could answer.\\n"',
    ]


def _health(settings: Settings) -> list[str]:
    return [
        "frontend quaylock_health",
        f"    bind {settings.listen}:{settings.health_port}",
        '    http-request return status 200 content-type "text/plain; charset=utf-8" string "ok\\n"',
    ]


def _logged(settings: Settings, kind: str) -> list[str]:
    if settings.access_log == "none":
        return []
    return ["    log global", f"    option {kind}"] + (
        ["    option dontlog-normal"] if settings.access_log == "errors" else []
    )


def _doors(table: Table, entrypoint: Entrypoint) -> list[list[str]]:
    settings = table.settings
    encrypted = settings.encrypted(entrypoint)
    bind = f"    bind {settings.listen}:{entrypoint.port}"
    if encrypted:
        bind += f" ssl crt {settings.conf}/certs/" + (" alpn h2,http/1.1" if entrypoint.mode == "http" else "")
    binds = [bind]
    doors = []
    if entrypoint.redirect:
        plain = f"    bind {settings.listen}:{inside(entrypoint.redirect)}"
        if encrypted:
            port = "" if entrypoint.published == 443 else f":{entrypoint.published}"
            doors.append(
                [
                    f"frontend {entrypoint.name}-redirect",
                    plain,
                    *_expected(entrypoint),
                    f"    http-request redirect code 308 location https://%[req.hdr(host),host_only]{port}%[pathq]",
                ]
            )
        else:
            binds.append(plain)
    if entrypoint.mode == "tcp":
        return [_tcp_door(table, entrypoint, binds)]
    return [_http_door(table, entrypoint, binds, encrypted), *doors, _current(settings, entrypoint)]


def _current(settings: Settings, entrypoint: Entrypoint) -> list[str]:
    """The way from a worker that ends to the current one.

    After a reload the previous worker still gets one more request on each idle connection of its clients, for as long
    as they may be idle. It knows the routes and servers of its own time, HAProxy refuses to change those of a worker
    that ends, and the replicas may be gone by then: so it hands such a request over. Where it hung while it was asked
    for its sockets, the way leads to a listener that closes, and nobody there has seen the request: it is handed over
    again where that does no harm in any case.
    """
    return [
        f"backend quaylock_current_{entrypoint.name}",
        "    retry-on conn-failure empty-response",
        "    http-request disable-l7-retry unless { method GET HEAD OPTIONS }",
        f"    server current unix@{settings.run}/{entrypoint.name}.sock send-proxy-v2",
    ]


def _tcp_door(table: Table, entrypoint: Entrypoint, binds: list[str]) -> list[str]:
    after = {**TIMEOUTS, **table.settings.timeouts}
    lines = [
        f"frontend {entrypoint.name}",
        "    mode tcp",
        *binds,
        *_expected(entrypoint),
        *_logged(table.settings, "tcplog"),
        f"    timeout client {round(after['tunnel'] * 1000)}ms",
        "    option clitcpka",
    ]
    to = next((r.pool for r in rules(table, entrypoint.name) if not r.staged), "")
    return [*lines, f"    default_backend {to}" if to else "    tcp-request connection reject"]


def _http_door(table: Table, entrypoint: Entrypoint, binds: list[str], encrypted: bool) -> list[str]:
    settings = table.settings
    scheme = "https" if encrypted else "http"
    lines = [
        f"frontend {entrypoint.name}",
        *binds,
        f"    bind unix@{settings.run}/{entrypoint.name}.sock accept-proxy mode 600",
        *_expected(entrypoint),
        *_logged(settings, "httplog"),
        "    # a reload lets every idle client send one more request instead of closing under it",
        "    option idle-close-on-response",
        "    http-request set-var(txn.host) req.hdr(host),host_only,lower",
        "    http-request set-var(txn.path) path,concat(/)",
    ]
    if settings.token:
        lines.append(
            f"    http-request set-var(txn.quaylock) req.hdr({SERVER_HEADER}) "
            f"if {{ req.hdr({TOKEN_HEADER}) -m str {_quoted(settings.token)} }}"
        )
    lines += [
        "    http-request del-header x-quaylock- -m beg",
        "    # what a client says about its own address is not passed on",
        f"    http-request del-header X-Forwarded- -m beg{_unless_trusted(entrypoint)}",
        f"    http-request del-header X-Real-IP{_unless_trusted(entrypoint)}",
        "    http-request del-header Forwarded",
        f"    http-request set-header X-Forwarded-Proto {scheme}{_unsaid(entrypoint, 'X-Forwarded-Proto')}",
        f"    http-request set-header X-Forwarded-Host %[req.hdr(host)]{_unsaid(entrypoint, 'X-Forwarded-Host')}",
        f"    http-request set-header X-Real-IP %[src]{_unsaid(entrypoint, 'X-Real-IP')}",
        "    option forwardfor",
    ]
    if encrypted and settings.hsts:
        lines.append(f'    http-after-response set-header Strict-Transport-Security "max-age={settings.hsts}"')
    lines.append(f"    use_backend quaylock_current_{entrypoint.name} if {{ stopping }}")
    lines += [f"    use_backend {rule.pool}{_condition(rule)}" for rule in rules(table, entrypoint.name)]
    return [*lines, f"    default_backend {NOWHERE}"]


def _expected(entrypoint: Entrypoint) -> list[str]:
    if not entrypoint.proxy_protocol:
        return []
    return [f"    tcp-request connection expect-proxy layer4 if {{ src {' '.join(entrypoint.trusted)} }}"]


def _unless_trusted(entrypoint: Entrypoint) -> str:
    return f" unless {{ src {' '.join(entrypoint.trusted)} }}" if entrypoint.trusted else ""


def _unsaid(entrypoint: Entrypoint, header: str) -> str:
    return f" unless {{ req.hdr({header}) -m found }}" if entrypoint.trusted else ""


def _condition(rule: Rule) -> str:
    tests = []
    if rule.staged:
        tests.append(CONFIRMING)
    if rule.host:
        tests.append(f"{{ var(txn.host) -m str {_quoted(rule.host)} }}")
    if rule.path != "/":
        tests.append(f"{{ var(txn.path) -m beg {_quoted(rule.path)} }}")
    return " if " + " ".join(tests) if tests else ""


def _pool(settings: Settings, backend: Backend, pool: Pool) -> list[str]:
    lines = [f"backend {pool.name}", f"    mode {pool.mode}", "    balance roundrobin", "    log global"]
    if pool.mode == "http":
        host = pool.check.host.lower() or "localhost"
        statuses = ",".join(str(s) for s in pool.check.statuses)
        lines += [
            "    option httpchk",
            f"    http-check send meth GET uri {_quoted(pool.check.check)} ver HTTP/1.1 hdr Host {_quoted(host)}",
            f"    http-check expect status {statuses}",
            f"    use-server %[var(txn.quaylock)] if {CONFIRMING}",
            f"    http-after-response set-header {SERVED_BY} %[srv_name] if {CONFIRMING}",
            *(_sticky(pool) if pool.sticky else ()),
        ]
    else:
        after = {**TIMEOUTS, **settings.timeouts}
        lines += [f"    timeout server {round(after['tunnel'] * 1000)}ms", "    option srvtcpka"]
    return lines + [
        f"    server {m.server} {at(m.address, pool.port)} {CHECKED[pool.mode]}"
        + (" weight 0" if m.state is State.DRAIN else "")
        for m in backend.members
        if m.state is not State.MAINT
    ]


def _sticky(pool: Pool) -> list[str]:
    """A cookie names the replica, also one that drains.

    HAProxy's own cookies are not for servers that come at run time.
    """
    cookie = STICKY + hashlib.sha256(pool.name.encode()).hexdigest()[:8]
    known = "{ srv_name,strcmp(txn.sticky) eq 0 }"
    named = f'http-response add-header Set-Cookie "{cookie}=%[srv_name]; Path=/; HttpOnly; SameSite=Lax'
    return [
        f"    http-request set-var(txn.sticky) req.cook({cookie})",
        "    use-server %[var(txn.sticky)] if { var(txn.sticky) -m found }",
        f'    {named}; Secure" if {{ ssl_fc }} !{known}',
        f'    {named}" unless {{ ssl_fc }} || {known}',
    ]


def carried(lines: Iterable[str]) -> Table:
    """The table, without members, that a haproxy.cfg or the answer to `show env` carries; TableError for none."""
    values: dict[str, str] = {}
    for line in lines:
        text = line.strip()
        if text.startswith("setenv QUAYLOCK_"):
            name, _sign, quoted = text[len("setenv ") :].partition(" ")
            values[name] = quoted[1:-1]
        elif text.startswith("QUAYLOCK_"):
            name, _sign, values[name] = text.partition("=")
    try:
        settings = json.loads(values[SETTINGS])
        count = settings.pop("backends")
        backends = tuple(read_backend(json.loads(values[f"{BACKEND}{n}"])) for n in range(count))
        return Table(read_settings(settings), backends)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise TableError(f"no routing table in it ({type(error).__name__}: {error})") from error
