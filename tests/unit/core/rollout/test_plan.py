# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What has to change, in lines as people see them, and what forbids it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Finding,
    Gate,
    Image,
    Network,
    Observation,
    Observed,
    Order,
    Service,
    Stack,
    Volume,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.plan import (
    Action,
    Change,
    Ran,
    plan,
    problems,
)

from ..stage import GATE, NETWORK, ROUTE, VOLUME, observed, seen, service, short, stack

JOB = service("job", one_shot=True)
FIXED = service("web", container_name="the-web")
WEB = service("web")
ROUTED = service("web", routed=True)


def images(made: Stack) -> dict[str, Image]:
    return {s.image: Image(s.image, f"sha256:{s.image}") for s in made.services}


def written(change: Change) -> str:
    """action reasons | + new | = kept | - leaving"""
    parts = [f"{change.action.value}: {'; '.join(change.reasons)}" if change.reasons else change.action.value]
    parts += [f"{sign} {' '.join(names)}" for sign, names in (
        ("+", [short(n) for n, _spec in change.new]),
        ("=", [short(o.name) for o in change.keep]),
        ("-", [short(o.name) for o in change.old]),
    ) if names]  # fmt: skip
    return " | ".join(parts)


def three(one: Service) -> Service:
    return replace(one, replicas=3)


CASES = [
    # name                              wanted        there                                          change of web (or job)
    ("nothing there",                   WEB,          seen(),                                        "create: does not exist yet | + web-1"),
    ("three of them",                   three(WEB),   seen(),                                        "create: does not exist yet | + web-1 web-2 web-3"),
    ("as wanted",                       WEB,          seen(observed("web-1")),                       "keep | = web-1"),
    ("new definition",                  service("web", 2), seen(observed("web-1", image="sha256:web:2")), "replace: definition changed | + web-2 | - web-1"),
    ("new image",                       WEB,          seen(observed("web-1", image="sha256:old")),   "replace: image changed | + web-2 | - web-1"),
    ("both",                            service("web", 2), seen(observed("web-1")),                  "replace: image changed | + web-2 | - web-1"),
    ("numbers are used again",          service("web", 2), seen(observed("web-2")),                  "replace: image changed | + web-1 | - web-2"),
    ("somebody else's",                 WEB,          seen(observed("web-1", spec="", rollout="")),  "replace: was not made by Quaylock | + web-2 | - web-1"),
    ("not running",                     WEB,          seen(observed("web-1", running=False, exit_code=3)), "replace: shop-web-1 is not running (exit code 3) | + web-2 | - web-1"),
    ("unhealthy",                       WEB,          seen(observed("web-1", health="unhealthy")),   "replace: shop-web-1 is unhealthy | + web-2 | - web-1"),
    ("starting is no fault",            WEB,          seen(observed("web-1", health="starting")),    "keep | = web-1"),
    ("scale up",                        three(WEB),   seen(observed("web-1")),                       "scale: 1 -> 3 replicas | + web-2 web-3 | = web-1"),
    ("scale up fills the gaps",         three(WEB),   seen(observed("web-2")),                       "scale: 1 -> 3 replicas | + web-1 web-3 | = web-2"),
    ("scale down",                      WEB,          seen(observed("web-1"), observed("web-2")),    "scale: 2 -> 1 replicas | = web-1 | - web-2"),
    ("scale to nothing",                replace(WEB, replicas=0), seen(observed("web-1")),           "scale: 1 -> 0 replicas | - web-1"),
    ("one of three is broken",          three(WEB),   seen(observed("web-1"), observed("web-2", running=False), observed("web-3")), "replace: shop-web-2 is not running (exit code 0) | + web-4 | = web-1 web-3 | - web-2"),
    ("several reasons",                 three(WEB),   seen(observed("web-1", image="x"), observed("web-2", 2, image="sha256:web:1"), observed("web-3")), "replace: image changed; definition changed | + web-4 web-5 | = web-3 | - web-1 web-2"),
    ("a fixed name",                    FIXED,        seen(),                                        "create: does not exist yet | + the-web"),
    ("a fixed name is used again",      FIXED,        seen(observed("the-web@web", 0)),              "replace: image changed | + the-web | - the-web"),
    ("nothing of it, and not routed",   replace(ROUTED, replicas=0), seen(),                         "keep"),
    ("routed as wanted",                ROUTED,       seen(observed("web-1"), routed={"web": frozenset({"shop-web-1"})}), "keep | = web-1"),
    ("not routed",                      ROUTED,       seen(observed("web-1")),                       "route: the proxy's routes differ | = web-1"),
    ("routed to somebody else",         ROUTED,       seen(observed("web-1"), routed={"web": frozenset({"x"})}), "route: the proxy's routes differ | = web-1"),
    ("routed by other rules",           ROUTED,       seen(observed("web-1"), routed={"web": frozenset({"shop-web-1"})}, stale_routes=frozenset({"web"})), "route: the proxy's routes differ | = web-1"),
    ("routed, but should not be",       WEB,          seen(observed("web-1"), routed={"web": frozenset({"shop-web-1"})}), "route: the proxy's routes differ | = web-1"),
    ("one-shot: never ran",             JOB,          seen(),                                        "run: does not exist yet | + job-1"),
    ("one-shot: ended well",            JOB,          seen(observed("job-1", running=False)),        "keep | = job-1"),
    ("one-shot: failed",                JOB,          seen(observed("job-1", running=False, exit_code=2)), "run: last run ended with exit code 2 | + job-2 | - job-1"),
    ("one-shot: still running",         JOB,          seen(observed("job-1")),                       "run: was still running | + job-2 | - job-1"),
    ("one-shot: new version",           service("job", 2, one_shot=True), seen(observed("job-1", running=False)), "run: image changed | + job-2 | - job-1"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "there", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_change(wanted: Service, there: Observation, expected: str) -> None:
    made = stack(wanted)
    [change] = plan(made, there, images(made)).changes
    assert written(change) == expected
    assert change.service == wanted.name


def test_members_are_what_is_there_afterwards() -> None:
    made = stack(three(WEB))
    change = plan(made, seen(observed("web-2"), observed("web-1", 0)), images(made)).change("web")
    assert sorted(map(short, change.members)) == ["web-2", "web-3", "web-4"]


RAN = Ran("job", "spec-1", "sha256:job:1")
RAN_CASES = [
    ("it ran, its container is gone",   RAN,                                "keep"),
    ("another definition ran",          replace(RAN, spec="spec-0"),        "run: does not exist yet | + job-1"),
    ("another image ran",               replace(RAN, image="sha256:job:0"), "run: does not exist yet | + job-1"),
    ("another service ran",             replace(RAN, service="other"),      "run: does not exist yet | + job-1"),
]  # fmt: skip


@pytest.mark.parametrize(("ran", "expected"), [c[1:] for c in RAN_CASES], ids=[c[0] for c in RAN_CASES])
def test_a_finished_one_shot_whose_container_is_gone(ran: Ran, expected: str) -> None:
    made = stack(JOB)
    assert written(plan(made, seen(), images(made), frozenset({ran})).change("job")) == expected


def test_what_the_release_saw_end_well_counts_whatever_was_done_to_its_container_since() -> None:
    made = stack(JOB)
    failed = seen(observed("job-1", running=False, exit_code=1))
    assert plan(made, failed, images(made), frozenset({RAN})).change("job").action is Action.KEEP


def test_orphans_leave_last() -> None:
    made = stack(WEB)
    there = seen(observed("zebra-1"), observed("web-1"), observed("ape-2"), observed("ape-1"))
    result = plan(made, there, images(made))
    assert [(c.service, written(c)) for c in result.changes] == [
        ("web", "keep | = web-1"),
        ("ape", "remove: is not in the Compose file any more | - ape-1 ape-2"),
        ("zebra", "remove: is not in the Compose file any more | - zebra-1"),
    ]
    assert [c.service for c in result.work] == ["ape", "zebra"]
    assert result.changed


def test_what_only_the_proxy_still_knows_loses_its_route() -> None:
    made = stack(WEB)
    there = replace(seen(observed("web-1")), routed={"zebra": frozenset({"shop-zebra-1"})})
    [change] = plan(made, there, images(made)).work
    assert (change.service, change.action, change.old) == ("zebra", Action.REMOVE, ())


def test_networks_and_volumes_that_are_missing_are_made() -> None:
    networks = (NETWORK, Network("back", "shop_back"), Network("out", "outside", external=True))
    volumes = (VOLUME, Volume("more", "shop_more"), Volume("theirs", "theirs", external=True))
    made = stack(WEB, networks=networks, volumes=volumes)
    there = seen(observed("web-1"), networks={"shop_default": {}}, volumes=("shop_more",))
    result = plan(made, there, images(made))
    assert (result.networks, result.volumes, result.work) == (("back",), ("kept",), ())
    assert result.changed
    there = replace(there, networks={"shop_default": {}, "shop_back": {}}, volumes=("shop_more", "shop_kept"))
    assert not plan(made, there, images(made)).changed


# db <- api (restart) <- web (restart); other waits for db without restart; job waits for it with restart
CHAIN = [
    service("db", 2),
    service("api", after="db", restarts=("db",)),
    service("web", after="api", restarts=("api",)),
    service("other", after="db"),
    service("job", after="db", restarts=("db",), one_shot=True),
]
THERE = [observed("db-1"), observed("api-1"), observed("web-1"), observed("other-1"), observed("job-1", running=False)]


def test_restarts_spread_along_the_graph() -> None:
    made = stack(*CHAIN)
    result = plan(made, seen(*THERE), images(made))
    assert {c.service: written(c) for c in result.changes} == {
        "db": "replace: image changed | + db-2 | - db-1",
        "api": "replace: depends on db, which is replaced | + api-2 | - api-1",
        "web": "replace: depends on api, which is replaced | + web-2 | - web-1",
        "other": "keep | = other-1",
        "job": "keep | = job-1",
    }


@pytest.mark.parametrize(
    "db",
    [service("db"), replace(service("db"), replicas=2), service("db", routed=True)],
    ids=["kept", "scaled", "routed anew"],
)
def test_only_a_replacement_restarts_dependents(db: Service) -> None:
    made = stack(db, *CHAIN[1:3])
    result = plan(made, seen(*THERE[:3]), images(made))
    assert result.change("api").action is Action.KEEP


def test_a_restart_keeps_the_way_of_replacing() -> None:
    made = stack(service("db", 2), service("api", after="db", restarts=("db",), container_name="the-api"))
    there = seen(observed("db-1"), observed("the-api@api"))
    change = plan(made, there, images(made)).change("api")
    assert (change.order, change.new) == (Order.STOP_FIRST, (("the-api", 2),))


# -- problems -----------------------------------------------------------------------

UNGATED = service("web", gate=Gate())
LATER = service("web", gate=Gate(image_check=True))
CHECK = {"Test": ["CMD", "/check"]}


def paths(made: Stack, there: Observation, of: dict[str, Image]) -> list[str]:
    return [f.path for f in problems(made, there, of)]


PROBLEMS = [
    # name                          wanted                                     there                  paths
    ("all is well",                 stack(WEB),                                seen(),                []),
    ("no check",                    stack(UNGATED),                            seen(),                ["services.web.healthcheck"]),
    ("no check in the image",       stack(LATER),                              seen(),                ["services.web.healthcheck"]),
    ("opted out",                   stack(service("web", gate=Gate(opted_out="why"))), seen(),        []),
    ("a one-shot needs none",       stack(service("job", gate=Gate(), one_shot=True)), seen(),        []),
    ("external network missing",    stack(WEB, networks=(Network("out", "outside", True),)), seen(),  ["networks.out"]),
    ("external network there",      stack(WEB, networks=(Network("out", "outside", True),)), seen(networks={"outside": {}}), []),
    ("external volume missing",     stack(WEB, volumes=(Volume("v", "theirs", True),)), seen(),       ["volumes.v"]),
    ("external volume there",       stack(WEB, volumes=(Volume("v", "theirs", True),)), seen(volumes=("theirs",)), []),
    ("another driver",              stack(WEB, networks=(Network("n", "n", body={"Driver": "overlay"}),)), seen(networks={"n": {"Driver": "bridge"}}), ["networks.n.driver"]),
    ("another subnet",              stack(WEB, networks=(Network("n", "n", body={"IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}]}}),)), seen(networks={"n": {"IPAM": {"Config": [{"Subnet": "10.2.0.0/24"}]}}}), ["networks.n.subnet"]),
    ("no subnet asked for",         stack(WEB, networks=(Network("n", "n"),)), seen(networks={"n": {"Driver": "bridge", "IPAM": {"Config": [{"Subnet": "10.2.0.0/24"}]}}}), []),
    ("internal now",                stack(WEB, networks=(Network("n", "n", body={"Internal": True}),)), seen(networks={"n": {"Internal": False}}), ["networks.n.internal"]),
    ("a port is taken",             stack(replace(WEB, published=(("", 80, "tcp"), ("", 81, "tcp")))), seen(ports={("", 80, "tcp"): "nginx"}), ["services.web.ports"]),
    ("what the host says",          stack(WEB),                                seen(findings=(Finding("a.b", "is missing"),)), ["a.b"]),
]  # fmt: skip


@pytest.mark.parametrize(("made", "there", "expected"), [c[1:] for c in PROBLEMS], ids=[c[0] for c in PROBLEMS])
def test_problem(made: Stack, there: Observation, expected: list[str]) -> None:
    assert paths(made, there, images(made)) == expected


def test_an_image_that_is_not_there_yet_may_have_a_check() -> None:
    made = stack(LATER)
    assert paths(made, seen(), {}) == []
    assert paths(made, seen(), {"web:1": Image("web:1", "")}) == []
    assert paths(made, seen(), {"web:1": Image("web:1", "sha256:1", check=CHECK)}) == []


def test_all_of_it_at_once_each_with_a_way_out() -> None:
    made = stack(
        UNGATED,
        replace(service("db"), published=(("127.0.0.1", 5432, "tcp"),)),
        networks=(Network("out", "outside", True), Network("n", "n", body={"Driver": "overlay", "Internal": True})),
        volumes=(Volume("v", "theirs", True),),
    )
    there = seen(
        networks={"n": {"Driver": "bridge", "Internal": False}},
        ports={("127.0.0.1", 5432, "tcp"): "container old-db"},
        findings=(Finding("services.db.volumes", "/data does not exist on the host", "create it"),),
    )
    found = problems(made, there, images(made))
    assert [f.path for f in found] == [
        "services.db.volumes",
        "services.web.healthcheck",
        "networks.out",
        "networks.n.driver",
        "networks.n.internal",
        "volumes.v",
        "services.db.ports",
    ]
    assert all(f.fix for f in found)
    assert "container old-db" in str(found[-1])


def test_a_plan_is_made_of_the_same_values_again() -> None:
    made = stack(*CHAIN)
    assert plan(made, seen(*THERE), images(made)) == plan(made, seen(*reversed(THERE)), images(made))


def test_the_gates_of_the_stage_are_possible() -> None:
    assert GATE.passes * GATE.cadence < GATE.deadline
    assert ROUTE.drain
    assert isinstance(observed("web-1"), Observed)
