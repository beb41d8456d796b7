# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What services want beside what a host has."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core import capacity
from ansible_collections.quaylock.stacks.plugins.module_utils.core.capacity import Capacity
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import compose
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack

HOST = Capacity(2.0, 8 << 30)


def stack(**services: dict[str, Any]) -> Stack:
    model = {
        name: {"image": "x", "x-quaylock": {"gate": {"none": "a test"}}, **about} for name, about in services.items()
    }
    context = compose.Context(project_directory="/etc/quaylock/stacks/shop", config_dir="/etc/quaylock/stacks/shop")
    return compose.read("shop", {"services": model}, context)


def wants(cpus: str = "", memory: str = "", replicas: int = 1) -> dict[str, Any]:
    limits, reserved = {"cpus": cpus} if cpus else {}, {"memory": memory} if memory else {}
    return {"deploy": {"replicas": replicas, "resources": {"limits": limits, "reservations": reserved}}}


ENOUGH = [
    # services that a host with 2 CPUs and 8 GiB can hold
    {"web": wants()},
    {"web": wants("2")},
    {"web": wants(memory="8G")},
    {"web": wants(memory="2G", replicas=4)},
    # together more CPUs than there are: they share
    {"web": wants("2"), "api": wants("2")},
    {"web": wants("64", "64G", 0)},
    # a one-shot has gone when the others work
    {"web": wants(memory="8G"), "migrate": {**wants(memory="4G"), "x-quaylock": {"one_shot": True}}},
]


@pytest.mark.parametrize("services", ENOUGH)
def test_what_a_host_can_hold(services: dict[str, dict[str, Any]]) -> None:
    assert capacity.lacking(stack(**services), HOST) == ()


def test_more_cpus_than_there_are_and_more_memory_than_there_is_are_said_at_once() -> None:
    wide = stack(trino=wants("8", "6G"), worker=wants("4.5", "2G", 3), db=wants("1", "512M"))
    said = [(f.path, f.problem) for f in capacity.lacking(wide, HOST)]
    assert said == [
        ("services.trino.deploy.resources.limits.cpus", "8 CPUs are more than the host's 2"),
        ("services.worker.deploy.resources.limits.cpus", "4.5 CPUs are more than the host's 2"),
        (
            "services.*.deploy.resources.reservations.memory",
            "12.5 GiB are reserved in all, and the host has 8.0 GiB (most: trino 6.0, worker 6.0, db 0.5)",
        ),
    ]


@pytest.mark.parametrize(("service", "asked"), [(wants(), False), (wants("1"), True), (wants(memory="1G"), True)])
def test_the_host_is_asked_where_it_matters(service: dict[str, Any], asked: bool) -> None:
    assert capacity.wanted(stack(web=service)) is asked
