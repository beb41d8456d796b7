# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restore points: taken in what serves, before anything changes; without them nothing does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import compose, restore_points
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import RestorePoint
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome, milestone
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import report

from ..stage import observed, played, seen, service

POINT = RestorePoint(("dump",))
HEALTHY = {"test": ["CMD", "true"]}


def db(version: int = 1, **about: Any) -> Any:
    return service("db", version, restore_point=POINT, **about)


def test_it_is_taken_before_anything_changes() -> None:
    stage = played(db(), service("web", 2), there=seen(observed("db-1"), observed("web-1")))
    assert stage.line[:3] == ["PLANNED", "takepoint db-1", "writefiles"]
    assert stage.rollout.points == {"db": "dump of db-1"}
    assert milestone(stage.rollout, "committed")["points"] == {"db": "dump of db-1"}
    assert report.result(stage.rollout)["restore_points"] == {"db": "dump of db-1"}
    assert "  restore point of db first, in shop-db-1" in report.plan_lines(stage.rollout.stack, stage.rollout.plan)


def test_without_it_nothing_changes() -> None:
    stage = played(
        db(),
        service("web", 2),
        there=seen(observed("db-1"), observed("web-1")),
        fails={"takepoint db-1": "dump ended with exit code 1: disk full"},
    )
    assert stage.rollout.outcome is Outcome.ROLLED_BACK
    assert stage.line == ["PLANNED", "takepoint db-1", "FINISHED"]
    text = report.failure_text(stage.rollout, "x", "y")
    assert "db failed, its restore point could not be taken, so nothing was changed" in text
    assert "disk full" in text


def test_a_failure_later_names_it() -> None:
    stage = played(db(), service("web", 2), there=seen(observed("db-1"), observed("web-1")), dies={"web-2": 1.0})
    assert "data    restore point of db before it: dump of db-1" in report.failure_text(stage.rollout, "x", "y")


@pytest.mark.parametrize(
    ("services", "there"),
    [
        ([db(), service("web")], []),
        ([db(), service("web", replicas=2)], ["db-1", "web-1"]),
        ([db(2)], []),
        ([service("db", 2)], ["db-1"]),
    ],
    ids=["a first deploy", "more of the same", "nothing runs", "none is asked for"],
)
def test_none_is_taken(services: list, there: list[str]) -> None:
    stage = played(*services, there=seen(*map(observed, there)))
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert not [said for said in stage.line if said.startswith("takepoint")]


def test_the_first_replica_that_runs_takes_it() -> None:
    seen_now = [observed("db-1", running=False), observed("db-2"), observed("db-3"), observed("web-1")]
    assert restore_points.places([db(), service("web")], seen_now) == (("db", "shop-db-2"),)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("", "taken"),
        ("dumping\n/backups/r1.dump\n\n", "/backups/r1.dump"),
        ("x" * 300, "x" * restore_points.LONGEST_NAME),
    ],
)
def test_what_it_says_last_is_its_name(said: str, name: str) -> None:
    assert restore_points.name_of(said) == name


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["dump", "-a"], RestorePoint(("dump", "-a"), 600.0)),
        ({"command": ["dump"], "timeout": "2m"}, RestorePoint(("dump",), 120.0)),
        (None, None),
    ],
)
def test_it_is_read(asked: Any, expected: RestorePoint | None) -> None:
    services = {"db": {"image": "db", "healthcheck": HEALTHY, "x-quaylock": {"restore_point": asked}}}
    made = compose.read("shop", {"services": services}, compose.Context("/srv", "/etc/q"))
    assert made.services[0].restore_point == expected
