# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is rendered is read back the same by a real YAML library."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.yaml_text import dump
from hypothesis import given, settings
from hypothesis import strategies as st

CASES = [
    # name                      value                                             text
    ("plain words",             {"image": "nginx"},                               "image: nginx\n"),
    ("paths stay plain",        {"a": "x/y.z-1"},                                 "a: x/y.z-1\n"),
    ("a colon is quoted",       {"image": "nginx:1.27"},                          'image: "nginx:1.27"\n'),
    ("numbers as text",         {"port": "80"},                                   'port: "80"\n'),
    ("numbers",                 {"replicas": 2, "cpus": 0.5},                     "replicas: 2\ncpus: 0.5\n"),
    ("words that are booleans", {"a": "yes", "b": "Off", "c": "null", "d": "n"},  'a: "yes"\nb: "Off"\nc: "null"\nd: "n"\n'),
    ("booleans and nothing",    {"a": True, "b": False, "c": None},               "a: true\nb: false\nc: null\n"),
    ("empty text",              {"a": ""},                                        'a: ""\n'),
    ("empty things",            {"a": {}, "b": []},                               "a: {}\nb: []\n"),
    ("nested",                  {"a": {"b": {"c": "d"}}},                         "a:\n  b:\n    c: d\n"),
    ("a list of text",          {"a": ["x", "y z"]},                              'a:\n  - x\n  - "y z"\n'),
    ("a list of mappings",      {"a": [{"b": 1, "c": [2]}]},                      "a:\n  - b: 1\n    c:\n      - 2\n"),
    ("a list of lists",         {"a": [["x", "y"], [["z"]]]},                     None),
    ("lines",                   {"a": "one\ntwo\n"},                              'a: "one\\ntwo\\n"\n'),
    ("keys that need quotes",   {"on": 1, "a b": 2, "8": 3, "": 4},               '"on": 1\n"a b": 2\n"8": 3\n"": 4\n'),
    ("sexagesimal ports",       {"ports": ["22:22"]},                             'ports:\n  - "22:22"\n'),
    ("dates and floats",        {"a": "2026-11-21", "b": "1e3", "c": ".5"},       None),
    ("infinite words",          {"a": ".inf", "b": "~", "c": "-", "d": "..."},    None),
    ("beyond ASCII",            {"a": "Überseehafen ⚓"},                          'a: "Überseehafen ⚓"\n'),
    ("a merge key",             {"a": {"<<": "x"}},                               None),
    ("a line separator",        {"a": "x\u2028y\u0085z\ufeff"},                   None),
    ("a delete character",      {"a": "x\x7fy"},                                  None),
    ("beyond the first plane",  {"a": "\U0001f6a2"},                              None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_it_reads_back_the_same(value: dict[str, Any], text: str | None) -> None:
    written = dump(value)
    if text is not None:
        assert written == text
    assert yaml.safe_load(written) == value


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.sampled_from(["yes", "1.5", "0o7", "=", "&a"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_anything_reads_back_the_same(value: dict[str, Any]) -> None:
    assert (yaml.safe_load(dump(value)) or {}) == value
