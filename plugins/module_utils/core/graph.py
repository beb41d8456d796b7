# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Dependencies between services. `edges` maps a name to the names it waits for; results are in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Edges = Mapping[str, Iterable[str]]


def cycle(edges: Edges) -> tuple[str, ...] | None:
    """One cycle with its start repeated at the end, ("a", "b", "a"), or None. It starts at its smallest name."""
    done: set[str] = set()
    for start in sorted(edges):
        trail: list[str] = []
        stack = [(start, iter(sorted(edges.get(start, ()))))]
        while stack and start not in done:
            name, rest = stack[-1]
            if len(trail) < len(stack):
                trail.append(name)
            step = next(rest, None)
            if step is None:
                done.add(name)
                stack.pop()
                trail.pop()
            elif step in trail:
                ring = trail[trail.index(step) :]
                turn = ring.index(min(ring))
                ring = ring[turn:] + ring[:turn]
                return (*ring, ring[0])
            elif step not in done:
                stack.append((step, iter(sorted(edges.get(step, ())))))
    return None


def heights(edges: Edges) -> dict[str, int]:
    """How long the longest chain is that waits for each name, itself included. Raises ValueError on a cycle."""
    result: dict[str, int] = {}
    for layer in reversed(layers(edges)):
        for name in layer:
            waiting = [other for other, on in edges.items() if name in on]
            result[name] = 1 + max((result[other] for other in waiting), default=0)
    return result


def layers(edges: Edges) -> list[list[str]]:
    """Names in the order they can start: each layer waits only for earlier ones. Raises ValueError on a cycle.

    Names that are only waited for count too, as if they waited for nothing.
    """
    waits = {name: set(edges.get(name, ())) for name in {*edges, *(n for on in edges.values() for n in on)}}
    result: list[list[str]] = []
    while waits:
        ready = sorted(name for name, on in waits.items() if not on)
        if not ready:
            raise ValueError("dependency cycle: " + " -> ".join(cycle(waits) or ()))
        result.append(ready)
        waits = {name: on.difference(ready) for name, on in waits.items() if name not in ready}
    return result
