# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""dev, staging and prod are the same in everything but values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2] / "inventories"
ENVIRONMENTS = ("dev", "staging", "prod")


def keys(tree: Any, path: str = "") -> set[str]:
    """Paths of all keys of mappings; what is inside lists is a host's own business."""
    if not isinstance(tree, dict):
        return set()
    return {here for k, v in tree.items() for here in ({f"{path}{k}"} | keys(v, f"{path}{k}."))}


def read(environment: str, path: Path) -> Any:
    return yaml.safe_load((ROOT / environment / path).read_text()) or {}


def variables(environment: str) -> dict[str, Any]:
    folder = ROOT / environment / "group_vars"
    return {k: v for path in sorted(folder.rglob("*.yml")) for k, v in read(environment, path).items()}


def test_the_same_files_are_everywhere():
    files = {e: {str(p.relative_to(ROOT / e)) for p in (ROOT / e).rglob("*.yml")} for e in ENVIRONMENTS}
    assert files["dev"] == files["staging"] == files["prod"]


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(ROOT / "prod") for p in (ROOT / "prod" / "group_vars").rglob("*.yml"))
)
def test_the_same_keys_are_everywhere(path):
    # which entrypoints and certificates a host has differs; that it says so does not
    names = ("ingress_entrypoints.", "vault_ingress_certificates.")
    found = {e: {k for k in keys(read(e, path)) if not k.startswith(names)} for e in ENVIRONMENTS}
    assert found["dev"] == found["staging"] == found["prod"]


def test_the_same_groups_are_everywhere():
    groups = {e: set(read(e, Path("hosts.yml"))["all"]["children"]) for e in ENVIRONMENTS}
    assert groups["dev"] == groups["staging"] == groups["prod"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_profile_has_forty_settings(environment):
    profile = [name for name in variables(environment) if name.startswith("profile_")]
    assert len(profile) >= 40


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_placeholders_are_in_the_vault_alone(environment):
    for path in (ROOT / environment).rglob("*.yml"):
        values = [line for line in path.read_text().splitlines() if "CHANGE_THIS" in line.partition("#")[0]]
        assert not values or path.name == "vault.yml", path
    assert ("CHANGE_THIS" in str(read(environment, Path("group_vars/all/vault.yml")))) is (environment != "dev")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_secret_has_a_variable_in_the_vault(environment):
    vault = set(read(environment, Path("group_vars/all/vault.yml")))
    assert vault
    assert all(name.startswith("vault_") for name in vault)


# What the platforms' documents ask of the three environments.
TABLE = [
    # setting                        dev       staging           prod
    ("resource_factor", 0.5, 0.75, 1),
    ("restart", "no", "unless-stopped", "unless-stopped"),
    ("health_interval", "15s", "30s", "30s"),
    ("health_timeout", "5s", "10s", "10s"),
    ("health_retries", 3, 5, 5),
    ("health_start_period", "20s", "60s", "90s"),
    ("log_max_size", "5m", "10m", "20m"),
    ("log_max_file", 2, 5, 10),
    ("tls", "off", "available", "enforced"),
    ("secure_cookies", False, True, True),
    ("csrf", False, True, True),
    ("publish_databases", True, False, False),
    ("monitoring", False, True, True),
    ("alerting", False, False, True),
    ("backup_mode", "manual", "scheduled", "scheduled"),
    ("backup_retention", "", "7d", "30d"),
    ("policy_placeholders", "warn", "refuse", "refuse"),
    ("policy_repeated_secrets", "warn", "refuse", "refuse"),
    ("debug_logging", True, False, False),
    ("live_reload", True, False, False),
    ("spark_workers", 1, 2, 2),
]


@pytest.mark.parametrize(("setting", "dev", "staging", "prod"), TABLE, ids=[row[0] for row in TABLE])
def test_profiles_are_what_the_platforms_ask_for(setting, dev, staging, prod):
    seen = {e: variables(e)[f"profile_{setting}"] for e in ENVIRONMENTS}
    assert seen == {"dev": dev, "staging": staging, "prod": prod}
