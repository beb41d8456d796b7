# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a command to calls of the adapters, and the runner around it, on the simulated host."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import perform, runner
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Gate,
    Image,
    MountedFile,
    Network,
    Observation,
    RestorePoint,
    Route,
    Service,
    Stack,
    TcpProbe,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout import commands as c
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.converge import Goal
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome, Rollout
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.simulation.host import (
    Behaviour,
    SimulatedClock,
    SimulatedEngine,
    SimulatedFiles,
    SimulatedIngress,
    SimulatedJournal,
    World,
)

FOLDER = "/etc/quaylock/stacks/shop"
GATE = Gate(probes=(TcpProbe(80),), passes=2, cadence=0.01, hold=0.03, deadline=5, progress=5)
WEB = Service(
    "web", "web:1", {}, GATE, "spec-1", routes=(Route("http", 80),), restore_point=RestorePoint(("dump",), timeout=3)
)
SECRET = MountedFile("secret", "password", f"{FOLDER}/secrets/password-abc", "abc", mode=0o400)
THEIRS = MountedFile("config", "theirs", "/srv/theirs", external=True)
STACK = Stack(
    "shop", (WEB,), networks=(Network("default", "shop_default"),), files=(SECRET,), rendered={"name": "shop"}
)


class Ticking(SimulatedClock):
    """Time passes in real threads, a thousandth of a second at each look at the clock."""

    def now(self) -> float:
        self.world.now += 0.001
        return super().now()


def made(world: World, stack: Stack = STACK, **about: Any) -> tuple[perform.Host, Rollout]:
    images = {s.image: Image(s.image, f"sha256:{s.image}") for s in stack.services}
    world.behaviours = {i.id: Behaviour(ready_after=0.02) for i in images.values()}
    parts = {"ingress": SimulatedIngress(world), "contents": {SECRET.host_path: b"hunter2"}, **about}
    journal = SimulatedJournal(world)
    host = perform.Host(
        SimulatedEngine(world),
        parts["ingress"],
        SimulatedFiles(world),
        journal,
        Ticking(world),
        FOLDER,
        "proxy",
        parts["contents"],
    )
    journal.begin("r1", "shop", "deploy", "jane", 0, {"stack": stack})
    return host, Rollout("r1", stack, images=images)


def test_secrets_are_written_with_their_mode_and_the_users_own_files_are_not() -> None:
    world = World()
    host, state = made(world, replace(STACK, files=(SECRET, THEIRS)))
    written: list[tuple[object, ...]] = []
    host.files.write = lambda *entry: written.append(entry)  # type: ignore[method-assign]
    perform.perform(host, state, c.WriteFiles())
    assert written == [(SECRET.host_path, b"hunter2", 0o400, (0, 0))]


def test_a_created_replica_carries_the_rollout() -> None:
    world = World()
    host, state = made(world)
    perform.perform(host, state, c.Create("web", "shop-web-1", 1))
    container = world.containers["shop-web-1"]
    assert (container.rollout, container.spec, container.image) == ("r1", "spec-1", "sha256:web:1")


def test_publishing_keeps_the_files_of_this_release_and_the_last() -> None:
    world = World()
    host, state = made(world)
    before = replace(SECRET, host_path=f"{FOLDER}/secrets/password-old")
    for name in ("abc", "old", "ancient"):
        world.disk[f"{FOLDER}/secrets/password-{name}"] = b"x"
    state = replace(state, previous=replace(STACK, files=(before,)))
    perform.perform(host, state, c.Publish())
    assert sorted(world.disk) == [
        f"{FOLDER}/compose.yaml",
        f"{FOLDER}/secrets/password-abc",
        f"{FOLDER}/secrets/password-old",
    ]
    assert perform.observe(host, STACK).published
    perform.withdraw(host)
    assert world.disk == {}


@pytest.mark.parametrize(
    ("stack", "about", "paths"),
    [
        (STACK, {}, []),
        (replace(STACK, services=(replace(WEB, binds=("/srv/absent",)),)), {}, ["services.web.volumes"]),
        (replace(STACK, files=(THEIRS,)), {}, ["configs.theirs"]),
    ],
    ids=["all is there", "a bind mount is missing", "a file is missing"],
)
def test_what_the_host_says_against_it(stack: Stack, about: dict[str, Any], paths: list[str]) -> None:
    host, _state = made(World(), stack, **about)
    assert [f.path for f in perform.observe(host, stack).findings] == paths


def test_routes_that_differ_are_stale() -> None:
    world = World()
    host, _state = made(world)
    assert perform.observe(host, STACK).stale_routes == {"web"}
    world.routes["web"] = WEB.routes
    assert perform.observe(host, STACK).stale_routes == set()
    world.routes["gone"] = WEB.routes
    assert perform.observe(host, STACK).stale_routes == {"gone"}
    nobody = replace(STACK, services=(replace(WEB, replicas=0),))
    assert "web" in perform.observe(host, nobody).stale_routes, "nobody is there to be routed to"


def test_without_a_proxy_there_is_no_traffic_to_move() -> None:
    host, state = made(World(), ingress=None)
    for command in (c.Route("web", ("shop-web-1",)), c.Unroute("web"), c.Drain("web", "shop-web-1", 1)):
        assert perform.perform(host, state, command) == "no proxy on this host"
    assert perform.observe(host, STACK).routed == {}


def serving(world: World, *names: str, **about: Any) -> tuple[perform.Host, Rollout]:
    """A host where these replicas run."""
    host, state = made(world, **about)
    for number, name in enumerate(names, 1):
        perform.perform(host, state, c.Create("web", name, number))
        perform.perform(host, state, c.Start("web", name))
    return host, state


def test_on_the_way_back_traffic_goes_to_whoever_is_left() -> None:
    """Forward it goes to all or to nobody: there the old ones still serve."""
    world = World()
    host, state = serving(world, "shop-web-2")
    both = c.Route("web", ("shop-web-1", "shop-web-2"), old=True)
    with pytest.raises(PortError, match="shop-web-1"):
        perform.perform(host, state, both)
    said: list[str] = []
    back = replace(state, goals={"web": Goal("web", target=both.servers)})
    perform.perform(host, back, both, said.append)
    assert world.backends == {"web": frozenset({"shop-web-2"})}
    assert said == ["web: traffic goes to shop-web-2 alone: no such container: shop-web-1"]
    with pytest.raises(PortError, match="shop-web-1"):
        perform.perform(host, back, c.Route("web", ("shop-web-1",), old=True))


def test_the_proxy_forgets_a_replica_when_it_has_ended() -> None:
    """Forgetting cuts what is open: first it drains, then it stops, and may say goodbye to whom it still serves."""
    world = World()
    asked: list[str] = []
    host, state = serving(world, "shop-web-1", ingress=Listening(SimulatedIngress(world), asked))
    perform.perform(host, state, c.Drain("web", "shop-web-1", 1))
    perform.perform(host, state, c.Stop("web", "shop-web-1", 1))
    assert asked == ["drain"]
    perform.perform(host, state, c.Remove("web", "shop-web-1"))
    assert asked == ["drain", "forget"]
    perform.perform(host, state, c.Remove("db", "shop-db-1"))
    assert asked == ["drain", "forget"], "it was never routed"


def test_a_proxy_that_cannot_forget_keeps_nothing_from_being_removed() -> None:
    world = World()

    class Stubborn(SimulatedIngress):
        def forget(self, stack: str, service: str, server: str) -> None:
            raise PortError("no answer")

    host, state = serving(world, "shop-web-1", ingress=Stubborn(world))
    said = perform.perform(host, state, c.Remove("web", "shop-web-1"))
    assert said == "the proxy could not forget it: no answer"
    assert world.containers == {}


def test_old_routes_are_those_of_the_release_before() -> None:
    world = World()
    host, state = made(world)
    perform.perform(host, state, c.Create("web", "shop-web-1", 1))
    perform.perform(host, state, c.Start("web", "shop-web-1"))
    former = replace(STACK, services=(replace(WEB, routes=(Route("http", 80, host="old.example.org"),)),))
    perform.perform(host, replace(state, previous=former), c.Route("web", ("shop-web-1",), old=True))
    assert world.routes["web"][0].host == "old.example.org"
    none = replace(STACK, services=(replace(WEB, routes=()),))
    perform.perform(host, replace(state, previous=none), c.Route("web", ("shop-web-1",), old=True))
    assert "web" not in world.routes


@pytest.mark.parametrize(
    ("policy", "there", "fetched"),
    [
        ("missing", True, False),
        ("missing", False, True),
        ("always", True, True),
        ("build", True, True),
        ("never", True, False),
    ],
)
def test_an_image_is_fetched_where_its_policy_wants_it(policy: str, there: bool, fetched: bool) -> None:
    world = World()
    stack = replace(STACK, services=(replace(WEB, pull_policy=policy),))
    host, state = made(world, stack)
    asked: list[str] = []
    host.engine.image = lambda ref: Image(ref, "local") if there else None  # type: ignore[method-assign]
    host.engine.fetch = lambda s, say: asked.append(s.name) or Image(s.image, "fetched")  # type: ignore[method-assign,func-returns-value]
    image = perform.perform(host, state, c.Fetch("web"))
    assert image.id == ("fetched" if fetched else "local")
    assert asked == (["web"] if fetched else [])


def test_every_command_is_performed_or_refused() -> None:
    """None is forgotten: an unknown one would count as done."""
    samples: dict[str, Any] = {"number": 1, "at": 0.0, "check": True, "servers": ("shop-web-1",), "old": False}
    samples |= {"timeout": 1.0, "grace": 1.0, "service": "web", "name": "shop-web-1", "key": "default", "new": "x"}
    for kind in c.Command.__args__:
        host, state = made(World())
        asked: list[str] = []
        for port in ("engine", "ingress", "files", "journal"):
            object.__setattr__(host, port, Listening(getattr(host, port), asked))
        command = kind(**{f.name: samples.get(f.name, "planned") for f in fields(kind)})
        if not isinstance(command, c.EnsureVolume):  # this stack has none
            with contextlib.suppress(PortError):
                perform.perform(host, state, command)
            assert asked, kind.__name__


class Listening:
    """Passes everything on and remembers what was asked for."""

    def __init__(self, real: Any, asked: list[str]) -> None:
        self._real, self._asked = real, asked

    def __getattr__(self, name: str) -> Any:
        self._asked.append(name)
        return getattr(self._real, name)


# -- the runner ---------------------------------------------------------------------------


def test_a_rollout_in_threads_comes_to_its_end() -> None:
    world = World()
    host, state = made(world)
    ended = runner.run(host, replace(state, images={}))
    assert ended.outcome is Outcome.DEPLOYED, ended.failures
    assert world.backends == {"web": frozenset({"shop-web-1"})}
    assert world.rollouts[0]["finished"]["outcome"] == "deployed"


def run_with(spoil: Callable[[Rollout, c.Command], None], log: Any = None) -> tuple[Rollout, World]:
    world = World()
    host, state = made(world)
    if log:
        host.journal.log = log  # type: ignore[method-assign]

    def spoiled(host: perform.Host, rollout: Rollout, command: c.Command, say: Callable[[str], None]) -> Any:
        spoil(rollout, command)
        return perform.perform(host, rollout, command, say)

    return runner.run(host, replace(state, images={}), spoiled), world


@pytest.mark.parametrize("surprise", [PortError("the engine says no"), KeyError("what"), RuntimeError("bang")])
def test_whatever_an_adapter_raises_becomes_a_failure(surprise: Exception) -> None:
    def spoil(rollout: Rollout, command: c.Command) -> None:
        if isinstance(command, c.Start):
            raise surprise

    ended, world = run_with(spoil)
    assert ended.outcome is Outcome.ROLLED_BACK
    assert str(surprise) in ended.failures[0].said
    assert world.containers == {}


def test_every_step_is_written_down_before_it_is_taken() -> None:
    written: list[tuple[str, str]] = []
    taken: list[str] = []

    def log(rollout: str, at: float, what: str, details: Any) -> None:
        written.append((what, details.get("do", "")))

    def spoil(rollout: Rollout, command: c.Command) -> None:
        name = type(command).__name__
        if not isinstance(command, (c.Look, c.Observe)):
            assert ("do", name) in written, name
            taken.append(name)

    ended, _world = run_with(spoil, log)
    assert ended.outcome is Outcome.DEPLOYED
    assert {"Create", "Start", "Route", "Publish", "Record"} <= set(taken)
    assert {do for what, do in written if what == "done"} >= {"Create", "Start", "Route", "Look"}


def test_a_full_disk_stops_the_way_forward_and_never_the_way_back() -> None:
    full = False

    def log(rollout: str, at: float, what: str, details: Any) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")

    def spoil(rollout: Rollout, command: c.Command) -> None:
        nonlocal full
        full = full or isinstance(command, c.Create)

    ended, world = run_with(spoil, log)
    assert ended.outcome is Outcome.ROLLED_BACK
    assert "the journal cannot be written: database or disk is full" in ended.failures[0].said
    assert world.containers == {}


def test_looks_are_written_down_only_when_they_show_something_new() -> None:
    looks: list[Any] = []

    def log(rollout: str, at: float, what: str, details: Any) -> None:
        if details.get("do") == "Look":
            looks.append((what, details["passed"]))

    run_with(lambda rollout, command: None, log)
    assert looks in ([("done", False), ("done", True)], [("done", True)])


def test_a_host_that_is_as_wanted_is_only_looked_at() -> None:
    world = World()
    host, state = made(world)
    first = runner.run(host, replace(state, images={}))
    assert first.outcome is Outcome.DEPLOYED
    asked: list[str] = []

    def listening(host: perform.Host, rollout: Rollout, command: c.Command, say: Callable[[str], None]) -> Any:
        asked.append(type(command).__name__)
        return perform.perform(host, rollout, command, say)

    again = runner.run(host, Rollout("r2", STACK, STACK), listening)
    assert again.outcome is Outcome.UNCHANGED
    assert asked == ["Fetch", "Observe"]
    assert isinstance(again.seen, Observation)


def test_a_restore_point_gets_its_rollout_and_says_why_it_failed() -> None:
    world = World()
    host, state = made(world)
    state = replace(state, images={WEB.image: Image(WEB.image, f"sha256:{WEB.image}")})
    for command in (c.Create("web", "shop-web-1", 1), c.Start("web", "shop-web-1")):
        perform.perform(host, state, command)
    assert perform.perform(host, state, c.TakePoint("web", "shop-web-1")) == "dump of shop-web-1"
    assert world.points == {(state.id, "web")}
    world.disk_full = True
    with pytest.raises(PortError, match=r"^dump in shop-web-1 ended with exit code 1: no space left on device$"):
        perform.perform(host, state, c.TakePoint("web", "shop-web-1"))
