# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What may go wrong, and when: at an event of a run, alone or several in one run."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack

from .world import World


class Kind(str, Enum):
    KILL = "KILLED"
    """SIGKILL of the process, with commands under way that the engine may or may not have done"""
    REBOOT = "HOST REBOOTS"
    """all three at once: the process, the engine and the proxy"""
    ENGINE_RESTART = "ENGINE RESTARTS"
    PROXY_RESTART = "PROXY RESTARTS"
    DISK_FULL = "DISK FULL"
    DISK_FREED = "DISK FREED"
    SSH_CUT = "SSH IS CUT"
    """the controller is gone and the detached run goes on; the operator tries again at once"""
    SECOND_DEPLOYER = "A SECOND DEPLOYER"
    """comes with a release of its own, and waits"""
    REMOVAL = "SOMEBODY REMOVES"
    STOP = "SOMEBODY STOPS"
    IMAGE_GONE = "AN IMAGE DISAPPEARS"


DEADLY = (Kind.KILL, Kind.REBOOT)
RIVALS = (Kind.SSH_CUT, Kind.SECOND_DEPLOYER)
"""these bring another process"""


@dataclass(frozen=True)
class Faults:
    """Of one run. `at` counts its events; the rate is per command, of those that fail or whose answer is lost."""

    at: Mapping[int, tuple[Kind, ...]] = field(default_factory=dict)
    error_rate: float = 0.0

    @property
    def none(self) -> bool:
        return not self.at and not self.error_rate

    def rival(self) -> tuple[int, Kind] | None:
        """The first moment at which another deployer comes, if one does."""
        found = [(event, kind) for event, kinds in self.at.items() for kind in kinds if kind in RIVALS]
        return min(found) if found else None


NO_FAULTS = Faults()
ONE = (Kind.KILL,) * 6 + tuple(Kind)


def draw(rng: random.Random, again: bool, services: int) -> Faults:
    """`again`: the run before was killed, so this one recovers, and that may be killed too."""
    if again and rng.random() < 0.6:
        return Faults({rng.randint(0, 25): (Kind.KILL,)})
    dice = rng.random()
    if dice < 0.2:
        return NO_FAULTS
    at: dict[int, tuple[Kind, ...]] = {}
    longest = 40 + 30 * services
    for _more in range(rng.choice((1, 1, 1, 2, 2, 3, 4)) if dice < 0.9 else 0):
        event = rng.randint(0, rng.choice((20, longest, longest)))
        at[event] = (*at.get(event, ()), rng.choice(ONE))
    return Faults(dict(sorted(at.items())), rng.choice((0.02, 0.1)) if dice > 0.83 else 0.0)


def strike(kind: Kind, world: World, rng: random.Random, stack: Stack) -> str:
    """What the world does by itself; returns to whom."""
    if kind is Kind.ENGINE_RESTART:
        world.restart_engine()
    elif kind is Kind.PROXY_RESTART:
        world.restart_proxy()
    elif kind is Kind.REBOOT:
        world.restart_engine()
        world.restart_proxy()
    elif kind in (Kind.DISK_FULL, Kind.DISK_FREED):
        world.disk_full = kind is Kind.DISK_FULL
    elif kind in (Kind.REMOVAL, Kind.STOP) and world.containers:
        victim = rng.choice(sorted(world.containers))
        container = world.containers[victim]
        world.hurt.add(container.service)
        if kind is Kind.REMOVAL:
            del world.containers[victim]
        elif world.runs(container):
            container.end(143)
            container.forget_looks()
        return victim
    elif kind is Kind.IMAGE_GONE:
        image = rng.choice(stack.services).image
        world.absent_images.add(image)
        return image
    return ""
