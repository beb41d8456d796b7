# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.plugin_utils.interpolation import substitute
from hypothesis import given
from hypothesis import strategies as st

VARIABLES = {"A": "a", "B": "b", "EMPTY": "", "NUMBER": 8080, "FLAG": True, "NONE": None}

CASES = [
    ("", ""),
    ("plain", "plain"),
    ("$A", "a"),
    ("${A}", "a"),
    ("x${A}y$B-z", "xayb-z"),
    ("$A$B", "ab"),
    ("$$A", "$A"),
    ("$$$A", "$a"),
    ("${NUMBER}/${FLAG}", "8080/true"),
    ("${X:-d}${EMPTY:-d}${A:-d}", "dda"),
    ("[${X-d}][${EMPTY-d}]", "[d][]"),
    ("${NONE:-d}", "d"),
    ("${A:+x}[${EMPTY:+x}][${X:+x}]", "x[][]"),
    ("${EMPTY+x}[${X+x}]", "x[]"),
    ("${A:?why}${EMPTY?why}", "a"),
    ("${X:-${Y:-${B}}}", "b"),
    ("${X:-${A}/${B}}", "a/b"),
    ("${X:-}", ""),
    ("${X:-a:b-c?d}", "a:b-c?d"),
    ("${X:-$$5}", "$5"),
    ("${A:+${B}}", "b"),
    ("}{", "}{"),
    ("cost: 5$", "cost: 5$"),
    ("$1 and $ 5, $A$!$", "$1 and $ 5, a$!$"),
    ("$$$", "$$"),
    ("[${X:-{}}]", "[{}]"),
    ("[${A:-{}}]", "[a]"),
    ('${X:-{"a": {"b": "${B}"}}}', '{"a": {"b": "b"}}'),
    ('${A:-{"a": {"b": 1}}}!', "a!"),
    ("${X:-a}b}", "ab}"),
    ("über ${A}", "über a"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_variables_are_put_in(text: str, expected: str) -> None:
    refused: list[str] = []
    assert substitute(text, VARIABLES, lambda problem, fix: refused.append(problem)) == expected
    assert not refused


REFUSED = [
    ("$X", ["variable X is not set"]),
    ("${X} and ${Y}", ["variable X is not set", "variable Y is not set"]),
    ("${X:?set it}", ["variable X is required: set it"]),
    ("${EMPTY:?no ${B}}", ["variable EMPTY is required: no b"]),
    ("${X?}", ["variable X is required: it has no value"]),
    ("${X:-${Y}}", ["variable Y is not set"]),
    ("${A:-${Y}}", []),
    ("${NONE}", ["variable NONE is not set"]),
    ("${}", ["'${}' is not a variable"]),
    ("${A", ["never closed"]),
    ("${A:-${B}", ["never closed"]),
    ("${A!} ${1} $X", ["'${A!}' is not a variable", "'${1}' is not a variable", "variable X is not set"]),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_what_has_no_value_is_refused(text: str, expected: list[str]) -> None:
    refused: list[str] = []
    substitute(text, VARIABLES, lambda problem, fix: refused.append(problem))
    assert len(refused) == len(expected)
    assert all(words in problem for words, problem in zip(expected, refused, strict=True))


@given(st.text(alphabet="$${}A:-?+x \n"))
def test_no_text_is_a_crash(text: str) -> None:
    substitute(text, VARIABLES, lambda problem, fix: None)


@given(st.text())
def test_doubled_dollars_come_out_single(text: str) -> None:
    assert substitute(text.replace("$", "$$"), {}, lambda problem, fix: pytest.fail(problem)) == text
