# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Seeded rollouts with faults on the simulated host; the promises are looked at after every event.

`python -m tests.simulation.rollouts --seeds 100000` runs many; `--seed N` tells the story of one.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count

from ansible_collections.quaylock.stacks.plugins.module_utils.core.commands import (
    Begun,
    Command,
    Done,
    Event,
    Failed,
    Look,
    Record,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Condition,
    Dependency,
    Gate,
    Network,
    Order,
    Route,
    Service,
    Stack,
    TcpProbe,
    Update,
    Volume,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.recovery import recovery, teardown
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout import (
    Outcome,
    Phase,
    Rollout,
    advance,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.perform import Host, observe, perform
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

from . import promises
from .host import (
    Behaviour,
    SimulatedClock,
    SimulatedEngine,
    SimulatedFiles,
    SimulatedIngress,
    SimulatedJournal,
    World,
)
from .promises import Broken

STACK = "shop"
FOLDER = "/etc/quaylock/stacks/shop"
EVENT_LIMIT = 20_000


class Killed(Exception):
    """The process is gone; the world stays."""


@dataclass
class Faults:
    """What may go wrong in one run. `kill_at` counts events; the rates are per command."""

    kill_at: int | None = None
    error_rate: float = 0.0
    engine_restart_at: int | None = None
    disk_full_at: int | None = None
    removal_at: int | None = None
    """a person removes a running container of the stack"""


@dataclass
class Story:
    """What happened, for whoever has to understand a seed."""

    lines: list[str] = field(default_factory=list)

    def tell(self, world: World, text: str) -> None:
        self.lines.append(f"{world.now:9.3f}  {text}")


def make_stack(rng: random.Random, version: int, behaviours: dict[str, Behaviour], bad: bool, shape: int) -> Stack:
    """A stack of a few services; `shape` fixes its structure over the versions of one world."""
    form = random.Random(shape)
    names = [f"s{i}" for i in range(form.randint(1, 5))]
    services = []
    culprit = rng.choice(names) if bad else ""
    for i, name in enumerate(names):
        stop_first = form.random() < 0.4
        bound = stop_first and form.random() < 0.7
        one_shot = form.random() < 0.2
        routed = not one_shot and form.random() < 0.6 and rng.random() < 0.9
        deps = [d for d in names[:i] if form.random() < 0.5]
        changed = version if rng.random() < 0.7 or name == culprit else max(1, version - 1)
        image = f"{name}:v{changed}{'-bad' if name == culprit else ''}"
        behaviours[f"sha256:{image}"] = _behaviour(rng, one_shot, name == culprit)
        services.append(
            Service(
                name=name,
                image=image,
                container={"HostConfig": {"RestartPolicy": {"Name": "no" if one_shot else "unless-stopped"}}},
                gate=Gate(
                    probes=(TcpProbe(80),), passes=2, cadence=0.2, hold=1.0, deadline=20.0, progress=15.0, retries=2
                ),
                spec=f"spec-{rng.choice([changed, changed, changed, version, 'same'])}",
                replicas=1 if one_shot or bound else rng.choice([1, 1, 2, 3]),
                depends_on=tuple(Dependency(d) for d in deps),
                one_shot=one_shot,
                order=Order.STOP_FIRST if stop_first else Order.START_FIRST,
                update=_update(rng),
                bound="it publishes a port" if bound else "",
                container_name=f"the-{name}" if bound and form.random() < 0.7 else "",
                grace=1.0,
                routes=(Route("http", 80, host=f"{name}.v{version if rng.random() < 0.3 else 0}", drain=1.0),)
                if routed
                else (),
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
    )


def _update(rng: random.Random) -> Update:
    """In one step, or in several; what is refused for a service with few replicas means the same as one step there."""
    return rng.choice(
        [
            Update(),
            Update(),
            Update(parallelism=1),
            Update(parallelism=2, delay=0.5),
            Update(canary=1, watch=1.5),
            Update(parallelism=1, canary=1, watch=0.7),
        ]
    )


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


class Run:
    """One process: locks, recovers, rolls out. Raises Killed where the seed says so."""

    def __init__(self, world: World, rng: random.Random, faults: Faults, story: Story) -> None:
        self.world, self.rng, self.faults, self.story = world, rng, faults, story
        self.engine = SimulatedEngine(world)
        self.journal = SimulatedJournal(world)
        self.host = Host(
            self.engine,
            SimulatedIngress(world),
            SimulatedFiles(world),
            self.journal,
            SimulatedClock(world),
            FOLDER,
            "proxy",
        )
        self.events = 0
        self.hurt = world.hurt
        self.was = promises.shape(world)

    def deploy(self, stack: Stack, rollout: str) -> list[Rollout]:
        done = []
        unfinished = self.journal.unfinished(STACK)
        if unfinished is not None:
            left, model = unfinished
            release = self.journal.release(STACK)
            stays = model["stack"] if left.committed else release[1]["stack"] if release else Stack(STACK, ())
            self.story.tell(self.world, f"recover {left.rollout} ({'finish' if left.committed else 'undo'})")
            done.append(self.drive(recovery(left.rollout, stays, left, observe(self.host, stays))))
            if done[-1].outcome is Outcome.INCOMPLETE:
                return done
            if self.faults == Faults():
                promises.recovered(self.world, done[-1], self.hurt)
        release = self.journal.release(STACK)
        self.journal.begin(rollout, STACK, "deploy", "sim", self.world.now, {"stack": stack})
        previous = release[1]["stack"] if release else None
        self.story.tell(self.world, f"deploy {rollout}")
        self.was = promises.shape(self.world)
        self.world.away.clear()
        at_once = self.rng.choice((1, 4))
        state = Rollout(rollout, stack, previous, ran=self.journal.ran(STACK), at_once=at_once)
        done.append(self.drive(state))
        return done

    def tear_down(self, stack: Stack) -> None:
        self.journal.begin("t1", STACK, "teardown", "sim", self.world.now, {"stack": stack})
        ended = self.drive(teardown("t1", stack, observe(self.host, stack)))
        if ended.outcome is not Outcome.REMOVED:
            raise Broken(f"a teardown ended {ended.outcome}: {ended.notes}")
        promises.taken_down(self.world)

    def drive(self, rollout: Rollout) -> Rollout:
        due: list[tuple[float, int, Command]] = []
        ticket = count()
        event: Event = Begun(self.world.now)
        while True:
            rollout, commands = advance(rollout, event)
            for command in commands:
                if isinstance(command, Look):
                    at = max(self.world.now, command.at) + self.rng.uniform(0.01, 0.08)
                else:
                    at = self.world.now + self.rng.expovariate(8)
                heapq.heappush(due, (at, next(ticket), command))
            if rollout.finished:
                self.story.tell(
                    self.world, f"{rollout.outcome}: {[f.reason for f in rollout.failures]} {list(rollout.notes)}"
                )
                return rollout
            if not due:
                raise Broken(f"the rollout waits for nothing in phase {rollout.phase.value}")
            at, _ticket, command = heapq.heappop(due)
            self.world.now = max(self.world.now, at)
            self.strike(rollout, command, [c for _at, _ticket, c in due])
            event = self.happen(rollout, command)
            promises.always(self.world, rollout, self.hurt)
            self.events += 1
            if self.events > EVENT_LIMIT:
                raise Broken(f"no end after {EVENT_LIMIT} events in phase {rollout.phase.value}")

    def strike(self, rollout: Rollout, command: Command, others: list[Command]) -> None:
        """Faults that belong to this moment."""
        faults = self.faults
        if faults.kill_at == self.events:
            for other in others:
                if not isinstance(other, Look) and self.rng.random() < 0.5:
                    self.happen(rollout, other)
            if self.rng.random() < 0.5:
                self.happen(rollout, command)
            self.story.tell(self.world, f"KILLED at {command}")
            raise Killed
        if faults.engine_restart_at == self.events:
            self.story.tell(self.world, "ENGINE RESTARTS")
            self.engine.restart_engine()
            self.hurt.update(c.service for c in self.world.containers.values())
        if faults.disk_full_at == self.events:
            self.story.tell(self.world, "DISK FULL")
            self.world.disk_full = True
        if faults.removal_at == self.events and self.world.containers:
            victim = self.rng.choice(sorted(self.world.containers))
            self.story.tell(self.world, f"SOMEBODY REMOVES {victim}")
            self.hurt.add(self.world.containers.pop(victim).service)

    def happen(self, rollout: Rollout, command: Command) -> Event:
        world = self.world
        if (
            self.faults.error_rate
            and not isinstance(command, (Look, Record))
            and self.rng.random() < self.faults.error_rate
        ):
            if self.rng.random() < 0.5:
                self._perform(rollout, command)
            self.story.tell(world, f"ERROR {command}")
            if rollout.phase is Phase.CONVERGING:
                self.hurt.add(getattr(command, "service", ""))
            return Failed(command, world.now, "the engine did not answer")
        event = self._perform(rollout, command)
        if not isinstance(command, Look) or (isinstance(event, Done) and not event.value.passed):
            self.story.tell(world, f"{command} -> {event.error if isinstance(event, Failed) else 'ok'}")
        return event

    def _perform(self, rollout: Rollout, command: Command) -> Event:
        world = self.world
        promises.before(world, rollout, command, self.hurt, self.faults.error_rate > 0)
        unfit = promises.unfit(world, rollout, command, self.hurt)
        try:
            value = perform(self.host, rollout, command)
        except PortError as error:
            return Failed(command, world.now, str(error))
        if unfit:
            raise Broken(unfit)
        promises.remember(world, rollout, command)
        return Done(command, world.now, value)


def clear_one_shots(world: World, story: Story) -> None:
    """Somebody tidies up, as `docker container prune` does."""
    story.tell(world, "ONE-SHOTS ARE CLEARED AWAY")
    for container in [c for c in world.containers.values() if not c.restarts_with_engine and not world.runs(c)]:
        del world.containers[container.name]
        world.serving = [c for c in world.serving if c is not container]


def check_end(world: World, stack: Stack, run: Run, rollout: Rollout) -> None:
    """After a run that ended by itself, without faults."""
    if rollout.outcome is Outcome.ROLLED_BACK:
        promises.as_it_was(world, rollout, run.was, world.hurt)
    elif rollout.outcome in (Outcome.DEPLOYED, Outcome.UNCHANGED):
        promises.deployed(world, stack)
    else:
        raise Broken(f"ended {rollout.outcome}: {rollout.findings} {rollout.failures} {rollout.notes}")


def simulate(seed: int, story: Story | None = None) -> int:
    """One life of a host: a first deploy, good and bad releases with faults, and at last a quiet one. Returns its events."""
    rng = random.Random(seed)
    story = story or Story()
    behaviours: dict[str, Behaviour] = {}
    world = World(behaviours=behaviours)
    events, killed = 0, False
    for version in range(1, rng.randint(2, 5)):
        bad = rng.random() < 0.4
        stack = make_stack(rng, version, behaviours, bad, seed)
        run = Run(world, rng, _faults(rng, killed), story)
        killed = False
        try:
            done = run.deploy(stack, f"r{version}")
            if run.faults == Faults():
                check_end(world, stack, run, done[-1])
                world.hurt -= {s.name for s in stack.services} if done[-1].outcome is Outcome.DEPLOYED else set()
        except Killed:
            killed = True
            promises.always(world, Rollout("killed", stack, world.released), world.hurt)
        events += run.events
        world.disk_full = False
        if rng.random() < 0.2:
            clear_one_shots(world, story)
    final = make_stack(rng, 9, behaviours, False, seed)
    for attempt in ("r9", "r9-again"):
        world.now += 10
        if attempt != "r9" and rng.random() < 0.5:
            clear_one_shots(world, story)
        run = Run(world, rng, Faults(), story)
        done = run.deploy(final, attempt)
        events += run.events
        if attempt == "r9":
            check_end(world, final, run, done[-1])
        elif done[-1].outcome is not Outcome.UNCHANGED or len(done) > 1:
            raise Broken(f"a second run of the same was {done[-1].outcome}")
    if seed % 4 == 0:
        run = Run(world, rng, Faults(), story)
        run.tear_down(final)
        events += run.events
    return events


def _faults(rng: random.Random, again: bool) -> Faults:
    """`again`: the run before was killed, so this one recovers, and that may be killed too."""
    dice = rng.random()
    if again and rng.random() < 0.6:
        return Faults(kill_at=rng.randint(0, 25))
    if dice < 0.25:
        return Faults()
    if dice < 0.55:
        return Faults(kill_at=rng.randint(0, 160))
    if dice < 0.7:
        return Faults(error_rate=rng.choice([0.02, 0.1]))
    if dice < 0.8:
        return Faults(engine_restart_at=rng.randint(0, 120))
    if dice < 0.9:
        return Faults(disk_full_at=rng.randint(0, 40))
    return Faults(removal_at=rng.randint(0, 60))


def broken_seeds(first: int, last: int) -> tuple[int, list[tuple[int, str]]]:
    """Events seen, and the seeds that broke a promise, in one slice."""
    events, broken = 0, []
    for seed in range(first, last):
        try:
            events += simulate(seed)
        except Broken as error:
            broken.append((seed, str(error)))
    return events, broken


def slices(seeds: int, width: int) -> Iterator[tuple[int, int]]:
    for first in range(0, seeds, width):
        yield first, min(first + width, seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulated rollouts with faults")
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--seed", type=int, help="tell the story of one seed")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.seed is not None:
        story = Story()
        try:
            simulate(options.seed, story)
        except Broken as error:
            story.lines.append(f"BROKEN: {error}")
        sys.stdout.write("\n".join(story.lines) + "\n")
        return 0
    began = time.monotonic()
    events, broken, done = 0, [], 0
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [(last - first, pool.submit(broken_seeds, first, last)) for first, last in slices(options.seeds, 500)]
        for size, future in futures:
            more, found = future.result()
            events, done = events + more, done + size
            broken += found
            if sys.stderr.isatty() or done % 10_000 == 0:
                sys.stderr.write(f"{done} of {options.seeds} seeds, {events} events, {len(broken)} broken\n")
    took = time.monotonic() - began
    for seed, why in broken[:20]:
        sys.stdout.write(f"seed {seed}: {why}\n")
    sys.stdout.write(
        f"{options.seeds} seeds, {events} events, {len(broken)} broken promises, {took:.1f} s, {options.seeds / took:.0f} seeds/s\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
