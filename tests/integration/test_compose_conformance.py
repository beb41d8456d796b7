# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our reading of Compose files against Compose's own.

`docker-compose config` writes what it understood in the long syntax (as JSON it leaves the x- keys out, so as YAML).
Read by us, that has to give the same stack as the files themselves: the same containers, networks and volumes. And
Compose has to accept what we render.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_files import load
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_yaml import documents
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[1] / "fixtures" / "compose"
VARIABLES = {
    "TAG": "1.37",
    "REPLICAS": "2",
    "READ_ONLY": "true",
    "PORT": "8080-8081",
    "FROM_OUTSIDE": "given",
    "INHERITED": "given",
    "GIVEN": "outer",
    "PASSED": "through",
    "APP_TOKEN": "t0k3n",
    "PLACE": "the quay",
}
CASES = [
    # folder          files                                                          profiles
    ("web", ["compose.yaml"], []),
    ("profiles", ["compose.yaml"], []),
    ("profiles", ["compose.yaml"], ["local-db"]),
    ("profiles", ["compose.yaml"], ["cache", "local-db"]),
    ("interpolation", ["compose.yaml"], []),
    ("override", ["compose.yaml"], []),
    ("override", ["compose.yaml", "compose.prod.yaml"], []),
    ("override", ["compose.yaml", "compose.reset.yaml"], []),
    ("extends", ["compose.yaml"], []),
    ("env_files", ["compose.yaml"], []),
    ("ports", ["compose.yaml"], []),
    ("volumes", ["compose.yaml"], []),
    ("networks", ["compose.yaml"], []),
    ("resources", ["compose.yaml"], []),
    ("health", ["compose.yaml"], []),
    ("anchors", ["compose.yaml"], []),
    ("files", ["compose.yaml"], []),
    ("one_shots", ["compose.yaml"], []),
]


@pytest.fixture(scope="module")
def compose() -> str:
    return compose_peer()


def asked(compose: str, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [compose, *words], cwd=folder, env={**os.environ, **VARIABLES}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ours(name: str, sources: list[Any], folder: Path, profiles: list[str]) -> Stack:
    loaded = load(sources, VARIABLES, profiles, str(folder))
    secrets, configs = (dict.fromkeys(loaded.definition.get(kind) or {}, "f") for kind in ("secrets", "configs"))
    context = Context(str(folder), "/etc/quaylock/stacks/x", secrets, configs, profiles=tuple(profiles))
    return read(name, loaded.definition, context)


@pytest.mark.parametrize(
    ("name", "files", "profiles"), CASES, ids=lambda value: "+".join(value) if isinstance(value, list) else value
)
def test_compose_understands_the_files_as_we_do(compose: str, name: str, files: list[str], profiles: list[str]) -> None:
    folder = FIXTURES / name
    switches = [word for profile in profiles for word in ("--profile", profile)]
    names = [word for file in files for word in ("-f", file)]
    [theirs] = documents(asked(compose, folder, "-p", "peer", *switches, *names, "config"))
    from_files = ours("peer", [str(folder / file) for file in files], folder, profiles)
    from_theirs = ours("peer", [theirs], folder, profiles)
    assert sorted(service.name for service in from_files.services) == sorted(theirs["services"])
    for service in from_files.services:
        other = from_theirs.service(service.name)
        for item in dataclasses.fields(service):
            assert ordered(getattr(service, item.name)) == ordered(getattr(other, item.name)), (
                f"{service.name}.{item.name}"
            )
    assert {n.key: n for n in from_files.networks} == {n.key: n for n in from_theirs.networks}
    assert {v.key: v for v in from_files.volumes} == {v.key: v for v in from_theirs.volumes}
    assert {f.key: f for f in from_files.files} == {f.key: f for f in from_theirs.files}


@pytest.mark.parametrize(
    ("name", "files", "profiles"), CASES, ids=lambda value: "+".join(value) if isinstance(value, list) else value
)
def test_compose_accepts_what_lands_on_the_host(
    compose: str, tmp_path: Path, name: str, files: list[str], profiles: list[str]
) -> None:
    folder = FIXTURES / name
    stack = ours("peer", [str(folder / file) for file in files], folder, profiles)
    (tmp_path / "compose.yaml").write_text(json.dumps(stack.rendered))
    asked(compose, tmp_path, "-f", "compose.yaml", "config", "-q")
    [again] = documents(asked(compose, tmp_path, "-f", "compose.yaml", "config"))
    once_more = ours("peer", [again], folder, [])
    assert {s.name: (s.spec, s.gate, s.routes) for s in once_more.services} == {
        s.name: (s.spec, s.gate, s.routes) for s in stack.services
    }


def ordered(value: Any) -> Any:
    """Lists of mounts, binds and dependencies mean the same in any order, and Compose sorts them its own way."""
    if isinstance(value, dict):
        return {
            key: sorted(entry, key=repr) if key in ("Mounts", "Binds", "Dns", "CapAdd", "CapDrop") else ordered(entry)
            for key, entry in value.items()
        }
    if isinstance(value, tuple):
        return sorted(map(ordered, value), key=repr)
    return value
