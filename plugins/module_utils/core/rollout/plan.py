# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What has to change: the wanted stack against what was observed, by spec hash and image identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from .. import reach
from ..compose import restore_points
from ..model import Finding, Image, Json, Observation, Observed, Order, Service, Stack
from .gate import completed


class Action(str, Enum):
    KEEP = "keep"
    CREATE = "create"
    REPLACE = "replace"
    SCALE = "scale"
    RUN = "run"
    ROUTE = "route"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one service. `new` are the replicas to make, `keep` stay, `old` leave after the commit."""

    service: str
    action: Action
    reasons: tuple[str, ...] = ()
    new: tuple[tuple[str, int], ...] = ()
    keep: tuple[Observed, ...] = ()
    old: tuple[Observed, ...] = ()
    order: Order = Order.START_FIRST

    @property
    def members(self) -> tuple[str, ...]:
        """The replicas that make up the service after the rollout."""
        return tuple(o.name for o in self.keep) + tuple(name for name, _spec in self.new)


@dataclass(frozen=True, slots=True)
class Plan:
    changes: tuple[Change, ...] = ()
    networks: tuple[str, ...] = ()
    """keys of networks to create"""
    volumes: tuple[str, ...] = ()
    """keys of volumes to create"""
    points: tuple[tuple[str, str], ...] = ()
    """(service, replica) where a restore point is taken before anything changes"""

    @property
    def work(self) -> tuple[Change, ...]:
        return tuple(c for c in self.changes if c.action is not Action.KEEP)

    @property
    def changed(self) -> bool:
        return bool(self.work or self.networks or self.volumes)

    def change(self, service: str) -> Change:
        return next(c for c in self.changes if c.service == service)


@dataclass(frozen=True, slots=True)
class Ran:
    """A one-shot that ended well in an earlier release and whose container may be gone."""

    service: str
    spec: str
    image: str


def plan(stack: Stack, seen: Observation, images: Mapping[str, Image], ran: frozenset[Ran] = frozenset()) -> Plan:
    """The changes in the model's order, orphans last. Pure; `images` maps an image reference to what it resolved to."""
    groups: dict[str, list[Observed]] = {}
    for replica in sorted(seen.replicas, key=lambda o: o.number):
        groups.setdefault(replica.service, []).append(replica)
    changes: dict[str, Change] = {}
    for service in stack.services:
        changes[service.name] = _change(
            stack.name, service, groups.get(service.name, []), images[service.image], ran, seen
        )
    changes = _with_restarts(stack, changes)
    wanted = {s.name for s in stack.services}
    orphans = tuple(
        # the proxy may know one of whose containers none is left
        Change(name, Action.REMOVE, ("is not in the Compose file any more",), old=tuple(groups.get(name, ())))
        for name in sorted({*groups, *seen.routed} - wanted)
    )
    all_changes = (*changes.values(), *orphans)
    data_may_change = any(c.action not in (Action.KEEP, Action.SCALE, Action.ROUTE) for c in all_changes)
    return Plan(
        changes=all_changes,
        networks=tuple(n.key for n in stack.networks if not n.external and n.name not in seen.networks),
        volumes=tuple(v.key for v in stack.volumes if not v.external and v.name not in seen.volumes),
        points=restore_points.places(stack.services, seen.replicas, stack.backup.before) if data_may_change else (),
    )


def _change(
    stack: str, service: Service, group: list[Observed], image: Image, ran: frozenset[Ran], seen: Observation
) -> Change:
    good = [o for o in group if _good(service, o, image)]
    if service.one_shot:
        if good:
            return Change(service.name, Action.KEEP, keep=(good[-1],), old=())
        if Ran(service.name, service.spec, image.id) in ran:
            return Change(service.name, Action.KEEP)
        return Change(
            service.name,
            Action.RUN,
            _reasons(service, group, image),
            _fresh(stack, service, group, 1),
            (),
            tuple(group),
        )
    keep = tuple(good[: service.replicas])
    new = _fresh(stack, service, group, service.replicas - len(keep))
    old = tuple(o for o in group if o not in keep)
    if not new and not old:
        members = frozenset(o.name for o in keep)
        stale = service.name in seen.stale_routes or (
            service.routes and seen.routed.get(service.name, frozenset()) != members
        )
        unwanted = not service.routes and service.name in seen.routed
        if stale or unwanted:
            return Change(service.name, Action.ROUTE, ("the proxy's routes differ",), keep=keep)
        return Change(service.name, Action.KEEP, keep=keep)
    reasons = _reasons(service, group, image)
    if not group:
        action, reasons = Action.CREATE, ("does not exist yet",)
    elif len(good) == len(group):
        action, reasons = Action.SCALE, (f"{len(group)} -> {service.replicas} replicas",)
    else:
        action = Action.REPLACE
    return Change(service.name, action, reasons, new, keep, old, service.order)


def _good(service: Service, replica: Observed, image: Image) -> bool:
    if replica.spec != service.spec or replica.image != image.id:
        return False
    if service.one_shot:
        return not replica.running and replica.exit_code == 0
    return replica.running and replica.health != "unhealthy" and replica.named


def _fresh(stack: str, service: Service, group: Iterable[Observed], count: int) -> tuple[tuple[str, int], ...]:
    taken = {o.number for o in group}
    numbers = [n for n in range(1, len(taken) + count + 1) if n not in taken][:count]
    return tuple((service.container_name or f"{stack}-{service.name}-{n}", n) for n in numbers)


def _reasons(service: Service, group: list[Observed], image: Image) -> tuple[str, ...]:
    found: list[str] = []
    for replica in group:
        if not replica.spec:
            found.append("was not made by Quaylock")
        elif replica.image != image.id:
            found.append("image changed")
        elif replica.spec != service.spec:
            found.append("definition changed")
        elif service.one_shot and replica.running:
            found.append("was still running")
        elif service.one_shot:
            found.append(f"last run ended with exit code {replica.exit_code}")
        elif not replica.running:
            found.append(f"{replica.name} is not running (exit code {replica.exit_code})")
        elif replica.health == "unhealthy":
            found.append(f"{replica.name} is unhealthy")
        elif not replica.named:
            found.append(f"{replica.name} does not answer to the service's names")
    return tuple(dict.fromkeys(found)) or ("does not exist yet",)


def _with_restarts(stack: Stack, changes: Mapping[str, Change]) -> dict[str, Change]:
    """depends_on.restart: a service whose dependency is replaced is replaced with it, and so on along the graph."""
    result = dict(changes)
    again = True
    while again:
        again = False
        for service in stack.services:
            change = result[service.name]
            if change.action not in (Action.KEEP, Action.ROUTE) or service.one_shot:
                continue
            moved = [d.service for d in service.depends_on if d.restart and result[d.service].action is Action.REPLACE]
            if moved:
                result[service.name] = Change(
                    service.name,
                    Action.REPLACE,
                    tuple(f"depends on {name}, which is replaced" for name in moved),
                    _fresh(stack.name, service, change.keep, service.replicas),
                    (),
                    change.keep,
                    service.order,
                )
                again = True
    return result


def problems(stack: Stack, seen: Observation, images: Mapping[str, Image]) -> tuple[Finding, ...]:
    """Everything that forbids the rollout, known before anything is changed."""
    found: list[Finding] = list(seen.findings)
    for service in stack.services:
        image = images.get(service.image)
        gate = completed(service, image)
        unknown = gate.image_check and (image is None or not image.id)
        if not service.one_shot and not gate.probes and not gate.opted_out and not unknown:
            found.append(
                Finding(
                    f"services.{service.name}.healthcheck",
                    f"neither the service nor its image {service.image} has a health check",
                    "add healthcheck or x-quaylock.gate.probes, or say why none is needed in x-quaylock.gate.none",
                )
            )
    for network in stack.networks:
        existing = seen.networks.get(network.name)
        if network.external and existing is None:
            found.append(
                Finding(
                    f"networks.{network.key}",
                    f"external network {network.name} does not exist",
                    f"create it: docker network create {network.name}",
                )
            )
        elif existing is not None and not network.external:
            found.extend(_drift(network.key, network.name, network.body, existing))
    found.extend(reach.unreachable(stack, seen.networks))
    found.extend(
        Finding(
            f"volumes.{v.key}", f"external volume {v.name} does not exist", f"create it: docker volume create {v.name}"
        )
        for v in stack.volumes
        if v.external and v.name not in seen.volumes
    )
    found.extend(
        Finding(
            f"services.{s.name}.ports",
            f"port {port}/{protocol} is taken by {seen.ports[ip, port, protocol]}",
            "free it or publish another",
        )
        for s in stack.services
        for ip, port, protocol in s.published
        if (ip, port, protocol) in seen.ports
    )
    return tuple(found)


def _drift(key: str, name: str, wanted: Json, existing: Json) -> list[Finding]:
    """A network cannot be changed while containers use it: say so instead of ignoring the difference."""
    found: list[Finding] = []
    pairs = [
        ("driver", wanted.get("Driver"), existing.get("Driver")),
        ("internal", wanted.get("Internal"), existing.get("Internal")),
        ("subnet", _subnets(wanted), _subnets(existing)),
    ]
    for field_name, want, have in pairs:
        if want and have is not None and want != have:
            found.append(
                Finding(
                    f"networks.{key}.{field_name}",
                    f"network {name} exists with {have}, the file says {want}",
                    f"take the stack down and remove the network (docker network rm {name}), or give it another name",
                )
            )
    return found


def _subnets(body: Json) -> list[str]:
    return [c["Subnet"] for c in ((body.get("IPAM") or {}).get("Config") or []) if c.get("Subnet")]
