# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a simulated host is: containers that behave, a proxy with a memory of its own, a journal and a disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Json, Route, Stack
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import Entry


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
    named: bool = True
    """it answers to its service's DNS names"""
    running: bool = False
    exit_code: int = 0
    started: float = 0.0
    starts: int = 0
    stops_at: float | None = None
    """the engine was told to stop it, by somebody who is gone, and does so then"""
    row: int = 0
    """passing looks in a row since it was started, as the gate was told"""
    best_row: int = 0
    clean_since: float | None = None
    """when the row of passes was complete"""

    def forget_looks(self) -> None:
        self.row, self.clean_since = 0, None

    def end(self, exit_code: int) -> None:
        self.running, self.exit_code, self.stops_at = False, exit_code, None


@dataclass(frozen=True)
class Written:
    """One service in the proxy's configuration file, which is all that a restarted proxy knows of it."""

    routes: tuple[Route, ...]
    ready: frozenset[str]
    draining: frozenset[str] = frozenset()


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
    written: dict[str, Written] = field(default_factory=dict)
    """the proxy's configuration on the disk; the three above are what its process does"""
    disk: dict[str, bytes] = field(default_factory=dict)
    rollouts: list[dict] = field(default_factory=list)
    stops: list[Entry] = field(default_factory=list)
    """what the journal's log has of stops; nobody reads the rest of it"""
    absent_images: set[str] = field(default_factory=set)
    disk_full: bool = False
    holder: object | None = None
    """the process that has the stack's lock"""
    hurt: set[str] = field(default_factory=set)
    """services that the world itself hit, for which no promise of service holds until they are whole again"""
    serving: list[Container] = field(default_factory=list)
    """the replicas of the last release, whatever anybody believes"""
    away: set[str] = field(default_factory=set)
    """old replicas that were stopped before the commit because they are replaced in steps"""
    released: Stack | None = None
    ran: set[tuple[str, str, str]] = field(default_factory=set)
    """one-shots (service, spec, image) that ended well in it"""
    points: set[tuple[str, str]] = field(default_factory=set)
    """(rollout, service) of the restore points that were taken"""

    def alive(self, name: str) -> bool:
        """Truth, not opinion: the container runs and answers."""
        c = self.containers.get(name)
        if c is None or not self.runs(c):
            return False
        ready = self.behaviours[c.image].ready_after
        return ready is not None and self.now - c.started >= ready

    def runs(self, c: Container) -> bool:
        """Time passes for a container when somebody looks."""
        if not c.running:
            return False
        behaviour = self.behaviours[c.image]
        age = self.now - c.started
        if c.stops_at is not None and self.now >= c.stops_at:
            c.end(143)
            c.forget_looks()
        elif behaviour.crash_after is not None and age >= behaviour.crash_after:
            c.end(1)
        elif behaviour.ends_after is not None and age >= behaviour.ends_after:
            c.end(behaviour.exit_code)
        return c.running

    def restart_engine(self) -> None:
        """Without live-restore: everything stops, and what has a restart policy comes back."""
        for c in self.containers.values():
            if self.runs(c):
                c.end(137)
                c.forget_looks()
                if c.restarts_with_engine:
                    c.running, c.started, c.exit_code = True, self.now, 0
                    c.starts += 1
        self.hurt.update(c.service for c in self.containers.values())

    def restart_proxy(self) -> None:
        """What only its process knew is gone; it does what its configuration says."""
        self.backends = {s: w.ready for s, w in self.written.items()}
        self.routes = {s: w.routes for s, w in self.written.items()}
        self.draining = {s: set() for s in self.written}  # who was connected is not any more

    def twin(self) -> World:
        """Another world that is like this one, to try something in it."""
        made = {id(c): replace(c) for c in (*self.containers.values(), *self.serving)}
        return replace(
            self,
            containers={n: made[id(c)] for n, c in self.containers.items()},
            networks=dict(self.networks),
            volumes=set(self.volumes),
            backends=dict(self.backends),
            draining={s: set(names) for s, names in self.draining.items()},
            routes=dict(self.routes),
            written=dict(self.written),
            disk=dict(self.disk),
            rollouts=[dict(r) for r in self.rollouts],
            stops=list(self.stops),
            absent_images=set(self.absent_images),
            hurt=set(self.hurt),
            away=set(self.away),
            serving=[made[id(c)] for c in self.serving],
            ran=set(self.ran),
            points=set(self.points),
        )
