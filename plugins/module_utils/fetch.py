# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images of a stack before its rollout: a fleet has them everywhere before the first host of it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .core.model import Service, Stack
from .host import open_for
from .ports import Engine
from .request import Request, wanted_of


def lacking(engine: Engine, stack: Stack) -> Sequence[Service]:
    """One service for each image that this host does not have."""
    by_image = {service.image: service for service in (*stack.services, *stack.jobs)}
    return [service for ref, service in sorted(by_image.items()) if engine.image(ref) is None]


def fetch(request: Request, dry: bool) -> dict[str, Any]:
    """Have the images and touch nothing else; no lock is needed, because images are only added.

    Raises Invalid for a definition that is refused, PortError for an image that cannot be had.
    """
    wanted = wanted_of(request)
    host, _journal = open_for(request, wanted)
    services = lacking(host.engine, wanted.stack)
    said: list[str] = []
    for service in services if not dry else ():
        host.engine.fetch(service, said.append)
    outcome = "unchanged" if not services else "planned" if dry else "fetched"
    plan = [f"+ image {service.image}" for service in services]
    return {"changed": bool(services), "outcome": outcome, "plan": plan, "notes": said}
