# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of bad days names tests that are there, and every file of bad days is on it and run by `make bad-days`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/bad-days.md").read_text()
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)


def names_in(file: str) -> set[str]:
    [path] = (ROOT / "tests").rglob(file)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)), ids=lambda word: word)
def test_every_test_that_is_named_is_there(file: str, test: str) -> None:
    assert test in names_in(file)


def test_every_bad_day_has_a_test() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| **", "| ---", "| bad"))
    ]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`test_\w+\.py::test_\w+` \|$", row)] == []


def test_the_files_of_bad_days_are_run_by_that_name() -> None:
    runner = (ROOT / "scripts/run_tests.py").read_text()
    listed = re.search(r"^BAD_DAYS = \[(.*?)^\]", runner, re.M | re.S)
    assert listed
    run = {f"test_{name}.py" for name in re.findall(r'"(\w+)"', listed[1])}
    integration = {file for file, _test in NAMED if (ROOT / "tests/integration" / file).exists()}
    assert integration - {"test_restic_trees.py"} <= run
