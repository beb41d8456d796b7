# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`x-quaylock.strategy: blue-green` behind a real proxy: the whole stack is switched, or nobody saw anything of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.load import under

from . import proxies as real
from . import test_rollout_routed as routed
from .conftest import Harbour, web
from .meanwhile import Meanwhile, has_done, told_to
from .test_rollout_killed import killed_at

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("proxy", ["haproxy"], indirect=True)]

network, image, harbour = real.network, real.image, routed.harbour
proxy = real.proxy_of("haproxy")
MORE = partial(pytest.param, marks=pytest.mark.more)
WHOLE: dict[str, Any] = {"x-quaylock": {"strategy": "blue-green"}}


def release(version: str, **api: str) -> dict[str, Any]:
    """A page that is routed, and an api behind it that is known by its name; `api` is that one's environment."""
    behind = {"api": {"condition": "service_healthy"}}
    return {
        **routed.release(version, depends_on=behind),
        "api": web(environment={"VERSION": version, **api}, healthcheck=QUICK),
    }


QUICK = {"test": ["CMD", "/web", "check"], "interval": "30s", "timeout": "2s", "retries": 3}


def slow(version: str, **page: str) -> dict[str, Any]:
    """The same with nobody who waits for the other, so that the page is ready long before the api."""
    services = release(version, READY_AFTER="3")
    services["web"].pop("depends_on")
    services["web"]["environment"].update(page)
    return services


def test_the_whole_stack_is_switched_when_its_last_replica_has_passed(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1"), **WHOLE)
    with under(proxy.load(seconds=60)) as load:
        answer = harbour.deployed(slow("v2"), **WHOLE)
        load.meets("v2")
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    events = harbour.events(answer["rollout"])
    held = [e.at for e in events if e.what == "gate" and e.details["reached"] == "held"]
    taken = [e for e in events if e.what == "do" and e.details.get("do") in ("Route", "Announce")]
    assert len(held) == 3, "two pages and the api"
    assert {e.details["service"] for e in taken} == {"web", "api"}
    assert min(e.at for e in taken) >= max(held)
    gone = [e.at for e in events if e.what == "do" and e.details.get("do") in ("Stop", "Drain", "Withdraw")]
    assert min(gone) > next(e.at for e in events if e.what == "committed"), "what served stays until the commit"
    assert harbour.deploy(slow("v2"), **WHOLE)["outcome"] == "unchanged"


def test_a_part_that_fails_keeps_all_of_it_away_from_everybody(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1"), **WHOLE)
    before = harbour.identities()
    bad = slow("v2")
    bad["api"]["environment"]["READY_AFTER"] = "600"
    bad["api"]["x-quaylock"]["gate"]["deadline"] = "6s"
    with under(proxy.load(seconds=60)) as load:
        answer = harbour.deploy(bad, **WHOLE)
    assert answer["outcome"] == "rolled back", answer
    routed.untouched(harbour, before)
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert load.report.answered_by["v2"] == 0, "the page was ready, and nobody saw it"


def test_what_fails_after_the_switch_takes_all_of_it_back(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1"), **WHOLE)
    before = harbour.identities()
    services = slow("v2")
    for service in services.values():
        service["deploy"]["update_config"]["monitor"] = "10s"

    def crash(_found: bool) -> None:
        load.meets("v2")
        told_to(harbour, "crash", "v2", "api")

    with under(proxy.load(seconds=60)) as load, Meanwhile(has_done(harbour, "Route"), crash):
        answer = harbour.deploy(services, **WHOLE)
    assert answer["outcome"] == "rolled back", answer
    routed.untouched(harbour, before)
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert load.report.answered_by["v2"] > 0
    assert '"version":"v1"' in proxy.get()[1]


@pytest.mark.parametrize(("what", "do"), [("done", "Route"), MORE("done", "Announce")])
def test_killed_in_the_switch_it_goes_back_as_a_whole(harbour: Harbour, proxy: real.Proxy, what: str, do: str) -> None:
    harbour.deployed(release("v1"), **WHOLE)
    before = {name: identity for name, (identity, _at) in harbour.identities().items()}
    with under(proxy.load(seconds=60)) as load:
        killed_at(harbour, slow("v2"), what, do, **WHOLE)
        answer = harbour.deploy(release("v1"), **WHOLE)
    assert any("was interrupted earlier" in note for note in answer["notes"])
    assert answer["outcome"] == "unchanged"
    assert {name: identity for name, (identity, _at) in harbour.identities().items()} == before
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"


def test_what_cannot_run_twice_is_refused_and_nothing_changes(harbour: Harbour) -> None:
    def with_fixed(version: str) -> dict[str, Any]:
        fixed = web(environment={"VERSION": version}, container_name=f"{harbour.name}-fixed")
        return {**release("v1"), "fixed": fixed}

    harbour.deployed(with_fixed("v1"), **WHOLE)
    before = harbour.identities()
    answer = harbour.deploy(with_fixed("v2"), **WHOLE)
    assert answer["outcome"] == "refused"
    assert "services.fixed: is replaced stop-first because its container_name is" in answer["msg"]
    assert "strategy: rolling" in answer["msg"]
    routed.untouched(harbour, before)
    harbour.deployed(with_fixed("v2"))
