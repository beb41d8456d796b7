# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replacing replicas in steps behind a real proxy: some at a time, a canary before the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.load import under

from . import proxies as real
from . import test_rollout_routed as routed
from .conftest import Harbour
from .meanwhile import Meanwhile, has_done, told_to
from .test_rollout_killed import killed_at

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("proxy", ["haproxy"], indirect=True)]

network, image, harbour = real.network, real.image, routed.harbour
proxy = real.proxy_of("haproxy")


def release(version: str, replicas: int = 3, **about: Any) -> dict[str, Any]:
    canary = about.pop("canary", None)
    services = routed.release(version, replicas, **about)
    if canary:
        services["web"]["x-quaylock"]["canary"] = canary
    return services


def most_at_once(harbour: Harbour, rollout: str, began_with: int) -> tuple[int, int]:
    """The most and the fewest containers that ran while the rollout went on, by its journal."""
    running, counts = began_with, [began_with]
    for entry in harbour.events(rollout):
        if entry.what == "committed":
            break
        if entry.what == "done" and entry.details.get("do") in ("Start", "Stop"):
            running += 1 if entry.details["do"] == "Start" else -1
            counts.append(running)
    return max(counts), min(counts)


def test_one_by_one_under_load(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1"))
    with under(proxy.load(seconds=60)) as load:
        answer = harbour.deployed(release("v2", update={"parallelism": 1, "delay": "0.5s"}))
        load.meets("v2")
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert most_at_once(harbour, answer["rollout"], 3) == (4, 3)
    assert len(harbour.running()) == 3
    assert harbour.deploy(release("v2", update={"parallelism": 1, "delay": "0.5s"}))["outcome"] == "unchanged"


def test_stop_first_one_by_one_under_load(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1"))
    steps = {"parallelism": 1, "order": "stop-first"}
    with under(proxy.load(seconds=60)) as load:
        answer = harbour.deployed(release("v2", update=steps))
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert most_at_once(harbour, answer["rollout"], 3) == (3, 2)


def test_a_step_that_fails_brings_back_what_was_stopped(harbour: Harbour, proxy: real.Proxy, tmp_path: Path) -> None:
    """The second of the new replicas never gets ready: by then one old replica was stopped, and it starts again."""
    starts = tmp_path / "starts"
    starts.mkdir(mode=0o777)
    starts.chmod(0o777)
    shared: dict[str, Any] = {"volumes": [f"{starts}:/state"], "update": {"parallelism": 1}}
    shared["gate"] = {"deadline": "10s"}
    harbour.deployed(release("v1", 2, **shared, env={"STATE": "/state"}))
    before = {name: identity for name, (identity, _at) in harbour.identities().items()}
    with under(proxy.load(seconds=60)) as load:
        bad = harbour.deploy(release("v2", 2, **shared, env={"STATE": "/state", "FAIL_ON_START": "4"}))
    assert bad["outcome"] == "rolled back"
    assert "deadline" in bad["msg"] or "did not pass" in bad["msg"]
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert load.report.answered_by["v2"] > 0, "the first step took traffic"
    assert {name: identity for name, (identity, _at) in harbour.identities().items()} == before
    assert len(harbour.running()) == 2


MORE = partial(pytest.param, marks=pytest.mark.more)
CANARY = {"replicas": 1, "watch": "3s"}


def test_a_canary_takes_traffic_before_the_rest(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1"))
    with under(proxy.load(seconds=60)) as load:
        answer = harbour.deployed(release("v2", canary=CANARY))
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    switches = [e for e in harbour.events(answer["rollout"]) if e.what == "done" and e.details.get("do") == "Route"]
    assert [len(s.details["servers"]) for s in switches] == [4, 3]
    assert switches[1].at - switches[0].at >= 3


def test_a_canary_that_dies_under_traffic_goes_alone(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1"))
    before = harbour.identities()

    def crash(_found: bool) -> None:
        load.meets("v2")
        told_to(harbour, "crash", "v2")

    with under(proxy.load(seconds=60)) as load, Meanwhile(has_done(harbour, "Route"), crash):
        bad = harbour.deploy(release("v2", canary={"watch": "20s"}))
    assert bad["outcome"] == "rolled back"
    routed.untouched(harbour, before)
    print(load.report)
    assert 0 < load.report.answered_by["v2"] < load.report.answered_by["v1"]
    assert '"version":"v1"' in proxy.get()[1]


@pytest.mark.parametrize(("what", "do"), [("do", "Stop"), MORE("done", "Stop"), MORE("done", "Route")])
def test_killed_between_two_steps_it_serves_on(harbour: Harbour, proxy: real.Proxy, what: str, do: str) -> None:
    harbour.deployed(release("v1"))
    steps = {"parallelism": 1}
    with under(proxy.load(seconds=60)) as load:
        killed_at(harbour, release("v2", update=steps), what, do)
        answer = harbour.deploy(release("v1"))
    assert any("was interrupted earlier" in note for note in answer["notes"])
    assert answer["outcome"] == "unchanged"
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert len(harbour.running()) == len(harbour.containers()) == 3
