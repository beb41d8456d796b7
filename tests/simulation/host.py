# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The adapters of a simulated host, behind the Protocols that the real ones implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible_collections.quaylock.stacks.plugins.module_utils.core.capacity import Capacity
from ansible_collections.quaylock.stacks.plugins.module_utils.core.labels import (
    IMAGE,
    NUMBER,
    ROLLOUT,
    SERVICE,
    SPEC,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Gate,
    Image,
    Json,
    Network,
    Observed,
    Route,
    Sample,
    Service,
    Volume,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.behind import merged
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.plan import Ran
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.recovery import Unfinished
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import Entry
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import Port, PortError

from .world import Behaviour, Container, World, Written

__all__ = [
    "Behaviour",
    "Container",
    "SimulatedClock",
    "SimulatedEngine",
    "SimulatedFiles",
    "SimulatedIngress",
    "SimulatedJournal",
    "SimulatedLock",
    "World",
]
FULL = "no space left on device"


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
                named=c.named,
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

    def capacity(self) -> Capacity:
        return Capacity(1024.0, 1 << 50)

    def port_holders(self, stack: str, ports: Sequence[Port]) -> Mapping[Port, str]:
        return {}

    def remove_network(self, name: str) -> None:
        self.world.networks.pop(name, None)

    def remove_volume(self, name: str) -> None:
        self.world.volumes.discard(name)

    def create(self, name: str, body: Json, fixed: Sequence[str] = (), quiet: bool = False) -> None:
        labels = body["Labels"]
        there = self.world.containers.get(name)
        if there is not None and there.rollout != labels[ROLLOUT]:
            raise PortError(f"the name {name} is taken")
        if self.world.disk_full:
            raise PortError(f"create {name}: {FULL}")
        if labels[IMAGE].removeprefix("sha256:") in self.world.absent_images:
            raise PortError(f"create {name}: no such image: {body['Image']}")
        self.world.containers[name] = Container(
            name=name,
            service=labels[SERVICE],
            number=int(labels[NUMBER]),
            image=labels[IMAGE],
            spec=labels[SPEC],
            rollout=labels[ROLLOUT],
            named=not quiet,
            stack=labels["com.docker.compose.project"],
            restarts_with_engine=body.get("HostConfig", {}).get("RestartPolicy", {}).get("Name", "no") != "no",
        )

    def announce(self, name: str) -> None:
        self._container(name).named = True

    def withdraw(self, name: str) -> None:
        self._container(name).named = False

    def start(self, name: str) -> None:
        c = self._container(name)
        if self.world.runs(c):
            return
        c.running, c.started, c.exit_code, c.stops_at = True, self.world.now, 0, None
        c.starts += 1
        c.forget_looks()

    def stop(self, name: str, grace: float) -> None:
        c = self.world.containers.get(name)
        if c is not None and self.world.runs(c):
            c.end(143)
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

    def exec(
        self, name: str, command: Sequence[str], timeout: float = 20.0, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """The only command that a simulated container knows: it takes a restore point."""
        container = self._container(name)
        if not self.world.runs(container):
            raise PortError(f"{name} does not run")
        if self.world.disk_full:
            return 1, FULL
        self.world.points.add(((environment or {})["QUAYLOCK_ROLLOUT"], container.service))
        return 0, f"dump of {name}"

    def address(self, name: str, network: str) -> str:
        if not self.world.runs(self._container(name)):
            raise PortError(f"{name} has no address in {network}; does it run?")
        return f"ip of {name}"


class SimulatedIngress:
    def __init__(self, world: World) -> None:
        self.world = world
        self.dies = False
        """whoever drives the proxy is killed between its process and its file"""

    def routed(self, stack: str) -> Mapping[str, frozenset[str]]:
        return dict(self.world.backends)

    def routes(self, stack: str) -> Mapping[str, Sequence[Route]]:
        return dict(self.world.routes)

    def _written(self) -> dict[str, Written]:
        """What the file has to say for a restart to change nothing."""
        world = self.world
        return {
            s: Written(world.routes[s], servers, frozenset(world.draining.get(s, ())))
            for s, servers in world.backends.items()
        }

    def _write(self) -> None:
        if not self.dies:
            self.world.written = self._written()

    def _may_write(self, what: str, needed: bool) -> None:
        """Whoever comes first brings the file to what the process does; nothing changes if that is impossible."""
        if self.world.disk_full and (needed or self.world.written != self._written()):
            raise PortError(f"{what}: {FULL}")
        self._write()

    def route(self, stack: str, service: str, routes: Sequence[Route], servers: Mapping[str, str]) -> str:
        world = self.world
        before = world.backends.get(service, frozenset())
        same = (before, world.routes.get(service)) == (frozenset(servers), tuple(routes))
        self._may_write(f"{service} was not switched", not same)
        fresh = frozenset(servers) - before
        for name in fresh:
            c = world.containers[name]
            if world.behaviours[c.image].bad_through_proxy or not world.runs(c):
                raise PortError(f"GET / through the proxy -> 500 from {name}")
        world.routes[service] = tuple(routes)
        world.backends[service] = frozenset(servers)
        world.draining[service] = (world.draining.get(service, set()) | before) - frozenset(servers)
        self._write()
        return "confirmed"

    def drain(self, stack: str, service: str, server: str, timeout: float) -> str:
        if server in self.world.backends.get(service, frozenset()):
            if timeout:
                raise PortError(f"{server} still takes traffic")
            self.world.backends[service] -= {server}
        self.world.draining.get(service, set()).discard(server)
        return "no sessions"

    def forget(self, stack: str, service: str, server: str) -> None:
        world = self.world
        draining, ready = world.draining.get(service, set()), world.backends.get(service, frozenset())
        self._may_write(f"{server} was not forgotten", server in draining or server in ready)
        draining.discard(server)
        if server in ready:
            world.backends[service] -= {server}
        self._write()

    def unroute(self, stack: str, service: str) -> None:
        self._may_write(f"{service} kept its route", service in self.world.backends)
        self.world.backends.pop(service, None)
        self.world.routes.pop(service, None)
        self.world.draining.pop(service, None)
        self._write()

    def problems(self, stack: str, routes: Mapping[str, Sequence[Route]]) -> Sequence[str]:
        return []


class SimulatedLock:
    """flock: one holder, and the kernel frees it when that one dies."""

    def __init__(self, world: World) -> None:
        self.world = world

    def take(self, who: object) -> bool:
        if self.world.holder not in (None, who):
            return False
        self.world.holder = who
        return True

    def free(self, who: object) -> None:
        if self.world.holder is who:
            self.world.holder = None


class SimulatedFiles:
    def __init__(self, world: World) -> None:
        self.world = world

    def write(self, path: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        if self.world.disk_full:
            raise PortError(f"write {path}: {FULL}")
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

    def _need_room(self) -> None:
        if self.world.disk_full:
            raise PortError(f"the journal cannot be written: {FULL}")

    def begin(self, rollout: str, stack: str, kind: str, who: str, at: float, model: Json) -> None:
        self._need_room()
        self.world.rollouts.append({"id": rollout, "stack": stack, "kind": kind, "model": model})

    def milestone(self, rollout: str, kind: str, at: float, details: Json) -> None:
        self._need_room()
        row = self._row(rollout)
        if details.get("behind"):
            before = self.release(row["stack"])
            former = before[1]["stack"] if before else None
            row["model"] = {**row["model"], "stack": merged(row["model"]["stack"], former, details["behind"])}
        row[kind] = details

    def log(self, rollout: str, at: float, what: str, details: Json) -> None:
        self._need_room()
        if details.get("do") == "Stop":
            self.world.stops.append(Entry(len(self.world.stops), at, what, {"rollout": rollout, **details}))

    def events(self, rollout: str, since: int = 0) -> list[Entry]:
        return [e for e in self.world.stops if e.details["rollout"] == rollout]

    def unfinished(self, stack: str) -> tuple[Unfinished, Json] | None:
        for row in reversed(self.world.rollouts):
            if row["kind"] == "deploy" and "planned" in row and "finished" not in row:
                planned = row["planned"]
                running = frozenset(planned["running"])
                committed = row.get("committed", {})
                members = committed.get("members", planned["members"])
                behind = frozenset(committed.get("behind", ()))
                left = Unfinished(row["id"], bool(committed), members, planned["incumbents"], running, behind)
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
