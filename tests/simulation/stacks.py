# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stacks of 1 to 200 services by a seed, and how their images behave."""

from __future__ import annotations

import random
from dataclasses import replace

from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Condition,
    Dependency,
    FailureAction,
    Gate,
    Network,
    Order,
    RestorePoint,
    Route,
    Service,
    Stack,
    TcpProbe,
    Update,
    Volume,
)

from .world import Behaviour

STACK = "shop"
SIZES = ((0.9, (1, 5)), (0.995, (6, 12)), (0.9995, (13, 60)), (1.0, (61, 200)))
"""how many services a stack has: up to which share of the seeds, from so many to so many"""
FEW = 5
GATE = Gate(probes=(TcpProbe(80),), passes=2, cadence=0.2, hold=1.0, deadline=20.0, progress=15.0, retries=2)
PATIENT = replace(GATE, deadline=120.0, progress=120.0)
"""of large stacks, in which the checks of one replica wait for those of others"""


def make_stack(
    rng: random.Random, version: int, behaviours: dict[str, Behaviour], bad: bool, shape: int, most: int = 200
) -> Stack:
    """One version of a stack; `shape` fixes its structure over the versions of one world, `most` bounds its size."""
    form = random.Random(shape)
    names = [f"s{i}" for i in range(min(most, _size(form)))]
    large = len(names) > FEW
    side_by_side = form.random() < 0.2
    """nothing in it has to stop before its successor starts, so that it can be switched as a whole"""
    blue_green = side_by_side and rng.random() < 0.7
    often = 0.7 if not large else 3 / len(names)
    services = []
    culprit = rng.choice(names) if bad else ""
    for i, name in enumerate(names):
        stop_first = form.random() < 0.4 and not side_by_side
        bound = stop_first and form.random() < 0.7
        usual = form.choice([1, 2, 3])
        one_shot = form.random() < 0.2
        routed = not one_shot and form.random() < 0.6 and rng.random() < 0.9
        near = names[max(0, i - 8) : i]
        deps = [d for d in near if form.random() < (0.5 if not large else 0.15)]
        changed = version if rng.random() < often or name == culprit else max(1, version - 1)
        if large and changed != version:
            changed = 1
        image = f"{name}:v{changed}{'-bad' if name == culprit else ''}"
        behaviours[f"sha256:{image}"] = _behaviour(rng, one_shot, name == culprit)
        services.append(
            Service(
                name=name,
                image=image,
                container={"HostConfig": {"RestartPolicy": {"Name": "no" if one_shot else "unless-stopped"}}},
                gate=PATIENT if large else GATE,
                spec=f"spec-{rng.choice([changed, changed, changed, changed if large else version, 'same'])}",
                replicas=1 if one_shot or bound or large else usual if rng.random() < 0.8 else rng.choice([1, 2, 3]),
                depends_on=tuple(Dependency(d) for d in deps),
                one_shot=one_shot,
                order=Order.STOP_FIRST if stop_first else Order.START_FIRST,
                update=Update() if blue_green else _update(rng),
                networks=("default",),
                bound="it publishes a port" if bound else "",
                container_name=f"the-{name}" if bound and form.random() < 0.7 else "",
                grace=1.0,
                routes=(Route("http", 80, host=f"{name}.v{version if rng.random() < 0.3 else 0}", drain=1.0),)
                if routed
                else (),
                restore_point=RestorePoint(("dump",)) if form.random() < 0.15 and not one_shot else None,
            )
        )
    shots = {s.name for s in services if s.one_shot}
    services = [
        replace(
            s,
            depends_on=tuple(
                replace(
                    d,
                    condition=Condition.COMPLETED
                    if d.service in shots
                    else form.choice([Condition.HEALTHY, Condition.STARTED]),
                )
                for d in s.depends_on
            ),
        )
        for s in services
        if s.name == names[0] or version == 1 or rng.random() < 0.95
    ]
    kept = {s.name for s in services}
    services = [replace(s, depends_on=tuple(d for d in s.depends_on if d.service in kept)) for s in services]
    return Stack(
        STACK,
        tuple(services),
        networks=(Network("default", "shop_default"),),
        volumes=(Volume("kept", "shop_kept"),),
        rendered={"services": {s.name: {"image": s.image, "scale": s.replicas, "spec": s.spec} for s in services}},
        blue_green=blue_green,
    )


def _size(form: random.Random) -> int:
    dice = form.random()
    least, most = next(between for share, between in SIZES if dice <= share)
    return form.randint(least, most)


def _update(rng: random.Random) -> Update:
    """In one step, or in several; what is refused for a service with few replicas means the same as one step there."""
    steps = rng.choice(
        [
            Update(),
            Update(),
            Update(parallelism=1),
            Update(parallelism=2, delay=0.5),
            Update(canary=1, watch=1.5),
            Update(parallelism=1, canary=1, watch=0.7),
        ]
    )
    action = rng.choice([FailureAction.ROLLBACK] * 4 + [FailureAction.PAUSE, FailureAction.CONTINUE])
    return replace(steps, failure_action=action)


def _behaviour(rng: random.Random, one_shot: bool, bad: bool) -> Behaviour:
    if one_shot:
        return Behaviour(ends_after=rng.uniform(0.1, 3), exit_code=1 if bad else 0)
    ready = rng.uniform(0.05, 4)
    if not bad:
        return Behaviour(ready_after=ready)
    return rng.choice(
        [
            Behaviour(ready_after=None),
            Behaviour(ready_after=ready, crash_after=rng.uniform(0.01, ready + 0.8)),
            Behaviour(ready_after=ready, bad_through_proxy=True, crash_after=ready + 0.9),
        ]
    )
