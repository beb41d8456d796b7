# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Recipes as folders: what they are built on, and those that are another one with other arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import build_contexts
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images import image_sources
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError


def recipe(folder: Path, name: str, **said: object) -> None:
    (folder / name).mkdir()
    (folder / name / "recipe.json").write_text(json.dumps(said))


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    recipe(tmp_path, "debian", ref="debian:trixie", base="", needs=["tool"], args={"SUITE": "trixie", "MIRROR": "m"})
    (tmp_path / "debian" / "base.sh").write_text("#!/bin/sh\n")
    recipe(tmp_path, "older", ref="debian:bookworm", like="debian", args={"SUITE": "bookworm"})
    recipe(tmp_path, "java", ref="", base="older", args={})
    (tmp_path / "java" / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")
    return tmp_path


def test_a_variant_has_the_files_of_another_recipe_and_arguments_of_its_own(recipes: Path) -> None:
    packs = build_contexts.recipe_packs(str(recipes), ["debian", "older"])
    debian, older = packs["debian"], packs["older"]
    assert (older.id, older.path, older.script) == (debian.id, str(recipes / "debian"), True)
    assert older.recipe == {
        "ref": "debian:bookworm", "base": "", "needs": ["tool"], "args": {"SUITE": "bookworm", "MIRROR": "m"},
    }  # fmt: skip


def test_a_variant_is_an_image_of_its_own(recipes: Path) -> None:
    packs = {
        f"recipe:{name}": pack for name, pack in build_contexts.recipe_packs(str(recipes), ["java", "debian"]).items()
    }
    read = image_sources.read({"java": {"recipe": "java"}, "debian": {"recipe": "debian"}}, packs)
    assert list(read) == ["older", "java", "debian"]
    names = {image_sources.content_tag(read[key], "") for key in ("older", "debian")}
    assert sorted(name.partition(":")[0] for name in names) == ["quaylock.local/debian", "quaylock.local/older"]


def test_a_variant_of_nothing_is_named(recipes: Path) -> None:
    recipe(recipes, "lost", like="gone")
    with pytest.raises(PortError, match=r"gone: recipe.json"):
        build_contexts.recipe_packs(str(recipes), ["lost"])


def test_every_recipe_of_the_collection_can_be_read() -> None:
    folder = Path(__file__).resolve().parents[3] / "roles" / "images" / "files" / "recipes"
    names = sorted(path.name for path in folder.iterdir())
    packs = build_contexts.recipe_packs(str(folder), list(names))
    assert sorted(packs) == names
    read = image_sources.read({n: {"recipe": n} for n in names}, {f"recipe:{n}": pack for n, pack in packs.items()})
    assert {name for name, wanted in read.items() if not wanted.base} == {"debian", "debian-bookworm"}
