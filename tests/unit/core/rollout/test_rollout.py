# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a rollout does, in which order. Each case is a line of words; `stage.py` says how they come about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.gates_of import QUICK
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import Begun, Done, Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Image, Observation, Order, Sample, Stack
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import Fetch, Look, Observe, Start
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.recovery import (
    Unfinished,
    recovery,
    teardown,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.rollout import advance
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome, Phase, milestone

from ..stage import GATE, NETWORK, VOLUME, Stage, observed, played, rollout, seen, service, stack

END = ["publish", "FINISHED"]


def steps(stage: Stage) -> str:
    """The line without its usual ends."""
    assert stage.line[:2] == ["PLANNED", "writefiles"]
    assert stage.line[-2:] == END
    return ", ".join(stage.line[2:-2])


WEB1, WEB2 = service("web"), service("web", 2)
ROUTED1, ROUTED2 = service("web", routed=True), service("web", 2, routed=True)
FIXED1, FIXED2 = service("web", container_name="the-web"), service("web", 2, container_name="the-web")
PORT1, PORT2 = (service("web", v, bound="it publishes port 80", order=Order.STOP_FIRST) for v in (1, 2))
SERVES = seen(observed("web-1"), routed={"web": frozenset({"shop-web-1"})})

GOOD = [
    # name, services, what is there, line
    ("first deploy", [WEB1], seen(),
     "create web-1, start web-1, COMMITTED"),
    ("first deploy, routed: the hold comes after the switch", [ROUTED1], seen(),
     "create web-1, start web-1, route web=web-1, COMMITTED"),
    ("dependents are created while what they need gets ready", [service("api", after="db"), service("db")], seen(),
     "create db-1, start db-1, create api-1, start api-1, COMMITTED"),
    ("service_started waits for the start only", [service("api", after="db!"), service("db")], seen(),
     "create db-1, start db-1, create api-1, start api-1, COMMITTED"),
    ("a one-shot first", [service("api", after="job$"), service("job", one_shot=True)], seen(),
     "create job-1, start job-1, create api-1, start api-1, COMMITTED"),
    ("networks and volumes before containers", [WEB1], seen(),
     "ensurenetwork default, ensurevolume kept, create web-1, start web-1, COMMITTED"),
    ("start-first", [WEB2], seen(observed("web-1")),
     "create web-2, start web-2, COMMITTED, stop web-1, remove web-1"),
    ("start-first, routed: drained after the commit", [ROUTED2], SERVES,
     "create web-2, start web-2, route web=web-2, COMMITTED, drain web-1 7, stop web-1, remove web-1"),
    ("stop-first: created before, started after", [PORT2], seen(observed("web-1")),
     "create web-2, stop web-1, start web-2, COMMITTED, remove web-1"),
    ("a fixed name: the old one stands aside", [FIXED2], seen(observed("the-web@web")),
     "stop the-web, rename the-web the-web-before-r1, create the-web, start the-web, COMMITTED, "
     "remove the-web-before-r1"),
    ("scale up, routed", [replace(ROUTED1, replicas=2)], SERVES,
     "create web-2, start web-2, route web=web-1+web-2, COMMITTED"),
    ("scale down, routed: traffic leaves first", [ROUTED1],
     seen(observed("web-1"), observed("web-2"), routed={"web": frozenset({"shop-web-1", "shop-web-2"})}),
     "route web=web-1, COMMITTED, drain web-2 7, stop web-2, remove web-2"),
    ("routes alone", [ROUTED1], seen(observed("web-1")),
     "route web=web-1, COMMITTED"),
    ("routes taken away", [WEB1], SERVES,
     "COMMITTED, unroute web"),
    ("routes taken away with a replacement", [WEB2], SERVES,
     "create web-2, start web-2, COMMITTED, unroute web, stop web-1, remove web-1"),
    ("scaled to nothing, routed", [replace(ROUTED1, replicas=0)], SERVES,
     "COMMITTED, unroute web, drain web-1 7, stop web-1, remove web-1"),
    ("an orphan leaves after the commit", [WEB1], seen(observed("web-1"), observed("old-1")),
     "COMMITTED, stop old-1, remove old-1"),
    ("a routed orphan is not routed any more", [WEB1],
     seen(observed("web-1"), observed("old-1"), routed={"old": frozenset({"shop-old-1"})}),
     "COMMITTED, unroute old, stop old-1, remove old-1"),
    ("dependents leave before what they need", [service("db", 2), service("api", 2, after="db")],
     seen(observed("db-1"), observed("api-1")),
     "create db-2, start db-2, create api-2, start api-2, COMMITTED, stop api-1, remove api-1, stop db-1, remove db-1"),
    ("a kept dependency is not waited for", [service("db"), service("api", 2, after="db")],
     seen(observed("db-1"), observed("api-1")),
     "create api-2, start api-2, COMMITTED, stop api-1, remove api-1"),
    ("a finished one-shot is not run again", [service("job", one_shot=True), service("api", 2, after="job$")],
     seen(observed("job-1", running=False), observed("api-1")),
     "create api-2, start api-2, COMMITTED, stop api-1, remove api-1"),
    ("a one-shot that failed before runs again", [service("job", one_shot=True)],
     seen(observed("job-1", running=False, exit_code=1)),
     "create job-2, start job-2, COMMITTED, stop job-1, remove job-1"),
]  # fmt: skip


@pytest.mark.parametrize(("services", "there", "line"), [c[1:] for c in GOOD], ids=[c[0] for c in GOOD])
def test_it_goes_well(services: list, there: Observation, line: str) -> None:
    about = {"networks": (NETWORK,), "volumes": (VOLUME,)} if "ensure" in line else {}
    stage = played(*services, there=there, **about)
    assert steps(stage) == line
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert stage.rollout.committed
    assert stage.rollout.failures == ()


def test_what_is_published_alone_is_published() -> None:
    """The same replicas under another compose.yaml: a release without steps."""
    stage = played(WEB1, there=seen(observed("web-1"), published=False))
    assert steps(stage) == "COMMITTED"


def test_nothing_to_do_is_said_without_a_milestone() -> None:
    stage = played(ROUTED1, there=SERVES)
    assert (stage.line, stage.rollout.outcome) == ([], Outcome.UNCHANGED)


# -- when: seconds after the beginning ------------------------------------------------


def test_where_an_incumbent_serves_the_switch_waits_for_the_hold() -> None:
    stage = played(ROUTED2, there=SERVES, ready={"web-2": 3.0})
    switched = stage.times["route web=web-2"]
    assert 3 + 5 <= switched < 10
    assert stage.times["COMMITTED"] >= switched + 5, "and the commit for the watch after it"


def test_on_a_first_deploy_the_switch_waits_for_the_checks_alone() -> None:
    stage = played(ROUTED1, ready={"web-1": 3.0})
    assert 3 <= stage.times["route web=web-1"] < 4.5
    assert stage.times["COMMITTED"] >= 3 + 5


def test_dependents_start_when_the_checks_pass_and_not_after_the_hold() -> None:
    services = [service("db", 2), service("api", 2, after="db"), service("web", 2, after="api")]
    there = seen(observed("db-1"), observed("api-1"), observed("web-1"))
    stage = played(*services, there=there, ready={"db-2": 2.0, "api-2": 2.0, "web-2": 2.0})
    assert 2 <= stage.times["start api-2"] < 3.5
    assert 4 <= stage.times["start web-2"] < 7
    assert stage.times["COMMITTED"] < 6 + 5 + 3, "the holds went on beside"


def test_what_the_longest_chain_waits_for_starts_first() -> None:
    services = [service("mail"), service("web", after="api"), service("api", after="db"), service("db")]
    starts = [word for word in played(*services).line if word.startswith("start ")]
    assert starts == ["start db-1", "start mail-1", "start api-1", "start web-1"]


@pytest.mark.parametrize("at_once", [1, 3])
def test_only_so_many_start_at_once(at_once: int) -> None:
    """Whatever else is done meanwhile; and nothing more is started after a failure."""
    state, todo = advance(rollout(*(service(f"s{i}") for i in range(5)), at_once=at_once), Begun(0.0))
    queue = [c for c in todo if not isinstance(c, Start)]
    while queue:
        command = queue.pop(0)
        value = {Fetch: Image("shop/s:1", "sha256:1"), Observe: Observation()}.get(type(command))
        state, todo = advance(state, Done(command, 0.0, value))
        queue += [c for c in todo if not isinstance(c, Start)]
    starting = [c for c in state.pending if isinstance(c, Start)]
    assert len(starting) == at_once
    state, todo = advance(state, Done(starting[0], 0.1))
    assert [type(c) for c in todo] == [Look, Start]
    starting = [c for c in state.pending if isinstance(c, Start)]
    state, todo = advance(state, Failed(starting[0], 0.2, "no"))
    assert not [c for c in todo if isinstance(c, Start)]


def test_dependents_start_with_the_first_pass_and_traffic_waits_for_the_row() -> None:
    patient = replace(GATE, passes=5, cadence=10)
    services = [service("db", gate=patient, routed=True), service("api", after="db")]
    stage = played(*services, ready={"db-1": 3.0})
    [first] = [c.at - 100 for c in stage.asked if isinstance(c, Look) and c.name == "shop-db-1" and c.at >= 103][:1]
    assert stage.times["start api-1"] == first
    assert stage.times["route db=db-1"] >= first + 4 * QUICK - 0.001
    assert stage.line.index("start api-1") < stage.line.index("route db=db-1")


def test_conditions_differ() -> None:
    services = [
        service("db", 1),
        service("a", after="db!"),
        service("b", after="db"),
        service("job", one_shot=True),
        service("c", after="job$"),
    ]
    stage = played(*services, ready={"db-1": 4.0}, dies={"job-1": 2.0})
    assert stage.times["start a-1"] == 0
    assert stage.times["start b-1"] >= 4
    assert 2 <= stage.times["start c-1"] < 4
    assert stage.times["create c-1"] == 0


def test_every_replica_of_a_dependency_has_to_pass() -> None:
    services = [replace(service("db"), replicas=3), service("api", after="db")]
    stage = played(*services, ready={"db-1": 0, "db-2": 6.0, "db-3": 1.0})
    assert stage.times["start api-1"] >= 6


# -- it fails ---------------------------------------------------------------------------

OLD = stack(ROUTED1)
BAD = [
    # name, services, what is there, how it fails, line from the first failure on
    ("never ready", [WEB2], seen(observed("web-1")), {"ready": {"web-2": None}},
     "explain web-2, stop web-2, remove web-2"),
    ("dies at once", [WEB2], seen(observed("web-1")), {"dies": {"web-2": 0.1}},
     "explain web-2, stop web-2, remove web-2"),
    ("dies while it is held", [ROUTED2], SERVES, {"dies": {"web-2": 4.0}},
     "explain web-2, drain web-2 7, stop web-2, remove web-2"),
    ("dies after the switch", [ROUTED2], SERVES, {"dies": {"web-2": 7.0}},
     "route web=web-2, explain web-2, route web=web-1 (old), drain web-2 7, stop web-2, remove web-2"),
    ("the proxy does not confirm", [ROUTED2], SERVES, {"fails": {"route web=web-2": "500"}},
     "route web=web-2, route web=web-1 (old), drain web-2 7, stop web-2, remove web-2"),
    ("stop-first: the old one is put back", [PORT2], seen(observed("web-1")), {"dies": {"web-2": 0.1}},
     "stop web-1, start web-2, explain web-2, stop web-2, remove web-2, start web-1"),
    ("a fixed name is given back", [FIXED2], seen(observed("the-web@web")), {"dies": {"the-web": 0.1}},
     "stop the-web, rename the-web the-web-before-r1, create the-web, start the-web, explain the-web, "
     "stop the-web, remove the-web, rename the-web-before-r1 the-web, start the-web"),
    ("a fixed name that is routed is routed again", [service("web", 2, container_name="the-web", routed=True)],
     seen(observed("the-web@web"), routed={"web": frozenset({"the-web"})}), {"dies": {"the-web": 0.05}},
     "stop the-web, rename the-web the-web-before-r1, create the-web, start the-web, explain the-web, drain the-web 0, "
     "stop the-web, remove the-web, rename the-web-before-r1 the-web, start the-web, route web=the-web (old)"),
    ("an old one that did not run is not started", [PORT2], seen(observed("web-1", running=False)),
     {"dies": {"web-2": 0.1}},
     "stop web-1, start web-2, explain web-2, stop web-2, remove web-2"),
    ("a one-shot fails: nothing that waits for it starts",
     [service("job", 2, one_shot=True), service("web", 2, after="job$")],
     seen(observed("web-1"), observed("job-1", running=False)), {"codes": {"job-2": 3}},
     "start job-2, create web-2, explain job-2, stop web-2, remove web-2, stop job-2, remove job-2"),
    ("a container cannot be made", [WEB2], seen(observed("web-1")), {"fails": {"create web-2": "no space"}},
     "create web-2, stop web-2, remove web-2"),
    ("a container cannot be started", [WEB2], seen(observed("web-1")), {"fails": {"start web-2": "port taken"}},
     "start web-2, explain web-2, stop web-2, remove web-2"),
    ("an old one cannot be stopped", [PORT2], seen(observed("web-1")), {"fails": {"stop web-1": "no answer"}},
     "stop web-1, stop web-2, remove web-2, start web-1"),
    ("secrets cannot be written", [WEB2], seen(observed("web-1")), {"fails": {"writefiles": "no space"}},
     "writefiles"),
    ("the commit cannot be written", [WEB2], seen(observed("web-1")), {"fails": {"COMMITTED": "no space"}},
     "COMMITTED, stop web-2, remove web-2"),
    ("a new routed service goes away again", [ROUTED1], seen(), {"dies": {"web-1": 3.0}},
     "route web=web-1, explain web-1, unroute web, drain web-1 7, stop web-1, remove web-1"),
]  # fmt: skip


@pytest.mark.parametrize(("services", "there", "how", "line"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_it_goes_back(services: list, there: Observation, how: dict, line: str) -> None:
    stage = played(*services, there=there, previous=OLD if there is SERVES else None, **how)
    first = line.split(", ")[0]
    assert ", ".join(stage.line[stage.line.index(first) :]) == f"{line}, FINISHED"
    assert stage.rollout.outcome is Outcome.ROLLED_BACK
    assert not stage.rollout.committed
    assert stage.rollout.failures


def test_evidence() -> None:
    stage = played(WEB2, there=seen(observed("web-1")), ready={"web-2": None})
    [failure] = stage.rollout.failures
    assert (failure.service, failure.replica) == ("web", "shop-web-2")
    assert failure.reason == "did not pass within 30 s (0 of 2 passes in a row)"
    assert (failure.said, failure.logs) == ("503", "last words of web-2")


def test_a_network_that_was_made_for_nothing_goes_again_and_a_volume_stays() -> None:
    stage = played(WEB1, networks=(NETWORK,), volumes=(VOLUME,), dies={"web-1": 0.1})
    assert stage.line[-2:] == ["removenetwork shop_default", "FINISHED"]
    assert not [w for w in stage.line if w.startswith("removevolume")]
    kept = played(WEB1, networks=(NETWORK,), there=seen(networks={"shop_default": {}}), dies={"web-1": 0.1})
    assert "removenetwork shop_default" not in kept.line


def test_the_whole_stack_goes_back_dependents_first() -> None:
    services = [service("db", 2), service("api", 2, after="db"), service("web", 2, after="api")]
    there = seen(observed("db-1"), observed("api-1"), observed("web-1"))
    stage = played(*services, there=there, dies={"web-2": 0.2})
    removed = [w for w in stage.line if w.startswith("remove ")]
    assert removed == ["remove web-2", "remove api-2", "remove db-2"]
    assert not [w for w in stage.line if w.endswith("-1")], "what was there is not touched"


def test_a_failure_waits_for_what_is_under_way() -> None:
    """Going back from something half-done would race with it."""
    services = [service("bad", 2), replace(PORT2, name="web", image="web:2")]
    there = seen(observed("bad-1"), observed("web-1"))
    stage = played(*services, there=there, dies={"bad-2": 0.1}, holds={"stop web-1"})
    line = stage.line
    assert line.index("stop web-1") < line.index("remove bad-2")
    assert "start web-2" not in line, "nothing new is begun"
    assert line[-2:] == ["start web-1", "FINISHED"]
    assert stage.rollout.outcome is Outcome.ROLLED_BACK


def test_several_failures_are_all_told() -> None:
    services = [service("a"), service("b")]
    stage = played(*services, fails={"create a-1": "no", "create b-1": "no"})
    assert [(f.service, f.reason, f.said) for f in stage.rollout.failures] == [
        ("a", "its container could not be created", "no"),
        ("b", "its container could not be created", "no"),
    ]


def test_an_old_one_that_does_not_come_back_is_said() -> None:
    stage = played(PORT2, there=seen(observed("web-1")), previous=stack(PORT1), dies={"web-2": 0.05, "web-1": 0.05})
    assert stage.rollout.outcome is Outcome.ROLLED_BACK
    assert stage.rollout.notes == ("web: shop-web-1 runs again but exited with code 1",)


def test_what_cannot_be_removed_is_incomplete_and_not_finished() -> None:
    stage = played(WEB2, there=seen(observed("web-1")), dies={"web-2": 0.1}, fails={"remove web-2": "device busy"})
    assert stage.rollout.outcome is Outcome.INCOMPLETE
    assert "FINISHED" not in stage.line
    assert stage.rollout.notes == ("web: shop-web-2 could not be removed: device busy",)


def test_what_cannot_be_removed_does_not_keep_the_rest_from_coming_back() -> None:
    """Not the old one of the same service, and nobody who waits for it."""
    services = [PORT2, replace(PORT2, name="api", image="api:2", depends_on=service("api", after="web").depends_on)]
    there = seen(observed("web-1"), observed("api-1"))
    stage = played(*services, there=there, dies={"api-2": 0.1}, fails={"remove web-2": "device busy"})
    assert stage.rollout.outcome is Outcome.INCOMPLETE
    line = stage.line
    assert line.index("remove web-2") < line.index("start web-1") < line.index("start api-1")


def test_traffic_that_cannot_go_back_keeps_what_may_serve() -> None:
    how = {"dies": {"web-2": 7.0}, "fails": {"route web=web-1 (old)": "the proxy is gone"}}
    stage = played(ROUTED2, there=SERVES, previous=OLD, **how)
    assert stage.rollout.outcome is Outcome.INCOMPLETE
    assert not [w for w in stage.line if w.startswith(("stop", "remove"))]


def test_after_the_commit_there_is_no_way_back() -> None:
    stage = played(WEB2, there=seen(observed("web-1")), fails={"stop web-1": "no answer"})
    assert stage.rollout.outcome is Outcome.DEPLOYED
    stuck = played(WEB2, there=seen(observed("web-1")), fails={"remove web-1": "busy"})
    assert stuck.rollout.outcome is Outcome.INCOMPLETE
    assert stuck.rollout.committed


# -- refused ----------------------------------------------------------------------------


def test_images_that_cannot_be_had_are_all_named() -> None:
    state, asked = advance(rollout(service("a"), service("b"), service("c")), Begun(0))
    assert set(asked) == {Fetch("a"), Fetch("b"), Fetch("c")}
    state, _asked = advance(state, Failed(Fetch("a"), 1, "unknown"))
    state, _asked = advance(state, Done(Fetch("b"), 1, Image("b:1", "sha256:b:1")))
    assert not state.finished
    state, asked = advance(state, Failed(Fetch("c"), 1, "denied"))
    assert (state.outcome, asked) == (Outcome.REFUSED, ())
    assert [str(f) for f in state.findings] == [
        "services.a.image: a:1 cannot be had: unknown",
        "services.c.image: c:1 cannot be had: denied",
    ]


def test_services_of_one_image_fetch_it_once() -> None:
    _state, asked = advance(rollout(service("a"), replace(service("b"), image="a:1")), Begun(0))
    assert asked == (Fetch("a"),)


def test_a_host_that_cannot_be_seen_is_left_alone() -> None:
    state, _asked = advance(rollout(WEB1), Begun(0))
    state, asked = advance(state, Done(Fetch("web"), 1, Image("web:1", "sha256:web:1")))
    assert asked == (Observe(),)
    state, asked = advance(state, Failed(Observe(), 1, "the engine does not answer"))
    assert (state.outcome, asked) == (Outcome.REFUSED, ())


def test_a_plan_that_cannot_be_written_down_is_not_begun() -> None:
    stage = played(WEB2, there=seen(observed("web-1")), fails={"PLANNED": "disk full"})
    assert (stage.line, stage.rollout.outcome) == (["PLANNED"], Outcome.REFUSED)


def test_problems_refuse_before_the_plan_is_written() -> None:
    stage = played(WEB1, there=seen(ports={("", 80, "tcp"): "nginx"}), networks=())
    assert stage.rollout.outcome is Outcome.DEPLOYED, "somebody else's port is not this stack's"
    taken = replace(WEB1, published=(("", 80, "tcp"),))
    stage = played(taken, there=seen(ports={("", 80, "tcp"): "nginx"}))
    assert (stage.line, stage.rollout.outcome) == ([], Outcome.REFUSED)


# -- the shape of advance -----------------------------------------------------------------


def test_it_is_a_function() -> None:
    state = rollout(WEB1)
    assert advance(state, Begun(5)) == advance(state, Begun(5))
    assert state == rollout(WEB1)


def test_nothing_is_asked_for_twice() -> None:
    stage = played(service("db"), service("web", 2, after="db", routed=True), there=SERVES)
    assert len(stage.line) == len(set(stage.line))


def test_what_comes_after_the_end_is_ignored() -> None:
    stage = played(WEB1)
    late = Done(Look("web", "shop-web-1", 0), 999, Sample(999, False, exit_code=1))
    assert advance(stage.rollout, late) == (stage.rollout, ())


def test_a_clock_that_jumps_back_does_not_turn_time_round() -> None:
    state, _asked = advance(rollout(WEB1), Begun(50))
    state, _asked = advance(state, Done(Fetch("web"), 20, Image("web:1", "sha256:web:1")))
    assert state.now == 50


def test_a_look_that_gets_no_answer_is_a_failed_check() -> None:
    state = Stage(rollout(WEB1), Observation()).rollout
    state, _asked = advance(state, Begun(0))
    state, _asked = advance(state, Done(Fetch("web"), 0, Image("web:1", "sha256:web:1")))
    state, asked = advance(state, Done(Observe(), 0, seen()))
    for _turn in range(6):
        [command] = [c for c in asked if not isinstance(c, Look)] or [None]
        if command is None:
            break
        state, asked = advance(state, Done(command, 0))
    [look] = asked
    state, asked = advance(state, Failed(look, 1, "the engine does not answer"))
    watch = state.tracks["web"].watches["shop-web-1"]
    assert (watch.failures, watch.last and watch.last.output) == (1, "the engine does not answer")
    assert state.phase is Phase.ROLLING
    assert [type(c) for c in asked] == [Look]


def test_milestones_hold_what_recovery_needs() -> None:
    stage = played(ROUTED2, service("job", one_shot=True), there=SERVES)
    planned = milestone(stage.rollout, "planned")
    assert planned == {
        "members": {"web": ["shop-web-2"], "job": ["shop-job-1"]},
        "incumbents": {"web": ["shop-web-1"], "job": []},
        "running": ["shop-web-1"],
    }
    committed = milestone(stage.rollout, "committed")
    assert committed["members"] == planned["members"]
    assert committed["images"]["web:2"] == {"id": "sha256:web:2", "digest": ""}
    assert committed["ran"] == [("job", "spec-1", "sha256:job:1")]
    assert milestone(stage.rollout, "finished") == {"outcome": "deployed", "notes": []}


# -- recovery and teardown ------------------------------------------------------------------


def recovered(there: Observation, committed: bool, wanted: object, **about: object) -> Stage:
    running = frozenset(o.name for o in there.replicas) if "running" not in about else about.pop("running")
    left = Unfinished("r1", committed, about.pop("members"), about.pop("incumbents"), running)  # type: ignore[arg-type]
    return Stage(recovery("r1", wanted, left, there), there, **about).play()  # type: ignore[arg-type]


M2, M1 = {"web": ["shop-web-2"]}, {"web": ["shop-web-1"]}
BOTH = seen(observed("web-1"), observed("web-2", 2, rollout="r1"), routed={"web": frozenset({"shop-web-1"})})
SWITCHED = replace(BOTH, routed={"web": frozenset({"shop-web-2"})})

RECOVERIES = [
    # name, what is there, committed, line
    ("undone: nothing had changed", seen(observed("web-1"), routed={"web": frozenset({"shop-web-1"})}), False, ""),
    ("undone before the switch", BOTH, False,
     "drain web-2 7, stop web-2, remove web-2"),
    ("undone after the switch", SWITCHED, False,
     "start web-1, route web=web-1, drain web-2 7, stop web-2, remove web-2"),
    ("finished", SWITCHED, True,
     "drain web-1 7, stop web-1, remove web-1"),
    ("finished: traffic had not been moved", BOTH, True,
     "start web-2, route web=web-2, drain web-1 7, stop web-1, remove web-1"),
    ("undone: what was stopped starts again",
     seen(observed("web-1", running=False), observed("web-2", 2, rollout="r1"), routed={"web": frozenset({"shop-web-2"})}), False,
     "start web-1, route web=web-1, drain web-2 7, stop web-2, remove web-2"),
    ("finished: what stopped meanwhile starts again",
     seen(observed("web-1"), observed("web-2", 2, rollout="r1", running=False), routed={"web": frozenset({"shop-web-1"})}), True,
     "start web-2, route web=web-2, drain web-1 7, stop web-1, remove web-1"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "committed", "line"), [c[1:] for c in RECOVERIES], ids=[c[0] for c in RECOVERIES])
def test_recovery(there: Observation, committed: bool, line: str) -> None:
    wanted = stack(ROUTED2 if committed else ROUTED1)
    stage = recovered(there, committed, wanted, members=M2, incumbents=M1, running=frozenset({"shop-web-1"}))
    assert stage.rollout.outcome is Outcome.RECOVERED
    assert ", ".join(stage.line) == ", ".join(filter(None, [line, *END]))


def test_an_incumbent_that_did_not_run_before_stays_as_it_was() -> None:
    there = seen(observed("web-1", running=False), observed("web-2", 2, rollout="r1"))
    stage = recovered(there, False, stack(WEB1), members=M2, incumbents=M1, running=frozenset())
    assert [w for w in stage.line if w.startswith("start")] == []


def test_old_is_never_inferred_from_running() -> None:
    """The new one runs, the old one does not: before the commit it is the old one that stays."""
    there = seen(observed("web-1", running=False), observed("web-2", 2, rollout="r1"))
    stage = recovered(there, False, stack(WEB1), members=M2, incumbents=M1, running=frozenset({"shop-web-1"}))
    assert stage.line == ["start web-1", "stop web-2", "remove web-2", *END]


@pytest.mark.parametrize(
    ("there", "line"),
    [
        (
            [observed("the-web-before-r1@web", running=False), observed("the-web@web", 2, rollout="r1")],
            "stop the-web, remove the-web, rename the-web-before-r1 the-web, start the-web",
        ),
        (
            [observed("the-web-before-r1@web", running=False)],
            "rename the-web-before-r1 the-web, start the-web",
        ),
        ([observed("the-web@web", running=False)], "start the-web"),
    ],
    ids=["the new one has the name", "nobody has the name", "only stopped"],
)
def test_a_fixed_name_finds_back(there: list, line: str) -> None:
    name = {"web": ["the-web"]}
    stage = recovered(seen(*there), False, stack(FIXED1), members=name, incumbents=name, running=frozenset({"the-web"}))
    assert ", ".join(stage.line[:-2]) == line


def test_a_first_deploy_that_was_killed_leaves_nothing() -> None:
    there = seen(observed("web-1", rollout="r1"), routed={"web": frozenset({"shop-web-1"})})
    stage = recovered(there, False, stack(), members={"web": ["shop-web-1"]}, incumbents={"web": []})
    assert stage.line == ["unroute web", "stop web-1", "remove web-1", *END]


@pytest.mark.parametrize("known", [stack(WEB1), stack()], ids=["it has no route", "it is not in the release"])
def test_a_backend_without_servers_goes_too(known: Stack) -> None:
    """The killed run gave the service a route, and its way back had removed the replica that the proxy knew."""
    there = seen(*([observed("web-1")] if known.services else []), routed={"web": frozenset()})
    stage = recovered(there, False, known, members=M2, incumbents=M1, running=frozenset({"shop-web-1"}))
    assert stage.line == ["unroute web", *END]


def test_one_shots_of_a_finished_release_are_not_started_again() -> None:
    there = seen(observed("job-1", rollout="r1", running=False), observed("web-1", rollout="r1"))
    members = {"job": ["shop-job-1"], "web": ["shop-web-1"]}
    stage = recovered(
        there, True, stack(service("job", one_shot=True), WEB1), members=members, incumbents={"job": [], "web": []}
    )
    assert stage.line == END


def test_teardown_takes_dependents_first_and_keeps_volumes() -> None:
    made = stack(service("db"), service("web", after="db", routed=True), networks=(NETWORK,), volumes=(VOLUME,))
    there = seen(
        observed("db-1"),
        observed("web-1"),
        observed("orphan-1"),
        routed={"web": frozenset({"shop-web-1"})},
        networks={"shop_default": {}},
        volumes=("shop_kept",),
    )
    stage = Stage(teardown("r2", made, there), there).play()
    assert stage.rollout.outcome is Outcome.REMOVED
    line = stage.line
    assert line.index("unroute web") < line.index("stop web-1") < line.index("remove web-1") < line.index("stop db-1")
    assert "remove orphan-1" in line
    assert line[-2:] == ["removenetwork shop_default", "FINISHED"]
    thorough = Stage(teardown("r2", made, there, remove_volumes=True), there).play()
    assert "removevolume shop_kept" in thorough.line


def test_a_teardown_removes_nothing_that_is_not_its_own() -> None:
    external = replace(NETWORK, external=True)
    made = stack(WEB1, networks=(external,), volumes=(replace(VOLUME, external=True),))
    there = seen(observed("web-1"), networks={"shop_default": {}}, volumes=("shop_kept",))
    stage = Stage(teardown("r2", made, there, remove_volumes=True), there).play()
    assert [w for w in stage.line if w.startswith(("removenetwork", "removevolume"))] == []


def test_a_kept_replica_that_gets_its_first_route_is_looked_at_before() -> None:
    """It runs, and nobody saw it pass: whoever was killed may just have started it again."""
    routed = service("web", routed=True)
    stage = played(routed, there=seen(observed("web-1")))
    looks = [c for c in stage.asked if isinstance(c, Look) and c.name == "shop-web-1"]
    assert stage.rollout.outcome is Outcome.DEPLOYED
    assert stage.line.count("route web=web-1") == 1
    assert len(looks) >= routed.gate.passes
    assert stage.times["route web=web-1"] > 0
    sick = played(routed, there=seen(observed("web-1")), ready={"web-1": None})
    assert sick.rollout.outcome is Outcome.ROLLED_BACK
    assert [w for w in sick.line if w.startswith(("route", "stop", "remove"))] == []
    known = played(
        service("web", 2, routed=True), there=seen(observed("web-1"), routed={"web": frozenset({"shop-web-1"})})
    )
    assert [c for c in known.asked if isinstance(c, Look) and c.name == "shop-web-1"] == [], "it serves already"
