# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack is right now: services, health, replicas, release and URLs. Only reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .core.model import Observed, Route, Service, Stack
from .deploy import in_progress
from .host import open_host, serving_stack
from .journal import SqliteJournal, Summary
from .request import Request


def status(request: Request, doors: Mapping[str, Mapping[str, Any]], host_name: str) -> dict[str, Any]:
    """One stack. `doors` are the proxy's entrypoints as the inventory has them: name -> {port, address, tls}."""
    host, journal = open_host(request)
    stack = serving_stack(request.name, journal) or Stack(request.name, ())
    replicas = list(host.engine.replicas(request.name))
    routed = host.ingress.routed(request.name) if host.ingress else {}
    names = dict.fromkeys([*(s.name for s in stack.services), *(o.service for o in replicas)])
    known = {s.name: s for s in stack.services}
    release = journal.release(request.name)
    services = [
        _service(known.get(n), n, [o for o in replicas if o.service == n], routed.get(n), doors, host_name)
        for n in names
    ]
    history = journal.history(request.name, 1)
    return {
        "name": request.name,
        "present": bool(replicas),
        "healthy": bool(services) and all(s["health"] in ("healthy", "done") for s in services),
        "in_progress": in_progress(request),
        "release": release[0] if release else "",
        "released_at": _stamp(
            next((s.committed_at for s in journal.history(request.name) if release and s.id == release[0]), None)
        ),
        "last_rollout": _summary(history[0]) if history else {},
        "backup": _backup(stack, journal),
        "verification": _verification(stack, release[0] if release else "", journal),
        "services": services,
        "urls": [url for s in services for url in s["urls"]],
    }


def _backup(stack: Stack, journal: SqliteJournal) -> dict[str, Any]:
    """The newest set that this host made, and the newest drill that went well, as the journal knows them."""
    made = journal.last("backup", stack.name, "made")
    proven = journal.last("drill", stack.name, "proven")
    return {
        "declared": bool(stack.backup.items),
        "set": made.get("set", ""),
        "set_at": _stamp(made.get("at")),
        "proven": proven.get("set", ""),
        "proven_at": _stamp(proven.get("at")),
        "rto": proven.get("rto", 0.0),
        "rpo": proven.get("rpo", 0.0),
    }


def _verification(stack: Stack, release: str, journal: SqliteJournal) -> dict[str, Any]:
    """How many checks the release declares, and what became of them the last time."""
    found = journal.verification(stack.name, release) if stack.verify.checks else {}
    return {
        "declared": len(stack.verify.checks),
        "outcome": found.get("outcome", ""),
        "at": _stamp(found.get("at")),
        "id": found.get("id", ""),
        "checks": len(found.get("checks", ())),
        "failed": list(found.get("failed_checks", ())),
    }


def _service(
    service: Service | None,
    name: str,
    replicas: list[Observed],
    routed: frozenset[str] | None,
    doors: Mapping[str, Mapping[str, Any]],
    host_name: str,
) -> dict[str, Any]:
    running = [o for o in replicas if o.running]
    wanted = service.replicas if service else 0
    one_shot = bool(service and service.one_shot)
    return {
        "name": name,
        "image": service.image if service else "",
        "replicas": 0 if one_shot else len(running),
        "wanted": 0 if one_shot else wanted,
        "one_shot": one_shot,
        "health": _done(replicas) if one_shot else _health(running, wanted, service is not None),
        "restarts": sum(o.restarts for o in replicas),
        "routed": sorted(routed) if routed is not None else [],
        "containers": [
            {
                "name": o.name,
                "running": o.running,
                "health": o.health,
                "restarts": o.restarts,
                "started_at": o.started_at,
            }
            for o in replicas
        ],
        "urls": _urls(service, doors, host_name) if service else [],
    }


def _done(replicas: list[Observed]) -> str:
    """A one-shot's container may be gone: it ended well then, or there would be no release."""
    return "done" if all(not o.running and o.exit_code == 0 for o in replicas) else "failed"


def _health(running: list[Observed], wanted: int, known: bool) -> str:
    """In words. Docker says "starting" until its own interval is over; such a replica passed our gate already."""
    if not known:
        return "unknown to the release"
    if len(running) < wanted:
        return "down" if not running else "degraded"
    if any(o.health == "unhealthy" for o in running):
        return "unhealthy"
    return "healthy"


def _urls(service: Service, doors: Mapping[str, Mapping[str, Any]], host_name: str) -> list[str]:
    urls = [url for route in service.routes if (url := _url(route, doors.get(route.entrypoint, {}), host_name))]
    local = {"": host_name, "0.0.0.0": host_name, "::": host_name}
    return urls + [f"{protocol}://{local.get(ip, ip)}:{port}" for ip, port, protocol in service.published]


def _url(route: Route, door: Mapping[str, Any], host_name: str) -> str:
    port = int(door.get("port") or 0)
    if not port:
        return ""
    address = str(door.get("address") or "")
    host = route.host or (address if address not in ("", "0.0.0.0", "::") else host_name)
    if route.mode == "tcp":
        return f"tcp://{host}:{port}"
    scheme = "https" if door.get("tls", "off") != "off" else "http"
    usual = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{host}{'' if port == usual else f':{port}'}{route.path}"


def _stamp(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at else ""


def _summary(entry: Summary) -> dict[str, Any]:
    seconds = round(entry.ended - entry.begun, 1) if entry.ended else None
    return {
        "id": entry.id,
        "kind": entry.kind,
        "who": entry.who,
        "begun": _stamp(entry.begun),
        "outcome": entry.outcome or "in progress",
        "seconds": seconds,
    }


def stacks(request: Request) -> list[str]:
    """Stacks that this host's journal knows and that were not taken down."""
    journal = SqliteJournal(request.journal_path)
    return [name for name in journal.stacks() if journal.release(name) is not None]
