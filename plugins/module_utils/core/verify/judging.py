# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether what came back is what a check expects. Knows no engine and no clock."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from ..checks import Check, Exec, Http, Logs, Run

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one try brought. `code` is an exit code, a status, or how many lines of logs were found; None where it did

    not come to that, and `problem` says why.
    """

    code: int | None
    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problem` is "" where it passed."""

    problem: str = ""
    values: Values = field(default_factory=dict)


def judge(check: Check, answer: Answer, known: Mapping[str, Values]) -> Verdict:
    """`known` are the values of the checks that passed already."""
    wrong = answer.problem or _code(check, answer)
    if wrong:
        return Verdict(wrong)
    values: Values = {}
    if check.matches:
        found = re.search(check.matches, answer.text)
        if found is None:
            return Verdict(f"nothing in it matches {check.matches}")
        values = {name: text for name, text in found.groupdict().items() if text is not None}
    wrong = _json(check, answer.text) if check.json else ""
    return Verdict(wrong or _equals(check, values, known), values)


def _code(check: Check, answer: Answer) -> str:
    ask = check.ask
    if isinstance(ask, (Exec, Run)) and answer.code != ask.exit_code:
        return f"exit code {answer.code}" + (f", not {ask.exit_code}" if ask.exit_code else "")
    if isinstance(ask, Http) and answer.code not in ask.statuses:
        return f"status {answer.code}, not {' or '.join(map(str, ask.statuses))}"
    if isinstance(ask, Logs) and answer.code:
        return "1 line" if answer.code == 1 else f"{answer.code} lines"
    return ""


def _json(check: Check, text: str) -> str:
    try:
        body = json.loads(text)
    except ValueError as error:
        return f"it is not JSON: {error}"
    wrong = []
    for path, wanted in check.json:
        there, value = at(body, path)
        if not there:
            wrong.append(f"there is no {path} in it")
        elif value != wanted or isinstance(value, bool) != isinstance(wanted, bool):
            wrong.append(f"{path} is {json.dumps(value)}, not {json.dumps(wanted)}")
    return "; ".join(wrong)


def at(body: Any, path: str) -> tuple[bool, Any]:
    """Whether there is something at a dotted path, and what. A number is a place in a list, from 0, or from its end."""
    for step in path.split("."):
        if isinstance(body, Mapping) and step in body:
            body = body[step]
        elif isinstance(body, list) and re.fullmatch(r"-?\d+", step) and -len(body) <= int(step) < len(body):
            body = body[int(step)]
        else:
            return False, None
    return True, body


def _equals(check: Check, values: Values, known: Mapping[str, Values]) -> str:
    wrong = []
    for equal in check.equals:
        own, other = values.get(equal.own), known.get(equal.check, {}).get(equal.other)
        if own is None or other is None:
            lacks = equal.own if own is None else f"{equal.check}.{equal.other}"
            wrong.append(f"{lacks} has no value")
        elif not same(own, other):
            wrong.append(f"{equal.own} is {own}, and {equal.check}.{equal.other} is {other}")
    return "; ".join(wrong)


def same(one: str, other: str) -> bool:
    """Numbers are compared as numbers: one program writes 12.50, another one 12.5."""
    if one == other:
        return True
    try:
        first, second = Decimal(one), Decimal(other)
    except InvalidOperation:
        return False
    return first.is_finite() and first == second


def noise(ask: Logs) -> Callable[[str, str], bool]:
    """Whether a line of a service is one that should not be there."""
    patterns = [re.compile(p) for p in ask.patterns]
    allowed = {service: [re.compile(p) for p in them] for service, them in ask.allowed}

    def found(service: str, line: str) -> bool:
        return any(p.search(line) for p in patterns) and not any(p.search(line) for p in allowed.get(service, ()))

    return found
