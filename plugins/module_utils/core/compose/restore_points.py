# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service does in a replica that serves before a rollout changes anything, so that its data can be put back."""

from __future__ import annotations

from collections.abc import Iterable

from ..model import Observed, RestorePoint, Service
from .gates_of import command
from .nodes import Node

SET = "backup set"
"""stands for the stack as a whole where a restore point is a set of it; no service can have that name"""
LONGEST_NAME = 200
"""characters of what names a restore point"""


def read(service: Node, one_shot: bool) -> RestorePoint | None:
    """`x-quaylock.restore_point`: a command alone, or with its timeout."""
    node = service.at("x-quaylock").at("restore_point")
    if not node.given:
        return None
    words, timeout = command(node, RestorePoint(()).timeout, "pg_dump")
    if one_shot:
        node.refuse("is taken in a replica that serves, and a one-shot ends", "move it to the service with the data")
    return RestorePoint(words, timeout)


def places(services: Iterable[Service], seen: Iterable[Observed], whole: bool = False) -> tuple[tuple[str, str], ...]:
    """(service, replica) where restore points are taken: nothing runs at a first deploy, so nothing is to be kept.

    With `whole` a set of the stack is one of them.
    """
    found = {}
    for replica in sorted(seen, key=lambda o: -o.number):
        if replica.running:
            found[replica.service] = replica.name
    own = tuple((s.name, found[s.name]) for s in services if s.restore_point and s.name in found)
    return ((SET, ""), *own) if whole and found else own


def name_of(output: str) -> str:
    """What the command said last names what it made."""
    lines = output.strip().splitlines()
    return lines[-1].strip()[:LONGEST_NAME] if lines else "taken"
