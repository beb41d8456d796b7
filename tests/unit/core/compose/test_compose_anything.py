# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever stands in a Compose model, it becomes a stack or findings with paths, never a crash.

The models are those of tests/fixtures/compose with a few places exchanged for what stands elsewhere in them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid, Stack
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_yaml import documents
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[3] / "fixtures" / "compose"
MODELS = [documents(path.read_text())[0] for path in sorted(FIXTURES.glob("*/compose.yaml"))]
ODD = [
    None,
    True,
    0,
    -1,
    10**12,
    0.5,
    float("nan"),
    "",
    " ",
    ":",
    "/",
    "$",
    "'",
    "-",
    "a:b:c:d",
    "ü",
    [],
    {},
    [None],
    {"x": 1},
    [[]],
    {1: 2},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a model."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


PLACES = [(number, path) for number, model in enumerate(MODELS) for path in places(model)]
VALUES = [at(MODELS[number], path) for number, path in PLACES] + ODD
KEYS = sorted({key for _number, path in PLACES for key in path if isinstance(key, str)})


@st.composite
def models(draw: st.DrawFn) -> Any:
    number, _path = draw(st.sampled_from(PLACES))
    model = copy.deepcopy(MODELS[number])
    for _change in range(draw(st.integers(1, 4))):
        *above, last = draw(st.sampled_from([path for path in places(model) if path]))
        place, value = at(model, tuple(above)), copy.deepcopy(draw(st.sampled_from(VALUES)))
        if isinstance(place, dict) and draw(st.booleans()):
            last = draw(st.sampled_from(KEYS))
        place[last] = value
    return model


def provided(model: Any, section: str) -> dict[str, str]:
    keys = model.get(section) if isinstance(model, dict) else None
    return {key: "f" for key in keys if isinstance(key, str)} if isinstance(keys, dict) else {}


@settings(max_examples=300, deadline=None)
@given(models())
def test_anything_is_a_stack_or_findings(model: Any) -> None:
    context = Context(
        "/srv", "/etc/x", provided(model, "secrets"), provided(model, "configs"), entrypoints={"http": 80}
    )
    try:
        made = read("any", model, context)
    except Invalid as refusal:
        said = refusal.findings
    else:
        assert isinstance(made, Stack)
        json.dumps([service.container for service in made.services])
        json.dumps(made.rendered)
        return
    assert said
    assert len(set(said)) == len(said)
    assert all(finding.path and finding.problem for finding in said)
