# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host can hold a stack: what its services want at least, beside what the host has in all."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Finding, Service, Stack

GIB = 1 << 30
NAMED = 5
"""services that are named, those that want most"""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a host has: CPUs, and memory in bytes."""

    cpus: float
    memory: int


def wanted(stack: Stack) -> bool:
    """Whether any service says what it needs, so that the host has to be asked."""
    return any(_cpus(service) or _reserved(service) for service in stack.services)


def lacking(stack: Stack, host: Capacity) -> tuple[Finding, ...]:
    """More CPUs for a container than the host has, which the engine refuses when it is created; and more memory that
    all services together have reserved, which nobody refuses until the kernel kills.
    """
    found = [
        Finding(
            f"services.{service.name}.deploy.resources.limits.cpus",
            f"{_cpus(service):g} CPUs are more than the host's {host.cpus:g}",
            "lower it, or take a larger host",
        )
        for service in stack.services
        if service.replicas and _cpus(service) > host.cpus
    ]
    shares = {s.name: s.replicas * _reserved(s) for s in stack.services if not s.one_shot}
    total = sum(shares.values())
    if total > host.memory:
        most = sorted(shares, key=lambda name: -shares[name])[:NAMED]
        listed = ", ".join(f"{name} {shares[name] / GIB:.1f}" for name in most)
        found.append(
            Finding(
                "services.*.deploy.resources.reservations.memory",
                f"{total / GIB:.1f} GiB are reserved in all, and the host has {host.memory / GIB:.1f} GiB"
                f" (most: {listed})",
                "lower reservations, run fewer replicas, or take a larger host",
            )
        )
    return tuple(found)


def _cpus(service: Service) -> float:
    return float((service.container.get("HostConfig") or {}).get("NanoCpus") or 0) / 1e9


def _reserved(service: Service) -> int:
    return int((service.container.get("HostConfig") or {}).get("MemoryReservation") or 0)
