# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy's own ways to fail: its files, its sockets, a configuration that it does not accept."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.proxy.routing import Entrypoint
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.integration import proxies
from ansible_collections.quaylock.stacks.tests.integration.proxies import KINDS, WEB, Local, Proxy, Replicas, servers
from ansible_collections.quaylock.stacks.tests.load import under

network, image, replicas = proxies.network, proxies.image, proxies.replicas
proxy = proxies.proxy_of(*(kind for kind in KINDS if "haproxy" in kind))


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
        time.sleep(0.5)
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
