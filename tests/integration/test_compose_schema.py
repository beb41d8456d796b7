# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our list of Compose's keys against the schema that the peer carries: nothing is missing, and nothing is made up."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures.compose_keys import FOLDER, SERVICE, VARIABLES, Row, rows
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer

pytestmark = pytest.mark.integration

KINDS = ("read", "idle", "refused")


def schema() -> dict[str, Any]:
    """Compose embeds its schema in its binary as it is written."""
    content = Path(compose_peer()).read_bytes()
    start = content.rindex(b"{", 0, content.index(b'"compose_spec.json"'))
    found, _end = json.JSONDecoder().raw_decode(content[start : start + 1_000_000].decode("utf-8", "ignore"))
    return dict(found)


def keys(node: Any, path: str, known: dict[str, Any], within: tuple[str, ...] = ()) -> Iterator[str]:
    """The path of every key; `*` stands for a name, `[]` for an entry of a list."""
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name not in within:
            yield from keys(known[name], path, known, (*within, name))
        return
    for key, value in node.get("properties", {}).items():
        deeper = f"{path}.{key}" if path else key
        yield deeper
        yield from keys(value, deeper, known, within)
    for pattern, value in node.get("patternProperties", {}).items():
        if pattern != "^x-":
            yield from keys(value, f"{path}.*", known, within)
    yield from keys(node.get("additionalProperties"), f"{path}.*", known, within)
    yield from keys(node.get("items"), f"{path}[]", known, within)
    for several in ("oneOf", "anyOf", "allOf"):
        for value in node.get(several, ()):
            yield from keys(value, path, known, within)


def test_no_key_of_the_specification_is_missing() -> None:
    whole = schema()
    specified = set(keys(whole, "", whole.get("$defs") or whole["definitions"]))
    assert len(specified) > 300
    ours = {row.key: kind for kind in KINDS for row in rows(kind)}
    refused = [key for key, kind in ours.items() if kind == "refused"]
    missing = [
        key
        for key in sorted(specified)
        if key not in ours
        and not any(known.startswith((f"{key}.", f"{key}[")) for known in ours)
        and not any(key.startswith((f"{known}.", f"{known}[")) for known in refused)
    ]
    assert not missing, f"keys.yaml says nothing of {missing}"


def config(model: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [compose_peer(), "-p", "peer", "--project-directory", str(FOLDER), "-f", "-", "config", "-q"],
        input=json.dumps(model),
        cwd=folder,
        env={**os.environ, **VARIABLES},
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_takes_all_services_with_all_keys(tmp_path: Path) -> None:
    """At once, and one by one where that fails, which tells who it is."""
    found = [row for kind in KINDS for row in rows(kind) if row.key.startswith(SERVICE)]
    whole: dict[str, Any] = {**found[0].model, "services": {}, "models": {"m": {"model": "ai/m"}}}
    for number, row in enumerate(found):
        name = f"s{number}"
        whole["services"].update({**row.model["services"], name: row.model["services"]["api"]})
    del whole["services"]["api"]
    if config(whole, tmp_path).returncode:
        wrong = [f"{row}: {said.stderr}" for row in found if (said := config(row.model, tmp_path)).returncode]
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "row", [row for kind in KINDS for row in rows(kind) if not row.key.startswith(SERVICE)], ids=str
)
def test_compose_takes_a_model_with_the_key(row: Row, tmp_path: Path) -> None:
    said = config(row.model, tmp_path)
    assert said.returncode == 0, said.stderr
