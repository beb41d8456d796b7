# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verification: `advance(state, event) -> (state, commands)`, which check is asked when, and what became of each.

Checks go side by side, `at_once` of them. Logs are read last, so that what the other checks provoke is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..checks import Check, Logs, VerifyPlan
from ..events import Begun, Done, Event
from .judging import Answer, Values, judge

AT_ONCE = 4
PASSED, FAILED, SKIPPED = "passed", "failed", "not asked"


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a check for the `turn`th time, no sooner than `at` (seconds since the epoch). Done with an Answer."""

    check: str
    turn: int = 1
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """`seconds` from the first try to the last answer. `output` is what came back last."""

    check: Check
    outcome: str
    problem: str = ""
    output: str = ""
    values: Values = field(default_factory=dict)
    seconds: float = 0.0
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    plan: VerifyPlan
    at_once: int = AT_ONCE
    begun: Mapping[str, float] = field(default_factory=dict)
    """check -> when it was asked first"""
    results: Mapping[str, Result] = field(default_factory=dict)
    asking: frozenset[str] = frozenset()

    @property
    def finished(self) -> bool:
        return len(self.results) == len(self.plan.checks)

    @property
    def good(self) -> bool:
        return self.finished and all(r.outcome == PASSED for r in self.results.values())


Step = tuple[Verification, tuple[Ask, ...]]


def advance(state: Verification, event: Event) -> Step:
    again: tuple[Ask, ...] = ()
    if not isinstance(event, Begun):
        command: Ask = event.command
        answer = event.value if isinstance(event, Done) else Answer(None, problem=event.error)
        state, again = _answered(state, command, answer, event.at)
    state, fresh = _next(state, event.at)
    return state, (*again, *fresh)


def _answered(state: Verification, command: Ask, answer: Answer, now: float) -> Step:
    check, began = state.plan.check(command.check), state.begun[command.check]
    verdict = judge(check, answer, {name: r.values for name, r in state.results.items()})
    if verdict.problem and now + check.interval <= began + check.deadline and not isinstance(check.ask, Logs):
        return state, (Ask(check.name, command.turn + 1, now + check.interval),)
    outcome = FAILED if verdict.problem else PASSED
    result = Result(check, outcome, verdict.problem, answer.text, verdict.values, now - began, command.turn)
    results = {**state.results, check.name: result}
    return replace(state, results=results, asking=state.asking - {check.name}), ()


def _next(state: Verification, now: float) -> Step:
    """Begin what can be begun, in the order of the declaration. What waits for a failure is told, and never asked."""
    fresh: list[Ask] = []
    moved = True
    while moved:
        moved = False
        for check in state.plan.checks:
            if check.name in state.results or check.name in state.begun:
                continue
            lost = [name for name in check.after if name in state.results and state.results[name].outcome != PASSED]
            if lost:
                why = f"{lost[0]} did not pass"
                state = replace(state, results={**state.results, check.name: Result(check, SKIPPED, why)})
                moved = True
            elif len(state.asking) < state.at_once and _may(state, check):
                begun = {**state.begun, check.name: now}
                state = replace(state, begun=begun, asking=state.asking | {check.name})
                fresh.append(Ask(check.name))
    return state, tuple(fresh)


def _may(state: Verification, check: Check) -> bool:
    if isinstance(check.ask, Logs):
        others = (c for c in state.plan.checks if not isinstance(c.ask, Logs))
        return all(c.name in state.results for c in others)
    return all(name in state.results for name in check.after)
