# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inside a stack, by DNS: a new replica answers to its service's names once it passed, an old one until it leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import docker_api, docker_engine
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

from .conftest import Harbour, web

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("asker_built")]

ASKER = "local/q-web:asker"


@pytest.fixture(scope="module")
def asker_built() -> str:
    return web_image(ASKER)


def stack(version: str, **about: Any) -> dict[str, Any]:
    """`api` is what changes, `asker` is who asks for it by name."""
    environment = {"VERSION": version, **about.pop("env", {})}
    return {"api": web(environment=environment, **about), "asker": {**web(), "image": ASKER}}


def asked(harbour: Harbour, *words: str) -> str:
    [asker] = harbour.running("asker")
    made = harbour.client.api.exec_create(asker, ["/web", *words])
    answer: bytes = harbour.client.api.exec_start(made["Id"])
    return answer.decode().strip()


def addresses(harbour: Harbour, service: str) -> set[str]:
    found = harbour.containers(service).values()
    return {b["NetworkSettings"]["Networks"][f"{harbour.name}_default"]["IPAddress"] for b in found}


class Asking:
    """Requests by the service's name from within the stack, each with a lookup and a connection of its own.

    They go on as long as the block does, and a little longer.
    """

    def __init__(self, harbour: Harbour) -> None:
        self.report: dict[str, Any] = {}
        self._api = harbour.client.api
        [asker] = harbour.running("asker")
        self._asking = self._api.exec_create(asker, ["/web", "ask", "http://api:8000/version"])["Id"]
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.report = json.loads(self._api.exec_start(self._asking))

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        asking = self._api.exec_inspect(self._asking)
        # 0 would be everybody in this process's own group
        assert asking["Running"], asking
        assert asking["Pid"] > 0, asking
        os.kill(asking["Pid"], signal.SIGTERM)
        self._thread.join()


@pytest.mark.parametrize("steps", [{}, {"parallelism": 1}], ids=["at-once", "one-by-one"])
def test_a_release_is_found_by_name_only_once_it_passed(harbour: Harbour, steps: dict[str, Any]) -> None:
    harbour.deployed(stack("v1", deploy={"replicas": 2}, update=steps))
    assert set(asked(harbour, "lookup", "api").split()) == addresses(harbour, "api")
    with Asking(harbour) as asking:
        answer = harbour.deployed(stack("v2", deploy={"replicas": 2}, update=steps, env={"READY_AFTER": "2"}))
    print(asking.report)
    assert asking.report["failed"] == []
    assert set(asking.report["answered"]) == {"v1", "v2"}
    told = [e.details.get("do") for e in harbour.events(answer["rollout"]) if e.what == "done"]
    names = [do for do in told if do in ("Announce", "Withdraw", "Stop")]
    assert sorted(names) == ["Announce"] * 2 + ["Stop"] * 2 + ["Withdraw"] * 2
    assert names.index("Announce") < names.index("Withdraw") < names.index("Stop")
    assert set(asked(harbour, "lookup", "api").split()) == addresses(harbour, "api")


def test_a_release_that_never_passes_is_never_found(harbour: Harbour) -> None:
    harbour.deployed(stack("v1"))
    before = harbour.identities()
    with Asking(harbour) as asking:
        bad = harbour.deploy(stack("v2", env={"READY_AFTER": "600"}, gate={"deadline": "6s"}))
    assert bad["outcome"] == "rolled back"
    print(asking.report)
    assert asking.report["failed"] == []
    assert set(asking.report["answered"]) == {"v1"}
    assert harbour.identities() == before


def test_connections_live_through_the_naming(harbour: Harbour) -> None:
    """A replica is asked without a pause over one connection while it leaves and joins its network."""
    harbour.deployed(stack("v1"))
    harbour.deployed(stack("v2", env={"READY_AFTER": "0.5"}))
    [name] = harbour.running("api")
    [address] = addresses(harbour, "api")
    connection = socket.create_connection((address, 8000), timeout=30)
    connection.sendall(b"GET /stream?seconds=2 HTTP/1.1\r\nHost: api\r\n\r\n")
    real = docker_engine.DockerEngine(docker_api.connect())
    real.withdraw(name)
    real.announce(name)
    text = b""
    while b"end" not in text:
        piece = connection.recv(65536)
        assert piece, text
        text += piece
    connection.close()
    assert addresses(harbour, "api") == {address}


def test_a_network_that_was_there_before_gives_the_names_at_once(harbour: Harbour) -> None:
    """Without a configured subnet nobody could come back to his address."""
    harbour.client.networks.create(f"{harbour.name}_default", labels={"com.docker.compose.project": harbour.name})
    harbour.deployed(stack("v1"))
    harbour.deployed(stack("v2"))
    assert set(asked(harbour, "lookup", "api").split()) == addresses(harbour, "api")
    assert harbour.deploy(stack("v2"))["outcome"] == "unchanged"


def test_who_lost_the_names_is_replaced(harbour: Harbour) -> None:
    harbour.deployed(stack("v1"))
    [name] = harbour.running("api")
    network = harbour.client.networks.get(f"{harbour.name}_default")
    network.disconnect(name)
    network.connect(name)
    answer = harbour.deployed(stack("v1"))
    assert any("does not answer to the service's names" in line for line in answer["plan"])
    assert harbour.deploy(stack("v1"))["outcome"] == "unchanged"


def test_an_address_is_not_given_away_while_its_owner_changes_names(harbour: Harbour) -> None:
    """Between leaving and joining the network it looks free to whoever makes the next container."""
    about = {"deploy": {"replicas": 3}, "update": {"order": "start-first"}}
    services = {name: web(environment={"VERSION": "v1"}, **about) for name in ("a", "b")}
    harbour.deployed(services)
    for version in ("v2", "v3"):
        for service in services.values():
            service["environment"] = {"VERSION": version}
        services["b"]["depends_on"] = {"a": {"condition": "service_healthy"}}
        harbour.deployed(services)
    assert len({address for name in services for address in addresses(harbour, name)}) == 6
