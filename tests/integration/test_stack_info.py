# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack is said to be, against what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import status

from .conftest import Harbour, one_shot, web

pytestmark = pytest.mark.integration


def info(harbour: Harbour) -> dict[str, Any]:
    return status.status(harbour.request({}), {}, "host.example.org")


def health(harbour: Harbour) -> dict[str, str]:
    return {s["name"]: s["health"] for s in info(harbour)["services"]}


def test_a_stack_from_nothing_to_gone(harbour: Harbour) -> None:
    nothing = info(harbour)
    assert (nothing["present"], nothing["healthy"], nothing["release"], nothing["services"]) == (False, False, "", [])
    services = {
        "web": web(deploy={"replicas": 2}, ports=[]),
        "door": web(ports=["127.0.0.1:28741:8000"]),
        "job": one_shot(),
    }
    release = harbour.deployed(services)["rollout"]
    seen = info(harbour)
    assert (seen["present"], seen["healthy"], seen["in_progress"], seen["release"]) == (True, True, False, release)
    assert seen["released_at"].endswith(" UTC")
    assert seen["last_rollout"]["outcome"] == "deployed"
    assert seen["last_rollout"]["who"] == "tester"
    assert {s["name"]: (s["replicas"], s["wanted"], s["health"]) for s in seen["services"]} == {
        "web": (2, 2, "healthy"),
        "door": (1, 1, "healthy"),
        "job": (0, 0, "done"),
    }
    assert seen["urls"] == ["tcp://127.0.0.1:28741"]
    harbour.client.containers.get(f"{harbour.name}-web-1").stop(timeout=0)
    assert health(harbour) == {"web": "degraded", "door": "healthy", "job": "done"}
    harbour.client.containers.get(f"{harbour.name}-door-1").stop(timeout=0)
    assert health(harbour)["door"] == "down"
    assert not info(harbour)["healthy"]
    harbour.deployed(services)
    assert info(harbour)["healthy"], "the next run replaces what is down"
    harbour.remove()
    gone = info(harbour)
    assert (gone["present"], gone["release"], gone["last_rollout"]["outcome"]) == (False, "", "removed")


def test_a_failed_rollout_does_not_change_what_serves(harbour: Harbour) -> None:
    release = harbour.deployed({"web": web()})["rollout"]
    failed = harbour.deploy({"web": web(environment={"CRASH_AFTER": "0"})})["rollout"]
    seen = info(harbour)
    assert (seen["healthy"], seen["release"]) == (True, release)
    assert (seen["last_rollout"]["id"], seen["last_rollout"]["outcome"]) == (failed, "rolled back")


def test_all_stacks_of_a_host(harbours: Callable[..., Harbour]) -> None:
    one, other = harbours(), harbours()
    one.deployed({"web": web()})
    other.deployed({"web": web()})
    assert status.stacks(one.request({})) == sorted([one.name, other.name])
    other.remove()
    assert status.stacks(one.request({})) == [one.name]


def test_whether_what_serves_is_verified(harbour: Harbour) -> None:
    page = {"http": {"service": "web", "port": 8000, "path": "/version"}, "deadline": "0s"}
    about = {"x-quaylock": {"verify": {"page": {**page, "json": {"version": "1"}}}, "verify_failure": "report"}}
    harbour.deployed({"web": web()})
    assert info(harbour)["verification"]["declared"] == 0
    harbour.deployed({"web": web(environment={"VERSION": "1"})}, **about)
    seen = info(harbour)["verification"]
    assert (seen["declared"], seen["outcome"], seen["checks"], seen["failed"]) == (1, "verified", 1, [])
    assert seen["at"].endswith(" UTC")
    harbour.deploy({"web": web(environment={"VERSION": "2"})}, **about)
    seen = info(harbour)["verification"]
    assert (seen["outcome"], seen["failed"]) == ("failed", ["page"])
