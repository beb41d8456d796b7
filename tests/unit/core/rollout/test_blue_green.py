# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stack that is switched as a whole: nothing new takes traffic or names before all that is new has passed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import compose
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Order
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome

from ..stage import Stage, observed, played, seen, service

OLD = (observed("api-1"), observed("web-1"))
ROUTED = {"api": frozenset({"shop-api-1"}), "web": frozenset({"shop-web-1"})}
NEW = (service("api", 2, routed=True), service("web", 2, routed=True, after="api"))


def both(*more: Any, **about: Any) -> Stage:
    return played(*NEW, *more, there=seen(*OLD, routed=ROUTED), blue_green=True, **about)


def first(line: list[str], start: str) -> int:
    return next(i for i, said in enumerate(line) if said.startswith(start))


def test_the_switch_waits_for_the_last_one() -> None:
    """web is ready after 20 s; the api passed long before, and takes no traffic until then."""
    stage = both(ready={"web-2": 20.0})
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert stage.times["route api=api-2"] == stage.times["route web=web-2"] >= 20 + 5
    assert first(stage.line, "drain") > stage.line.index("COMMITTED"), "what served goes on until the commit"


def test_service_by_service_it_does_not_wait() -> None:
    stage = played(*NEW, there=seen(*OLD, routed=ROUTED), ready={"web-2": 20.0})
    assert stage.times["route api=api-2"] < 20 < stage.times["route web=web-2"]


def test_what_fails_before_the_switch_was_never_seen_by_anybody() -> None:
    stage = both(dies={"web-2": 3.0})
    assert stage.rollout.outcome is Outcome.ROLLED_BACK
    assert not [said for said in stage.line if said.startswith(("route", "announce", "drain api-1", "stop api-1"))]
    assert {"remove api-2", "remove web-2"} <= set(stage.line)


def test_what_fails_after_the_switch_takes_everything_back() -> None:
    stage = both(dies={"web-2": 7.0})
    assert stage.rollout.outcome is Outcome.ROLLED_BACK
    assert stage.line.index("route api=api-1 (old)") > stage.line.index("route api=api-2")
    assert "stop api-1" not in stage.line


def test_names_wait_too() -> None:
    old = (observed("api-1"), observed("web-1"))
    stage = played(
        service("api", 2, networks=("default",)),
        service("web", 2, networks=("default",)),
        there=seen(*old),
        blue_green=True,
        ready={"web-2": 9.0},
    )
    assert stage.times["announce api-2"] == stage.times["announce web-2"] >= 9 + 5


def test_one_shots_come_before_it_and_what_did_not_change_is_left_alone() -> None:
    job, db = service("job", 2, one_shot=True), service("db", container_name="the-db")
    stage = played(
        *NEW, job, db, there=seen(*OLD, observed("the-db@db"), routed=ROUTED), blue_green=True, dies={"job-1": 30.0}
    )
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert stage.times["route api=api-2"] >= 30
    assert not [said for said in stage.line if said.endswith("the-db")]


@pytest.mark.parametrize(
    ("db", "why"),
    [
        (service("db", 2, container_name="the-db"), "stop-first because its name is fixed"),
        (service("db", 2, order=Order.STOP_FIRST), "stop-first, and"),
    ],
)
def test_what_cannot_run_twice_is_refused_before_anything(db: Any, why: str) -> None:
    there = "the-db@db" if db.container_name else "db-1"
    stage = played(*NEW, db, there=seen(*OLD, observed(there), routed=ROUTED), blue_green=True)
    assert stage.rollout.outcome is Outcome.REFUSED
    assert stage.line == []
    (finding,) = stage.rollout.findings
    assert finding.path == "services.db"
    assert why in finding.problem
    assert "strategy: rolling" in finding.fix


@pytest.mark.parametrize("there", [[], [observed("the-db@db", running=False)]], ids=["new", "down"])
def test_what_interrupts_nobody_is_not(there: list) -> None:
    stage = played(
        *NEW, service("db", 2, container_name="the-db"), there=seen(*OLD, *there, routed=ROUTED), blue_green=True
    )
    assert stage.rollout.outcome is Outcome.DEPLOYED


@pytest.mark.parametrize(
    ("top", "expected"), [({}, False), ({"strategy": "rolling"}, False), ({"strategy": "blue-green"}, True)]
)
def test_it_is_read_from_the_top(top: dict[str, str], expected: bool) -> None:
    services = {"web": {"image": "web", "healthcheck": {"test": ["CMD", "true"]}}}
    made = compose.read("shop", {"services": services, "x-quaylock": top}, compose.Context("/srv", "/etc/q"))
    assert made.blue_green is expected
    assert made.rendered["x-quaylock"] == top
