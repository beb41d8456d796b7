# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which check is asked when, how often, and what became of it: the verification in a world without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.checks import Check, Exec, Logs, Run, VerifyPlan
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import Begun, Done, Event, Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.verify.judging import Answer
from ansible_collections.quaylock.stacks.plugins.module_utils.core.verify.verifying import Ask, Verification, advance


def ask(name: str, **about: Any) -> Check:
    return Check(name, Exec("db", ("ask",)), **about)


def told(state: Verification) -> dict[str, str]:
    return {name: result.outcome for name, result in state.results.items()}


def played(
    checks: Sequence[Check], answers: Mapping[str, Sequence[int]], takes: float = 1.0
) -> tuple[Verification, list[str]]:
    """Each answer takes a second. What was asked is "name@second"; the last code of a check comes again and again."""
    now, asked = 100.0, []
    state, commands = advance(Verification(VerifyPlan(tuple(checks))), Begun(now))
    waiting: list[tuple[float, int, Ask]] = []
    count = 0
    while True:
        for command in commands:
            start = max(now, command.at or now)
            asked.append(f"{command.check}@{start - 100:g}")
            count += 1
            waiting.append((start + takes, count, command))
        if state.finished:
            return state, asked
        waiting.sort()
        now, _count, command = waiting.pop(0)
        codes = answers.get(command.check, [0])
        event: Event = Done(command, now, Answer(codes[min(command.turn, len(codes)) - 1], "it"))
        state, commands = advance(state, event)


CASES: list[tuple[str, list[Check], dict[str, list[int]], list[str], dict[str, str]]] = [
    ("side by side", [ask("a"), ask("b")], {}, ["a@0", "b@0"], {"a": "passed", "b": "passed"}),
    (
        "four at a time",
        [ask(n) for n in "abcde"],
        {},
        ["a@0", "b@0", "c@0", "d@0", "e@1"],
        dict.fromkeys("abcde", "passed"),
    ),
    ("in order", [ask("a", after=("b",)), ask("b")], {}, ["b@0", "a@1"], {"b": "passed", "a": "passed"}),
    (
        "nothing after a failure",
        [ask("a", deadline=0), ask("b", after=("a",)), ask("c", after=("b",)), ask("d")],
        {"a": [1]},
        ["a@0", "d@0"],
        {"a": "failed", "b": "not asked", "c": "not asked", "d": "passed"},
    ),
    (
        "asked until it passes",
        [ask("a", interval=2, deadline=9)],
        {"a": [1, 1, 0]},
        ["a@0", "a@3", "a@6"],
        {"a": "passed"},
    ),
    (
        "asked until the deadline",
        [ask("a", interval=2, deadline=6)],
        {"a": [1]},
        ["a@0", "a@3", "a@6"],
        {"a": "failed"},
    ),
    ("once", [ask("a", deadline=0)], {"a": [1, 0]}, ["a@0"], {"a": "failed"}),
    (
        "logs are read last, whatever became of the others",
        [Check("logs", Logs(("db",))), ask("a", deadline=0), Check("job", Run("job"), deadline=0)],
        {"a": [1]},
        ["a@0", "job@0", "logs@1"],
        {"a": "failed", "job": "passed", "logs": "passed"},
    ),
    ("lines that were logged stay", [Check("logs", Logs(("db",)))], {"logs": [2, 0]}, ["logs@0"], {"logs": "failed"}),
]


@pytest.mark.parametrize(("checks", "answers", "asked", "outcomes"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_checks_are_asked(
    checks: list[Check], answers: dict[str, list[int]], asked: list[str], outcomes: dict[str, str]
) -> None:
    state, found = played(checks, answers)
    assert found == asked
    assert told(state) == outcomes
    assert state.good == (set(outcomes.values()) == {"passed"})


def test_what_cannot_be_asked_is_asked_again_as_well() -> None:
    plan = VerifyPlan((ask("a", interval=1, deadline=1),))
    state, commands = advance(Verification(plan), Begun(0.0))
    state, commands = advance(state, Failed(commands[0], 0.0, "no replica of db runs"))
    assert commands == (Ask("a", 2, 1.0),)
    state, commands = advance(state, Failed(commands[0], 1.5, "no replica of db runs"))
    assert commands == ()
    result = state.results["a"]
    assert (result.outcome, result.problem, result.tries, result.seconds) == ("failed", "no replica of db runs", 2, 1.5)


def test_one_at_a_time_never_asks_two() -> None:
    checks = tuple(ask(n) for n in "abc")
    state, commands = advance(Verification(VerifyPlan(checks), at_once=1), Begun(0.0))
    for name in "abc":
        assert [c.check for c in commands] == [name]
        state, commands = advance(state, Done(commands[0], 1.0, Answer(0)))
    assert state.good
