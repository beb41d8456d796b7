# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Docker host, a proxy, a disk and a clock in memory, behind the Protocols that the real adapters implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.quaylock.stacks.plugins.module_utils.core.labels import IMAGE, NUMBER, ROLLOUT, SERVICE, SPEC
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Gate,
    Image,
    Json,
    Network,
    Observed,
    Route,
    Sample,
    Service,
    Stack,
    Volume,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.plan import Ran
from ansible_collections.quaylock.stacks.plugins.module_utils.core.recovery import Unfinished
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import Port, PortError


@dataclass(frozen=True)
class Behaviour:
    """How replicas of one image behave: seconds after their start, None = never."""

    ready_after: float | None = 0.5
    crash_after: float | None = None
    ends_after: float | None = None
    exit_code: int = 0
    bad_through_proxy: bool = False


@dataclass
class Container:
    name: str
    service: str
    number: int
    image: str
    spec: str
    rollout: str
    stack: str
    restarts_with_engine: bool = True
    running: bool = False
    exit_code: int = 0
    started: float = 0.0
    starts: int = 0
    row: int = 0
    """passing looks in a row since it was started, as the gate was told"""
    best_row: int = 0
    clean_since: float | None = None
    """when the row of passes was complete"""

    def forget_looks(self) -> None:
        self.row, self.clean_since = 0, None


@dataclass
class World:
    """What survives a killed process: engine, proxy, journal and disk."""

    now: float = 0.0
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    """by image id"""
    containers: dict[str, Container] = field(default_factory=dict)
    networks: dict[str, Json] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    backends: dict[str, frozenset[str]] = field(default_factory=dict)
    draining: dict[str, set[str]] = field(default_factory=dict)
    routes: dict[str, tuple[Route, ...]] = field(default_factory=dict)
    disk: dict[str, bytes] = field(default_factory=dict)
    rollouts: list[dict] = field(default_factory=list)
    absent_images: set[str] = field(default_factory=set)
    disk_full: bool = False
    hurt: set[str] = field(default_factory=set)
    """services that the world itself hit, for which no promise of service holds until they are whole again"""
    serving: list[Container] = field(default_factory=list)
    """the replicas of the last release, whatever anybody believes"""
    away: set[str] = field(default_factory=set)
    """old replicas that were stopped before the commit because they are replaced in steps"""
    released: Stack | None = None
    ran: set[tuple[str, str, str]] = field(default_factory=set)
    """one-shots (service, spec, image) that ended well in it"""

    def alive(self, name: str) -> bool:
        """Truth, not opinion: the container runs and answers."""
        c = self.containers.get(name)
        if c is None or not self.runs(c):
            return False
        ready = self.behaviours[c.image].ready_after
        return ready is not None and self.now - c.started >= ready

    def runs(self, c: Container) -> bool:
        """Time passes for a container when somebody looks."""
        behaviour = self.behaviours[c.image]
        age = self.now - c.started
        if c.running and behaviour.crash_after is not None and age >= behaviour.crash_after:
            c.running, c.exit_code = False, 1
        if c.running and behaviour.ends_after is not None and age >= behaviour.ends_after:
            c.running, c.exit_code = False, behaviour.exit_code
        return c.running


class SimulatedEngine:
    def __init__(self, world: World) -> None:
        self.world = world

    def _container(self, name: str) -> Container:
        try:
            return self.world.containers[name]
        except KeyError:
            raise PortError(f"no such container: {name}") from None

    def image(self, ref: str) -> Image | None:
        return None if ref in self.world.absent_images else Image(ref, f"sha256:{ref}")

    def fetch(self, service: Service, say: Callable[[str], None]) -> Image:
        if service.image in self.world.absent_images:
            raise PortError(f"pull {service.image}: manifest unknown")
        return Image(service.image, f"sha256:{service.image}")

    def replicas(self, stack: str) -> Sequence[Observed]:
        world = self.world
        return [
            Observed(
                name=c.name,
                id=c.name,
                service=c.service,
                number=c.number,
                image=c.image,
                rollout=c.rollout,
                spec=c.spec,
                running=world.runs(c),
                exit_code=c.exit_code,
                restarts=max(0, c.starts - 1),
                started_at=str(c.started),
            )
            for c in world.containers.values()
            if c.stack == stack
        ]

    def networks(self, names: Sequence[str]) -> Mapping[str, Json]:
        return {n: self.world.networks[n] for n in names if n in self.world.networks}

    def volumes(self, names: Sequence[str]) -> Sequence[str]:
        return [n for n in names if n in self.world.volumes]

    def create_network(self, network: Network) -> None:
        self.world.networks.setdefault(network.name, network.body)

    def create_volume(self, volume: Volume) -> None:
        self.world.volumes.add(volume.name)

    def port_holders(self, stack: str, ports: Sequence[Port]) -> Mapping[Port, str]:
        return {}

    def remove_network(self, name: str) -> None:
        self.world.networks.pop(name, None)

    def remove_volume(self, name: str) -> None:
        self.world.volumes.discard(name)

    def create(self, name: str, body: Json, fixed: Sequence[str] = ()) -> None:
        labels = body["Labels"]
        there = self.world.containers.get(name)
        if there is not None and there.rollout != labels[ROLLOUT]:
            raise PortError(f"the name {name} is taken")
        if self.world.disk_full:
            raise PortError(f"create {name}: no space left on device")
        self.world.containers[name] = Container(
            name=name,
            service=labels[SERVICE],
            number=int(labels[NUMBER]),
            image=labels[IMAGE],
            spec=labels[SPEC],
            rollout=labels[ROLLOUT],
            stack=labels["com.docker.compose.project"],
            restarts_with_engine=body.get("HostConfig", {}).get("RestartPolicy", {}).get("Name", "no") != "no",
        )

    def start(self, name: str) -> None:
        c = self._container(name)
        if self.world.runs(c):
            return
        c.running, c.started, c.exit_code = True, self.world.now, 0
        c.starts += 1
        c.forget_looks()

    def stop(self, name: str, grace: float) -> None:
        c = self.world.containers.get(name)
        if c is not None and self.world.runs(c):
            c.running, c.exit_code = False, 143
            c.forget_looks()

    def remove(self, name: str) -> None:
        self.world.containers.pop(name, None)

    def rename(self, name: str, new: str) -> None:
        if name not in self.world.containers and new in self.world.containers:
            return
        if new in self.world.containers:
            raise PortError(f"the name {new} is taken")
        c = self._container(name)
        del self.world.containers[name]
        c.name = new
        self.world.containers[new] = c

    def sample(self, name: str, gate: Gate, at: float, check: bool) -> Sample:
        c = self.world.containers.get(name)
        if c is None:
            return Sample(at, False, exit_code=137, output=f"{name} was removed while it was being gated")
        running = self.world.runs(c)
        passed = self.world.alive(name) if running and check else None
        if passed:
            c.row += 1
            c.best_row = max(c.best_row, c.row)
            c.clean_since = at if c.row == 1 else c.clean_since
        elif check or not running:
            c.forget_looks()
        return Sample(at, running, passed, "503" if passed is False else "", c.exit_code, False, 0, str(c.started))

    def logs(self, name: str, lines: int) -> str:
        self._container(name)
        return f"last words of {name}"

    def address(self, name: str, network: str) -> str:
        if not self.world.runs(self._container(name)):
            raise PortError(f"{name} has no address in {network}; does it run?")
        return f"ip of {name}"

    def restart_engine(self) -> None:
        """Without live-restore: everything stops, and what has a restart policy comes back."""
        for c in self.world.containers.values():
            if self.world.runs(c):
                c.running, c.exit_code = False, 137
                c.forget_looks()
                if c.restarts_with_engine:
                    c.running, c.started, c.exit_code = True, self.world.now, 0
                    c.starts += 1


class SimulatedIngress:
    def __init__(self, world: World) -> None:
        self.world = world

    def routed(self, stack: str) -> Mapping[str, frozenset[str]]:
        return dict(self.world.backends)

    def routes(self, stack: str) -> Mapping[str, Sequence[Route]]:
        return dict(self.world.routes)

    def route(self, stack: str, service: str, routes: Sequence[Route], servers: Mapping[str, str]) -> str:
        world = self.world
        before = world.backends.get(service, frozenset())
        fresh = frozenset(servers) - before
        for name in fresh:
            c = world.containers[name]
            if world.behaviours[c.image].bad_through_proxy or not world.runs(c):
                raise PortError(f"GET / through the proxy -> 500 from {name}")
        world.routes[service] = tuple(routes)
        world.backends[service] = frozenset(servers)
        world.draining[service] = (world.draining.get(service, set()) | before) - frozenset(servers)
        return "confirmed"

    def drain(self, stack: str, service: str, server: str, timeout: float) -> str:
        if server in self.world.backends.get(service, frozenset()):
            if timeout:
                raise PortError(f"{server} still takes traffic")
            self.world.backends[service] -= {server}
        self.world.draining.get(service, set()).discard(server)
        return "no sessions"

    def forget(self, stack: str, service: str, server: str) -> None:
        self.world.draining.get(service, set()).discard(server)
        if server in self.world.backends.get(service, frozenset()):
            self.world.backends[service] -= {server}

    def unroute(self, stack: str, service: str) -> None:
        self.world.backends.pop(service, None)
        self.world.routes.pop(service, None)
        self.world.draining.pop(service, None)

    def problems(self, stack: str, routes: Mapping[str, Sequence[Route]]) -> Sequence[str]:
        return []


class SimulatedFiles:
    def __init__(self, world: World) -> None:
        self.world = world

    def write(self, path: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        if self.world.disk_full:
            raise PortError(f"write {path}: no space left on device")
        self.world.disk[path] = content

    def read(self, path: str) -> bytes | None:
        return self.world.disk.get(path)

    def exists(self, path: str) -> bool:
        return path in self.world.disk

    def remove(self, path: str) -> None:
        self.world.disk.pop(path, None)

    def listing(self, folder: str) -> Sequence[str]:
        return [p.removeprefix(folder + "/") for p in self.world.disk if p.startswith(folder + "/")]


class SimulatedClock:
    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> float:
        return self.world.now


class SimulatedJournal:
    """The same readings as the SQLite journal, over a list."""

    def __init__(self, world: World) -> None:
        self.world = world

    def _row(self, rollout: str) -> dict:
        return next(r for r in self.world.rollouts if r["id"] == rollout)

    def begin(self, rollout: str, stack: str, kind: str, who: str, at: float, model: Json) -> None:
        self.world.rollouts.append({"id": rollout, "stack": stack, "kind": kind, "model": model})

    def milestone(self, rollout: str, kind: str, at: float, details: Json) -> None:
        if self.world.disk_full:
            raise PortError("database or disk is full")
        row = self._row(rollout)
        row[kind] = details

    def log(self, rollout: str, at: float, what: str, details: Json) -> None:
        return

    def unfinished(self, stack: str) -> tuple[Unfinished, Json] | None:
        for row in reversed(self.world.rollouts):
            if row["kind"] == "deploy" and "planned" in row and "finished" not in row:
                planned = row["planned"]
                running = frozenset(planned["running"])
                left = Unfinished(row["id"], "committed" in row, planned["members"], planned["incumbents"], running)
                return left, row["model"]
        return None

    def release(self, stack: str) -> tuple[str, Json, Json] | None:
        for row in reversed(self.world.rollouts):
            if "committed" in row:
                return row["id"], row["model"], row["committed"]
        return None

    def ran(self, stack: str) -> frozenset[Ran]:
        release = self.release(stack)
        return frozenset(Ran(*entry) for entry in release[2]["ran"]) if release else frozenset()
