# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""update_config on the way forward, rollback_config on a return to a release."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import compose
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import FailureAction, Order, Service, Update
from ansible_collections.quaylock.stacks.plugins.module_utils.core.releases import by_rollback_config

PAUSE, GO_BACK = FailureAction.PAUSE, FailureAction.ROLLBACK
STOP, START = Order.STOP_FIRST, Order.START_FIRST
CHECK = {"test": ["CMD", "true"]}


def both(update: dict[str, Any], rollback: dict[str, Any] | None, **about: Any) -> tuple[Service, Service]:
    """The service as it is deployed, and as a return to it is."""
    deploy = {"replicas": 4, "update_config": update, **({} if rollback is None else {"rollback_config": rollback})}
    services = {"web": {"image": "web", "healthcheck": CHECK, "deploy": {**deploy, **about.pop("deploy", {})}, **about}}
    made = compose.read("shop", {"services": services}, compose.Context("/srv", "/etc/q"))
    return made.services[0], by_rollback_config(made).services[0]


@pytest.mark.parametrize(
    ("update", "rollback", "order", "hold", "steps"),
    [
        ({}, None, START, 5.0, Update()),
        ({"order": "stop-first", "monitor": "9s", "parallelism": 2}, None, STOP, 9.0, Update(2)),
        ({"parallelism": 2, "delay": "3s"}, {}, START, 5.0, Update(2, 3.0)),
        ({"parallelism": 2, "delay": "3s"}, {"parallelism": 0}, START, 5.0, Update()),
        ({"parallelism": 1, "delay": "30s", "monitor": "60s"}, {"monitor": "1s", "delay": "0s"}, START, 1.0, Update(1)),
        ({}, {"order": "stop-first", "failure_action": "pause"}, STOP, 5.0, Update(failure_action=PAUSE)),
        ({"failure_action": "pause"}, {"failure_action": "rollback"}, START, 5.0, Update(failure_action=GO_BACK)),
        ({"max_failure_ratio": 0.5}, {"max_failure_ratio": 0.0}, START, 5.0, Update()),
    ],
)
def test_a_return_goes_by_its_own_rules(
    update: dict[str, Any], rollback: dict[str, Any] | None, order: Order, hold: float, steps: Update
) -> None:
    forward, back = both(update, rollback)
    assert (back.order, back.gate.hold, back.update) == (order, hold, steps)
    assert forward.update.parallelism == update.get("parallelism", 0)
    assert (back.spec, back.container) == (forward.spec, forward.container), "the replicas are the same"


def test_what_cannot_run_twice_does_not_on_the_way_back() -> None:
    _forward, back = both({}, {"parallelism": 0}, container_name="the-web", deploy={"replicas": 1})
    assert back.order is STOP


def test_one_shots_are_as_they_were() -> None:
    services = {"job": {"image": "job", "restart": "no", "x-quaylock": {"one_shot": True}}}
    made = compose.read("shop", {"services": services}, compose.Context("/srv", "/etc/q"))
    assert by_rollback_config(made) == made
