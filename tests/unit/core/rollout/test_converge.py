# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From any half-done state to one set of replicas: what `step` asks for next, level by level."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import Done, Event, Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Gate, Sample
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import (
    Command,
    Drain,
    Look,
    Remove,
    Rename,
    Route,
    Start,
    Stop,
    Unroute,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.converge import (
    UNKNOWN,
    Goal,
    goal_for,
    learn,
    step,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.gate import Watch

from ..stage import GATE, service, word

READY = Watch(since=0, ready_at=1.0)
STARTING = Watch(since=0)


def goal(**about: Any) -> Goal:
    known = {
        k: frozenset(about.pop(k).split())
        for k in ("drained", "stopped", "removed", "renamed", "given_up")
        if k in about
    }
    lists = {k: tuple(about.pop(k).split()) for k in ("target", "start", "surplus") if k in about}
    return Goal("web", **{"gate": GATE, **lists, **known, **about})


SWAP = (("a-aside", "a"),)

LEVELS = [
    # name                                   goal                                                                  asks for
    ("nothing to do",                        goal(target="a"),                                                     ""),
    ("starts what should run",               goal(target="a b", start="a b"),                                      "start a, start b"),
    ("waits for what was started",           goal(target="a", start="a", watches={"a": STARTING}, surplus="x"),    ""),
    ("then clears",                          goal(target="a", start="a", watches={"a": READY}, surplus="x"),       "stop x"),
    ("or when it was given up",              goal(target="a", start="a", given_up="a", surplus="x"),               "stop x"),
    ("traffic before anything leaves",       goal(target="a", route=True, surplus="x"),                            "route web=a"),
    ("by the old routes",                    goal(target="a", route=True, old_routes=True),                        "route web=a (old)"),
    ("no traffic to nobody",                 goal(route=True, surplus="x"),                                        "unroute web"),
    ("traffic waits for who is started",     goal(target="a", start="a", route=True, surplus="x"),                 "start a"),
    ("moved once",                           goal(target="a", route=True, routed=True, surplus="x"),               "stop x"),
    ("drains first",                         goal(target="a", surplus="x", drain=5.0),                             "drain x 5"),
    ("stops what was drained",               goal(target="a", surplus="x", drain=5.0, drained="x"),                "stop x"),
    ("removes what was stopped",             goal(target="a", surplus="x", drain=5.0, drained="x", stopped="x"),   "remove x"),
    ("each at its own level",                goal(surplus="x y z", stopped="y", removed="z"),                      "stop x, remove y"),
    ("is done",                              goal(surplus="x", stopped="x", removed="x"),                          ""),
    ("side by side: start, then clear",      goal(target="a", start="a", surplus="x"),                             "start a"),
    ("not side by side: clear, then start",  goal(target="a", start="a", surplus="x", exclusive=True),             "stop x"),
    ("without a last drain",                 goal(target="a", start="a", surplus="x", exclusive=True, drain=5.0),  "drain x 0"),
    ("and then start",                       goal(target="a", start="a", surplus="x", removed="x", exclusive=True), "start a"),
    ("a name is freed before it is given",   goal(target="a-aside", surplus="a", rename=SWAP),                     "stop a"),
    ("and given back",                       goal(target="a-aside", surplus="a", removed="a", rename=SWAP),        "rename a-aside a"),
    ("by whom traffic then goes",            goal(target="a", rename=SWAP, renamed="a-aside", route=True),         "route web=a"),
    ("stuck: nothing leaves",                goal(target="a", route=True, surplus="x", stuck=True),                ""),
]  # fmt: skip


def asked(*goals: Goal, pending: tuple[Command, ...] = ()) -> str:
    return ", ".join(word(c) for c in step({g.service: g for g in goals}, pending))


@pytest.mark.parametrize(("made", "expected"), [c[1:] for c in LEVELS], ids=[c[0] for c in LEVELS])
def test_step(made: Goal, expected: str) -> None:
    assert asked(made) == expected
    assert made.complete == (expected == "" and made.up)


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        ((Stop("web", "x", 1),), "stop y"),
        ((Stop("web", "x", 1), Stop("web", "y", 1)), ""),
        ((Start("web", "z"),), "stop x, stop y"),
        ((Look("web", "x", 0),), "stop x, stop y"),
    ],
)
def test_what_is_under_way_is_not_asked_for_again(pending: tuple[Command, ...], expected: str) -> None:
    assert asked(goal(surplus="x y"), pending=pending) == expected


def test_traffic_is_moved_by_one_at_a_time() -> None:
    made = goal(target="a", route=True)
    assert asked(made, pending=(Route("web", ("a", "x")),)) == ""
    assert asked(made, pending=(Unroute("web"),)) == ""
    assert asked(made, pending=(Route("other", ("a",)),)) == "route web=a"


def other(name: str, **about: Any) -> Goal:
    return replace(goal(**about), service=name)


def test_dependents_clear_first() -> None:
    db = other("db", surplus="db-2")
    web = other("web", surplus="web-2", depends_on=("db",))
    assert asked(db, web) == "stop web-2"
    assert asked(db, replace(web, removed=frozenset({"web-2"}))) == "stop db-2"
    assert asked(db, replace(web, stuck=True)) == "stop db-2", "nobody waits for who is stuck"


def test_dependencies_start_first() -> None:
    db = other("db", target="db-1", start="db-1")
    web = other("web", target="web-1", start="web-1", depends_on=("db", "elsewhere"))
    assert asked(db, web) == "start db-1"
    assert asked(replace(db, watches={"db-1": STARTING}), web) == ""
    assert asked(replace(db, watches={"db-1": READY}), web) == "start web-1"
    assert asked(replace(db, given_up=frozenset({"db-1"})), web) == "start web-1", "as far as it can"


def taught(made: Goal, event: Event, now: float = 10.0) -> tuple[Goal, str, tuple[str, ...]]:
    goals, looks, notes = learn({made.service: made}, event, now)
    return goals[made.service], ", ".join(word(c) for c in looks), notes


def test_a_start_is_looked_after() -> None:
    made, looks, notes = taught(goal(target="a", start="a"), Done(Start("web", "a"), 10))
    assert (made.watches["a"].since, looks, notes) == (10, "look a", ())


LEARNED = [
    # name                    goal                          what happened                                 what changed               said
    ("drained",               goal(surplus="x"),            Done(Drain("web", "x", 5), 1),                {"drained": {"x"}},        ""),
    ("not drained: goes on",  goal(surplus="x"),            Failed(Drain("web", "x", 5), 1, "busy"),      {"drained": {"x"}},        "web: x could not be drained: busy"),
    ("stopped",               goal(surplus="x"),            Done(Stop("web", "x", 5), 1),                 {"stopped": {"x"}},        ""),
    ("not stopped: removed",  goal(surplus="x"),            Failed(Stop("web", "x", 5), 1, "busy"),       {"stopped": {"x"}},        ""),
    ("removed",               goal(surplus="x"),            Done(Remove("web", "x"), 1),                  {"removed": {"x"}},        ""),
    ("not removed: left",    goal(surplus="x"),            Failed(Remove("web", "x"), 1, "busy"),        {"removed": {"x"}, "left": True}, "web: x could not be removed: busy"),
    ("renamed",               goal(rename=SWAP),            Done(Rename("web", "a-aside", "a"), 1),       {"renamed": {"a-aside"}},  ""),
    ("not renamed: left",     goal(rename=SWAP),            Failed(Rename("web", "a-aside", "a"), 1, "busy"), {"renamed": {"a-aside"}, "left": True}, "web: a-aside could not be renamed: busy"),
    ("not started: given up", goal(target="a", start="a"),  Failed(Start("web", "a"), 1, "port taken"),   {"given_up": {"a"}},       "web: a could not be started again: port taken"),
    ("routed",                goal(target="a", route=True), Done(Route("web", ("a",)), 1),                {"routed": True},          ""),
    ("not routed: stuck",     goal(target="a", route=True), Failed(Route("web", ("a",)), 1, "503"),       {"stuck": True},           "web: the proxy could not be moved to a: 503"),
    ("not routed: lost",      goal(target="a", start="a", given_up="a", route=True, surplus="x", removed="x"), Failed(Route("web", ("a",)), 1, "503"), {"stuck": False, "routed": True}, "web: the proxy could not be moved to a: 503"),
    ("not routed: may serve", goal(target="a", start="a", given_up="a", route=True, surplus="x"), Failed(Route("web", ("a",)), 1, "503"), {"stuck": True}, "web: the proxy could not be moved to a: 503"),
    ("an older switch ends",  goal(target="a", route=True), Done(Route("web", ("x",)), 1),                {},                        ""),
    ("unrouted",              goal(route=True),             Done(Unroute("web"), 1),                      {"routed": True},          ""),
    ("not unrouted: stuck",   goal(route=True),             Failed(Unroute("web"), 1, "gone"),            {"stuck": True},           "web: the proxy could not be moved to nothing: gone"),
    ("a late start of a new", goal(target="a", surplus="x"), Done(Start("web", "x"), 1),                  {},                        ""),
    ("a late look at a new",  goal(target="a", surplus="x"), Done(Look("web", "x", 0), 1, Sample(1, True, True)), {},                ""),
]  # fmt: skip


@pytest.mark.parametrize(("made", "event", "changes", "said"), [c[1:] for c in LEARNED], ids=[c[0] for c in LEARNED])
def test_learn(made: Goal, event: Event, changes: dict[str, Any], said: str) -> None:
    after, looks, notes = taught(made, event)
    expected = {k: frozenset(v) if isinstance(v, set) else v for k, v in changes.items()}
    assert after == replace(made, **expected)
    assert (looks, notes) == ("", (said,) if said else ())


def test_a_name_that_cannot_be_given_back_is_said() -> None:
    made, _looks, notes = taught(goal(rename=SWAP), Failed(Rename("web", "a-aside", "a"), 1, "taken"))
    assert made.named, "there is nothing else to try"
    assert notes == ("web: a-aside could not be renamed: taken",)


def test_somebody_elses_outcome_is_ignored() -> None:
    made = goal(surplus="x")
    assert learn({"web": made}, Done(Stop("other", "y", 1), 1), 1) == ({"web": made}, (), ())


def test_an_old_one_passes_the_gate_again_before_traffic_goes_to_it() -> None:
    made = goal(target="a", start="a", route=True)
    made, _looks, _notes = taught(made, Done(Start("web", "a"), 0), 0)
    for at in (1, 2):
        assert asked(made) == ""
        made, looks, _notes = taught(made, Done(Look("web", "a", 0), at, Sample(at, True, True)), at)
    assert (asked(made), looks) == ("route web=a", "")


def test_an_old_one_that_does_not_pass_is_given_up_with_evidence() -> None:
    made, _looks, _notes = taught(goal(target="a", start="a"), Done(Start("web", "a"), 0), 0)
    look = Look("web", "a", 0)
    made, _looks, _notes = taught(made, Done(look, 1, Sample(1, True, False, "503")), 1)
    made, looks, notes = taught(made, Done(look, 31, Sample(31, True, False, "503")), 31)
    assert (made.given_up, made.up, looks) == (frozenset({"a"}), True, "")
    assert notes == ("web: a runs again but did not pass within 30 s (0 of 2 passes in a row), last check: 503",)


def test_an_engine_that_does_not_answer_is_no_verdict() -> None:
    made, _looks, _notes = taught(goal(target="a", start="a"), Done(Start("web", "a"), 0), 0)
    made, looks, notes = taught(made, Failed(Look("web", "a", 0), 1, "timeout"), 1)
    assert (made.watches["a"].failures, looks, notes) == (1, "look a", ())


def test_a_goal_has_the_settings_of_its_service() -> None:
    made = goal_for(service("web", after="db", routed=True, bound="it publishes port 80"), target=("a",))
    assert (made.service, made.exclusive, made.grace, made.drain) == ("web", True, 3.0, 7.0)
    assert (made.depends_on, made.gate, made.target) == (("db",), GATE, ("a",))


def test_what_nobody_describes_passes_by_running() -> None:
    assert Goal("x").gate == UNKNOWN == Gate(passes=1, hold=0.0, opted_out=UNKNOWN.opted_out)
