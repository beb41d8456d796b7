# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The making of a set, in a world of its own: with chance as its scheduler, faults, and kills that a next run mends."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.commands import (
    Alarm,
    Close,
    Command,
    Discard,
    Freeze,
    Open,
    Quiesce,
    ReadBack,
    Resume,
    Seal,
    Store,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.leftovers import left
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.making import (
    PATIENCE,
    Making,
    Outcome,
    Phase,
    Still,
    advance,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Part, Taken
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import Begun, Done, Event, Failed, as_json

API, WORKER = Still("api", "shop-api-1"), Still("worker", "shop-worker-1")
OLD = Taken("uploads", "volume", (Part("/u", 1, "aa", "f9"),), 1.0, "s-0")


def taken(item: str, at: float = 0.0) -> Taken:
    return Taken(item, "path", (Part(f"/{item}", 1, "aa", f"snap-{item}"),), at)


@dataclass
class World:
    """What is true outside: who holds still since when, what is open, and what the repository holds."""

    chance: random.Random
    faults: dict[str, float] = field(default_factory=dict)
    """command -> the share of its calls that fail"""
    slow: dict[str, float] = field(default_factory=dict)
    """command -> seconds that it takes at most, 1 by default"""
    now: float = 100.0
    still: dict[str, float] = field(default_factory=dict)
    longest: float = 0.0
    """seconds that a replica held still at most"""
    opened: set[str] = field(default_factory=set)
    stored: dict[str, float] = field(default_factory=dict)
    """item -> the moment that it shows"""
    frozen: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)
    """item -> when it was frozen, and who held still then"""
    sealed: tuple[Taken, ...] | None = None
    log: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def perform(self, making: Making, command: Command) -> Event:
        name = type(command).__name__
        fails = self.chance.random() < self.faults.get(name, 0.0)
        if fails and self.chance.random() < 0.5:
            return Failed(command, self.now, "not done")
        value: object = None
        if isinstance(command, Open):
            self.opened.add(command.item)
        elif isinstance(command, Quiesce):
            self.still[command.name] = self.now
        elif isinstance(command, Resume):
            self.goes_on(command.name)
        elif isinstance(command, Freeze):
            self.frozen[command.item] = (self.now, frozenset(self.still))
        elif isinstance(command, Store):
            if command.item not in self.opened:
                return Failed(command, self.now, "broken off")
            self.stored[command.item] = self.frozen[command.item][0]
            value = taken(command.item, self.frozen[command.item][0])
        elif isinstance(command, ReadBack):
            value = ("another content",) if self.chance.random() < self.faults.get("Rot", 0.0) else ()
        elif isinstance(command, Close):
            self.opened.discard(command.item)
        elif isinstance(command, Seal):
            self.sealed = making.taken
        elif isinstance(command, Discard):
            self.stored, self.sealed = {}, None
        if fails:
            return Failed(command, self.now, "done, and nobody heard of it")
        return Done(command, self.now, value)

    def goes_on(self, name: str) -> None:
        since = self.still.pop(name, None)
        self.longest = max(self.longest, self.now - since if since is not None else 0.0)


class Killed(Exception):
    pass


def live(world: World, making: Making, dies: Callable[[int], bool] = lambda step: False) -> Making:
    """Run it to its end, outcomes in any order. `dies` is asked before and after each performance."""
    later: list[tuple[float, int, Command]] = []
    running: list[tuple[float, int, Command]] = []
    number = 0

    def begin(command: Command) -> None:
        nonlocal number
        number += 1
        if dies(number):
            raise Killed
        world.log.append(("do", dict(as_json(command))))
        took = world.chance.random() * world.slow.get(type(command).__name__, 1.0)
        heapq.heappush(running, (world.now + took, number, command))

    event: Event = Begun(world.now)
    while True:
        making, commands = advance(making, event)
        check(world, making)
        for command in commands:
            if getattr(command, "at", 0.0) > world.now:
                number += 1
                heapq.heappush(later, (command.at, number, command))  # type: ignore[union-attr]
            else:
                begin(command)
        if making.finished:
            return making
        assert running or later, f"nothing would ever happen again: {making}"
        while later and (not running or later[0][0] <= running[0][0]):
            at, _number, command = heapq.heappop(later)
            world.now = max(world.now, at)
            if isinstance(command, Alarm):
                heapq.heappush(running, (world.now, -1, command))
            else:
                begin(command)
        at, which, command = heapq.heappop(running)
        world.now = max(world.now, at)
        event = world.perform(making, command)
        if which > 0 and dies(which + 10_000):
            raise Killed
        if not isinstance(command, Alarm):
            what = "done" if isinstance(event, Done) else "failed"
            world.log.append((what, dict(as_json(command))))


def check(world: World, making: Making) -> None:
    """What holds at any moment."""
    if world.sealed is not None:
        assert making.phase in (Phase.SEALING, Phase.CLOSING)
    if making.phase in (Phase.STORING, Phase.SEALING):
        assert not world.still, "nobody holds still while anything is streamed"


def at_the_end(world: World, making: Making) -> None:
    assert not making.pending - {c for c in making.pending if isinstance(c, Alarm)}
    if making.outcome is Outcome.INCOMPLETE:
        assert making.left
        return
    assert not world.still
    assert all(any(said.startswith(f"{item} could not be let go of") for said in making.left) for item in world.opened)
    if making.outcome is Outcome.MADE:
        assert world.sealed is not None
        assert {t.name for t in world.sealed} == {*making.items, *(t.name for t in making.taken_over)}
        assert not making.failures
        everybody = {w.name for w in making.writers}
        assert all(still == everybody for _at, still in world.frozen.values()), "frozen while all held still"
    else:
        assert making.failures
        assert not world.stored
        assert world.sealed is None


def make(items: str = "config db uploads", writers: tuple[Still, ...] = (API, WORKER), **about: object) -> Making:
    return Making("s-1", tuple(items.split()), writers, **about)  # type: ignore[arg-type]


def test_a_set_is_made_in_order() -> None:
    world = World(random.Random(1))
    making = live(world, make(taken_over=(OLD,)))
    at_the_end(world, making)
    assert making.outcome is Outcome.MADE
    assert making.taken == (*(taken(i, world.stored[i]) for i in ("config", "db", "uploads")), OLD)
    assert 0 < making.quiet <= 4
    assert all(making.moment <= at for at, _still in world.frozen.values())
    did = [details["do"] for what, details in world.log if what == "do"]
    order = ["Open", "Quiesce", "Alarm", "Freeze", "Resume", "Store", "ReadBack", "Seal"]
    assert [name for name in dict.fromkeys(did) if name in order] == [n for n in order if n != "Alarm"]


def test_without_writers_nobody_holds_still() -> None:
    world = World(random.Random(2))
    making = live(world, make(writers=()))
    assert (making.outcome, making.quiet, making.still) == (Outcome.MADE, 0.0, ())
    assert making.moment >= 100.0


def test_no_more_items_stream_at_once_than_may() -> None:
    making, commands = advance(make("a b c d", (), at_once=2), Begun(0.0))
    for kind in (Open, Freeze):
        assert {type(c) for c in commands} == {kind}
        for command in commands:
            making, commands = advance(making, Done(command, 1.0))
    assert commands == (Store("a"), Store("b"))
    making, commands = advance(making, Done(Store("b"), 2.0, taken("b")))
    assert commands == (ReadBack("b"),), "what is stored is read back before the next one begins"
    making, commands = advance(making, Done(ReadBack("b"), 3.0, ()))
    assert set(commands) == {Close("b"), Store("c")}


@pytest.mark.parametrize("kind", ["Open", "Quiesce", "Freeze", "Store", "ReadBack", "Seal", "Rot"])
def test_whatever_fails_there_was_no_set_and_writers_go_on(kind: str) -> None:
    world = World(random.Random(3), faults={kind: 1.0})
    making = live(world, make())
    at_the_end(world, making)
    assert making.outcome is Outcome.FAILED
    if kind in ("Quiesce", "Freeze"):
        assert not world.stored
        assert "Store" not in {details["do"] for _what, details in world.log}


def test_what_was_stored_is_named_when_it_is_not_what_is_read() -> None:
    making = live(World(random.Random(4), faults={"Rot": 1.0}), make("db", ()))
    assert making.failures == ("db: what was stored is not what was read: another content",)


def test_nobody_holds_still_for_longer_than_they_may() -> None:
    world = World(random.Random(5), slow={"Freeze": 500.0})
    making = live(world, make(longest=10.0))
    assert making.outcome is Outcome.FAILED
    assert making.failures[0] == "writers held still for 10 s, which is the longest they may"
    assert world.longest <= 12.0, "they went on although the freezing had not ended"


def test_an_engine_that_comes_back_lets_them_go_on() -> None:
    world = World(random.Random(6))
    calls = 0

    def perform(making: Making, command: Command) -> Event:
        nonlocal calls
        if isinstance(command, Resume) and calls < 5:
            calls += 1
            return Failed(command, world.now, "the engine does not answer")
        return World.perform(world, making, command)

    world.perform = perform  # type: ignore[method-assign]
    making = live(world, make())
    at_the_end(world, making)
    assert making.outcome is Outcome.MADE


def test_who_cannot_be_made_to_go_on_is_named() -> None:
    world = World(random.Random(7), faults={"Resume": 1.0})
    making = live(world, make(writers=(API,)))
    assert making.outcome is Outcome.INCOMPLETE
    assert making.left[0].startswith("shop-api-1 still holds still: ")
    assert making.asked[API.name] == PATIENCE
    assert world.sealed is None


def test_what_stays_in_the_repository_is_said() -> None:
    making = live(World(random.Random(8), faults={"Store": 1.0, "Discard": 1.0}), make())
    assert making.outcome is Outcome.INCOMPLETE
    assert "the next backup collects it" in making.left[-1]


COMMANDS = ["Open", "Quiesce", "Freeze", "Resume", "Store", "ReadBack", "Close", "Seal", "Discard", "Rot"]


@pytest.mark.parametrize("block", range(30))
def test_with_faults_anywhere(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        with_faults(seed)


def with_faults(seed: int) -> None:
    chance = random.Random(seed)
    faults = {kind: chance.random() ** 3 for kind in chance.sample(COMMANDS, chance.randrange(4))}
    slow = {kind: 10 ** (chance.random() * 3 - 1) for kind in chance.sample(COMMANDS, 3)}
    items = " ".join(f"i{n}" for n in range(1 + chance.randrange(6)))
    writers = tuple(Still("w", f"w-{n}") for n in range(chance.randrange(4)))
    world = World(chance, faults, slow)
    making = live(world, make(items, writers, at_once=1 + chance.randrange(3)))
    at_the_end(world, making)


@pytest.mark.parametrize("block", range(30))
def test_killed_at_any_moment_the_journal_knows_who_holds_still(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        killed(seed)


def killed(seed: int) -> None:
    chance = random.Random(seed)
    when = chance.randrange(1, 40) + chance.choice([0, 10_000])
    world = World(chance, {"Resume": 0.3} if seed % 3 == 0 else {})
    try:
        making = live(world, make(writers=tuple(Still("w", f"w-{n}") for n in range(seed % 4))), lambda n: n == when)
    except Killed:
        known = left(world.log)
        assert world.still.keys() <= {still.name for still in known.still}
        assert world.opened <= set(known.opened)
        assert world.sealed is None or known.sealing
    else:
        at_the_end(world, making)
