# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One process on a simulated host: it takes the lock, recovers, rolls out, and may be killed at any event.

It is a generator that stops before each thing it does, so that two of them can go on in turns; `at` is when it goes on.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count

from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import Begun, Done, Event, Failed, as_json
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import (
    Command,
    Fetch,
    Look,
    Observe,
    Record,
    Route,
    Stop,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.recovery import recovery, teardown
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.rollout import advance
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome, Phase, Rollout
from ansible_collections.quaylock.stacks.plugins.module_utils.perform import Host, observe, perform
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

from . import promises
from .faults import DEADLY, NO_FAULTS, Faults, Kind, strike
from .host import (
    SimulatedClock,
    SimulatedEngine,
    SimulatedFiles,
    SimulatedIngress,
    SimulatedJournal,
    SimulatedLock,
)
from .promises import Broken
from .stacks import STACK
from .world import World

FOLDER = "/etc/quaylock/stacks/shop"
EVENTS_PER_SERVICE = 300
LEAST_LIMIT = 4_000
WAIT = 0.3
"""seconds between two looks at a lock that is taken"""

Steps = Generator[None, None, None]


class Killed(Exception):
    """The process is gone; the world stays."""


@dataclass
class Story:
    """What happened, for whoever has to understand a seed."""

    lines: list[str] = field(default_factory=list)

    def tell(self, world: World, text: str) -> None:
        self.lines.append(f"{world.now:9.3f}  {text}")


class Untold(Story):
    """Nobody asks: most seeds are fine."""

    def tell(self, world: World, text: str) -> None:
        return


class Process:
    """`done` has the rollouts that it ended: a recovery, then its own. Raises Killed where the faults say so."""

    def __init__(
        self, world: World, rng: random.Random, story: Story, stack: Stack, rollout: str, faults: Faults = NO_FAULTS
    ) -> None:
        self.world, self.rng, self.story = world, rng, story
        self.stack, self.rollout, self.faults = stack, rollout, faults
        self.engine = SimulatedEngine(world)
        self.ingress = SimulatedIngress(world)
        self.journal = SimulatedJournal(world)
        self.lock = SimulatedLock(world)
        self.host = Host(
            self.engine, self.ingress, SimulatedFiles(world), self.journal, SimulatedClock(world), FOLDER, "proxy"
        )
        self.at = world.now
        self.events = 0
        self.limit = LEAST_LIMIT + EVENTS_PER_SERVICE * len(stack.services)
        self.done: list[Rollout] = []
        self.refused = ""
        self.drains_fail = (
            bool(faults.error_rate) or world.disk_full or Kind.DISK_FULL in {*sum(faults.at.values(), ())}
        )
        self.was = promises.shape(world)

    # -- what a deployment is, from end to end ----------------------------------------------

    def deploy(self, wait: bool = True) -> Steps:
        while not self.lock.take(self):
            if not wait:
                self.refused = "the stack is being deployed by another"
                self.story.tell(self.world, f"{self.rollout} is refused: {self.refused}")
                return
            self.at = self.world.now + WAIT
            yield
            self.world.now = max(self.world.now, self.at)
        try:
            yield from self._recover()
            if not (self.done and self.done[-1].outcome is Outcome.INCOMPLETE):
                yield from self._roll_out()
        except PortError as error:
            self.refused = str(error)
            self.story.tell(self.world, f"{self.rollout} breaks off: {error}")
        finally:
            self.lock.free(self)

    def _recover(self) -> Steps:
        unfinished = self.journal.unfinished(STACK)
        if unfinished is None:
            return
        left, model = unfinished
        deploy._settle(self.host, left.rollout, self.journal)
        release = self.journal.release(STACK)
        stays = model["stack"] if left.committed else release[1]["stack"] if release else Stack(STACK, ())
        self.story.tell(self.world, f"recover {left.rollout} ({'finish' if left.committed else 'undo'})")
        yield from self._drive(recovery(left.rollout, stays, left, observe(self.host, stays)))
        if self.faults.none and not self.world.disk_full and self.done[-1].outcome is not Outcome.INCOMPLETE:
            promises.recovered(self.world, self.done[-1], self.world.hurt)

    def _roll_out(self) -> Steps:
        release = self.journal.release(STACK)
        self.journal.begin(self.rollout, STACK, "deploy", "sim", self.world.now, {"stack": self.stack})
        previous = release[1]["stack"] if release else None
        self.story.tell(self.world, f"deploy {self.rollout}")
        self.was = promises.shape(self.world)
        self.world.away.clear()
        at_once = self.rng.choice((1, 4))
        yield from self._drive(
            Rollout(self.rollout, self.stack, previous, ran=self.journal.ran(STACK), at_once=at_once)
        )

    def tear_down(self) -> Steps:
        self.journal.begin("t1", STACK, "teardown", "sim", self.world.now, {"stack": self.stack})
        yield from self._drive(teardown("t1", self.stack, observe(self.host, self.stack)))
        ended = self.done[-1]
        if ended.outcome is not Outcome.REMOVED:
            raise Broken(f"a teardown ended {ended.outcome}: {ended.notes}")
        promises.taken_down(self.world)

    # -- the runner, in one thread ----------------------------------------------------------

    def _drive(self, rollout: Rollout) -> Steps:
        world, rng = self.world, self.rng
        due: list[tuple[float, int, Command]] = []
        ticket = count()
        event: Event = Begun(world.now)
        while True:
            rollout, commands = advance(rollout, event)
            for command in commands:
                if isinstance(command, Look):
                    at = max(world.now, command.at) + rng.uniform(0.01, 0.08)
                else:
                    at = world.now + rng.expovariate(8)
                heapq.heappush(due, (at, next(ticket), command))
            if rollout.finished:
                why = [f.reason for f in rollout.failures]
                self.story.tell(world, f"{rollout.outcome}: {why} {list(rollout.notes)}")
                promises.nothing_left(world, rollout)
                self.done.append(rollout)
                return
            if not due:
                raise Broken(f"the rollout waits for nothing in phase {rollout.phase.value}")
            at, _ticket, command = heapq.heappop(due)
            self.at = at
            yield
            world.now = max(world.now, at)
            for kind in self.faults.at.get(self.events, ()):
                self._strike(kind, rollout, command, [c for _at, _ticket, c in due])
            event = self._happen(rollout, command)
            promises.always(world, rollout, world.hurt)
            self.events += 1
            if self.events > self.limit:
                raise Broken(f"no end after {self.events} events in phase {rollout.phase.value}")

    def _strike(self, kind: Kind, rollout: Rollout, command: Command, others: list[Command]) -> None:
        """A fault that belongs to this moment."""
        if kind in DEADLY:
            self._leave_under_way([command, *others], rollout)
        about = strike(kind, self.world, self.rng, self.stack)
        self.story.tell(self.world, f"{kind.value} {about}".rstrip() + (f" at {command}" if kind in DEADLY else ""))
        if kind in DEADLY:
            raise Killed
        promises.always(self.world, rollout, self.world.hurt)

    def _leave_under_way(self, commands: list[Command], rollout: Rollout) -> None:
        """What the threads of a killed process had asked for: done, half done, or not."""
        for command in commands:
            dice = self.rng.random()
            if isinstance(command, Look) or dice < 0.4:
                continue
            if isinstance(command, Stop) and dice < 0.7:
                self._note_stop(rollout, command, "do")
                container = self.world.containers.get(command.name)
                promises.remember(self.world, rollout, command)
                if container is not None and self.world.runs(container):
                    container.stops_at = self.world.now + self.rng.uniform(0, command.grace)
            else:
                # a route that leaves is written before the proxy is told, servers are written after it
                self.ingress.dies = isinstance(command, Route) and dice < 0.7
                self._happen(rollout, command)
                self.ingress.dies = False

    def _happen(self, rollout: Rollout, command: Command) -> Event:
        world = self.world
        rate = 0.0 if isinstance(command, (Look, Record)) else self.faults.error_rate
        if rate and self.rng.random() < rate:
            if self.rng.random() < 0.5:
                self._perform(rollout, command)
            self.story.tell(world, f"ERROR {command}")
            if rollout.phase is Phase.CONVERGING:
                world.hurt.add(getattr(command, "service", ""))
            return Failed(command, world.now, "the engine did not answer")
        event = self._perform(rollout, command)
        if not isinstance(command, Look) or (isinstance(event, Done) and not event.value.passed):
            self.story.tell(world, f"{command} -> {event.error if isinstance(event, Failed) else 'ok'}")
        return event

    def _perform(self, rollout: Rollout, command: Command) -> Event:
        world = self.world
        if world.disk_full and not rollout.goals and not isinstance(command, (Fetch, Observe, Look)):
            return Failed(command, world.now, "the journal cannot be written")  # the runner's own rule
        self._note_stop(rollout, command, "do")
        promises.before(world, rollout, command, world.hurt, self.drains_fail)
        unfit = promises.unfit(world, rollout, command, world.hurt)
        try:
            value = perform(self.host, rollout, command)
        except PortError as error:
            return Failed(command, world.now, str(error))
        if unfit:
            raise Broken(unfit)
        self._note_stop(rollout, command, "done")
        promises.remember(world, rollout, command)
        return Done(command, world.now, value)

    def _note_stop(self, rollout: Rollout, command: Command, word: str) -> None:
        if isinstance(command, Stop) and not self.world.disk_full:
            self.journal.log(rollout.id, self.world.now, word, as_json(command))


def to_the_end(process: Process, steps: Steps) -> bool:
    """Whether it came to one: False where it was killed."""
    try:
        for _step in steps:
            pass
    except Killed:
        return False
    finally:
        process.lock.free(process)
    return True


def in_turns(first: Process, rival: Process, when: int, patient: bool) -> bool:
    """`first` from its beginning; `rival` comes at its event `when`. Whoever is due next goes on. As `to_the_end`."""
    going: list[tuple[Process, Steps]] = [(first, first.deploy())]
    came, survived = False, True
    while going:
        if not came and (first.events >= when or all(p is not first for p, _steps in going)):
            came = True
            rival.at = first.world.now
            going.append((rival, rival.deploy(patient)))
        process, steps = min(going, key=lambda pair: pair[0].at)
        try:
            next(steps)
        except StopIteration:
            going = [pair for pair in going if pair[0] is not process]
        except Killed:
            process.lock.free(process)
            survived = False
            going = [pair for pair in going if pair[0] is not process]
    return survived
