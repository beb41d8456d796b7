# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy's own ways to fail: its files, its sockets, a configuration that it does not accept."""

from __future__ import annotations

import concurrent.futures
import http.cookiejar
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import Entrypoint
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.integration import proxies
from ansible_collections.quaylock.stacks.tests.integration.proxies import (
    HTTP,
    KINDS,
    WEB,
    Local,
    Proxy,
    Replicas,
    servers,
)
from ansible_collections.quaylock.stacks.tests.load import under

network, image, replicas = proxies.network, proxies.image, proxies.replicas
proxy = proxies.proxy_of(*(kind for kind in KINDS if "haproxy" in kind))


STICKY = replace(WEB, sticky=True)


class Client:
    """A client that keeps its cookies."""

    def __init__(self, proxy: Proxy) -> None:
        self._jar, self._url = http.cookiejar.CookieJar(), f"http://{proxy.address}:{HTTP}/version"
        self._door = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))

    def asks(self) -> str:
        """The version that answers."""
        try:
            with self._door.open(urllib.request.Request(self._url, headers={"Host": WEB.host}), timeout=5) as answer:
                return str(json.load(answer)["version"])
        except urllib.error.HTTPError as error:
            return str(error)

    def served_by(self) -> str:
        return next(c.value or "" for c in self._jar if c.name.startswith("quaylock-"))

    def says(self, server: str) -> None:
        for cookie in self._jar:
            cookie.value = server


BREAKAGES = {
    "routes.json is garbage": lambda conf: (conf / "routes.json").write_text('{"format": 1, "sett'),
    "routes.json is binary": lambda conf: (conf / "routes.json").write_bytes(bytes(range(256))),
    "routes.json is gone": lambda conf: (conf / "routes.json").unlink(),
    "haproxy.cfg is garbage": lambda conf: (conf / "haproxy.cfg").write_text("frontend {{"),
    "haproxy.cfg is gone": lambda conf: (conf / "haproxy.cfg").unlink(),
    "both are garbage": lambda conf: [(conf / n).write_text("]") for n in ("routes.json", "haproxy.cfg")],
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_lost_files_are_written_again(proxy: Proxy, replicas: Replicas, breakage: str) -> None:
    old, new = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    proxy.ingress.route("shop", "web", [WEB], old)
    proxy.ingress.route("shop", "web", [WEB], new)
    BREAKAGES[breakage](proxy.folder / "conf")
    with under(proxy.load()) as load:
        # another stack's change repairs it
        proxy.ingress.route("other", "web", [replace(WEB, host="other.example.org")], new)
    assert load.report.failed == 0, load.report
    assert servers(proxy) == {"web-1": "drain", "web-2": "ready"}
    if "routes.json" in breakage:
        assert any("routes.json is not a routing table" in said for said in proxy.said)
    proxy.restarted()
    assert "web-2" in proxy.get()[1]
    assert proxy.get(host="other.example.org")[0] == 200


def test_a_proxy_that_cannot_start_without_its_configuration_gets_it_back(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    proxy.kill()
    (proxy.folder / "conf/haproxy.cfg").unlink()
    assert proxy.ingress.routed("shop") == {"web": {"web-1"}}
    assert any("does not answer" in said for said in proxy.said)
    assert any("does not answer" in problem for problem in proxy.ingress.problems("shop", {"web": [WEB]}))
    again = threading.Timer(1.0, proxy.start)
    again.start()
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.address("web-1")})
    again.join()
    assert proxy.get()[0] == 200


def test_an_unacceptable_configuration_is_never_loaded(proxy: Proxy, replicas: Replicas) -> None:
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    before = (proxy.folder / "conf/haproxy.cfg").read_text()
    with pytest.raises(PortError, match="HAProxy does not accept the configuration, nothing was changed"):
        proxy.ingress.configure(replace(proxy.settings, run="relative path"))
    assert (proxy.folder / "conf/haproxy.cfg").read_text() == before
    assert proxy.get()[0] == 200


def test_a_port_that_is_taken_leaves_the_old_configuration(proxy: Proxy, replicas: Replicas) -> None:
    """It passes validation and fails in the new process: the reload says so, and the old worker goes on."""
    proxy.ingress.route("shop", "web", [WEB], {"web-1": replicas.start("web-1", "v1")})
    taken = Entrypoint("more", 18081)
    if isinstance(proxy, Local):
        occupant = subprocess.Popen(["python3", "-m", "http.server", "18081", "--bind", "127.0.0.1"])
        until(lambda: proxy.get(port=18081)[0])
        try:
            with pytest.raises(PortError, match="did not take the new configuration, the old one is back"):
                proxy.ingress.configure(replace(proxy.settings, entrypoints=(*proxy.settings.entrypoints, taken)))
        finally:
            occupant.kill()
            occupant.wait()
    assert proxy.get()[0] == 200
    proxy.ingress.configure(replace(proxy.settings, entrypoints=(*proxy.settings.entrypoints, taken)))
    assert proxy.get(port=18081)[0] == 404
    assert proxy.get()[0] == 200


@pytest.mark.parametrize("change", ["the route leaves", "another stack's change", "the route comes again"])
def test_a_proxy_that_read_its_configuration_before_it_was_written_is_put_right(
    proxy: Proxy, replicas: Replicas, change: str
) -> None:
    """It was starting, and did not answer yet, when a route was taken away: it runs what the file said before."""
    other, backend = replace(WEB, host="other.example.org"), {"web-1": replicas.start("web-1", "v1")}
    proxy.ingress.route("shop", "web", [WEB], backend)
    before = {name: (proxy.folder / "conf" / name).read_text() for name in ("haproxy.cfg", "routes.json")}
    proxy.kill()
    proxy.ingress.unroute("shop", "web")
    after = {name: (proxy.folder / "conf" / name).read_text() for name in before}
    (proxy.folder / "conf/haproxy.cfg").write_text(before["haproxy.cfg"])
    proxy.start()
    proxy.up()
    (proxy.folder / "conf/haproxy.cfg").write_text(after["haproxy.cfg"])
    assert proxy.ingress.routed("shop") == {"web": {"web-1"}}, "it runs another configuration than its file has"
    if change == "the route leaves":
        proxy.ingress.unroute("shop", "web")
    elif change == "another stack's change":
        proxy.ingress.route("other", "web", [other], backend)
    else:
        proxy.ingress.route("shop", "web", [WEB], backend)
    wanted = {"web": {"web-1"}} if change == "the route comes again" else {}
    assert proxy.ingress.routed("shop") == wanted
    assert proxy.get()[0] == (200 if wanted else 404)
    proxy.restarted()
    assert proxy.ingress.routed("shop") == wanted


def test_clients_go_on_with_their_replica_while_it_drains(proxy: Proxy, replicas: Replicas) -> None:
    old = {name: replicas.start(name, name) for name in ("web-1", "web-2")}
    new = {name: replicas.start(name, name) for name in ("web-3", "web-4")}
    proxy.ingress.route("shop", "web", [STICKY], old)
    client = Client(proxy)
    first = client.asks()
    assert {client.asks() for _turn in range(6)} == {first}, "not one after the other"
    proxy.ingress.route("shop", "web", [STICKY], new)
    assert {client.asks() for _turn in range(3)} == {first}, "it is known there"
    assert {Client(proxy).asks() for _turn in range(4)} == {*new}, "nobody else comes"
    proxy.ingress.route("other", "web", [replace(STICKY, host="other.example.org")], new)
    assert {client.asks() for _turn in range(3)} == {first}, "after a reload, too"
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        drained = pool.submit(proxy.ingress.drain, "shop", "web", first, 30.0)
        asked = []
        while time.monotonic() - began < 6.5:
            asked.append(client.asks())
            assert not drained.done(), drained.result()
            time.sleep(0.3)
        assert {*asked} == {first}
        assert "no open connection after" in drained.result(), "who has gone is not waited for"
    assert time.monotonic() - began < 28
    proxy.ingress.forget("shop", "web", first)
    assert client.asks() in new


def test_a_replica_that_comes_back_is_known_to_its_clients(proxy: Proxy, replicas: Replicas) -> None:
    """As when a rollout is undone: in between it drained."""
    old, new = ({name: replicas.start(name, name)} for name in ("web-1", "web-2"))
    proxy.ingress.route("shop", "web", [STICKY], old)
    client = Client(proxy)
    client.asks()
    known = client.served_by()
    proxy.ingress.route("shop", "web", [STICKY], new)
    proxy.ingress.route("shop", "web", [STICKY], old)
    client.asks()
    assert client.served_by() == known


def test_the_name_of_a_replica_brings_nobody_to_its_successor_before_that_is_proved(
    proxy: Proxy, replicas: Replicas
) -> None:
    proxy.ingress.route("shop", "web", [STICKY], {"web-1": replicas.start("web-1", "v1")})
    client = Client(proxy)
    client.asks()
    known = client.served_by()
    proxy.ingress.route("shop", "web", [STICKY], {"web-2": replicas.start("web-2", "v2")})
    proxy.ingress.forget("shop", "web", "web-1")
    replicas.stop("web-1")
    # the next release's first replica has the old one's name, and answers our requests with what is no health
    bad = {"web-1": replicas.start("web-1", "v3", FAIL_FORWARDED="1")}
    over, said = threading.Event(), []

    def knock() -> None:
        while not over.is_set():
            for name in (known, "web-1"):
                client.says(name)
                said.append(client.asks())

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        with pytest.raises(PortError, match="was not switched"):
            proxy.ingress.route("shop", "web", [STICKY], bad)
    finally:
        over.set()
        thread.join()
    assert {*said} == {"v2"}
