# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replacing replicas in steps: which ones come and leave together, and what a rollout then does in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Order, Update
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.batches import batches
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.plan import Action, Change
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.track import Track

from ..stage import Stage, observed, played, seen, service, stack

STOP, START = Order.STOP_FIRST, Order.START_FIRST

STEPS = [
    # name, new, old, kept, order, update, "new -leave ~watch" per batch
    ("all at once", 3, 3, 0, START, Update(), "111"),
    ("one by one", 3, 3, 0, START, Update(parallelism=1, delay=2), "1-1~2 1-1~2 1"),
    ("two by two", 5, 5, 0, START, Update(parallelism=2), "11-2 11-2 1"),
    ("more than there are", 2, 2, 0, START, Update(parallelism=9), "11"),
    ("growing: nobody leaves before there are enough", 4, 2, 0, START, Update(parallelism=1), "1 1 1-1 1"),
    ("shrinking: more leave than come", 2, 4, 0, START, Update(parallelism=1), "1-3 1"),
    ("some are new already", 2, 2, 1, START, Update(parallelism=1), "1-1 1"),
    ("a canary, then all", 4, 4, 0, START, Update(canary=1, watch=30), "1~30 111"),
    ("a canary, then two by two", 5, 5, 0, START, Update(parallelism=2, canary=1, watch=9), "1~9 11-3 11"),
    ("stop-first at once", 3, 3, 0, STOP, Update(), "111-3"),
    ("stop-first one by one", 3, 3, 0, STOP, Update(parallelism=1), "1-1 1-1 1-1"),
    ("stop-first, shrinking", 2, 3, 0, STOP, Update(parallelism=1), "1-1 1-2"),
    ("stop-first, a canary", 3, 3, 0, STOP, Update(canary=1, watch=5), "1-1~5 11-2"),
]


@pytest.mark.parametrize(
    ("new", "old", "kept", "order", "update", "expected"), [c[1:] for c in STEPS], ids=[c[0] for c in STEPS]
)
def test_who_comes_and_leaves_together(
    new: int, old: int, kept: int, order: Order, update: Update, expected: str
) -> None:
    names = [observed(f"web-{i}") for i in range(1, old + kept + 1)]
    fresh = tuple((f"shop-web-{i}", i) for i in range(10, 10 + new))
    change = Change("web", Action.REPLACE, (), fresh, tuple(names[old:]), tuple(names[:old]), order)
    made = batches(change, update)
    assert (
        " ".join(
            "1" * len(b.new) + (f"-{len(b.leave)}" if b.leave else "") + (f"~{b.watch:g}" if b.watch else "")
            for b in made
        )
        == expected
    )
    assert [n for b in made for n in b.new] == [n for n, _number in fresh]
    left = [n for b in made for n in b.leave]
    assert len(left) == len(set(left))


def test_an_old_replica_that_somebody_stopped_takes_no_traffic_meanwhile() -> None:
    olds = tuple(observed(f"web-{i}", running=i > 1) for i in (1, 2))
    fresh = tuple((f"shop-web-{i}", i) for i in (3, 4, 5, 6))
    change = Change("web", Action.REPLACE, (), fresh, (), olds, START)
    web = service("web")
    trusted = frozenset(o.name for o in olds)
    made = Track(change, web, web.gate, batches(change, Update(parallelism=1)), trusted=trusted)
    assert made.meanwhile() == (olds[1].name,)


@pytest.mark.parametrize("action", [Action.CREATE, Action.SCALE, Action.RUN])
def test_only_a_replacement_goes_in_steps(action: Action) -> None:
    change = Change("web", action, (), (("a", 1), ("b", 2), ("c", 3)))
    assert len(batches(change, Update(parallelism=1, canary=1))) == 1


def test_what_does_not_run_leaves_first() -> None:
    dead = replace(observed("web-2"), running=False)
    change = Change("web", Action.REPLACE, (), (("a", 3), ("b", 4)), (), (observed("web-1"), dead), STOP)
    assert [b.leave for b in batches(change, Update(parallelism=1))] == [("shop-web-2",), ("shop-web-1",)]


def steps(stage: Stage) -> str:
    return ", ".join(stage.line[2:-2])


THREE = seen(*(observed(f"web-{i}") for i in (1, 2)), routed={"web": frozenset({"shop-web-1", "shop-web-2"})})
WEB = service("web", 2, routed=True, replicas=2)

LINES = [
    (
        "start-first, one by one: the old leave as the new take over",
        {"update": Update(parallelism=1)},
        "create web-3, start web-3, route web=web-2+web-3, drain web-1 7, stop web-1, "
        "create web-4, start web-4, route web=web-3+web-4, COMMITTED, "
        "remove web-1, drain web-2 7, stop web-2, remove web-2",
    ),
    (
        "a canary takes traffic beside all the old",
        {"update": Update(canary=1, watch=20)},
        "create web-3, start web-3, route web=web-1+web-2+web-3, "
        "create web-4, start web-4, route web=web-3+web-4, COMMITTED, "
        "drain web-1 7, drain web-2 7, stop web-1, stop web-2, remove web-1, remove web-2",
    ),
    (
        "stop-first, one by one: out of traffic, then stopped",
        {"update": Update(parallelism=1), "order": STOP},
        "create web-3, route web=web-2, drain web-1 7, stop web-1, start web-3, route web=web-2+web-3, "
        "create web-4, route web=web-3, drain web-2 7, stop web-2, start web-4, route web=web-3+web-4, COMMITTED, "
        "remove web-1, remove web-2",
    ),
]


@pytest.mark.parametrize(("about", "line"), [c[1:] for c in LINES], ids=[c[0] for c in LINES])
def test_it_goes_in_steps(about: dict, line: str) -> None:
    assert steps(played(replace(WEB, **about), there=THREE)) == line


def test_what_was_never_routed_gets_no_traffic_meanwhile() -> None:
    """An old replica that runs but was not behind the proxy did not pass a gate."""
    there = seen(observed("web-1"), observed("web-2"), routed={"web": frozenset({"shop-web-2"})})
    stage = played(replace(WEB, update=Update(canary=1, watch=20)), there=there)
    assert [w for w in stage.line if w.startswith("route")] == ["route web=web-2+web-3", "route web=web-3+web-4"]


def test_the_pause_between_two_batches() -> None:
    stage = played(replace(WEB, update=Update(parallelism=1, delay=40)), there=THREE)
    assert stage.times["create web-4"] - stage.times["route web=web-2+web-3"] >= 40


def test_a_canary_is_watched_that_long_and_then_held_with_the_rest() -> None:
    stage = played(replace(WEB, update=Update(canary=1, watch=60)), there=THREE)
    switched = stage.times["route web=web-1+web-2+web-3"]
    assert stage.times["create web-4"] - switched >= 60
    assert stage.times["COMMITTED"] - stage.times["route web=web-3+web-4"] >= WEB.gate.hold


def test_batches_of_what_is_not_routed_wait_for_their_hold() -> None:
    there = seen(observed("web-1"), observed("web-2"))
    stage = played(service("web", 2, replicas=2, update=Update(parallelism=1)), there=there)
    assert steps(stage) == (
        "create web-3, start web-3, stop web-1, create web-4, start web-4, COMMITTED, remove web-1, stop web-2, remove web-2"
    )
    assert stage.times["stop web-1"] - stage.times["start web-3"] >= WEB.gate.hold


def test_dependents_wait_for_all_batches() -> None:
    services = [service("web", 2, replicas=2, update=Update(parallelism=1)), service("api", 2, after="web")]
    stage = played(*services, there=seen(observed("web-1"), observed("web-2"), observed("api-1")))
    assert stage.line.index("start api-2") > stage.line.index("start web-4")


BAD = [
    (
        "the canary dies under traffic: the old never left",
        {"update": Update(canary=1, watch=60)},
        {"dies": {"web-3": 20.0}},
        "explain web-3, route web=web-1+web-2 (old), drain web-3 7, stop web-3, remove web-3",
    ),
    (
        "the second batch never gets ready: what was stopped comes back",
        {"update": Update(parallelism=1)},
        {"ready": {"web-4": None}},
        "explain web-4, route web=web-2 (old), start web-1, route web=web-1+web-2 (old), "
        "drain web-3 7, drain web-4 7, stop web-3, stop web-4, remove web-3, remove web-4",
    ),
    (
        "the first batch never gets ready: nothing was stopped",
        {"update": Update(parallelism=1)},
        {"ready": {"web-3": None}},
        "explain web-3, drain web-3 7, stop web-3, remove web-3",
    ),
    (
        "stop-first: the first batch never gets ready",
        {"update": Update(parallelism=1), "order": STOP},
        {"ready": {"web-3": None}},
        "explain web-3, route web=web-2 (old), drain web-3 0, stop web-3, remove web-3, start web-1, "
        "route web=web-1+web-2 (old)",
    ),
]


@pytest.mark.parametrize(("about", "fate", "line"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_it_goes_wrong_in_a_step(about: dict, fate: dict, line: str) -> None:
    old = stack(service("web", routed=True, replicas=2))
    stage = played(replace(WEB, **about), there=THREE, previous=old, **fate)
    assert stage.rollout.outcome is Outcome.ROLLED_BACK
    said = ", ".join(stage.line)
    assert said[said.index("explain") :].removesuffix(", FINISHED") == line


def test_a_drain_that_fails_is_a_note() -> None:
    stage = played(replace(WEB, update=Update(parallelism=1)), there=THREE, fails={"drain web-1 7": "no answer"})
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert stage.rollout.notes == ("web: shop-web-1 could not be drained: no answer",)
