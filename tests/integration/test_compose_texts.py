# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Made-up templates and env files: where we take one, its values are those that Compose finds in it."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.plugin_utils import env_files
from ansible_collections.quaylock.stacks.plugins.plugin_utils.interpolation import substitute
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer

pytestmark = pytest.mark.integration

VARIABLES = {"A": "a", "B": "b c", "EMPTY": "", "N": "8", "D": "$x"}
WORDS = ["x", "-", ":", "?", "+", "/", " ", "$$", "$", "$1", "$A", "${B}", "y", "{", "}", '"', "'", "\\", "="]
PIECES = [
    "x",
    "y z",
    " ",
    "#",
    " # c",
    "\\n",
    "\\",
    '\\"',
    "\\'",
    "$A",
    "${B}",
    "${NO:-d}",
    "$$",
    "\\$",
    "$1",
    "=",
    ":",
]
PIECES += ["\t", "é", "\\t", "\\\\", "{}", "K0", "$K0", "\\0101"]


def variable(pick: random.Random, depth: int) -> str:
    name, shape = pick.choice(["A", "B", "EMPTY", "N", "D", "X"]), pick.random()
    if shape < 0.35:
        return f"${name}" if shape < 0.2 else f"${{{name}}}"
    return f"${{{name}{pick.choice([':-', '-', ':+', '+', ':?', '?'])}{word(pick, depth)}}}"


def word(pick: random.Random, depth: int) -> str:
    nested = [variable(pick, depth - 1) for _more in range(3)] if depth else []
    return "".join(pick.choice(WORDS + nested) for _piece in range(pick.randint(0, 4)))


def line(pick: random.Random, key: str) -> str:
    if pick.random() < 0.15:
        return pick.choice(["", "# comment", "   ", "  # c # d", "A", "NOT_THERE", "export N"])
    quote = pick.choice(["", "", '"', "'"])
    inner = "".join(pick.choice([*PIECES, "\n" if quote else "x"]) for _piece in range(pick.randint(0, 5)))
    end = pick.choice(["", " ", "  # tail"])
    return f"{pick.choice(['', '  ', 'export '])}{key}{pick.choice(['=', ' = ', '= ', ': ', ':'])}{quote}{inner}{quote}{end}"


def said(folder: Path, services: dict[str, Any]) -> dict[str, dict[str, str]] | str:
    """The environment of each service, or what Compose has against them."""
    (folder / "compose.json").write_text(json.dumps({"services": services}))
    done = subprocess.run(
        [compose_peer(), "-f", "compose.json", "config", "--format", "json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **VARIABLES},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.stderr
    found = json.loads(done.stdout)["services"]
    return {
        name: {key: value.replace("$$", "$") for key, value in (service.get("environment") or {}).items()}
        for name, service in found.items()
    }


def test_variables_are_put_in_alike(tmp_path: Path) -> None:
    pick, taken = random.Random(20261121), {}
    for number in range(600):
        text = "".join(pick.choice([variable(pick, 2), word(pick, 1)]) for _part in range(pick.randint(1, 3)))
        refused: list[str] = []
        value = substitute(text, VARIABLES, lambda problem, _fix, to=refused: to.append(problem))  # type: ignore[misc]
        if not refused:
            taken[f"K{number}"] = (text, value)
    assert len(taken) > 200
    odd = 0
    while isinstance(answer := said(tmp_path, model(taken)), str):
        # Compose stumbles over a brace after a plain $NAME
        name = re.search(r"environment\.(K\d+)", answer)
        assert name, answer
        del taken[name[1]]
        odd += 1
    assert odd < 10
    assert {key: (text, answer["a"][key]) for key, (text, _value) in taken.items()} == taken


def model(taken: dict[str, tuple[str, str]]) -> dict[str, Any]:
    return {"a": {"image": "a", "environment": {key: text for key, (text, _value) in taken.items()}}}


def test_env_files_are_read_alike(tmp_path: Path) -> None:
    pick, taken = random.Random(20261121), {}
    for number in range(300):
        lines = [line(pick, f"K{index}") for index in range(pick.randint(1, 4))]
        text = pick.choice(["\n", "\n", "\r\n"]).join([*lines, ""])
        refused: list[str] = []
        values = env_files.pairs(text, VARIABLES, lambda problem, _fix, to=refused: to.append(problem))  # type: ignore[misc]
        if not refused:
            taken[f"s{number}"] = (text, values)
            (tmp_path / f"s{number}.env").write_bytes(text.encode())
    assert len(taken) > 150
    answer = said(tmp_path, {name: {"image": "a", "env_file": f"{name}.env"} for name in taken})
    assert isinstance(answer, dict), answer
    assert {name: (text, answer[name]) for name, (text, _values) in taken.items()} == taken
