# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases in part: what update_config.failure_action pause and continue leave as it was, and what serves then.

A service is wholly new or wholly as it was before. What is committed is the stack that really serves: the new
definition of what went well, the former one of what stayed behind; what was not there before is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..model import Json, Stack
from .plan import Action, Change, Plan


def merged(stack: Stack, former: Stack | None, behind: Collection[str]) -> Stack:
    """The stack that serves when `behind` stay as `former` has them."""
    if not behind:
        return stack
    old = {s.name: s for s in former.services} if former else {}
    kept = [old.get(s.name) if s.name in behind else s for s in stack.services]
    services = [s for s in kept if s is not None]
    there = {s.name for s in services}
    services = [replace(s, depends_on=tuple(d for d in s.depends_on if d.service in there)) for s in services]

    def both(name: str, key: str) -> tuple[Any, ...]:
        found = {getattr(x, key): x for s in (former, stack) if s is not None for x in getattr(s, name)}
        return tuple(found.values())

    return replace(
        stack,
        services=tuple(services),
        networks=both("networks", "key"),
        volumes=both("volumes", "key"),
        files=both("files", "host_path"),
        rendered=merged_definition(stack.rendered, former.rendered if former else {}, behind),
    )


def merged_definition(new: Json, former: Json, behind: Collection[str]) -> Json:
    """The same for a Compose model: services of `former` for those that stayed behind, and all that they refer to."""
    if not behind:
        return new
    old: Mapping[str, Any] = former.get("services") or {}
    wanted: Mapping[str, Any] = new.get("services") or {}
    services = {k: old[k] if k in behind else v for k, v in wanted.items() if k not in behind or k in old}
    result: dict[str, Any] = {**new, "services": {k: _without(v, services) for k, v in services.items()}}
    for key in ("networks", "volumes", "secrets", "configs"):
        if former.get(key) or new.get(key):
            result[key] = {**(former.get(key) or {}), **(new.get(key) or {})}
    return result


def _without(service: Any, there: Collection[str]) -> Any:
    """A service without dependencies on what is not there."""
    depends = service.get("depends_on") if isinstance(service, Mapping) else None
    if isinstance(depends, Mapping):
        return {**service, "depends_on": {k: v for k, v in depends.items() if k in there}}
    if isinstance(depends, (list, tuple)):
        return {**service, "depends_on": [k for k in depends if k in there]}
    return service


def plan_of(plan: Plan, behind: Collection[str]) -> Plan:
    """The plan as it was carried out: what stayed behind kept the replicas that ran."""
    return replace(plan, changes=tuple(_kept(c) if c.service in behind else c for c in plan.changes))


def _kept(change: Change) -> Change:
    there = tuple(o for o in (*change.keep, *change.old) if o.running)
    return Change(change.service, Action.KEEP, ("stayed as it was",), keep=there)
