# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One list of expectations for the simulated proxy and for a real one. The real one's own tests go further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Route
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import Ingress, PortError
from ansible_collections.quaylock.stacks.tests.integration import proxies as real
from ansible_collections.quaylock.stacks.tests.simulation.host import (
    Behaviour,
    Container,
    SimulatedIngress,
    World,
)

WEB = Route("http", 8000, host="shop.example.org", path="/", check="/version")
OTHER = replace(WEB, host="new.example.org")

network, image, replicas = real.network, real.image, real.replicas
proxy = real.proxy_of(*real.CONTAINED)


@dataclass
class Door:
    """A proxy, and how replicas for it are had and lost."""

    ingress: Ingress
    start: Callable[[str], str]
    """a replica that answers: name -> address"""
    lose: Callable[[str], None]

    def route(self, *names: str, routes: tuple[Route, ...] = (WEB,), **addresses: str) -> str:
        return self.ingress.route("shop", "web", routes, {**{n: self.start(n) for n in names}, **addresses})

    @property
    def routed(self) -> dict[str, set[str]]:
        return {service: set(names) for service, names in self.ingress.routed("shop").items()}


class Contract:
    def test_nothing_is_routed_at_first(self, door: Door) -> None:
        assert door.routed == {}
        assert dict(door.ingress.routes("shop")) == {}
        assert list(door.ingress.problems("shop", {"web": (WEB,)})) == []

    def test_a_switch_is_confirmed_in_words(self, door: Door) -> None:
        assert door.route("a", "b")
        assert door.routed == {"web": {"a", "b"}}
        assert {s: tuple(r) for s, r in door.ingress.routes("shop").items()} == {"web": (WEB,)}

    def test_the_same_again_is_no_error(self, door: Door) -> None:
        address = door.start("a")
        door.route(a=address)
        door.route(a=address)
        assert door.routed == {"web": {"a"}}

    def test_traffic_moves_and_the_old_one_is_let_go(self, door: Door) -> None:
        door.route("a")
        door.route("b")
        assert door.routed == {"web": {"b"}}
        assert door.ingress.drain("shop", "web", "a", 5)
        door.ingress.forget("shop", "web", "a")
        door.ingress.forget("shop", "web", "a")
        door.lose("a")
        assert door.routed == {"web": {"b"}}

    def test_traffic_goes_back_to_one_that_was_draining(self, door: Door) -> None:
        address = door.start("a")
        door.route(a=address)
        door.route("b")
        door.route(a=address)
        assert door.routed == {"web": {"a"}}

    def test_a_switch_to_what_does_not_answer_is_refused_and_changes_nothing(self, door: Door) -> None:
        door.route("a")
        dead = door.start("b")
        door.lose("b")
        with pytest.raises((PortError, KeyError)):
            door.route(b=dead)
        assert door.routed == {"web": {"a"}}

    def test_routes_change_with_the_switch(self, door: Door) -> None:
        door.route("a")
        door.route("b", routes=(OTHER,))
        assert {s: tuple(r) for s, r in door.ingress.routes("shop").items()} == {"web": (OTHER,)}

    def test_what_is_forgotten_takes_no_traffic_even_if_it_did(self, door: Door) -> None:
        """A replacement may bear the name that the proxy knows: its leaving takes the route along."""
        door.route("a", "b")
        door.ingress.forget("shop", "web", "a")
        assert door.routed == {"web": {"b"}}

    def test_what_nobody_knows_can_be_let_go(self, door: Door) -> None:
        door.ingress.forget("shop", "web", "a")
        door.ingress.unroute("shop", "web")
        assert door.ingress.drain("shop", "web", "a", 1)
        assert door.routed == {}

    def test_a_service_loses_its_route(self, door: Door) -> None:
        door.route("a")
        door.ingress.unroute("shop", "web")
        door.ingress.unroute("shop", "web")
        assert door.routed == {}
        assert dict(door.ingress.routes("shop")) == {}
        door.route("b")
        assert door.routed == {"web": {"b"}}


class TestSimulated(Contract):
    @pytest.fixture
    def door(self) -> Door:
        world = World(behaviours={"good": Behaviour(ready_after=0.0)})

        def start(name: str) -> str:
            world.containers[name] = Container(name, "web", 1, "good", "spec", "r1", "shop", running=True)
            return f"ip of {name}"

        return Door(SimulatedIngress(world), start, world.containers.pop)


@pytest.mark.integration
class TestReal(Contract):
    """HAProxy and Traefik, in our images."""

    @pytest.fixture
    def door(self, proxy: real.Proxy, replicas: real.Replicas) -> Door:
        return Door(proxy.ingress, lambda name: replicas.start(name, name), replicas.stop)
