# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a probe from the host gets to a replica at all, before any is started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    ExecProbe,
    Gate,
    HttpProbe,
    Network,
    Observation,
    TcpProbe,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.reach import ordered, reached, unreachable
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.plan import problems

from .stage import service, stack

MODE = "com.docker.network.bridge.gateway_mode_ipv4"
NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": {"Driver": "bridge"},
    "internal": {"Driver": "bridge", "Internal": True},
    "isolated": {"Driver": "bridge", "Internal": True, "Options": {MODE: "isolated"}},
    "silent": {"Options": {"com.docker.network.bridge.inhibit_ipv4": "true"}},
    "lan": {"Driver": "macvlan", "Options": {"parent": "eth0"}},
    "swarm": {"Driver": "overlay"},
}
HTTP, TCP, EXEC = HttpProbe(8000, "/health"), TcpProbe(5432), ExecProbe(("true",))


@pytest.mark.parametrize(
    ("name", "is_reached"),
    [
        ("default", True),
        ("plain", True),
        ("internal", True),
        ("isolated", False),
        ("silent", False),
        ("lan", False),
        ("swarm", False),
    ],
)
def test_the_host_reaches_bridges(name: str, is_reached: bool) -> None:
    assert reached(NETWORKS[name]) is is_reached


def test_the_proxys_network_comes_first() -> None:
    assert ordered(["b", "proxy", "a"], "proxy") == ["proxy", "a", "b"]
    assert ordered(["b", "a"], "") == ["a", "b"]


CASES = [
    # networks              probes         what is refused
    (("plain",),            (HTTP, TCP),   []),
    (("internal",),         (HTTP,),       []),
    (("lan",),              (EXEC,),       []),
    (("lan",),              (HTTP, EXEC),  ["GET :8000/health cannot be asked: the host has no address in lan (macvlan)"]),
    (("lan", "swarm"),      (TCP,),        ["tcp :5432 cannot be asked: the host has no address in lan (macvlan), swarm (overlay)"]),
    (("lan", "plain"),      (TCP,),        []),
    (("isolated",),         (HTTP, TCP),   ["GET :8000/health", "tcp :5432"]),
    (("lan", "the-proxys"), (HTTP,),       []),
    ((),                    (HTTP,),       []),
]  # fmt: skip


@pytest.mark.parametrize(("networks", "probes", "says"), CASES)
def test_a_probe_that_can_never_pass_is_refused(networks: tuple[str, ...], probes: Any, says: list[str]) -> None:
    one = replace(service("web"), networks=networks, gate=Gate(probes=probes))
    declared = tuple(Network(key, f"shop_{key}", body=body) for key, body in NETWORKS.items())
    wanted = replace(stack(one), networks=declared)
    found = unreachable(wanted, {})
    assert len(found) == len(says)
    for finding, said in zip(found, says, strict=True):
        assert finding.path == "services.web.x-quaylock.gate.probes"
        assert finding.problem.startswith(said)
        assert "exec" in finding.fix


def test_of_an_external_network_the_engine_knows_the_driver() -> None:
    one = replace(service("web"), networks=("there",), gate=Gate(probes=(TCP,)))
    wanted = replace(stack(one), networks=(Network("there", "lan-of-the-house", external=True),))
    seen = Observation(networks={"lan-of-the-house": {"Driver": "macvlan"}})
    assert [f.path for f in problems(wanted, seen, {})] == ["services.web.x-quaylock.gate.probes"]
    assert problems(wanted, Observation(networks={"lan-of-the-house": {"Driver": "bridge"}}), {}) == ()
