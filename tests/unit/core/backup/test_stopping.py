# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which order a stack stops."""

from __future__ import annotations

import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.stopping import GRACE, stopping
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.scope import Context
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Observed

MODEL = """
services:
  db: {image: db, healthcheck: {test: [CMD, check]}, stop_grace_period: 2m}
  cache: {image: cache, healthcheck: {test: [CMD, check]}, stop_grace_period: 5s}
  api: {image: api, healthcheck: {test: [CMD, check]}, depends_on: [db, cache]}
  web: {image: web, healthcheck: {test: [CMD, check]}, depends_on: [api]}
"""
STACK = read("shop", yaml.safe_load(MODEL), Context("/srv/shop", "/etc/quaylock/stacks/shop"))


def seen(name: str, service: str, running: bool = True) -> Observed:
    return Observed(name, f"id of {name}", service, 1, "sha256:1", running=running)


def test_who_needs_others_goes_before_them_and_has_its_own_time() -> None:
    there = [
        seen("shop-db-1", "db"),
        seen("shop-old-1", "old"),
        seen("shop-api-1", "api"),
        seen("shop-api-2", "api"),
        seen("shop-web-1", "web", running=False),
        seen("shop-cache-1", "cache"),
    ]
    assert stopping(STACK, there) == [
        [("shop-old-1", GRACE)],
        [("shop-api-1", 10.0), ("shop-api-2", 10.0)],
        [("shop-db-1", 120.0), ("shop-cache-1", 5.0)],
    ]


def test_a_stack_that_nobody_knows_stops_as_well() -> None:
    assert stopping(None, [seen("shop-db-1", "db"), seen("shop-api-1", "api", running=False)]) == [
        [("shop-db-1", GRACE)]
    ]
