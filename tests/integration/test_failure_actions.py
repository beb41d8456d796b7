# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""failure_action pause and continue, and max_failure_ratio, on a real engine: what serves, and what the next run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Harbour, web
from .test_rollout_killed import killed_at

pytestmark = pytest.mark.integration


def release(version: str, action: str = "rollback", **bad: str) -> dict[str, Any]:
    """db, then api, then page; `bad` is the environment of the api."""
    update = {"failure_action": action}

    def one(**about: Any) -> dict[str, Any]:
        environment = {"VERSION": version, **about.pop("environment", {})}
        return web(update=update, environment=environment, **about)

    return {
        "db": one(),
        "api": one(
            environment=bad,
            depends_on={"db": {"condition": "service_healthy"}},
            gate={"deadline": "5s"} if bad else {},
            healthcheck=QUICK,
        ),
        "page": one(depends_on={"api": {"condition": "service_healthy"}}),
    }


def versions(harbour: Harbour) -> dict[str, str]:
    """What each service runs now, by its environment."""
    found = {}
    for body in harbour.containers().values():
        assert body["State"]["Running"], body["Name"]
        service = body["Config"]["Labels"]["com.docker.compose.service"]
        found[service] = next(e for e in body["Config"]["Env"] if e.startswith("VERSION=")).removeprefix("VERSION=")
    return found


QUICK = {"test": ["CMD", "/web", "check"], "interval": "30s", "timeout": "2s", "retries": 3}
NEVER = {"READY_AFTER": "600"}


def test_a_pause_leaves_the_rest_as_it_was_and_the_next_run_goes_on(harbour: Harbour) -> None:
    harbour.deployed(release("v1"))
    before = harbour.identities("api") | harbour.identities("page")
    answer = harbour.deploy(release("v2", "pause", **NEVER))
    assert (answer["outcome"], answer["failed"], answer["changed"]) == ("paused", True, True)
    assert "is paused" in answer["msg"]
    assert "as before: api, page; all others are new" in answer["msg"]
    assert versions(harbour) == {"db": "v2", "api": "v1", "page": "v1"}
    assert harbour.identities("api") | harbour.identities("page") == before
    kept = harbour.identities("db")
    harbour.deployed(release("v2", "pause"))
    assert versions(harbour) == {"db": "v2", "api": "v2", "page": "v2"}
    assert harbour.identities("db") == kept, "what passed then was not touched again"


def test_continue_brings_what_can_be_brought_and_says_what_could_not(harbour: Harbour) -> None:
    harbour.deployed(release("v1"))
    answer = harbour.deploy(release("v2", "continue", **NEVER))
    assert (answer["outcome"], answer.get("failed", False)) == ("deployed in part", False)
    assert versions(harbour) == {"db": "v2", "api": "v1", "page": "v2"}
    assert [f["service"] for f in answer["failures"]] == ["api"]
    bad = harbour.deploy(release("v3", "rollback", **NEVER))
    assert bad["outcome"] == "rolled back"
    assert versions(harbour) == {"db": "v2", "api": "v1", "page": "v2"}, "back to the release in part"


@pytest.mark.parametrize(("what", "do"), [("committed", ""), pytest.param("done", "Remove", marks=pytest.mark.more)])
def test_a_release_in_part_that_was_killed_is_finished(harbour: Harbour, what: str, do: str) -> None:
    harbour.deployed(release("v1"))
    killed_at(harbour, release("v2", "continue", **NEVER), what, do)
    harbour.deployed(release("v3"))
    assert versions(harbour) == {"db": "v3", "api": "v3", "page": "v3"}
    assert len(harbour.containers()) == 3


def test_one_replica_of_three_may_be_lost(harbour: Harbour, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.mkdir()
    state.chmod(0o777)

    def three(version: str, **environment: str) -> dict[str, Any]:
        update = {"max_failure_ratio": 0.4, "order": "start-first"}
        about: dict[str, Any] = {"volumes": [f"{state}:/state"], "deploy": {"replicas": 3}, "gate": {"deadline": "10s"}}
        return {"web": web(environment={"VERSION": version, "STATE": "/state", **environment}, update=update, **about)}

    harbour.deployed(three("v1"))
    answer = harbour.deployed(three("v2", FAIL_ON_START="5"))
    assert any("max_failure_ratio 0.4 goes on without it" in note for note in answer["notes"])
    assert len(harbour.running()) == len(harbour.containers()) == 2
    again = harbour.deployed(three("v2", FAIL_ON_START="5"))
    assert again["plan"] == ["~ web: scale, 1 new (2 -> 3 replicas)"]
    assert len(harbour.running()) == 3
