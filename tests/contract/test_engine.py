# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One list of expectations for the simulated engine and for a real one, so that the simulation does not lie."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import docker_api, docker_engine
from ansible_collections.quaylock.stacks.plugins.module_utils.core import labels
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    ExecProbe,
    Gate,
    Image,
    Network,
    Observed,
    Sample,
    Service,
    Stack,
    Volume,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import Engine, PortError
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image
from ansible_collections.quaylock.stacks.tests.simulation.host import Behaviour, SimulatedEngine, World

GATE = Gate(probes=(ExecProbe(("/web", "check"), 5.0),))
KINDS: Mapping[str, tuple[Behaviour, Mapping[str, Any]]] = {
    # what it does: in the simulation, and as a container of the test application
    "serves": (Behaviour(ready_after=0.0), {}),
    "late": (Behaviour(ready_after=600.0), {"Env": ["READY_AFTER=600"]}),
    "ends": (Behaviour(ends_after=0.1), {"Cmd": ["oneshot"]}),
    "fails": (Behaviour(ends_after=0.1, exit_code=3), {"Cmd": ["oneshot"], "Env": ["EXIT_CODE=3"]}),
    "crashes": (Behaviour(crash_after=0.5), {"Env": ["CRASH_AFTER=0.5"]}),
}


@dataclass
class Ground:
    """An engine, and what differs between a simulated and a real one: images, time, and cleaning up."""

    engine: Engine
    images: Mapping[str, Image]
    world: World | None = None
    name: str = field(default_factory=lambda: f"qc-{secrets.token_hex(3)}")
    other: str = field(default_factory=lambda: f"qc-{secrets.token_hex(3)}")

    @property
    def network(self) -> Network:
        marks = {"com.docker.compose.project": self.name}
        return Network("default", f"{self.name}_default", body={"Driver": "bridge", "Labels": marks})

    def make(
        self,
        kind: str = "serves",
        number: int = 1,
        rollout: str = "r1",
        stack: str = "",
        name: str = "",
        quiet: bool = False,
    ) -> str:
        """Create a container; returns its name."""
        stack = stack or self.name
        container = dict(KINDS[kind][1])
        if stack == self.name:
            container["NetworkingConfig"] = {"EndpointsConfig": {"default": {"Aliases": ["web", "shop"]}}}
        service = Service("web", self.images[kind].ref, container, GATE, f"spec-{kind}", labels={"mine": "kept"})
        made = Stack(stack, (service,), networks=(self.network,))
        body = labels.create_body(made, service, number, rollout, self.images[kind], "/nowhere")
        name = name or f"{stack}-web-{number}"
        self.engine.create(name, body, quiet=quiet)
        return name

    def start(self, *about: Any, **more: Any) -> str:
        name = self.make(*about, **more)
        self.engine.start(name)
        return name

    def now(self) -> float:
        return self.world.now if self.world else time.time()

    def wait(self, seconds: float) -> None:
        if self.world:
            self.world.now += seconds
        else:
            time.sleep(seconds)

    def sample(self, name: str, check: bool = True) -> Sample:
        return self.engine.sample(name, GATE, self.now(), check)

    def until(self, name: str, **wanted: Any) -> Sample:
        """Wait at most a minute, of looks apart, for a sample like this."""
        for _turn in range(1200):
            found = self.sample(name)
            if all(getattr(found, key) == value for key, value in wanted.items()):
                return found
            self.wait(0.05)
        pytest.fail(f"{name} never was {wanted}: {found}")

    def replica(self, name: str) -> Observed:
        return next(o for o in self.engine.replicas(self.name) if o.name == name)

    def clear(self) -> None:
        for stack in (self.name, self.other):
            for replica in self.engine.replicas(stack):
                self.engine.remove(replica.name)
        self.engine.remove_network(self.network.name)
        self.engine.remove_volume(f"{self.name}_kept")


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.integration)])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    if request.param == "simulated":
        images = {kind: Image(kind, f"sha256:{kind}") for kind in KINDS}
        world = World(now=1000.0, behaviours={images[kind].id: KINDS[kind][0] for kind in KINDS})
        world.absent_images.add("local/q-absent:none")
        made = Ground(SimulatedEngine(world), images, world)
    else:
        engine = docker_engine.DockerEngine(docker_api.connect())
        image = engine.image(web_image())
        assert image is not None
        made = Ground(engine, dict.fromkeys(KINDS, image))
    made.engine.create_network(made.network)
    yield made
    made.clear()


# -- what is there --------------------------------------------------------------------------


def test_a_new_stack_has_nothing(ground: Ground) -> None:
    assert list(ground.engine.replicas(ground.name)) == []


def test_a_created_container_is_there_and_does_not_run(ground: Ground) -> None:
    name = ground.make(number=2)
    found = ground.replica(name)
    assert (found.name, found.service, found.number) == (name, "web", 2)
    assert (found.rollout, found.spec, found.image) == ("r1", "spec-serves", ground.images["serves"].id)
    assert (found.running, found.exit_code, found.restarts, found.oom) == (False, 0, 0, False)


def test_the_services_names_are_given_and_taken(ground: Ground) -> None:
    """Each of them twice, as after a kill between doing it and knowing of it."""
    loud, quiet = ground.start(), ground.start(number=2, quiet=True)
    assert (ground.replica(loud).named, ground.replica(quiet).named) == (True, False)
    ground.until(quiet, passed=True)
    for _turn in "12":
        ground.engine.announce(quiet)
        assert ground.replica(quiet).named
    assert ground.replica(quiet).running
    assert ground.sample(quiet).restarts == 0
    ground.until(quiet, passed=True)
    for _turn in "12":
        ground.engine.withdraw(loud)
        assert (ground.replica(loud).named, ground.replica(loud).running) == (False, True)
    ground.engine.announce(loud)
    assert ground.replica(loud).named


def test_a_quiet_one_stays_quiet_over_a_restart(ground: Ground) -> None:
    quiet = ground.start(quiet=True)
    ground.engine.stop(quiet, 1)
    ground.engine.start(quiet)
    assert not ground.replica(quiet).named
    ground.engine.stop(quiet, 1)
    ground.engine.announce(quiet)
    assert ground.replica(quiet).named


def test_nobody_is_announced_who_is_not_there(ground: Ground) -> None:
    with pytest.raises(PortError, match="nobody"):
        ground.engine.announce("nobody")
    with pytest.raises(PortError, match="nobody"):
        ground.engine.withdraw("nobody")


def test_a_started_one_runs(ground: Ground) -> None:
    found = ground.replica(ground.start())
    assert (found.running, found.exit_code, found.restarts) == (True, 0, 0)
    assert found.started_at


def test_each_stack_has_its_own(ground: Ground) -> None:
    mine = ground.make()
    theirs = ground.make(stack=ground.other)
    assert [o.name for o in ground.engine.replicas(ground.name)] == [mine]
    assert [o.name for o in ground.engine.replicas(ground.other)] == [theirs]


def test_identities_tell_containers_apart(ground: Ground) -> None:
    one, other = ground.make(number=1), ground.make(number=2)
    assert ground.replica(one).id != ground.replica(other).id
    assert ground.replica(one).id == ground.replica(one).id


# -- create ---------------------------------------------------------------------------------


def test_the_same_rollout_may_create_again(ground: Ground) -> None:
    name = ground.make()
    ground.make()
    assert len(ground.engine.replicas(ground.name)) == 1
    ground.engine.start(name)
    assert ground.replica(name).running


def test_what_is_created_again_is_new(ground: Ground) -> None:
    name = ground.start("ends")
    ground.until(name, running=False)
    ground.make("serves")
    assert not ground.replica(name).running
    assert ground.replica(name).spec == "spec-serves"


def test_another_rollouts_name_is_taken(ground: Ground) -> None:
    name = ground.start()
    with pytest.raises(PortError, match=f"the name {name} is taken"):
        ground.make(rollout="r2")
    assert ground.replica(name).rollout == "r1"
    assert ground.replica(name).running


# -- start and stop -------------------------------------------------------------------------


def test_starting_twice_is_starting_once(ground: Ground) -> None:
    name = ground.start()
    before = ground.replica(name)
    ground.wait(0.1)
    ground.engine.start(name)
    assert ground.replica(name) == before


def test_what_is_not_there_cannot_be_started(ground: Ground) -> None:
    with pytest.raises(PortError, match=r"[Nn]o such container"):
        ground.engine.start(f"{ground.name}-web-9")


def test_a_stopped_one_stays_and_starts_again(ground: Ground) -> None:
    name = ground.start()
    before = ground.replica(name)
    ground.engine.stop(name, 2)
    assert not ground.replica(name).running
    ground.wait(0.05)
    ground.engine.start(name)
    after = ground.replica(name)
    assert (after.running, after.id) == (True, before.id)
    assert after.started_at != before.started_at, "so a gate sees it"


@pytest.mark.parametrize("twice", [1, 2])
def test_stopping_what_stands_is_no_error(ground: Ground, twice: int) -> None:
    name = ground.make()
    for _turn in range(twice):
        ground.engine.stop(name, 1)
    assert not ground.replica(name).running


def test_stopping_or_removing_what_is_gone_is_no_error(ground: Ground) -> None:
    ground.engine.stop(f"{ground.name}-web-9", 1)
    ground.engine.remove(f"{ground.name}-web-9")


def test_one_that_others_remove_at_the_same_time_is_removed(ground: Ground) -> None:
    for _turn in range(3):
        name = ground.start("serves")
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(ground.engine.remove, name) for _one in range(4)]:
                done.result()
        assert name not in {o.name for o in ground.engine.replicas(ground.name)}


def test_a_running_one_can_be_removed(ground: Ground) -> None:
    name = ground.start()
    ground.engine.remove(name)
    ground.engine.remove(name)
    assert list(ground.engine.replicas(ground.name)) == []
    ground.make(rollout="r2")


# -- rename ---------------------------------------------------------------------------------


def test_a_renamed_one_is_the_same(ground: Ground) -> None:
    name = ground.start()
    before = ground.replica(name)
    ground.engine.rename(name, f"{name}-aside")
    found = ground.replica(f"{name}-aside")
    assert (found.running, found.started_at, found.rollout) == (True, before.started_at, "r1")
    assert len(ground.engine.replicas(ground.name)) == 1
    ground.make(rollout="r2", name=name)
    ground.engine.remove(name)
    ground.engine.rename(f"{name}-aside", name)
    assert ground.replica(name).started_at == before.started_at


def test_a_taken_name_cannot_be_had(ground: Ground) -> None:
    one, other = ground.make(number=1), ground.make(number=2)
    with pytest.raises(PortError):
        ground.engine.rename(one, other)
    with pytest.raises(PortError):
        ground.engine.rename(f"{ground.name}-web-9", f"{ground.name}-web-10")
    assert len(ground.engine.replicas(ground.name)) == 2


# -- samples --------------------------------------------------------------------------------


def test_a_sample_of_one_that_serves(ground: Ground) -> None:
    name = ground.start()
    found = ground.until(name, passed=True)
    assert (found.running, found.output, found.exit_code, found.restarts, found.oom) == (True, "", 0, 0, False)
    assert found.started_at == ground.sample(name).started_at


def test_a_sample_of_one_that_is_not_ready_says_why(ground: Ground) -> None:
    found = ground.until(ground.start("late"), running=True, passed=False)
    assert "503" in found.output


def test_a_look_without_checks_says_nothing_of_them(ground: Ground) -> None:
    found = ground.sample(ground.start("late"), check=False)
    assert (found.running, found.passed) == (True, None)


@pytest.mark.parametrize(("kind", "code"), [("ends", 0), ("fails", 3), ("crashes", 1)])
def test_a_sample_of_one_that_ended(ground: Ground, kind: str, code: int) -> None:
    name = ground.start(kind)
    found = ground.until(name, running=False)
    assert (found.passed, found.exit_code, found.oom, found.restarts) == (None, code, False, 0)
    assert (ground.replica(name).running, ground.replica(name).exit_code) == (False, code)


def test_a_sample_of_one_that_never_ran(ground: Ground) -> None:
    found = ground.sample(ground.make())
    assert (found.running, found.passed) == (False, None)


def test_a_sample_of_one_that_somebody_removed(ground: Ground) -> None:
    name = ground.start()
    ground.engine.remove(name)
    found = ground.sample(name)
    assert (found.running, found.exit_code) == (False, 137)
    assert "removed" in found.output


def test_a_restart_shows_in_the_sample(ground: Ground) -> None:
    name = ground.start()
    before = ground.sample(name)
    ground.engine.stop(name, 1)
    ground.wait(0.05)
    ground.engine.start(name)
    assert ground.sample(name).started_at != before.started_at


def test_a_sample_is_of_its_moment(ground: Ground) -> None:
    name = ground.start()
    assert ground.engine.sample(name, GATE, 4711.0, False).at == 4711.0


# -- logs and addresses ---------------------------------------------------------------------


def test_last_words_outlive_the_process_and_not_the_container(ground: Ground) -> None:
    name = ground.start("ends")
    ground.until(name, running=False)
    assert ground.engine.logs(name, 20)
    ground.engine.remove(name)
    with pytest.raises(PortError):
        ground.engine.logs(name, 20)


def test_an_address_is_that_of_a_running_one(ground: Ground) -> None:
    name = ground.start()
    other = ground.start(number=2)
    address = ground.engine.address(name, ground.network.name)
    assert address
    assert address != ground.engine.address(other, ground.network.name)
    ground.engine.stop(name, 1)
    with pytest.raises(PortError):
        ground.engine.address(name, ground.network.name)
    with pytest.raises(PortError):
        ground.engine.address(f"{ground.name}-web-9", ground.network.name)


# -- networks, volumes, images --------------------------------------------------------------


def test_networks_are_made_once_and_asked_for_by_name(ground: Ground) -> None:
    ground.engine.create_network(ground.network)
    name = ground.network.name
    found = ground.engine.networks([name, f"{name}-absent"])
    assert list(found) == [name]
    assert found[name]["Driver"] == "bridge"
    assert ground.engine.networks([]) == {}
    assert ground.engine.networks([name[:-1]]) == {}, "the whole name"
    ground.engine.remove_network(name)
    ground.engine.remove_network(name)
    assert ground.engine.networks([name]) == {}


def test_volumes_are_made_once_and_asked_for_by_name(ground: Ground) -> None:
    name = f"{ground.name}_kept"
    volume = Volume("kept", name)
    ground.engine.create_volume(volume)
    ground.engine.create_volume(volume)
    assert list(ground.engine.volumes([name, f"{name}-absent"])) == [name]
    assert list(ground.engine.volumes([])) == []
    ground.engine.remove_volume(name)
    ground.engine.remove_volume(name)
    assert list(ground.engine.volumes([name])) == []


def test_images_that_are_there_and_not(ground: Ground) -> None:
    there = ground.images["serves"]
    found = ground.engine.image(there.ref)
    assert found is not None
    assert (found.ref, found.id) == (there.ref, there.id)
    assert ground.engine.image("local/q-absent:none") is None
    absent = replace(Service("x", "local/q-absent:none", {}, GATE, "s"), pull_policy="never")
    with pytest.raises(PortError, match="local/q-absent:none"):
        ground.engine.fetch(absent, lambda said: None)
