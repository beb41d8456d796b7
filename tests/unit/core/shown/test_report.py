# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What people are told: every text as it is printed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Finding, Observation, Order, Service
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Failure, Outcome
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import report

from ..stage import NETWORK, VOLUME, observed, played, rollout, seen, service

BOUND = service("web", 2, bound="it publishes port 80", order=Order.STOP_FIRST)
LINES = [
    # name, services, what is there, lines
    ("first deploy", [replace(service("web"), replicas=2)], seen(),
     ["+ web: create, 2 new (does not exist yet)"]),
    ("a replacement", [service("web", 2)], seen(observed("web-1")),
     ["~ web: replace start-first, 1 new, 1 to go (image changed)"]),
    ("one that says why it cannot be side by side", [BOUND], seen(observed("web-1")),
     ["~ web: replace stop-first because it publishes port 80, 1 new, 1 to go (image changed)"]),
    ("scaled", [replace(service("web"), replicas=3)], seen(observed("web-1")),
     ["~ web: scale, 2 new (1 -> 3 replicas)"]),
    ("a one-shot", [service("job", one_shot=True)], seen(),
     ["+ job: run, 1 new (does not exist yet)"]),
    ("a one-shot again", [service("job", 2, one_shot=True)], seen(observed("job-1", running=False)),
     ["+ job: run, 1 new, 1 to go (image changed)"]),
    ("routes", [service("web", routed=True)], seen(observed("web-1")),
     ["~ web: route (the proxy's routes differ)"]),
    ("an orphan", [service("web")], seen(observed("web-1"), observed("old-1"), observed("old-2")),
     ["- old: remove, 2 to go (is not in the Compose file any more)"]),
    ("nothing", [service("web")], seen(observed("web-1")), []),
]  # fmt: skip


@pytest.mark.parametrize(("services", "there", "expected"), [c[1:] for c in LINES], ids=[c[0] for c in LINES])
def test_plan_lines(services: list[Service], there: Observation, expected: list[str]) -> None:
    state = played(*services, there=there).rollout
    assert report.plan_lines(state.stack, state.plan) == expected


def test_networks_and_volumes_come_first() -> None:
    state = played(service("web"), networks=(NETWORK,), volumes=(VOLUME,)).rollout
    assert report.plan_lines(state.stack, state.plan)[:2] == ["+ network shop_default", "+ volume shop_kept"]


def test_a_refusal_counts_and_lists() -> None:
    one, two = Finding("services.web.image", "cannot be had"), Finding("networks.x", "is missing", "create it")
    assert report.refusal("shop", [one]) == (
        "shop: refused, 1 finding, nothing was changed\n  services.web.image: cannot be had"
    )
    assert report.refusal("shop", (one, two)) == (
        "shop: refused, 2 findings, nothing was changed\n"
        "  services.web.image: cannot be had\n"
        "  networks.x: is missing (create it)"
    )


def test_a_failed_gate_with_all_its_evidence() -> None:
    state = played(service("web", 2), there=seen(observed("web-1")), ready={"web-2": None}).rollout
    assert report.failure_text(state, "release r0; running: web x1", "deploy again") == (
        "shop: rollout r1 was rolled back: web did not pass its gate\n"
        "  replica shop-web-2 did not pass within 30 s (0 of 2 passes in a row)\n"
        "  probe   503\n"
        "  logs    last words of web-2\n"
        "  now     release r0; running: web x1\n"
        "  next    deploy again"
    )


def test_lines_of_logs_stay_under_each_other() -> None:
    state = replace(
        rollout(service("web")),
        outcome=Outcome.ROLLED_BACK,
        failures=(Failure("web", "exited with code 1", "shop-web-1", logs="one\ntwo\n  three"),),
    )
    assert "  logs    one\n          two\n            three\n" in report.failure_text(state, "nothing", "again")


def test_a_migration_is_said_not_to_be_reverted() -> None:
    services = [service("job", 2, one_shot=True), service("web", 2, after="job$")]
    there = seen(observed("web-1"), observed("job-1", running=False))
    text = report.failure_text(played(*services, there=there, dies={"web-2": 0.1}).rollout, "x", "y")
    assert "\n  data    what one-shots (migrations) have changed was not reverted\n" in text
    kept = [service("job", one_shot=True), service("web", 2, after="job$")]
    text = report.failure_text(played(*kept, there=there, dies={"web-2": 0.1}).rollout, "x", "y")
    assert "not reverted" not in text, "it did not run"


FIRST_LINES = [
    # how it failed, first line
    ({"dies": {"web-2": 0.1}},                        "was rolled back: web did not pass its gate"),
    ({"fails": {"create web-2": "no space"}},         "was rolled back: web failed, its container could not be created"),
    ({"fails": {"start web-2": "port taken"}},        "was rolled back: web failed, its container could not be started"),
    ({"fails": {"writefiles": "no space"}},           "was rolled back: failed, secrets and configs could not be written"),
    ({"fails": {"COMMITTED": "no space"}},            "was rolled back: failed, the journal could not be written"),
    ({"dies": {"web-2": 0.1}, "fails": {"remove web-2": "busy"}}, "could not be undone completely: web did not pass its gate"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "expected"), FIRST_LINES)
def test_the_first_line_says_what_happened(how: dict, expected: str) -> None:
    state = played(service("web", 2), there=seen(observed("web-1")), **how).rollout
    text = report.failure_text(state, "x", "y")
    assert text.splitlines()[0] == f"shop: rollout r1 {expected}"
    for error in how.get("fails", {}).values():
        assert error in text


def test_the_answer_is_json() -> None:
    good = report.result(played(service("web")).rollout)
    assert good == {
        "outcome": "deployed",
        "rollout": "r1",
        "plan": ["+ web: create, 1 new (does not exist yet)"],
        "images": {"web:1": {"id": "sha256:web:1", "digest": ""}},
        "notes": [],
        "restore_points": {},
        "failures": [],
        "findings": [],
    }
    bad = report.result(played(service("web"), dies={"web-1": 0.1}).rollout)
    assert bad["failures"] == [
        {
            "service": "web",
            "replica": "shop-web-1",
            "reason": "exited with code 1",
            "said": "",
            "logs": "last words of web-1",
        }
    ]
    for answer in (good, bad):
        assert json.loads(json.dumps(answer)) == answer


def test_the_diff_shows_file_and_replicas() -> None:
    there = seen(observed("web-1"), observed("job-1", running=False))
    services = [replace(service("web", 2), replicas=2), service("job", one_shot=True)]
    state = played(*services, there=there).rollout
    images = {ref: image.id for ref, image in state.images.items()}
    file, replicas = report.diff(state.stack, state.plan, state.seen, images, "old: 1\n", "new: 1\n")
    assert (file["before"], file["after"]) == ("old: 1\n", "new: 1\n")
    assert replicas["before"] == "job spec-1 sha256:job:1\nweb spec-1 sha256:web:1\n"
    assert replicas["after"] == "job spec-1 sha256:job:1\nweb spec-2 sha256:web:2\nweb spec-2 sha256:web:2\n"


def test_the_diff_of_nothing_is_empty() -> None:
    there = seen(observed("web-1"))
    state = played(service("web"), service("job", one_shot=True), there=there, ran=frozenset()).rollout
    assert state.outcome is Outcome.DEPLOYED
    same = played(service("web"), there=there).rollout
    images = {ref: image.id for ref, image in same.images.items()}
    _file, replicas = report.diff(same.stack, same.plan, same.seen, images, "a", "a")
    assert replicas["before"] == replicas["after"]


AFTERWARDS = [
    # name, replicas (as words: name, made by, runs), proxy, lines
    ("as before", [("web-1", "r0", True)], {}, ["web: shop-web-1 of release r0 serves"]),
    ("only what the proxy names serves", [("web-1", "r0", True), ("web-2", "r1", True)], {"web": ["shop-web-1"]},
     ["web: shop-web-1 of release r0 serves; shop-web-2 of the rollout that failed runs without traffic"]),
    ("what should be there is down", [("web-1", "r0", False)], {},
     ["web: shop-web-1 of release r0 is stopped (exit code 3)"]),
    ("the proxy names what does not run", [("web-1", "r0", False)], {"web": ["shop-web-1"]},
     ["web: shop-web-1 of release r0 is stopped (exit code 3); the proxy sends traffic to shop-web-1, which does not run"]),
    ("and what is gone", [], {"web": ["shop-web-9"]},
     ["web: the proxy sends traffic to shop-web-9, which does not run"]),
    ("a stranger", [("web-7", "r77", True)], {}, ["web: shop-web-7 of no release serves"]),
    ("a proxy that does not answer", [("web-1", "r0", True)], None,
     ["the proxy does not answer, so who gets traffic is not known; by the engine's word:", "web: shop-web-1 of release r0 runs"]),
    ("nothing at all", [], {}, ["nothing of this stack is there"]),
]  # fmt: skip


@pytest.mark.parametrize(("replicas", "proxy", "expected"), [c[1:] for c in AFTERWARDS], ids=[c[0] for c in AFTERWARDS])
def test_exactly_what_serves_now(replicas: list, proxy: dict | None, expected: list[str]) -> None:
    there = [observed(n, rollout=by, running=runs, exit_code=0 if runs else 3) for n, by, runs in replicas]
    routed = None if proxy is None else {service: frozenset(names) for service, names in proxy.items()}
    found = report.serving(there, routed, {"shop-web-1": "r0"}, "r1")
    assert report.serving_lines(found, routed is not None) == expected
    assert json.loads(json.dumps(found)) == found
