# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every fault at every event of one rollout, one after the other, each in a world of its own."""

from __future__ import annotations

import random

from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Rollout

from . import promises
from .faults import NO_FAULTS, Faults, Kind
from .lives import check_end, settle
from .process import Process, Story, Untold, in_turns, to_the_end
from .promises import Broken
from .stacks import make_stack
from .world import Behaviour, World


def sweep(seed: int, most: int = 3) -> int:
    """A first release, then a second (every other one is bad), of which every event gets every fault. Its events."""
    rng = random.Random(seed)
    behaviours: dict[str, Behaviour] = {}
    world = World(behaviours=behaviours)
    first = make_stack(rng, 1, behaviours, False, seed, most)
    events = _run(world, first, "r1", seed, NO_FAULTS, True)
    second = make_stack(rng, 2, behaviours, seed % 2 == 1, seed, most)
    third = make_stack(rng, 9, behaviours, False, seed, most)
    length = _run(world.twin(), second, "r2", seed, NO_FAULTS, seed % 2 == 0)
    for event in range(length):
        for kind in Kind:
            other = world.twin()
            try:
                events += _run(other, second, "r2", seed, Faults({event: (kind,)}), False)
                other.disk_full = False
                other.absent_images.clear()
                events += settle(other, random.Random(seed), Untold(), third, False)
            except Broken as error:
                raise Broken(f"{kind.value} at event {event} of {length}: {error}") from None
    return events + length


def _run(
    world: World, stack: Stack, rollout: str, seed: int, faults: Faults, good: bool, story: Story | None = None
) -> int:
    rng, story = random.Random(seed), story or Untold()
    process = Process(world, rng, story, stack, rollout, faults)
    meeting = faults.rival()
    if meeting is None:
        survived, more = to_the_end(process, process.deploy()), 0
    else:
        rival = Process(world, rng, story, stack, f"{rollout}-rival")
        survived = in_turns(process, rival, meeting[0], meeting[1] is Kind.SECOND_DEPLOYER)
        more = rival.events
    if faults.none:
        check_end(world, process, good)
    elif not survived:
        promises.always(world, Rollout("killed", stack, world.released), world.hurt)
    return process.events + more
