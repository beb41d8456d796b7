# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What counts as passed, and how it is said where it does not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.checks import (
    Ask,
    Check,
    Equal,
    Exec,
    Http,
    Logs,
    Run,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.verify.judging import (
    Answer,
    at,
    judge,
    noise,
    same,
)

COMMAND, PAGE = Exec("db", ("ask",)), Http("api", 8000)
BODY = '{"status": "ok", "count": 2, "ready": true, "runs": [{"state": "success"}, {"state": "failed"}]}'

CASES: list[tuple[str, Ask, dict[str, Any], Answer, str]] = [
    ("a command", COMMAND, {}, Answer(0), ""),
    ("a command that fails", COMMAND, {}, Answer(2, "no"), "exit code 2"),
    ("a command that has to fail", Exec("db", ("ask",), 1), {}, Answer(1), ""),
    ("and does not", Exec("db", ("ask",), 1), {}, Answer(0), "exit code 0, not 1"),
    ("a run that is late", Run("job"), {}, Answer(None, "", "did not end within 5 s"), "did not end within 5 s"),
    ("a page", PAGE, {}, Answer(200), ""),
    ("another status", PAGE, {}, Answer(500), "status 500, not 200"),
    ("of two", Http("api", 1, statuses=(200, 204)), {}, Answer(404), "status 404, not 200 or 204"),
    ("found", PAGE, {"matches": "sum=\\d+"}, Answer(200, "the sum=12"), ""),
    ("not found", PAGE, {"matches": "sum=\\d+"}, Answer(200, "the sum"), "nothing in it matches sum=\\d+"),
    (
        "no JSON",
        PAGE,
        {"json": (("a", 1),)},
        Answer(200, "<html>"),
        "it is not JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    (
        "JSON",
        PAGE,
        {"json": (("status", "ok"), ("count", 2), ("ready", True), ("runs.-1.state", "failed"))},
        Answer(200, BODY),
        "",
    ),
    (
        "other JSON",
        PAGE,
        {"json": (("status", "up"), ("count", True), ("runs.2.state", "x"))},
        Answer(200, BODY),
        'status is "ok", not "up"; count is 2, not true; there is no runs.2.state in it',
    ),
    ("1 is not true", PAGE, {"json": (("ready", 1),)}, Answer(200, BODY), "ready is true, not 1"),
    ("equal", PAGE, {"matches": "=(?P<n>.*)", "equals": (Equal("n", "spark", "total"),)}, Answer(200, "=12.50"), ""),
    (
        "different",
        PAGE,
        {"matches": "=(?P<n>.*)", "equals": (Equal("n", "spark", "total"),)},
        Answer(200, "=13"),
        "n is 13, and spark.total is 12.5",
    ),
    (
        "without a value",
        PAGE,
        {"matches": "=(?P<n>.*)?", "equals": (Equal("n", "spark", "rows"),)},
        Answer(200, "=1"),
        "spark.rows has no value",
    ),
    ("no line", Logs(("db",)), {}, Answer(0), ""),
    ("a line", Logs(("db",)), {}, Answer(1, "db-1: ERROR"), "1 line"),
    ("lines", Logs(("db",)), {}, Answer(7, "db-1: ERROR"), "7 lines"),
]


@pytest.mark.parametrize(("ask", "about", "answer", "problem"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_an_answer_is_judged(ask: Ask, about: dict[str, Any], answer: Answer, problem: str) -> None:
    assert judge(Check("it", ask, **about), answer, {"spark": {"total": "12.5"}}).problem == problem


def test_named_groups_are_values() -> None:
    check = Check("it", PAGE, matches="rows=(?P<rows>\\d+)(?: total=(?P<total>\\d+))?")
    assert judge(check, Answer(200, "rows=3"), {}).values == {"rows": "3"}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("12.50", "12.5", True),
        ("1e3", "1000", True),
        ("a", "a", True),
        ("a", "b", False),
        ("1", "one", False),
        ("nan", "nan", True),
        ("nan", "NaN", False),
        ("0.1", "0.10000000000000001", False),
    ],
)
def test_numbers_are_equal_as_numbers(one: str, other: str, equal: bool) -> None:
    assert same(one, other) is equal


def test_a_path_leads_into_lists_and_mappings() -> None:
    body = {"a": [{"b": None}], "1": "one"}
    assert at(body, "a.0.b") == (True, None)
    assert at(body, "1") == (True, "one")
    for nowhere in ("a.1", "a.x", "a.0.b.c", "z"):
        assert at(body, nowhere) == (False, None)


LINES = [
    ("2026-11-22 ERROR: disk full", True),
    ("level=error msg=no", True),
    ('{"level": "fatal", "msg": "no"}', True),
    ("Traceback (most recent call last):", True),
    ("panic: runtime error", True),
    ("java.lang.Exception SEVERE", True),
    ("0 errors, no ERRORS", False),
    ("level=info msg=error-free", False),
    ("GET /error 200", False),
]


@pytest.mark.parametrize(("line", "found"), LINES)
def test_what_looks_like_trouble(line: str, found: bool) -> None:
    assert noise(Logs(("db",)))("db", line) is found


def test_what_is_allowed_is_allowed_to_one_service() -> None:
    found = noise(Logs(("db", "api"), ("ERROR",), (("db", ("disk",)),)))
    assert not found("db", "ERROR: disk full")
    assert found("db", "ERROR: no memory")
    assert found("api", "ERROR: disk full")
