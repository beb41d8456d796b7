# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Switches on real proxies, whichever: what is promised, and that nothing is lost by keeping it."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import haproxy, proxy_files, traefik
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.integration import proxies
from ansible_collections.quaylock.stacks.tests.integration.proxies import KINDS, WEB, Proxy, Replicas, servers
from ansible_collections.quaylock.stacks.tests.load import under

network, image, replicas = proxies.network, proxies.image, proxies.replicas
# behind Traefik test_traefik.py, test_ingress_traffic.py and the contract switch too
proxy = proxies.proxy_of(*KINDS, more=("traefik",))


def test_a_first_deploy_is_routed_and_anything_else_is_404(proxy: Proxy, replicas: Replicas) -> None:
    ingress = proxy.ingress
    assert ingress.problems("shop", {"web": [WEB]}) == ()
    address = replicas.start("web-1", "v1")
    said = ingress.route("shop", "web", [WEB], {"web-1": address})
    assert "web-1" in said
    assert proxy.get()[0] == 200
    assert proxy.get(host="SHOP.example.org:80")[0] == 200
    assert proxy.get(host="other.example.org")[0] == 404
    assert ingress.routed("shop") == {"web": frozenset({"web-1"})}
    assert ingress.routes("shop") == {"web": (WEB,)}
    assert servers(proxy) == {"web-1": "ready"}


def test_switching_generations_under_load_loses_nothing(proxy: Proxy, replicas: Replicas) -> None:
    current = {"web-1": replicas.start("web-1", "v1"), "web-2": replicas.start("web-2", "v1")}
    proxy.ingress.route("shop", "web", [WEB], current)
    took = []
    with under(proxy.load(seconds=120)) as load:
        for round_ in range(2, 8):
            new = {f"web-{round_}{n}": replicas.start(f"web-{round_}{n}", f"v{round_}") for n in (1, 2)}
            began = time.monotonic()
            proxy.ingress.route("shop", "web", [WEB], new)
            took.append(time.monotonic() - began)
            assert proxy.ingress.routed("shop")["web"] == set(new)
            for name in current:
                assert "no open connection" in proxy.ingress.drain("shop", "web", name, 10)
                proxy.ingress.forget("shop", "web", name)
                replicas.term(name)
            assert servers(proxy) == dict.fromkeys(new, "ready")
            current = new
        load.meets("v7")
    print(load.report, "| switches took", [round(t, 3) for t in took])
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}\n{proxy.log()[-3000:]}"


def test_reloads_for_other_stacks_between_switches_lose_nothing(proxy: Proxy, replicas: Replicas) -> None:
    """A reload leaves idle clients on the previous worker: a switch has to reach them there too."""
    other = replicas.start("other", "other")
    current = {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], current)
    with under(proxy.load(seconds=120, mix={"keepalive": 4, "fresh": 3, "post": 3, "slow": 2, "idle": 20})) as load:
        for round_ in range(2, 7):
            route = Route("http", 8000, host=f"other{round_}.example.org", check="/version")
            proxy.ingress.route(f"other{round_}", "web", [route], {"other": other})
            new = {f"web-{round_}": replicas.start(f"web-{round_}", f"v{round_}")}
            proxy.ingress.route("shop", "web", [WEB], new)
            for name in current:
                assert "no open connection" in proxy.ingress.drain("shop", "web", name, 10)
                proxy.ingress.forget("shop", "web", name)
                replicas.term(name)
            assert proxy.get(host=f"other{round_}.example.org")[0] == 200
            current = new
            time.sleep(0.5)
        for round_ in range(2, 7):
            proxy.ingress.unroute(f"other{round_}", "web")
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}\n{proxy.log()[-3000:]}"
    assert load.report.kinds["idle"] > 20
    assert proxy.get(host="other3.example.org")[0] == 404


def test_routes_that_change_with_the_release_lose_nothing(proxy: Proxy, replicas: Replicas) -> None:
    """The new generation listens on another port: neither may be asked at the other's."""
    old = {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], old)
    made = replicas.start("web-2", "v2")
    with under(proxy.load(seconds=60, mix={"keepalive": 4, "fresh": 3, "post": 3, "idle": 10})) as load:
        new_route = replace(WEB, port=8001)
        with pytest.raises(PortError, match=r"50[23]"):
            proxy.ingress.route("shop", "web", [new_route], {"web-2": made})
        assert proxy.ingress.routed("shop") == {"web": {"web-1"}}
        address = replicas.start("web-3", "v3", port=8001)
        proxy.ingress.route("shop", "web", [new_route], {"web-3": address})
        assert "no open connection" in proxy.ingress.drain("shop", "web", "web-1", 10)
        proxy.ingress.forget("shop", "web", "web-1")
        replicas.term("web-1")
        load.meets("v3")
        time.sleep(1)
    print(load.report)
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}\n{proxy.log()[-3000:]}"
    assert load.report.answered_by["v2"] == 0


def test_draining_waits_for_answers_under_way_also_across_a_reload(proxy: Proxy, replicas: Replicas) -> None:
    old = {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], old)
    with proxy.load(mix={"slow": 3}, slow_path="/slow?until=told", seconds=60, answer=60) as load:
        until(lambda: replicas.about("web-1")["waiting"] == 3)
        new = {"web-2": replicas.start("web-2", "v2")}
        proxy.ingress.route("other", "web", [replace(WEB, host="other.example.org")], new)
        proxy.ingress.route("shop", "web", [WEB], new)
        assert "3 connections still open after" in proxy.ingress.drain("shop", "web", "web-1", 0.5)
        load.end()
        replicas.tell("web-1", "go")
        assert "no open connection after" in proxy.ingress.drain("shop", "web", "web-1", 60)
        proxy.ingress.forget("shop", "web", "web-1")
        replicas.term("web-1")
    assert load.report.failed == 0, load.report
    assert load.report.answered_by == {"v1": 3}


def test_a_release_that_fails_behind_the_proxy_never_gets_a_request(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    bad = replicas.start("web-2", "bad", FAIL_FORWARDED="1")
    with under(proxy.load()) as load:
        with pytest.raises(PortError) as caught:
            proxy.ingress.route("shop", "web", [WEB], {"web-2": bad})
        load.warm(200)
    assert load.report.failed == 0, load.report
    assert set(load.report.answered_by) == {"v1"}
    said = str(caught.value)
    assert "shop: web was not switched" in said
    assert "-> 500 by web-2 (wanted 200)" in said
    assert "web-1 serves as before" in said
    assert servers(proxy) == {"web-1": "ready"}
    assert proxy.ingress.routed("shop") == {"web": {"web-1"}}


def test_a_bad_first_release_is_not_routed(proxy: Proxy, replicas: Replicas) -> None:
    bad = replicas.start("web-1", "bad", FAIL_FORWARDED="1")
    with pytest.raises(PortError, match="it is not routed, as before"):
        proxy.ingress.route("shop", "web", [WEB], {"web-1": bad})
    assert proxy.get()[0] == 404
    assert proxy.ingress.routed("shop") == {}


def test_routing_twice_changes_nothing_and_returning_works(proxy: Proxy, replicas: Replicas) -> None:
    old = {"web-1": replicas.start("web-1", "v1")}
    new = {"web-2": replicas.start("web-2", "v2")}
    proxy.ingress.route("shop", "web", [WEB], old)
    before = proxy.configuration.stat()
    proxy.ingress.route("shop", "web", [WEB], old)
    assert proxy.configuration.stat() == before
    proxy.ingress.route("shop", "web", [WEB], new)
    assert servers(proxy) == {"web-1": "drain", "web-2": "ready"}
    proxy.restarted()
    assert '"v2"' in proxy.get()[1] or "v2" in proxy.get()[1]
    proxy.ingress.route("shop", "web", [WEB], old)
    assert servers(proxy) == {"web-1": "ready", "web-2": "drain"}
    assert all("v1" in proxy.get()[1] for _turn in range(4))
    proxy.ingress.forget("shop", "web", "web-2")
    proxy.ingress.forget("shop", "web", "web-2")
    assert servers(proxy) == {"web-1": "ready"}


def test_a_replica_with_a_new_address_is_found_again(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    other = replicas.start("web-1b", "v1b")
    proxy.ingress.route("shop", "web", [WEB], {"web-1": other})
    assert "v1b" in proxy.get()[1]


def test_a_proxy_that_is_down_is_an_error_with_a_next_step(proxy: Proxy, replicas: Replicas) -> None:
    proxy.kill()
    with pytest.raises(PortError, match=r"does not answer.*: see `docker logs`"):
        proxy.ingress.route("shop", "web", [WEB], {"web-1": "172.31.77.99"})
    proxy.ingress.unroute("shop", "web")


def test_a_restart_during_a_switch_and_after_it_leaves_nothing_unrouted(proxy: Proxy, replicas: Replicas) -> None:
    """Whichever moment it hits: the switch ends, or is put back, and what serves is what the driver says."""
    generation = {"web-0": replicas.start("web-0", "v0")}
    proxy.ingress.route("shop", "web", [WEB], generation)
    for turn, wait in enumerate((0.02, 0.1, 0.2, 0.3, 0.5), start=1):
        new = {f"web-{turn}": replicas.start(f"web-{turn}", f"v{turn}")}
        again = threading.Timer(wait, proxy.restarted)
        again.start()
        with contextlib.suppress(PortError):
            proxy.ingress.route("shop", "web", [WEB], new)
        again.join()
        # the rollout's recovery asks again for what it wants
        proxy.ingress.route("shop", "web", [WEB], new)
        generation = new
        assert proxy.ingress.routed("shop") == {"web": set(generation)}
        assert f'"v{turn}"' in proxy.get()[1]
    proxy.restarted()
    assert proxy.ingress.routed("shop") == {"web": set(generation)}
    assert proxy.get()[0] == 200


def test_stacks_change_side_by_side(proxy: Proxy, replicas: Replicas) -> None:
    address = replicas.start("web-1", "v1")
    errors: list[BaseException] = []

    def stack(number: int) -> None:
        driver = proxy.another()
        route = replace(WEB, host=f"s{number}.example.org")
        try:
            driver.route(f"s{number}", "web", [route], {f"s{number}-a": address})
            driver.route(f"s{number}", "web", [route], {f"s{number}-b": address})
            driver.drain(f"s{number}", "web", f"s{number}-a", 5)
            driver.forget(f"s{number}", "web", f"s{number}-a")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=stack, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for number in range(5):
        assert servers(proxy, f"s{number}") == {f"s{number}-b": "ready"}
        assert proxy.get(host=f"s{number}.example.org")[0] == 200


class KilledError(BaseException):
    """Nobody catches it: what comes after did not happen, as after SIGKILL."""


def test_a_switch_that_is_killed_anywhere_is_taken_up_by_the_next(
    proxy: Proxy, replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies before its nth word to the proxy or write to the disk, for every n; then another driver goes on."""
    old, new = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    other = replace(WEB, host="other.example.org")
    proxy.ingress.route("shop", "web", [WEB], old)
    left = -1

    def dying(real: Any) -> Any:
        def word(*given: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KilledError
            return real(*given, **more)

        return word

    for module in (haproxy, traefik):
        monkeypatch.setattr(module, "put", dying(proxy_files.put))
    monkeypatch.setattr(haproxy, "_talk", dying(haproxy._talk))
    monkeypatch.setattr(traefik.Traefik, "_api", dying(traefik.Traefik._api))
    kills = 0
    with under(proxy.load(seconds=300, mix={"keepalive": 2, "fresh": 2, "post": 1, "idle": 4}, pause=0.01)) as load:
        for routes in ([WEB], [WEB, other]):
            for number in range(1, 200):
                left = number
                try:
                    proxy.ingress.route("shop", "web", routes, new)
                except KilledError:
                    kills += 1
                survived, left = left > 0, -1
                # the rollout's recovery routes back to what served, and forgets what did not
                proxy.ingress.route("shop", "web", [WEB], old)
                proxy.ingress.drain("shop", "web", "web-2", 5)
                proxy.ingress.forget("shop", "web", "web-2")
                assert servers(proxy) == {"web-1": "ready"}
                assert proxy.ingress.routed("shop") == {"web": {"web-1"}}
                if survived:
                    break
    print(f"{kills} kills:", load.report)
    assert kills > 20
    assert load.report.failed == 0, f"{load.report}\n{proxy.said}"
