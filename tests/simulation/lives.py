# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One life of a host by a seed: a first deploy, good and bad releases with faults, and at last a quiet one."""

from __future__ import annotations

import random

from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome, Rollout

from . import promises
from .faults import Kind, draw
from .process import Process, Story, Untold, in_turns, to_the_end
from .promises import Broken
from .stacks import FEW, make_stack
from .world import Behaviour, World


def clear_one_shots(world: World, story: Story) -> None:
    """Somebody tidies up, as `docker container prune` does."""
    story.tell(world, "ONE-SHOTS ARE CLEARED AWAY")
    for container in [c for c in world.containers.values() if not c.restarts_with_engine and not world.runs(c)]:
        del world.containers[container.name]
        world.serving = [c for c in world.serving if c is not container]


def quiet(world: World) -> bool:
    """Nothing in the world keeps a run from its end."""
    return not world.disk_full and not world.absent_images


def check_end(world: World, process: Process, good: bool) -> None:
    """After a run that ended by itself, without faults. `good`: nothing is wrong with what it deployed."""
    if not process.done:
        raise Broken(f"it was refused: {process.refused}")
    rollout = process.done[-1]
    if rollout.outcome is Outcome.ROLLED_BACK and not good:
        promises.as_it_was(world, rollout, process.was, world.hurt)
    elif rollout.outcome in (Outcome.PAUSED, Outcome.PARTIAL) and not good:
        promises.recovered(world, rollout, world.hurt)
    elif rollout.outcome in (Outcome.DEPLOYED, Outcome.UNCHANGED):
        promises.deployed(world, process.stack)
    else:
        raise Broken(f"ended {rollout.outcome}: {rollout.findings} {rollout.failures} {rollout.notes}")
    if rollout.outcome is Outcome.DEPLOYED:
        world.hurt.clear()


def simulate(seed: int, story: Story | None = None, most: int = 200) -> int:
    """Returns its events; raises Broken where a promise is."""
    rng = random.Random(seed)
    story = story or Untold()
    behaviours: dict[str, Behaviour] = {}
    world = World(behaviours=behaviours)
    events, killed = 0, False
    first = make_stack(random.Random(seed), 1, {}, False, seed, most)
    large = len(first.services) > FEW
    for version in range(1, rng.randint(2, 3 if large else 5)):
        bad = rng.random() < 0.4
        stack = make_stack(rng, version, behaviours, bad, seed, most)
        faults = draw(rng, killed, len(stack.services))
        process = Process(world, rng, story, stack, f"r{version}", faults)
        calm = faults.none and quiet(world)
        meeting = faults.rival()
        if meeting is None:
            killed = not to_the_end(process, process.deploy())
        else:
            killed, more = _meet(world, process, meeting, version, behaviours, seed, most)
            events += more
        if killed:
            promises.always(world, Rollout("killed", stack, world.released), world.hurt)
        elif calm:
            check_end(world, process, not bad)
        events += process.events
        if rng.random() < 0.85:
            world.disk_full = False
        if rng.random() < 0.7:
            world.absent_images.clear()
        if rng.random() < 0.2:
            clear_one_shots(world, story)
        if rng.random() < 0.1:
            world.restart_proxy()
            story.tell(world, Kind.PROXY_RESTART.value)
    world.disk_full = False
    world.absent_images.clear()
    return events + settle(world, rng, story, make_stack(rng, 9, behaviours, False, seed, most), seed % 4 == 0)


def settle(world: World, rng: random.Random, story: Story, final: Stack, down: bool) -> int:
    """The next run converges, the one after it has nothing to do; and where it is asked for, nothing stays."""
    events = 0
    for attempt in ("r9", "r9-again"):
        world.now += 10
        if attempt != "r9" and rng.random() < 0.5:
            clear_one_shots(world, story)
        process = Process(world, rng, story, final, attempt)
        to_the_end(process, process.deploy())
        events += process.events
        if attempt == "r9":
            check_end(world, process, True)
        elif process.done[-1].outcome is not Outcome.UNCHANGED or len(process.done) > 1:
            raise Broken(f"a second run of the same was {process.done[-1].outcome}")
    if down:
        process = Process(world, rng, story, final, "t1")
        to_the_end(process, process.tear_down())
        events += process.events
    return events


def _meet(
    world: World,
    process: Process,
    meeting: tuple[int, Kind],
    version: int,
    behaviours: dict[str, Behaviour],
    seed: int,
    most: int,
) -> tuple[bool, int]:
    """Another deployer comes while this one works: (whether this one was killed, the other's events)."""
    rng, story = process.rng, process.story
    when, kind = meeting
    patient = kind is Kind.SECOND_DEPLOYER
    stack = make_stack(rng, version, behaviours, False, seed, most) if patient else process.stack
    rival = Process(world, rng, story, stack, f"r{version}-rival")
    killed = not in_turns(process, rival, when, patient)
    if rival.done and quiet(world):
        check_end(world, rival, patient)
    return killed and not rival.done, rival.events
