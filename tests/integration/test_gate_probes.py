# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate's probes on a real engine: what they ask, from where, until when, and what the journal keeps of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import docker_engine
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    ExecProbe,
    Gate,
    HttpProbe,
    Sample,
    TcpProbe,
)
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import WEB, Harbour, web
from .meanwhile import Meanwhile, has_reached

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def replica(client: Any, web_built: str) -> Iterator[Callable[..., tuple[str, docker_engine.DockerEngine]]]:
    """One container of the test application like that; its name, and an engine that prefers its last network."""
    made: dict[str, Any] = {}
    networks: list[Any] = []

    def start(*names: str, internal: bool = False, **about: Any) -> tuple[str, docker_engine.DockerEngine]:
        key = f"{names} {internal} {about}"
        if key in made and not names:
            return made[key].name, docker_engine.DockerEngine(client)
        created = [client.networks.create(f"qr-{n}-{time.time_ns()}", internal=internal) for n in names]
        networks.extend(created)
        if created:
            about["network"] = created[0].name
        container = client.containers.create(WEB, name=f"qr-probe-{time.time_ns()}", **about)
        made[key] = container
        for network in created[1:]:
            network.connect(container)
        container.start()
        return container.name, docker_engine.DockerEngine(client, created[-1].name if created else "")

    yield start
    for container in made.values():
        container.remove(force=True)
    for network in networks:
        network.remove()


def sampled(engine: docker_engine.DockerEngine, name: str, *probes: Any, refused: bool = False) -> Sample:
    """Once it listens: a container's start is not its application's."""
    found: list[Sample] = []

    def listens() -> bool:
        found.append(engine.sample(name, Gate(probes=probes), time.time(), True))
        return refused or "refused" not in found[-1].output

    until(listens)
    return found[-1]


HEALTH = HttpProbe(8000, "/health")
PROBES = [
    # name                        environment                    probe                                          what was wrong
    ("http",                      {},                            HEALTH,                                        ""),
    ("http, not ready",           {"READY_AFTER": "60"},         HEALTH,                                        'GET :8000/health -> 503: {"left":'),
    ("http, a status of several", {"READY_AFTER": "60"},         HttpProbe(8000, "/health", (200, 503)),        ""),
    ("http, the right body",      {},                            HttpProbe(8000, "/health", body='"ok"'),       ""),
    ("http, another body",        {},                            HttpProbe(8000, "/health", body="up"),         "GET :8000/health -> 200, but 'up' is not in the answer"),
    ("http, too late",            {},                            HttpProbe(8000, "/slow?seconds=5", timeout=0.3), "GET :8000/slow?seconds=5 -> "),
    ("http, dripping",            {},                            HttpProbe(8000, "/stream?seconds=5", timeout=0.4), "GET :8000/stream?seconds=5 -> no whole answer within 0.4 s"),
    ("http, nobody there",        {},                            HttpProbe(8001),                               "GET :8001/ -> [Errno 111]"),
    ("tcp",                       {"TCP_PORT": "9000"},          TcpProbe(9000),                                ""),
    ("tcp, nobody there",         {},                            TcpProbe(9000),                                "tcp :9000 -> [Errno 111]"),
    ("exec",                      {},                            ExecProbe(("/web", "check")),                  ""),
    ("exec, fails",               {"READY_AFTER": "60"},         ExecProbe(("/web", "check")),                  "exec /web check -> exit code 1: 503"),
    ("exec, not there",           {},                            ExecProbe(("/no",)),                           "exec /no -> "),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "probe", "wrong"), [c[1:] for c in PROBES], ids=[c[0] for c in PROBES])
def test_a_probe(replica: Any, environment: dict[str, str], probe: Any, wrong: str) -> None:
    name, engine = replica(environment=environment)
    found = sampled(engine, name, probe, refused="[Errno 111]" in wrong)
    assert found.output.startswith(wrong), found
    assert found.passed is (not wrong), found


def test_all_probes_have_to_pass(replica: Any) -> None:
    name, engine = replica(environment={"TCP_PORT": "9000"})
    assert sampled(engine, name, HEALTH, TcpProbe(9000), ExecProbe(("/web", "check"))).passed
    found = sampled(engine, name, HEALTH, TcpProbe(9001), ExecProbe(("/web", "check")), refused=True)
    assert found.output.startswith("tcp :9001")


def test_a_service_on_internal_networks_alone_is_asked_there(replica: Any) -> None:
    name, engine = replica("inner", internal=True)
    assert sampled(engine, name, HEALTH).passed


def test_of_two_networks_one_is_enough(replica: Any, client: Any) -> None:
    name, engine = replica("other", "proxys")
    assert sampled(engine, name, HEALTH).passed
    [proxys] = [n for n in client.containers.get(name).attrs["NetworkSettings"]["Networks"] if "proxys" in n]
    client.networks.get(proxys).disconnect(name)
    assert sampled(engine, name, HEALTH).passed


def test_the_hosts_network_is_asked_at_the_loopback(replica: Any) -> None:
    name, engine = replica(network_mode="host", environment={"PORT": "26731"})
    assert sampled(engine, name, HttpProbe(26731, "/health")).passed


def test_without_a_network_only_exec_gets_through(replica: Any) -> None:
    name, engine = replica(network_mode="none")
    assert sampled(engine, name, ExecProbe(("/web", "check"))).passed
    assert "no address in any network" in sampled(engine, name, HEALTH).output


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_where_the_host_has_no_address_a_probe_is_refused_before_anything_is_made(
    harbour: Harbour, driver: str
) -> None:
    asked = web(networks=["lan"], gate={"probes": [{"http": {"port": 8000, "path": "/health"}}]})
    answer = harbour.deploy({"web": asked}, networks={"lan": {"driver": driver, "driver_opts": {"parent": "eth0"}}})
    assert answer["outcome"] == "refused"
    assert f"GET :8000/health cannot be asked: the host has no address in lan ({driver})" in answer["msg"]
    assert "ask inside the container with exec" in answer["msg"]
    assert harbour.containers() == {}
    assert harbour.client.networks.list(names=[f"{harbour.name}_lan"]) == []


def test_a_check_that_does_not_end_is_ended(replica: Any, client: Any) -> None:
    """Otherwise each look would leave one more of them in the replica."""
    name, engine = replica(environment={"SECONDS": "60"})
    began = time.monotonic()
    for _turn in range(2):
        assert "no answer within 0.4 s" in sampled(engine, name, ExecProbe(("/web", "oneshot"), timeout=0.4)).output
    assert time.monotonic() - began < 50
    container = client.containers.get(name)
    until(lambda: len(container.top()["Processes"]) == 1, container.top, seconds=20)


# -- rollouts -------------------------------------------------------------------------------------


def test_a_rollout_is_gated_by_every_kind_of_probe_and_keeps_the_evidence(harbour: Harbour) -> None:
    probes: list[Any] = [
        {"http": {"port": 8000, "path": "/health", "status": [200], "body": '"ok"', "timeout": "2s"}},
        {"tcp": {"port": 9000}},
        {"exec": ["/web", "check"]},
    ]
    service = web(environment={"READY_AFTER": "2", "TCP_PORT": "9000"}, gate={"probes": probes}, deploy={"replicas": 2})
    del service["healthcheck"]
    answer = harbour.deployed({"web": service})
    looks = [e.details for e in harbour.events(answer["rollout"]) if e.what == "done" and e.details["do"] == "Look"]
    for name in (f"{harbour.name}-web-1", f"{harbour.name}-web-2"):
        own = [(e["passed"], e["output"]) for e in looks if e["name"] == name and e["passed"] is not None]
        assert any("GET :8000/health -> 503" in said for _passed, said in own)
        assert own[-1] == (True, "")
    service["x-quaylock"]["gate"] |= {"deadline": "3s", "probes": [{"tcp": {"port": 9001, "timeout": "1s"}}]}
    service["environment"]["VERSION"] = "2"
    bad = harbour.deploy({"web": service})
    assert bad["outcome"] == "rolled back"
    assert "tcp :9001 -> [Errno 111]" in bad["msg"]


def test_the_deadline_follows_from_the_health_check(harbour: Harbour) -> None:
    check = {
        "test": ["CMD", "/web", "check"],
        "start_period": "1s",
        "interval": "500ms",
        "timeout": "500ms",
        "retries": 2,
    }
    service = web(environment={"READY_AFTER": "60"}, healthcheck=check)
    del service["x-quaylock"]["gate"]["deadline"]
    began = time.monotonic()
    answer = harbour.deploy({"web": service})
    assert "did not pass within 3 s" in answer["failures"][0]["reason"], "1 s + 2 x (0.5 s + 0.5 s)"
    assert 3 < time.monotonic() - began < 60


def test_no_progress_is_a_verdict_before_the_deadline(harbour: Harbour) -> None:
    service = web(environment={"FAIL_AFTER": "0"}, gate={"deadline": "60s", "progress": "1500ms"})
    began = time.monotonic()
    answer = harbour.deploy({"web": service})
    assert answer["failures"][0]["reason"] == "made no progress for 1.5 s"
    assert "503" in answer["failures"][0]["said"]
    assert time.monotonic() - began < 60


def test_a_restart_by_somebody_is_seen_while_it_is_gated(harbour: Harbour, client: Any) -> None:
    """It passes before and after, and yet it is not what passed."""
    harbour.deployed({"web": web(environment={"VERSION": "1"})})
    [old] = harbour.running()

    def restart(_found: bool) -> None:
        [new] = [n for n in harbour.running() if n != old]
        client.containers.get(new).restart(timeout=0)

    with Meanwhile(has_reached(harbour, "row"), restart):
        answer = harbour.deploy({"web": web(environment={"VERSION": "2"}, monitor="20s")})
    assert answer["outcome"] == "rolled back"
    reason = answer["failures"][0]["reason"]
    assert reason.startswith(("restarted while it was being gated", "exited with code")), reason
    assert harbour.running() == [old]
