# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traefik's own ways to fail: its files, garbage beside them, restarts, and who may ask its API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.traefik import Traefik
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy import traefik_config
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.integration import proxies, test_blue_green, test_rollout_routed
from ansible_collections.quaylock.stacks.tests.integration.proxies import HTTP, WEB, Contained, Proxy, Replicas, servers
from ansible_collections.quaylock.stacks.tests.load import under

from .conftest import Harbour
from .images import output_of

pytestmark = pytest.mark.integration

network, image, replicas = proxies.network, proxies.image, proxies.replicas
proxy = proxies.proxy_of("traefik")
OTHER = replace(WEB, host="other.example.org")


@pytest.fixture
def harbour(harbours: Callable[..., Harbour], proxy: Contained) -> Harbour:
    doors = {"http": proxies.HTTP, "db": proxies.TCP}
    settings = IngressSettings(str(proxy.folder), proxy.container.name, proxy.network, doors, proxy.driver)
    return harbours(ingress=settings)


def test_good_and_bad_releases_under_load_lose_nothing(harbour: Harbour, proxy: Proxy) -> None:
    test_rollout_routed.test_good_and_bad_releases_under_load_lose_nothing(harbour, proxy)


@pytest.mark.more
def test_a_return_and_a_whole_stack_lose_nothing(harbour: Harbour, proxy: Proxy) -> None:
    test_rollout_routed.test_a_return_to_a_kept_release_loses_nothing(harbour, proxy)
    test_blue_green.test_the_whole_stack_is_switched_when_its_last_replica_has_passed(harbour, proxy)


def spoil(path: Path, content: bytes) -> None:
    """As an editor does it: the file is another one at once."""
    other = path.parent.parent / "other"
    other.write_bytes(content)
    other.replace(path)


BREAKAGES: dict[str, Callable[[Proxy], object]] = {
    "the routes are garbage": lambda p: spoil(p.configuration, b"http: {{"),
    "the routes are half": lambda p: spoil(p.configuration, p.configuration.read_bytes()[:900]),
    "the routes are binary": lambda p: spoil(p.configuration, bytes(range(256))),
    "the routes are gone": lambda p: p.configuration.unlink(),
    "the copy is garbage": lambda p: spoil(p.folder / "conf/routes.json", b"]"),
    "both are garbage": lambda p: [spoil(f, b"]") for f in (p.configuration, p.folder / "conf/routes.json")],
    "who may ask is forgotten": lambda p: (p.folder / "admin.json").unlink(),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_lost_files_are_written_again(proxy: Proxy, replicas: Replicas, breakage: str) -> None:
    old, new = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    proxy.ingress.route("shop", "web", [WEB], old)
    proxy.ingress.route("shop", "web", [WEB], new)
    with under(proxy.load()) as load:
        BREAKAGES[breakage](proxy)
        load.warm(100)
        # another stack's change repairs it
        proxy.ingress.route("other", "web", [OTHER], new)
    assert load.report.failed == 0, load.report
    assert servers(proxy) == {"web-1": "drain", "web-2": "ready"}
    if "routes are" in breakage:
        assert any("routes.yaml is not a routing table" in said for said in proxy.said)
    proxy.restarted()
    assert "web-2" in proxy.get()[1]
    assert proxy.get(host="other.example.org")[0] == 200


def test_routes_that_somebody_empties_come_back_with_the_next_change(proxy: Proxy, replicas: Replicas) -> None:
    """An empty file is a valid one for Traefik, which then routes nothing: the copy knows what was there."""
    servers_ = {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], servers_)
    proxy.configuration.write_text("")
    until(lambda: proxy.get()[0] == 404)
    proxy.ingress.route("other", "web", [OTHER], servers_)
    assert proxy.get()[0] == proxy.get(host="other.example.org")[0] == 200
    assert any("taken from" in said and "routes.json" in said for said in proxy.said)


GARBAGE = {
    "mine.yml": b"http: {routers: [broken",
    "aaa.yaml": b"\0\1\2",
    "zzz.toml": b"[[[",
    "routes.yaml.tmp": b"{",
    # the same names as ours, to somewhere else
    "other.yaml": b'{"http": {"routers": {"shop:web:route-0": {"rule": "PathPrefix(`/`)", "service": "nobody"}}}}',
}


def test_garbage_beside_the_routes_is_said_and_takes_nothing_down(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    new = {"web-2": replicas.start("web-2", "v2")}
    with under(proxy.load()) as load:
        for name, content in GARBAGE.items():
            (proxy.configuration.parent / name).write_bytes(content)
        proxy.ingress.route("shop", "web", [WEB], new)
        load.warm(100)
        load.meets("v2")
    assert load.report.failed == 0, load.report
    for name in GARBAGE:
        assert any(f"{name} is not ours" in said for said in proxy.said)
    proxy.restarted()
    assert "v2" in proxy.get()[1]


def test_a_proxy_that_starts_without_its_routes_gets_them_back(proxy: Proxy, replicas: Replicas) -> None:
    """Traefik watches a file only if it was there at its start: the driver restarts one that had none."""
    address = replicas.start("web-1", "v1")
    proxy.ingress.route("shop", "web", [WEB], {"web-1": address})
    proxy.kill()
    proxy.configuration.unlink()
    proxy.start()
    until(lambda: proxy.get()[0] in (404, 200))
    proxy.ingress.route("shop", "web", [WEB], {"web-1": address})
    assert proxy.get()[0] == 200
    assert any("taken from" in said for said in proxy.said)


def test_two_switches_within_the_throttle_both_count(proxy: Proxy, replicas: Replicas) -> None:
    first, second = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    for _turn in range(5):
        proxy.ingress.route("shop", "web", [WEB], first)
        proxy.ingress.route("shop", "web", [WEB], second)
        assert all("web-2" in proxy.get()[1] for _look in range(3))


def status(proxy: Proxy, path: str, *words: str) -> int:
    url = f"http://{proxy.address}:{proxy.settings.health_port}{path}"
    call = ["curl", "-so", "/dev/null", "-m", "5", "-w", "%{http_code}", *words, url]
    return int(subprocess.run(call, capture_output=True, text=True, check=False).stdout)


def test_the_api_is_for_who_has_the_secret_and_there_is_no_dashboard(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    token = json.loads((proxy.folder / "admin.json").read_text())["token"]
    header = ("-H", f"X-Quaylock-Token: {token}")
    assert status(proxy, "/ping") == 200
    assert status(proxy, "/api/rawdata") == 404
    assert status(proxy, "/api/rawdata", "-H", "X-Quaylock-Token: guess") == 404
    assert status(proxy, "/api/rawdata", *header) == 200
    assert status(proxy, "/dashboard/", *header) == 404
    # through the doors that everybody has, there is none at all
    assert proxy.get("/api/rawdata", host="shop.example.org")[0] == 404
    assert proxy.get("/ping", host="other.example.org")[0] == 404
    assert token not in proxy.log()
    assert (proxy.folder / "admin.json").stat().st_mode & 0o777 == 0o600
    assert proxy.configuration.stat().st_mode & 0o777 == 0o640


def test_a_server_that_waits_takes_our_requests_only(proxy: Proxy, replicas: Replicas) -> None:
    """While it is confirmed, nobody who guesses its name is sent to it."""
    old, new = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    proxy.ingress.route("shop", "web", [WEB], old)
    proxy.ingress.route("shop", "web", [WEB], new)
    guess = ["-H", "Host: shop.example.org", "-H", "X-Quaylock-Server: web-1", "-H", "X-Quaylock-Token: guess"]
    call = ["curl", "-si", "-m", "5", *guess, f"http://{proxy.address}:{HTTP}/version"]
    answer = subprocess.run(call, capture_output=True, text=True, check=False).stdout
    assert "web-2" in answer
    assert "x-quaylock" not in answer.lower()


def test_a_server_that_died_is_left_out_and_a_rule_that_traefik_refuses_is_said(
    proxy: Proxy, replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {name: replicas.start(name, name) for name in ("web-1", "web-2")}
    proxy.ingress.route("shop", "web", [WEB], both)
    replicas.stop("web-1")
    # a connection that cannot be made is tried at the next server
    assert [proxy.get()[0] for _turn in range(6)] == [200] * 6
    monkeypatch.setattr(traefik_config, "_rule", lambda _route: "Nonsense(`x`)")
    with pytest.raises(PortError, match=r"(?s)was not switched.*"):
        proxy.ingress.route("shop", "web", [WEB], {"web-2": both["web-2"]})
    monkeypatch.undo()
    assert isinstance(proxy.ingress, Traefik)
    proxy.ingress.route("shop", "web", [WEB], {"web-2": both["web-2"]})
    assert proxy.get()[0] == 200


def test_a_route_that_keeps_clients_with_their_replica_is_refused(proxy: Proxy, replicas: Replicas) -> None:
    said = "this proxy cannot keep clients with a replica that drains; drop `sticky`, or set ingress_driver: haproxy"
    sticky = [replace(WEB, sticky=True)]
    assert [problem for problem in proxy.ingress.problems("shop", {"web": sticky}) if said in problem]
    with pytest.raises(PortError, match="cannot keep clients"):
        proxy.ingress.route("shop", "web", sticky, {"web-1": replicas.start("web-1", "v1")})
    assert proxy.ingress.routed("shop") == {}


def test_a_provider_that_it_was_built_without_is_said(client: Any) -> None:
    """Configuration comes from files here; the recipe leaves out what takes long to build, and says so when asked for it."""
    names = ("kubernetesingress", "kubernetescrd", "kubernetesgateway", "kubernetesingressnginx", "ecs")
    call = f"timeout 3 traefik --log.nocolor {' '.join(f'--providers.{name}' for name in names)} || true"
    said = output_of(client, recipe_image(client, "traefik"), ["sh", "-c", call], read_only=True).decode()
    assert said.count("this Traefik was built with PROVIDERS=few, and without this provider") == len(names), said
