# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A role's specs, defaults and README say the same."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
OWN = re.compile(r"[a-z0-9_]+")

_module = importlib.util.spec_from_file_location("readme_tables", ROOT / "scripts" / "readme_tables.py")
assert _module is not None
assert _module.loader is not None
readme_tables = importlib.util.module_from_spec(_module)
_module.loader.exec_module(readme_tables)


def read(role: str, path: str) -> Any:
    return yaml.safe_load((ROOT / "roles" / role / path).read_text()) or {}


def options(role: str) -> dict[str, Any]:
    """Every variable that some entry point of the role takes."""
    found: dict[str, Any] = {}
    for spec in read(role, "meta/argument_specs.yml")["argument_specs"].values():
        found |= spec.get("options") or {}
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_specified_and_the_other_way_round(role):
    specified = {name for name, option in options(role).items() if "default" in option}
    assert set(read(role, "defaults/main.yml")) == specified


@pytest.mark.parametrize("role", ROLES)
def test_specs_name_the_defaults_that_the_role_has(role):
    """A default that is worked out may be told in words."""
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    plain = {name: value for name, value in read(role, "defaults/main.yml").items() if "{{" not in str(value)}
    assert {name: value for name, value in plain.items() if specified.get(name) != value} == {}


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_role_s_name(role):
    assert [name for name in options(role) if not name.startswith(f"{role}_") or not OWN.fullmatch(name)] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_has_the_table_of_the_specs(role):
    readme = (ROOT / "roles" / role / "README.md").read_text()
    assert readme_tables.updated(readme, read(role, "meta/argument_specs.yml")["argument_specs"]) == readme


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_scenario_that_testinfra_verifies(role):
    assert (ROOT / "molecule" / role / "molecule.yml").is_file()
    assert list((ROOT / "molecule" / role / "tests").glob("test_*.py"))


@pytest.mark.parametrize("role", ROLES)
def test_only_the_docker_role_speaks_of_restarts(role):
    """A restart handler in a shared role loses or repeats restarts: the rollout compares instead."""
    assert not (ROOT / "roles" / role / "handlers").exists()
