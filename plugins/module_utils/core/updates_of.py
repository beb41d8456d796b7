# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a service's replicas are replaced, and where it comes from: deploy.update_config, rollback_config, the canary."""

from __future__ import annotations

from .model import FailureAction, Order, Update
from .nodes import Node

LATER = "not supported by this version"
ORDERS = tuple(order.value for order in Order)
ACTIONS = tuple(action.value for action in FailureAction)


def update(service: Node, replicas: int, one_shot: bool) -> tuple[Order | None, float, Update]:
    """The order that was asked for, the seconds that a replica is watched (monitor), and the steps."""
    config = service.at("deploy").at("update_config")
    order = Order(config.at("order").one_of(ORDERS, Order.START_FIRST.value)) if config.has("order") else None
    hold = config.at("monitor").seconds(5.0)
    action = FailureAction(config.at("failure_action").one_of(ACTIONS, FailureAction.ROLLBACK.value))
    ratio = config.at("max_failure_ratio").number(0.0, 0.0)
    if ratio >= 1:
        config.at("max_failure_ratio").refuse(
            f"{ratio:g} lets all new replicas fail", "write a share below 1, such as 0.25"
        )
    parallelism = config.at("parallelism").integer(0, 0)
    canary, watch = _canary(service.at("x-quaylock").at("canary"), replicas, one_shot)
    delay = config.at("delay").seconds(0.0)
    if delay and not parallelism and not one_shot:
        config.at("delay").refuse(
            "comes between batches, and parallelism: 0 makes all replicas one batch",
            "set parallelism, or drop delay",
        )
    config.close()
    _rollback(service.at("deploy").at("rollback_config"), order)
    return order, hold, Update(parallelism, delay, canary, watch, action, ratio)


def _canary(node: Node, replicas: int, one_shot: bool) -> tuple[int, float]:
    if not node.given:
        return 0, 0.0
    count, watch = node.at("replicas").integer(1, 1), node.at("watch").seconds(30.0)
    node.close(extensions=False)
    if one_shot:
        node.refuse("a one-shot takes no traffic", "drop it")
    elif count >= replicas:
        node.refuse(
            f"{count} of {replicas} replica{'s' * (replicas != 1)} would be all of them",
            "raise deploy.replicas, or drop the canary",
        )
    return count, watch


def _rollback(config: Node, order: Order | None) -> None:
    _only(config, "failure_action", "pause", "a failed rollback stops and says so: use pause")
    _only(config, "parallelism", "0", "all replicas at once: use 0")
    _none(config, "delay")
    _none(config, "max_failure_ratio")
    if config.has("monitor") and config.at("monitor").seconds():
        config.at("monitor").refuse(
            f"{config.at('monitor').value} is {LATER}", "the old replicas were gated before: use 0s"
        )
    if config.has("order"):
        wanted = config.at("order").one_of(ORDERS, Order.STOP_FIRST.value)
        if order is not None and wanted != order.value:
            config.at("order").refuse(f"{wanted} is {LATER}", f"it follows update_config.order: {order.value}")
    config.close()


def _only(node: Node, key: str, word: str, fix: str) -> None:
    if node.has(key) and node.at(key).text(word, loose=True) != word:
        node.at(key).refuse(f"{node.at(key).text(loose=True)!r} is {LATER}", fix)


def _none(node: Node, key: str) -> None:
    if node.has(key) and (node.at(key).seconds() if key == "delay" else node.at(key).number()):
        node.at(key).refuse(f"{node.at(key).value} is {LATER}", "use 0")
