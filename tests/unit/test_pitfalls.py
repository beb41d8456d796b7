# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The list of pitfalls is complete, and its tests exist and run."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

TESTS = Path(__file__).parents[1]
PITFALLS: dict[str, list[str]] = yaml.safe_load((TESTS / "pitfalls.yaml").read_text())


def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((TESTS / "integration" / file).read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_pitfall_has_tests_that_exist_and_are_not_skipped() -> None:
    wrong = []
    for pitfall, named in PITFALLS.items():
        wrong += [] if named else [f"{pitfall}: no test"]
        for entry in named:
            file, _sign, name = entry.partition("::")
            found = functions(file).get(name)
            if found is None:
                wrong.append(f"{pitfall}: {entry} does not exist")
            elif any("skip" in ast.unparse(mark) for mark in found.decorator_list):
                wrong.append(f"{pitfall}: {entry} may be skipped")
    assert wrong == []


def test_every_test_of_a_pitfall_is_listed() -> None:
    listed = {entry for named in PITFALLS.values() for entry in named}
    own = {f"test_pitfalls.py::{name}" for name in functions("test_pitfalls.py") if name.startswith("test_")}
    assert own <= listed
