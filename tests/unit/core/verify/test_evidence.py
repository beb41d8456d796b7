# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is kept of a verification: short, readable, and without the contents of secrets."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.checks import Check, Exec, VerifyPlan
from ansible_collections.quaylock.stacks.plugins.module_utils.core.verify import evidence
from ansible_collections.quaylock.stacks.plugins.module_utils.core.verify.verifying import Result, Verification

WORD = 'pa/ss "wörd"+1'
WAYS = [WORD, quote(WORD, safe=""), quote_plus(WORD), json.dumps(WORD), base64.b64encode(WORD.encode()).decode()]


@pytest.mark.parametrize("written", WAYS)
def test_a_secret_is_black_however_it_is_written(written: str) -> None:
    redacted = evidence.redacting([f"{WORD}\n".encode()])
    told = redacted(f"before {written} after")
    assert told.replace('"', "") == "before ******** after"


def test_each_line_of_a_long_secret_is_black_and_short_ones_are_not() -> None:
    redacted = evidence.redacting([b"first-line\nsecond-line", b"ab", b""])
    assert redacted("second-line first-line ab") == "******** ******** ab"


def test_the_longer_of_two_secrets_leaves_nothing_over() -> None:
    assert evidence.redacting([b"word", b"wordword1"])("wordword1") == "********"


def test_an_output_is_shortened_in_its_middle() -> None:
    text = "a" * 1000 + "b" * 5000 + "c" * 1000
    short = evidence.shortened(text)
    assert short.startswith("a" * 500)
    assert short.endswith("b" * 500 + "c" * 1000)
    assert "5000 characters" in short


def verification() -> dict[str, object]:
    checks = tuple(Check(name, Exec("db", ("ask", "pass-word"))) for name in ("good", "bad", "waits"))
    results = {
        "good": Result(checks[0], "passed", "", "fine", {}, 0.11, 1),
        "bad": Result(checks[1], "failed", "exit code 1", "one\npass-word\x1b[31m", {"v": "pass-word"}, 4.04, 3),
        "waits": Result(checks[2], "not asked", "bad did not pass"),
    }
    state = Verification(VerifyPlan(checks), results=results)
    return evidence.record("v-1", "r-1", state, evidence.redacting([b"pass-word"]), 100.0, 104.5)


def test_a_record_tells_all_and_no_secret() -> None:
    found = verification()
    assert (found["outcome"], found["failed_checks"], found["seconds"]) == ("failed", ["bad", "waits"], 4.5)
    assert "pass-word" not in json.dumps(found)
    assert "\x1b" not in json.dumps(found["checks"], ensure_ascii=False)
    assert found["checks"][1] == {  # type: ignore[index]
        "name": "bad",
        "kind": "exec",
        "outcome": "failed",
        "asked": "in db: ask ********",
        "said": "exit code 1",
        "output": "one\n******** [31m",
        "values": {"v": "********"},
        "seconds": 4.0,
        "tries": 3,
    }
    assert evidence.summary(found) == "NOT verified: 2 of 3 checks failed"


def test_a_failure_is_a_hand_held_out() -> None:
    text = evidence.failure_text("shop", verification(), "was rolled back", "r-0 serves", "deploy again\nor not")
    assert text.splitlines() == [
        "shop: release r-1 was rolled back: 2 of 3 checks of its verification did not pass",
        "  check   bad: in db: ask ******** -> exit code 1 (4.0 s, 3 tries)",
        "            one",
        "            ******** [31m",
        "  check   waits: not asked: bad did not pass",
        "  now     r-0 serves",
        "  next    deploy again",
        "          or not",
    ]
