# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When replicas answer to their service's DNS names: the new ones once they passed, the old ones until they leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Image,
    Observation,
    Order,
    Sample,
    Service,
    Update,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import Announce, Create, Look
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.plan import Action, plan
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.recovery import Unfinished, recovery
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome

from ..stage import Stage, observed, played, rollout, seen, service, stack

ONE = seen(observed("web-1"), routed={"web": frozenset({"shop-web-1"})})
TWO = seen(observed("web-1"), observed("web-2"))
WEB = service("web", 2, networks=("default",))
ROUTED = service("web", 2, networks=("default",), routed=True)
PAIR = replace(WEB, replicas=2)


def steps(stage: Stage) -> str:
    return ", ".join(stage.line[2:-2])


LINES = [
    # name, service, what is there, line
    ("a first deploy has nobody else to ask", WEB, seen(), "create web-1, start web-1, COMMITTED"),
    (
        "replaced: named when it passed, the old one unnamed before it stops",
        WEB,
        seen(observed("web-1")),
        "create web-2, start web-2, announce web-2, COMMITTED, withdraw web-1, stop web-1, remove web-1",
    ),
    (
        "named before the proxy sends traffic",
        ROUTED,
        ONE,
        "create web-2, start web-2, announce web-2, route web=web-2, COMMITTED, drain web-1 7, withdraw web-1, "
        "stop web-1, remove web-1",
    ),
    (
        "more of the same wait for their gate too",
        replace(WEB, replicas=2),
        seen(observed("web-1", 2)),
        "create web-2, start web-2, announce web-2, COMMITTED",
    ),
    (
        "one by one",
        replace(PAIR, update=Update(parallelism=1)),
        TWO,
        "create web-3, start web-3, announce web-3, withdraw web-1, stop web-1, "
        "create web-4, start web-4, announce web-4, COMMITTED, remove web-1, withdraw web-2, stop web-2, remove web-2",
    ),
    (
        "stop-first: nobody else is there",
        replace(WEB, order=Order.STOP_FIRST),
        seen(observed("web-1")),
        "create web-2, stop web-1, start web-2, COMMITTED, remove web-1",
    ),
    (
        "stop-first, one by one: the others are there",
        replace(PAIR, order=Order.STOP_FIRST, update=Update(parallelism=1)),
        TWO,
        "create web-3, withdraw web-1, stop web-1, start web-3, announce web-3, "
        "create web-4, withdraw web-2, stop web-2, start web-4, announce web-4, COMMITTED, remove web-1, remove web-2",
    ),
    (
        "no network, no names",
        service("web", 2),
        seen(observed("web-1")),
        "create web-2, start web-2, COMMITTED, stop web-1, remove web-1",
    ),
]


@pytest.mark.parametrize(("web", "there", "line"), [c[1:] for c in LINES], ids=[c[0] for c in LINES])
def test_names_are_given_and_taken(web: Service, there: Observation, line: str) -> None:
    assert steps(played(web, there=there)) == line


@pytest.mark.parametrize(("there", "quiet"), [(seen(), False), (seen(observed("web-1")), True)])
def test_only_who_comes_beside_others_is_made_without_names(there: Observation, quiet: bool) -> None:
    assert [c.quiet for c in played(WEB, there=there).asked if isinstance(c, Create)] == [quiet]


def test_a_failed_gate_is_never_announced_and_leaves_as_it_came() -> None:
    stage = played(WEB, there=seen(observed("web-1")), ready={"web-2": None}, previous=stack(service("web")))
    assert not [w for w in stage.line if w.startswith(("announce", "withdraw"))]


def test_what_was_withdrawn_before_a_failure_gets_its_names_back() -> None:
    web = replace(PAIR, update=Update(parallelism=1))
    stage = played(web, there=TWO, ready={"web-4": None}, previous=stack(service("web", replicas=2)))
    said = ", ".join(stage.line)
    assert said[said.index("explain") :].removesuffix(", FINISHED") == (
        "explain web-4, start web-1, announce web-1, withdraw web-3, withdraw web-4, stop web-3, stop web-4, "
        "remove web-3, remove web-4"
    )


def test_names_that_cannot_be_given_fail_the_rollout() -> None:
    stage = played(WEB, there=seen(observed("web-1")), fails={"announce web-2": "no network"})
    assert stage.rollout.outcome is Outcome.ROLLED_BACK
    assert [f.reason for f in stage.rollout.failures] == ["its service's names could not be given to it"]


def test_names_that_cannot_be_taken_are_a_note() -> None:
    stage = played(replace(PAIR, update=Update(parallelism=1)), there=TWO, fails={"withdraw web-1": "no answer"})
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert stage.rollout.notes == ("web: shop-web-1 could not be taken out of the service's names: no answer",)


class Rejoining(Stage):
    """Every check fails while a replica is between two networks."""

    def _sample(self, command: Look, born: Mapping[str, float]) -> Sample:
        between = Announce("web", command.name) in self.rollout.pending
        return Sample(self.now, True, False, "no route") if between else super()._sample(command, born)


def test_a_check_between_two_networks_says_nothing() -> None:
    """The row of passes goes on, so the switch does not wait for another one."""
    stage = Rejoining(rollout(WEB), seen(observed("web-1")), holds=("announce web-2",)).play()
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert sum(isinstance(c, Look) and c.at > stage.times["announce web-2"] for c in stage.asked) > 3


def test_who_lacks_the_names_is_replaced() -> None:
    there = seen(replace(observed("web-1", 2), named=False))
    made = plan(stack(WEB), there, {"web:2": Image("web:2", "sha256:web:2")})
    [change] = made.changes
    assert change.action is Action.REPLACE
    assert change.reasons == ("shop-web-1 does not answer to the service's names",)


def test_a_recovery_makes_sure_of_the_names() -> None:
    left = Unfinished("r2", False, {}, {"web": ["shop-web-1", "shop-web-2"]}, frozenset({"shop-web-1", "shop-web-2"}))
    there = seen(replace(observed("web-1"), running=False), replace(observed("web-2"), named=False))
    stage = Stage(recovery("r2", stack(replace(PAIR, image="web:1")), left, there), there).play()
    assert stage.line[:3] == ["start web-1", "announce web-1", "announce web-2"]
