# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What docs/verify.md shows is what the reader takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read

PAGE = Path(__file__).parents[2] / "docs" / "verify.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
RUNNING = {"image": "x", "healthcheck": {"test": ["CMD", "true"]}}
SECRETS = ("s3_key", "s3_secret", "superset_password")


def model(example: str) -> dict[str, Any]:
    found = yaml.safe_load(example)
    asked = re.findall(r"service: ([a-z-]+)", example)
    allowed = re.findall(r"allowed: \{([a-z-]+):", example)
    services = {name: dict(RUNNING) for name in (*asked, *allowed)} | found.get("services", {})
    secrets = {name: {"file": f"/srv/{name}"} for name in SECRETS}
    return {**found, "services": services, "networks": {"lake": {}}, "secrets": secrets}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken(example: str) -> None:
    found = read("shop", model(example), Context("/srv", "/etc/q", dict.fromkeys(SECRETS, "f")))
    assert len(found.verify.checks) >= 3
