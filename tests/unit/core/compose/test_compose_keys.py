# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Each key of the Compose Specification: it is read, or does nothing for a reason, or is refused with a fix.

That no key is missing from the list is for tests/integration/test_compose_schema.py, which asks the peer's own schema.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.tests.fixtures.compose_keys import Row, made, rows

ROOT = Path(__file__).resolve().parents[4]


def without(model: Any, steps: list[str]) -> Any:
    """The model without what the steps lead to; `*` and `[]` are the first entry."""
    changed = copy.deepcopy(model)
    at = changed
    for step in steps[:-1]:
        at = at[0] if step == "[]" else at[key_of(at, step)]
    if steps[-1] == "[]":
        del at[0]
    else:
        del at[key_of(at, steps[-1])]
    return changed


def key_of(mapping: Any, step: str) -> str:
    return next(iter(mapping)) if step == "*" else step


def base_of(row: Row) -> object:
    """What comes out where the key is not there; some model is nothing without it."""
    try:
        return made(without(row.model, row.steps))
    except Invalid:
        return None


@pytest.mark.parametrize("row", rows("read"), ids=str)
def test_a_key_that_is_read_changes_the_stack(row: Row) -> None:
    assert made(row.model) != base_of(row)


@pytest.mark.parametrize("row", rows("idle"), ids=str)
def test_a_key_without_effect_says_why(row: Row) -> None:
    assert made(row.model) == base_of(row)
    assert row.note


@pytest.mark.parametrize("row", rows("refused"), ids=str)
def test_a_key_that_is_refused_comes_with_a_way_out(row: Row) -> None:
    findings = row.refusals()
    assert findings
    assert all(finding.problem and finding.fix for finding in findings)


def test_the_page_for_users_says_what_is_so() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "compose_page.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_key_is_listed_twice() -> None:
    known = [row.key for kind in ("read", "idle", "refused") for row in rows(kind)]
    assert len(known) == len(set(known))
    assert all(re.fullmatch(r"[a-z0-9_.*\[\]]+", key) for key in known)
