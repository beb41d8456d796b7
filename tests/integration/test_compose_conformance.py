# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our reading of Compose files against Compose's own, key by key, and as whole stacks.

What Compose's `config --format json` says of each key is held against what we would tell the engine; what differs is
listed with its reason in tests/fixtures/compose/differences.yaml. JSON leaves the x- keys of services out, so `config`
is asked once more as YAML: read by us, that has to give the same stack as the files themselves, gates and routes
included. And Compose has to accept what we render.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_files import load
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_yaml import documents
from ansible_collections.quaylock.stacks.tests.fixtures import compose_view
from ansible_collections.quaylock.stacks.tests.fixtures.compose_corpus import (
    VARIABLES,
    Case,
    cases,
    differences,
    stack_of,
)
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def compose() -> str:
    return compose_peer()


def asked(compose: str, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [compose, *words], cwd=folder, env={**os.environ, **VARIABLES}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("case", cases(), ids=str)
def test_each_key_says_what_it_says_to_compose(compose: str, case: Case) -> None:
    said = json.loads(asked(compose, case.folder, *case.words, "config", "--format", "json"))
    loaded = case.loaded()
    ours = compose_view.ours(stack_of(loaded.definition, case.folder, case.profiles), loaded)
    theirs = compose_view.theirs(said, VARIABLES)
    found = {
        f"{case} {key}": f"Quaylock {ours.get(key)!r}, Compose {theirs.get(key)!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    }
    listed = {place for entry in differences() for place in entry["at"] if place.split()[0] == case.name}
    new = [f"{place}: {what}" for place, what in found.items() if place not in listed]
    assert not new, "differences that nobody justified:\n" + "\n".join(new)
    assert not listed - found.keys(), "no longer differences, to be taken out of differences.yaml"


def test_differences_are_of_cases_that_there_are() -> None:
    places = [place for entry in differences() for place in entry["at"]]
    assert len(places) == len(set(places))
    assert {place.split()[0] for place in places} <= {case.name for case in cases()}
    assert all(entry["key"] and entry["why"] for entry in differences())


@pytest.mark.parametrize("case", [case for case in cases() if case.whole], ids=str)
def test_compose_understands_the_files_as_we_do(compose: str, case: Case) -> None:
    [said] = documents(asked(compose, case.folder, *case.words, "config"))
    from_files = stack_of(case.loaded().definition, case.folder, case.profiles)
    again = load([said], VARIABLES, case.profiles, str(case.folder)).definition
    from_theirs = stack_of(again, case.folder, case.profiles)
    assert sorted(service.name for service in from_files.services) == sorted(said["services"])
    for service in from_files.services:
        other = from_theirs.service(service.name)
        for item in dataclasses.fields(service):
            assert ordered(getattr(service, item.name)) == ordered(getattr(other, item.name)), (
                f"{service.name}.{item.name}"
            )
    assert {n.key: n for n in from_files.networks} == {n.key: n for n in from_theirs.networks}
    assert {v.key: v for v in from_files.volumes} == {v.key: v for v in from_theirs.volumes}
    assert {f.key: f for f in from_files.files} == {f.key: f for f in from_theirs.files}


@pytest.mark.parametrize("case", [case for case in cases() if case.whole], ids=str)
def test_compose_accepts_what_lands_on_the_host(compose: str, tmp_path: Path, case: Case) -> None:
    stack = stack_of(case.loaded().definition, case.folder, case.profiles)
    (tmp_path / "compose.yaml").write_text(json.dumps(stack.rendered))
    [again] = documents(asked(compose, tmp_path, "-f", "compose.yaml", "config"))
    # the proxy's network is added by the rollout, and not a stack's to name
    again["networks"].pop("quaylock_ingress", None)
    for service in again["services"].values():
        service.get("networks", {}).pop("quaylock_ingress", None)
    once_more = stack_of(load([again], VARIABLES, folder=str(case.folder)).definition, case.folder)
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
