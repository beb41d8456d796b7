# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which order a whole stack stops: who needs others goes before them, as with Compose."""

from __future__ import annotations

from collections.abc import Iterable

from ..graph import layers
from ..model import Observed, Stack

GRACE = 30.0
"""seconds for what the stack does not know, such as an orphan"""


def stopping(stack: Stack | None, seen: Iterable[Observed]) -> list[list[tuple[str, float]]]:
    """Groups of running containers, each with the seconds that it has to end; a group stops at once."""
    running = [each for each in seen if each.running]
    services = {service.name: service for service in stack.services} if stack else {}
    order = layers({name: [on.service for on in service.depends_on] for name, service in services.items()})
    unknown = [(each.name, GRACE) for each in running if each.service not in services]
    known = [[(e.name, services[e.service].grace) for e in running if e.service in layer] for layer in reversed(order)]
    return [group for group in (unknown, *known) if group]
