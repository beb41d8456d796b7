# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""update_config.failure_action and max_failure_ratio: what stays as it was, what goes on, and what is the release then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Dependency,
    FailureAction,
    Network,
    Observation,
    Service,
    Update,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.behind import merged, merged_definition
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.recovery import Unfinished, recovery
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome, milestone

from ..stage import Stage, observed, played, seen, service, stack

PAUSE, CONTINUE = Update(failure_action=FailureAction.PAUSE), Update(failure_action=FailureAction.CONTINUE)
THERE = seen(observed("db-1"), observed("api-1"), observed("web-1"))
BEFORE = stack(service("db"), service("api", after="db"), service("web", after="api"))


def release(update: Update, **about: Update) -> list[Service]:
    updates = {"db": update, "api": update, "web": update, **about}
    after = {"db": "", "api": "db", "web": "api"}
    return [service(name, 2, after=after[name], update=updates[name]) for name in after]


def done(stage: Stage) -> str:
    """What was done from the first failure on."""
    said = ", ".join(w for w in stage.line if not w.startswith("explain"))
    return said[said.index("COMMITTED") :] if "COMMITTED" in said else "never committed"


NEVER = {"ready": {"api-2": None}}
CASES = [
    # name, update, how it fails, outcome, failures, from the commit on
    (
        "pause: what passed stays new, what failed goes, nothing else is begun",
        PAUSE,
        NEVER,
        Outcome.PAUSED,
        ["api", "web"],
        "COMMITTED, stop web-2, remove web-2, stop api-2, remove api-2, stop db-1, remove db-1, publish, FINISHED",
    ),
    (
        "continue: what waits for the failed one has its former replicas to talk to",
        CONTINUE,
        NEVER,
        Outcome.PARTIAL,
        ["api"],
        "COMMITTED, stop web-1, remove web-1, stop api-2, remove api-2, stop db-1, remove db-1, publish, FINISHED",
    ),
    (
        "nothing went well: nothing is released",
        CONTINUE,
        {"ready": {"db-2": None, "api-2": None, "web-2": None}},
        Outcome.ROLLED_BACK,
        ["db", "api", "web"],
        "never committed",
    ),
]


@pytest.mark.parametrize(
    ("update", "fate", "outcome", "failed", "line"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_service_that_fails(update: Update, fate: dict, outcome: Outcome, failed: list[str], line: str) -> None:
    stage = played(*release(update), there=THERE, previous=BEFORE, **fate)
    assert stage.rollout.outcome is outcome
    assert [f.service for f in stage.rollout.failures] == failed
    assert done(stage) == line


def test_the_release_is_what_serves() -> None:
    stage = played(*release(PAUSE), there=THERE, previous=BEFORE, **NEVER)
    state = stage.rollout
    assert [(s.name, s.image) for s in state.stack.services] == [("db", "db:2"), ("api", "api:1"), ("web", "web:1")]
    kept = milestone(state, "committed")
    assert kept["behind"] == ["api", "web"]
    assert kept["members"] == {"db": ["shop-db-2"], "api": ["shop-api-1"], "web": ["shop-web-1"]}


def test_the_action_is_that_of_the_service_which_fails() -> None:
    stage = played(*release(CONTINUE, api=Update()), there=THERE, previous=BEFORE, **NEVER)
    assert stage.rollout.outcome is Outcome.ROLLED_BACK


def test_on_a_first_deploy_what_fails_is_left_out_and_with_it_what_needs_it() -> None:
    stage = played(*release(CONTINUE), ready={"api-1": None})
    assert stage.rollout.outcome is Outcome.PARTIAL
    assert [s.name for s in stage.rollout.stack.services] == ["db"]
    assert [f.reason for f in stage.rollout.failures][1:] == ["was not begun: what it needs failed"]


def test_a_migration_that_fails_keeps_the_old_application() -> None:
    services = [service("job", 2, one_shot=True, update=CONTINUE), service("web", 2, after="job$", update=CONTINUE)]
    other = service("mail", 2)
    there = seen(observed("web-1"), observed("mail-1"))
    stage = played(*services, other, there=there, previous=stack(service("web"), service("mail")), codes={"job-1": 3})
    assert stage.rollout.outcome is Outcome.PARTIAL
    assert [(s.name, s.image) for s in stage.rollout.stack.services] == [("web", "web:1"), ("mail", "mail:2")]
    assert not {"start web-2", "stop web-1"}.intersection(stage.line)
    assert milestone(stage.rollout, "committed")["ran"] == []


def test_a_routed_service_that_fails_after_its_switch_gets_its_old_traffic_back() -> None:
    web = service("web", 2, routed=True, update=CONTINUE)
    there = seen(observed("web-1"), observed("db-1"), routed={"web": frozenset({"shop-web-1"})})
    former = stack(service("web", routed=True), service("db"))
    stage = played(web, service("db", 2), there=there, previous=former, dies={"web-2": 8.0})
    assert stage.rollout.outcome is Outcome.PARTIAL
    assert "route web=web-1 (old)" in stage.line
    assert stage.line.index("route web=web-2") < stage.line.index("route web=web-1 (old)")


WEB3 = service("web", 2, routed=True, replicas=3, update=Update(max_failure_ratio=0.4))
OLD3 = seen(*(observed(f"web-{i}") for i in (1, 2, 3)), routed={"web": frozenset(f"shop-web-{i}" for i in (1, 2, 3))})


def test_one_replica_of_three_may_fail() -> None:
    stage = played(WEB3, there=OLD3, previous=stack(replace(WEB3, image="web:1")), ready={"web-5": None})
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert "route web=web-4+web-6" in stage.line
    assert "remove web-5" in stage.line[stage.line.index("COMMITTED") :]
    assert milestone(stage.rollout, "committed")["members"] == {"web": ["shop-web-4", "shop-web-6"]}
    [note] = stage.rollout.notes
    assert "shop-web-5 did not pass" in note
    assert "max_failure_ratio 0.4 goes on without it" in note


def test_a_replica_that_is_lost_after_the_switch_loses_its_traffic() -> None:
    stage = played(WEB3, there=OLD3, previous=stack(replace(WEB3, image="web:1")), dies={"web-5": 8.0})
    assert stage.rollout.outcome is Outcome.DEPLOYED
    routes = [w for w in stage.line if w.startswith("route")]
    assert routes == ["route web=web-4+web-5+web-6", "route web=web-4+web-6"]


def test_two_of_three_are_too_many() -> None:
    stage = played(WEB3, there=OLD3, previous=stack(replace(WEB3, image="web:1")), ready={"web-5": None, "web-6": None})
    assert stage.rollout.outcome is Outcome.ROLLED_BACK


def test_a_killed_release_in_part_is_finished_service_by_service() -> None:
    """The commit was written, then nothing more: what passed stays, what stayed behind is put back."""
    left = Unfinished(
        "r2",
        True,
        {"db": ["shop-db-2"], "api": ["shop-api-1"]},
        {"db": ["shop-db-1"], "api": ["shop-api-1"]},
        frozenset({"shop-db-1", "shop-api-1"}),
        frozenset({"api"}),
    )
    serves = stack(service("db", 2), service("api"))
    there = seen(
        observed("db-1"),
        observed("db-2", 2, rollout="r2"),
        replace(observed("api-1"), running=False),
        observed("api-2", 2, rollout="r2"),
    )
    stage = Stage(recovery("r2", serves, left, there), there).play()
    assert sorted(w for w in stage.line if w.startswith(("start", "remove"))) == [
        "remove api-2",
        "remove db-1",
        "start api-1",
    ]


def test_a_fixed_name_gets_its_owner_back_after_a_release_in_part() -> None:
    left = Unfinished(
        "r2", True, {"web": ["the-web"]}, {"web": ["the-web"]}, frozenset({"the-web"}), frozenset({"web"})
    )
    serves = stack(service("web", container_name="the-web"))
    aside = replace(observed("the-web@web"), name="the-web-before-r2", running=False)
    there = seen(aside, observed("the-web@web", 2, rollout="r2"))
    stage = Stage(recovery("r2", serves, left, there), there).play()
    assert [w for w in stage.line if w.startswith(("remove", "rename", "start"))] == [
        "remove the-web",
        "rename the-web-before-r2 the-web",
        "start the-web",
    ]


# -- the stack that serves ----------------------------------------------------------------


def test_merging_takes_the_former_service_and_what_it_refers_to() -> None:
    former = stack(service("a"), service("b"), networks=(Network("old", "shop_old"),))
    wanted = stack(service("a", 2), service("b", 2), networks=(Network("new", "shop_new"),))
    found = merged(wanted, former, {"b"})
    assert [(s.name, s.image) for s in found.services] == [("a", "a:2"), ("b", "b:1")]
    assert [n.key for n in found.networks] == ["old", "new"]
    assert merged(wanted, former, ()) is wanted


def test_what_was_not_there_before_is_left_out_everywhere() -> None:
    wanted = stack(replace(service("a", 2), depends_on=(Dependency("b"),)), service("b", 2))
    [only] = merged(wanted, None, {"b"}).services
    assert (only.name, only.depends_on) == ("a", ())


DEFINITIONS = [
    # new depends_on, merged
    ({"b": {"condition": "service_started"}, "c": {}}, {"c": {}}),
    (["b", "c"], ["c"]),
]


@pytest.mark.parametrize(("depends", "expected"), DEFINITIONS)
def test_a_definition_is_merged_the_same_way(depends: object, expected: object) -> None:
    new = {"services": {"a": {"image": "a:2", "depends_on": depends}, "b": {"image": "b:2"}, "c": {"image": "c:2"}}}
    former = {"services": {"c": {"image": "c:1"}}, "volumes": {"kept": {}}}
    assert merged_definition(new, former, {"b", "c"}) == {
        "services": {"a": {"image": "a:2", "depends_on": expected}, "c": {"image": "c:1"}},
        "volumes": {"kept": {}},
    }


def test_nothing_hangs_where_a_pause_comes_while_others_are_gated() -> None:
    services = [service("a", 2, update=PAUSE), service("b", 2, update=PAUSE), service("c", 2, after="b", update=PAUSE)]
    there = seen(observed("a-1"), observed("b-1"), observed("c-1"))
    former = stack(service("a"), service("b"), service("c", after="b"))
    stage = played(*services, there=there, previous=former, dies={"a-2": 1.0}, ready={"b-2": 6.0})
    assert stage.rollout.outcome is Outcome.PAUSED
    assert [s.image for s in stage.rollout.stack.services] == ["a:1", "b:2", "c:1"]
    assert isinstance(stage.seen, Observation)
