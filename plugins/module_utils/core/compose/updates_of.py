# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a service's replicas are replaced, and where it comes from: deploy.update_config, rollback_config, the canary."""

from __future__ import annotations

from dataclasses import replace

from ..model import FailureAction, Order, Update, Way
from .nodes import Node

ORDERS = tuple(order.value for order in Order)
ACTIONS = tuple(action.value for action in FailureAction)


def ways(service: Node, replicas: int, one_shot: bool) -> tuple[Way, Way]:
    """How a new version replaces the former one, and how a return to this release replaces what serves then.

    What rollback_config does not say is as in update_config.
    """
    deploy = service.at("deploy")
    canary, watch = _canary(service.at("x-quaylock").at("canary"), replicas, one_shot)
    forward = _way(deploy.at("update_config"), Way(update=Update(canary=canary, watch=watch)), one_shot)
    back = _way(deploy.at("rollback_config"), forward, one_shot)
    return forward, back


def _way(config: Node, like: Way, one_shot: bool) -> Way:
    """One of the two, with the values of `like` for what it does not say."""
    was = like.update
    order = Order(config.at("order").one_of(ORDERS, Order.START_FIRST.value)) if config.has("order") else like.order
    ratio = config.at("max_failure_ratio").number(was.max_failure_ratio, 0.0)
    if ratio >= 1 and config.has("max_failure_ratio"):
        config.at("max_failure_ratio").refuse(
            f"{ratio:g} lets all new replicas fail", "write a share below 1, such as 0.25"
        )
    parallelism = config.at("parallelism").integer(was.parallelism, 0)
    delay = config.at("delay").seconds(was.delay if parallelism else 0.0)
    if delay and not parallelism and not one_shot:
        config.at("delay").refuse(
            "comes between batches, and parallelism: 0 makes all replicas one batch",
            "set parallelism, or drop delay",
        )
    action = FailureAction(config.at("failure_action").one_of(ACTIONS, was.failure_action.value))
    hold = config.at("monitor").seconds(like.hold)
    config.close()
    return Way(
        order, hold, replace(was, parallelism=parallelism, delay=delay, failure_action=action, max_failure_ratio=ratio)
    )


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
