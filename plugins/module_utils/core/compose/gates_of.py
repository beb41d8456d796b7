# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a service's replicas may take traffic, and where it comes from: healthcheck, x-quaylock and the monitor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..durations import spoken
from ..model import ExecProbe, Gate, HttpProbe, Json, Probe, Route, TcpProbe
from .nodes import Node
from .scope import Context

QUICK = 0.1
"""seconds between the first checks of a replica, and within a row that traffic waits for, or `cadence` if shorter"""
ONE_SHOT_DEADLINE = 600.0
"""seconds that a one-shot may take, unless it says otherwise"""

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_NANO = 1e-9


@dataclass(frozen=True, slots=True)
class Times:
    """Docker's health check times in seconds, with Docker's defaults; 0 means the default there too."""

    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0

    @property
    def deadline(self) -> float:
        return self.start_period + self.retries * (self.interval + self.timeout)

    @property
    def progress(self) -> float:
        return max(60.0, self.start_period + self.interval)


def times(check: Json) -> Times:
    """The times of a Healthcheck as the Engine API writes it."""
    standard = Times()
    return Times(
        check.get("Interval", 0) * _NANO or standard.interval,
        check.get("Timeout", 0) * _NANO or standard.timeout,
        check.get("Retries", 0) or standard.retries,
        check.get("StartPeriod", 0) * _NANO,
    )


def probe(check: Json) -> ExecProbe | None:
    """The command of an engine's Healthcheck, or None where it has none."""
    match list(check.get("Test") or ()):
        case ["CMD", *words] if words:
            return ExecProbe(tuple(words), times(check).timeout)
        case ["CMD-SHELL", text]:
            return ExecProbe(("/bin/sh", "-c", text), times(check).timeout)
    return None


def with_image_check(gate: Gate, service_check: Json, image_check: Json | None) -> Gate:
    """The gate once the image is known: its own HEALTHCHECK is asked first, with the times that the service changed.

    Times that the service set for the gate itself stay. A gate that still has no probe has nothing to ask.
    """
    if not gate.image_check or not image_check:
        return gate
    check = {**image_check, **{key: value for key, value in service_check.items() if value}}
    own = probe(check)
    if own is None:
        return gate
    before, after = times(service_check), times(check)
    deadline = after.deadline if gate.deadline == before.deadline else gate.deadline
    progress = after.progress if gate.progress == before.progress else gate.progress
    probes = (own, *gate.probes)
    return replace(gate, probes=probes, deadline=deadline, progress=progress, retries=after.retries, image_check=False)


def gate(service: Node, check: Json, hold: float) -> Gate:
    """The gate of a service that keeps running. `check` is the Healthcheck of its container's body."""
    node = service.at("x-quaylock").at("gate")
    probes = [_probe(entry) for entry in node.at("probes").entries()]
    opted_out = _opt_out(node.at("none"))
    disabled = check.get("Test") == ["NONE"]
    own = probe(check)
    asked = times({} if disabled else check)
    result = Gate(
        probes=tuple(p for p in (own, *probes) if p is not None),
        passes=node.at("passes").integer(3, 1),
        cadence=node.at("cadence").seconds(1.0, 0.01),
        hold=hold,
        deadline=node.at("deadline").seconds(asked.deadline, 0.001),
        progress=node.at("progress").seconds(asked.progress, 0.001),
        retries=asked.retries,
        image_check=not (own or probes or opted_out or disabled),
        opted_out=opted_out,
    )
    node.close()
    if opted_out and (own or probes):
        node.at("none").refuse(
            "opts out of the gate although there is a check", "drop none, or the healthcheck and probes"
        )
    elif disabled and not probes and not opted_out:
        service.at("healthcheck").refuse(
            "is switched off, and no probe tells whether a replica works",
            "add x-quaylock.gate.probes, or say why there is nothing to ask in x-quaylock.gate.none",
        )
    _possible(node, result)
    return result


def one_shot_gate(service: Node) -> Gate:
    """A one-shot passes by exit code 0, until its deadline."""
    node = service.at("x-quaylock").at("gate")
    deadline = node.at("deadline").seconds(ONE_SHOT_DEADLINE, 0.001)
    reason = "a one-shot passes by exit code 0; only deadline applies"
    node.close(dict.fromkeys(("passes", "cadence", "progress", "probes", "none"), reason))
    return Gate(probes=(), hold=0.0, deadline=deadline, progress=deadline, opted_out="a one-shot passes by exit code 0")


def _possible(node: Node, gate: Gate) -> None:
    """Refuse a gate that no replica could pass."""
    shortest = gate.passes * min(gate.cadence, QUICK)
    deadline = spoken(gate.deadline)
    whence = node.at("deadline") if node.has("deadline") else node
    if gate.deadline < shortest:
        whence.refuse(
            f"the deadline of {deadline} is shorter than the {spoken(shortest)} that {gate.passes} passes take",
            "raise the deadline, or ask for fewer passes",
        )
    if node.has("progress") and gate.progress > gate.deadline:
        node.at("progress").refuse(
            f"{spoken(gate.progress)} can never be reached before the deadline of {deadline}",
            "make it shorter than the deadline",
        )
    for asked in gate.probes:
        if asked.timeout >= gate.deadline:
            whence.refuse(
                f"the timeout of {asked} ({spoken(asked.timeout)}) reaches the deadline of {deadline}",
                "one slow answer would fail the replica: shorten the timeout or raise the deadline",
            )


def _opt_out(node: Node) -> str:
    if not node.given:
        return ""
    if not isinstance(node.value, str) or not node.value.strip():
        node.refuse("opts out without a reason", "say in words why there is nothing to ask")
        return "no reason given"
    return node.value.strip()


def _probe(entry: Node) -> Probe | None:
    kinds = [key for key in ("http", "tcp", "exec") if entry.has(key)]
    entry.close()
    if len(kinds) != 1:
        if kinds or not entry.value:
            entry.refuse("must be exactly one of http, tcp and exec", "write - http: {port: 8000, path: /health}")
        return None
    node = entry.at(kinds[0])
    if kinds[0] == "exec":
        return _exec(node)
    port = port_of(node)
    timeout = node.at("timeout").seconds(5.0, 0.001)
    if kinds[0] == "tcp":
        node.close()
        return TcpProbe(port, timeout)
    path = path_of(node.at("path"), "/")
    statuses = statuses_of(node.at("status"))
    body = node.at("body").text() if node.has("body") else None
    if body == "":
        node.at("body").refuse("is empty, which every answer contains", "name a part of a good answer, or drop it")
    node.close()
    return HttpProbe(port, path, statuses, body, timeout)


def _exec(node: Node) -> ExecProbe | None:
    return ExecProbe(*command(node, ExecProbe(()).timeout, "pg_isready"))


def command(node: Node, timeout: float, example: str) -> tuple[tuple[str, ...], float]:
    """A command alone, or with its timeout."""
    told = isinstance(node.value, Mapping)
    asked = node.at("command") if told else node
    words = asked.texts()
    if told:
        timeout = node.at("timeout").seconds(timeout, 0.001)
        node.close(extensions=False)
    if not words:
        asked.refuse("is not a command", f'write it as a list: ["{example}", "-q"]')
    return tuple(words), timeout


def routes(service: Node, context: Context) -> tuple[Route, ...]:
    found = []
    for entry in service.at("x-quaylock").at("ingress").entries():
        if not isinstance(entry.value, Mapping):
            entry.refuse("must be a mapping", "write - {entrypoint: http, port: 8000, host: shop.example.org}")
            continue
        found.append(_route(entry, context))
    return tuple(found)


def _route(entry: Node, context: Context) -> Route:
    entrypoint = entry.at("entrypoint").text()
    if not entrypoint:
        entry.refuse("names no entrypoint", f"known: {', '.join(sorted(context.entrypoints)) or 'none'}")
    elif not context.entrypoints:
        entry.at("entrypoint").refuse("there is no proxy on this host", "set up the ingress, or drop the route")
    elif entrypoint not in context.entrypoints:
        known = ", ".join(sorted(context.entrypoints))
        entry.at("entrypoint").refuse(f"the proxy has no entrypoint {entrypoint!r}", f"known: {known}")
    mode = entry.at("mode").one_of(("http", "tcp"), "http")
    port = port_of(entry)
    drain = entry.at("drain").seconds(30.0)
    if mode == "tcp":
        reason = "means nothing for plain TCP"
        for key in ("host", "path", "check", "status", "sticky"):
            if entry.has(key):
                entry.at(key).refuse(reason, "drop it, or use mode: http")
        entry.close()
        return Route(entrypoint, port, "", "/", "", (200,), drain, mode)
    host = entry.at("host").text().lower()
    if host and not _HOST.fullmatch(host):
        entry.at("host").refuse(
            f"{host!r} is not a host name", "write it without scheme, port and path: shop.example.org"
        )
    path = path_of(entry.at("path"), "/")
    check = path_of(entry.at("check"), path)
    if not check.startswith(path):
        entry.at("check").refuse(
            f"{check} does not go through this route, whose path is {path}", f"start it with {path}"
        )
    statuses = statuses_of(entry.at("status"))
    sticky = entry.at("sticky").flag()
    entry.close()
    return Route(entrypoint, port, host, path, check, statuses, drain, mode, sticky)


def port_of(node: Node) -> int:
    if not node.has("port"):
        node.refuse("has no port", "name the port that the container listens on")
    return node.at("port").integer(0, 1, 65535)


def path_of(node: Node, default: str) -> str:
    path = node.text(default)
    if not path.startswith("/") or any(c.isspace() for c in path):
        node.refuse(f"{path!r} is not a path", "start it with / and write spaces as %20")
        return default
    return path


def statuses_of(node: Node) -> tuple[int, ...]:
    if not node.given:
        return (200,)
    entries = node.entries() if isinstance(node.value, (list, tuple)) else [node]
    if not entries:
        node.refuse("is empty", "name at least one, such as [200]")
    return tuple(entry.integer(200, 100, 599) for entry in entries)
