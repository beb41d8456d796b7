# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rollouts behind a real proxy: whoever is served sees one release after the other, and never a bad one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy, status
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings
from ansible_collections.quaylock.stacks.tests.load import under

from . import proxies as real
from .conftest import Harbour, web
from .test_rollout_killed import killed_at

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("proxy", ["haproxy"], indirect=True)]

network, image = real.network, real.image
proxy = real.proxy_of("haproxy")


@pytest.fixture
def harbour(harbours: Callable[..., Harbour], proxy: real.Contained) -> Harbour:
    entrypoints = {"http": real.HTTP, "db": real.TCP}
    settings = IngressSettings(str(proxy.folder), proxy.container.name, proxy.network, entrypoints, proxy.driver)
    return harbours(ingress=settings)


def release(version: str, replicas: int = 2, **about: Any) -> dict[str, Any]:
    route = {"entrypoint": "http", "port": 8000, "host": "shop.example.org", "check": "/version", "drain": "5s"}
    service = web(
        environment={"VERSION": version, "EXIT_AT_ONCE": "1", **about.pop("env", {})},
        deploy={"replicas": replicas},
        **about,
    )
    service["x-quaylock"]["ingress"] = [route]
    return {"web": service}


def untouched(harbour: Harbour, before: Mapping[str, tuple[str, str]]) -> None:
    assert harbour.identities() == before, "the same containers, never stopped"


def test_good_and_bad_releases_under_load_lose_nothing(harbour: Harbour, proxy: real.Proxy) -> None:
    """Good, healthy alone but broken behind the proxy, dying while watched, good."""
    harbour.deployed(release("v1"))
    with under(proxy.load(seconds=120)) as load:
        harbour.deployed(release("v2"))
        before = harbour.identities()
        broken = harbour.deploy(release("v3", env={"FAIL_FORWARDED": "1"}))
        assert broken["outcome"] == "rolled back"
        assert "500" in broken["msg"]
        untouched(harbour, before)
        dying = harbour.deploy(release("v4", env={"CRASH_AFTER": "0.4"}))
        assert dying["outcome"] == "rolled back"
        untouched(harbour, before)
        harbour.deployed(release("v5", replicas=3))
        harbour.deployed(release("v5", replicas=1))
        load.meets("v5")
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert (load.report.answered_by["v3"], load.report.answered_by["v4"]) == (0, 0)
    assert len(harbour.containers()) == 1
    assert proxy.get()[0] == 200


def test_a_return_to_a_kept_release_loses_nothing(harbour: Harbour, proxy: real.Proxy) -> None:
    first = harbour.deployed(release("v1"))["rollout"]
    harbour.deployed(release("v2"))
    with under(proxy.load(seconds=60)) as load:
        for wanted, version in ((first, "v1"), ("previous", "v2")):
            answer = deploy.deploy(harbour.request({}, release=wanted))
            assert answer["outcome"] == "deployed", answer
            assert f'"{version}"' in proxy.get()[1]
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert set(load.report.answered_by) == {"v1", "v2"}


@pytest.mark.parametrize(
    ("what", "do", "version"), [("do", "Route", "v1"), ("done", "Route", "v1"), ("committed", "", "v2")]
)
def test_killed_around_the_switch_it_serves_on(
    harbour: Harbour, proxy: real.Proxy, what: str, do: str, version: str
) -> None:
    harbour.deployed(release("v1"))
    with under(proxy.load(seconds=60)) as load:
        killed_at(harbour, release("v2"), what, do)
        answer = harbour.deploy(release(version))
    assert any("was interrupted earlier" in note for note in answer["notes"])
    assert answer["outcome"] == "unchanged"
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.log()[-3000:]}"
    assert f'"version":"{version}"' in proxy.get()[1]
    assert len(harbour.containers()) == 2


def test_a_fixed_name_is_routed_again_after_a_rollback(harbour: Harbour, proxy: real.Proxy) -> None:
    name = f"{harbour.name}-fixed"
    harbour.deployed(release("v1", 1, container_name=name))
    assert proxy.get()[0] == 200
    bad = harbour.deploy(release("v2", 1, container_name=name, env={"CRASH_AFTER": "0.2"}))
    assert bad["outcome"] == "rolled back"
    assert '"version":"v1"' in proxy.get()[1]
    # so long that the proxy's own checks call the server of that name down, which the new one must not inherit
    harbour.deployed(release("v3", 1, container_name=name, env={"READY_AFTER": "3"}))
    assert '"version":"v3"' in proxy.get()[1]


def test_a_route_that_leaves_the_file_and_a_stack_that_leaves_the_host(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1", 1))
    seen = status.status(harbour.request({}), {"http": {"port": 18080}}, "host.example.org")
    assert seen["urls"] == ["http://shop.example.org:18080/"]
    assert seen["services"][0]["routed"] == [f"{harbour.name}-web-1"]
    harbour.deployed({"web": web(environment={"VERSION": "v1"})})
    assert proxy.get()[0] == 404
    harbour.deployed(release("v1", 1))
    assert proxy.get()[0] == 200
    harbour.remove()
    assert proxy.get()[0] == 404
    assert harbour.containers() == {}


def test_two_stacks_may_not_claim_one_host(
    harbours: Callable[..., Harbour], harbour: Harbour, proxy: real.Proxy
) -> None:
    harbour.deployed(release("v1", 1))
    answer = harbours(**harbour.about).deploy(release("v1", 1))
    assert (answer["outcome"], answer["changed"]) == ("refused", False)
    assert any("shop.example.org" in finding and harbour.name in finding for finding in answer["findings"])


def test_a_proxy_that_is_not_there_is_said_before_anything_is_touched(harbour: Harbour, proxy: real.Proxy) -> None:
    harbour.deployed(release("v1", 1))
    before = harbour.identities()
    proxy.kill()
    answer = harbour.deploy(release("v2", 1))
    assert (answer["outcome"], answer["changed"]) == ("refused", False)
    untouched(harbour, before)
    proxy.start()
    proxy.up()
    assert os.path.exists(proxy.folder)
    harbour.deployed(release("v2", 1))
    assert '"version":"v2"' in proxy.get()[1]
