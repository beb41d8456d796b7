# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack is: values that every layer shares. Times are seconds, sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union

from .checks import NOTHING, VerifyPlan
from .items import NO_BACKUP, BackupPlan

Json = Mapping[str, Any]
"""A JSON object that nobody changes after it was made."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with what we were given: where, what, and what to do about it."""

    path: str
    problem: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" + (f" ({self.fix})" if self.fix else "")


class Invalid(Exception):
    """The input is refused; `findings` holds everything that is wrong with it, not the first thing only."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        super().__init__("\n".join(str(f) for f in findings))


class Condition(str, Enum):
    """When a dependency counts as there (Compose Specification, depends_on)."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class Order(str, Enum):
    """How a service is replaced (Compose Specification, deploy.update_config.order)."""

    START_FIRST = "start-first"
    STOP_FIRST = "stop-first"


class FailureAction(str, Enum):
    """What follows when a service's new replicas fail (Compose Specification, deploy.update_config.failure_action)."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Update:
    """How the replicas of a service are replaced (deploy.update_config, and `x-quaylock.canary`). Times in seconds.

    `parallelism` replicas at a time, 0 = all of them at once beside the old ones. `delay` passes between two batches.
    `canary` replicas go first, take traffic beside the old ones and are watched for `watch` seconds (0 = no canary).
    Up to `max_failure_ratio` (0 to 1) of the new replicas may fail; more of them are a failure of the service, which
    `failure_action` follows.
    """

    parallelism: int = 0
    delay: float = 0.0
    canary: int = 0
    watch: float = 0.0
    failure_action: FailureAction = FailureAction.ROLLBACK
    max_failure_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """How one version of a service replaces another (deploy.update_config or rollback_config).

    `order` is None where none was asked for; replicas are watched for `hold` seconds (monitor).
    """

    order: Order | None = None
    hold: float = 5.0
    update: Update = Update()


@dataclass(frozen=True, slots=True)
class ExecProbe:
    """A command in the container, without a TTY; passes on exit code 0. `shell` is CMD-SHELL."""

    command: tuple[str, ...]
    timeout: float = 10.0

    def __str__(self) -> str:
        return "exec " + " ".join(self.command)


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """GET from the host to the replica's own address; passes on a status in `statuses` and `body` in the answer."""

    port: int
    path: str = "/"
    statuses: tuple[int, ...] = (200,)
    body: str | None = None
    timeout: float = 5.0

    def __str__(self) -> str:
        return f"GET :{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A connection to the replica's own address; passes when it is accepted."""

    port: int
    timeout: float = 5.0

    def __str__(self) -> str:
        return f"tcp :{self.port}"


Probe = Union[ExecProbe, HttpProbe, TcpProbe]


@dataclass(frozen=True, slots=True)
class Gate:
    """When a replica may take traffic. All times in seconds.

    `probes` holds the service's HEALTHCHECK command (first) and every probe of `x-quaylock.gate.probes`;
    `image_check` says that the HEALTHCHECK is the image's own and is filled in when the image is known.
    `opted_out` is the reason why nothing is probed ("" = not opted out); a running replica then passes after `hold`.
    `deadline` follows Docker's arithmetic (start_period + retries * (interval + timeout)) unless the service sets one;
    `progress` bounds the time without any change of what was seen. `cadence` is the longest pause between two checks.
    `retries` failures in a row after it passed once fail it.
    """

    probes: tuple[Probe, ...] = ()
    passes: int = 3
    cadence: float = 1.0
    hold: float = 5.0
    deadline: float = 120.0
    progress: float = 60.0
    retries: int = 3
    image_check: bool = False
    opted_out: str = ""


@dataclass(frozen=True, slots=True)
class Dependency:
    service: str
    condition: Condition = Condition.STARTED
    required: bool = True
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Traffic from an entrypoint of the proxy to a port of every gated replica.

    `host` is matched without case, "" matches every host; `path` is a prefix. `check` is the path that confirms
    the route through the entrypoint after a switch ("" for TCP). `drain` bounds the wait for open connections.
    `sticky`: whoever was answered by a replica goes on with it, also while it drains.
    """

    entrypoint: str
    port: int
    host: str = ""
    path: str = "/"
    check: str = "/"
    statuses: tuple[int, ...] = (200,)
    drain: float = 30.0
    mode: str = "http"
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """How an image is built where it is not pulled (Compose Specification, build). Paths are on the Docker host."""

    context: str
    dockerfile: str = "Dockerfile"
    args: Json = field(default_factory=dict)
    target: str = ""
    labels: Json = field(default_factory=dict)
    network: str = ""
    extra_hosts: Json = field(default_factory=dict)
    shm_size: int = 0
    """bytes; 0 is the engine's own default, here and for all other keys that are empty"""
    cache_from: tuple[str, ...] = ()
    no_cache: bool = False
    pull: bool = False
    """look for a newer base image even where one is there"""
    tags: tuple[str, ...] = ()
    """more names for the image, besides the service's"""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a stack.

    `container` is the body of the Docker Engine API's container create (POST /containers/create): Cmd, Entrypoint,
    Env, Healthcheck, HostConfig, NetworkingConfig, ... without Image, Labels of ours, and the name; networks in
    NetworkingConfig are the Compose keys, `networks` of the stack has their real names. `networks` (first one is the
    one the container is created on) and `volumes` are the keys this service uses. `labels` are the user's.
    `spec` is a hash over all that makes a replica what it is, except the image's identity.
    `bound` says why two generations cannot run side by side ("" = they can): a published port, container_name, ...
    """

    name: str
    image: str
    container: Json
    gate: Gate
    spec: str
    build: Build | None = None
    pull_policy: str = "missing"
    replicas: int = 1
    depends_on: tuple[Dependency, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    """keys of volumes and paths of the host that it may write"""
    labels: Json = field(default_factory=dict)
    one_shot: bool = False
    order: Order = Order.START_FIRST
    update: Update = Update()
    back: Way = Way()
    """how a return to the release replaces what serves then (deploy.rollback_config)"""
    bound: str = ""
    container_name: str = ""
    grace: float = 10.0
    routes: tuple[Route, ...] = ()
    restore_point: RestorePoint | None = None
    published: tuple[tuple[str, int, str], ...] = ()
    """(host ip or "", host port, "tcp"|"udp") of every fixed published port"""
    binds: tuple[str, ...] = ()
    """host paths that must exist before the container is created (bind mounts without create_host_path)"""


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A command in a replica that serves, before a rollout changes anything (`x-quaylock.restore_point`).

    It gets QUAYLOCK_STACK and QUAYLOCK_ROLLOUT in its environment and has to end with 0 within `timeout` seconds; what
    it says last names what it made.
    """

    command: tuple[str, ...]
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Network:
    """`body` is Docker's network create body (Driver, IPAM, Internal, Options, Labels, ...) without the name."""

    key: str
    name: str
    external: bool = False
    body: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    key: str
    name: str
    external: bool = False
    body: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MountedFile:
    """A Compose secret or config as a file on the host. `fingerprint` names the content without revealing it."""

    kind: str
    """"secret" or "config" """
    key: str
    host_path: str
    fingerprint: str = ""
    external: bool = False
    """the file is the user's own (`file:`); we check that it exists and never write it"""
    mode: int = 0o444
    """permissions of the file; the folder around it is root's alone"""
    owner: tuple[int, int] = (0, 0)
    """user and group of the file, as the container sees them"""


@dataclass(frozen=True, slots=True)
class Stack:
    """A Compose model that was read, checked and completed: what is wanted."""

    name: str
    services: tuple[Service, ...]
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    files: tuple[MountedFile, ...] = ()
    rendered: Json = field(default_factory=dict)
    """the Compose model as it lands in compose.yaml on the host: complete, without secrets"""
    blue_green: bool = False
    """nothing new takes traffic or names before all that is new has passed (`x-quaylock.strategy: blue-green`)"""
    backup: BackupPlan = NO_BACKUP
    verify: VerifyPlan = NOTHING
    jobs: tuple[Service, ...] = ()
    """services of profiles that are off, which checks of `verify` run"""

    def service(self, name: str) -> Service:
        return next(s for s in self.services if s.name == name)


@dataclass(frozen=True, slots=True)
class Image:
    """What an image reference resolved to on this host. `check` is its own HEALTHCHECK as the Engine API gives it."""

    ref: str
    id: str
    digest: str = ""
    check: Json | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """One container of the stack as the engine shows it now."""

    name: str
    id: str
    service: str
    number: int
    image: str
    """image id"""
    rollout: str = ""
    """the rollout that made it, "" where we did not"""
    spec: str = ""
    running: bool = True
    exit_code: int = 0
    oom: bool = False
    restarts: int = 0
    started_at: str = ""
    health: str = ""
    """Docker's own word: "", starting, healthy, unhealthy"""
    created: str = ""
    named: bool = True
    """it answers to the DNS names of its service"""
    paused: bool = False
    """by the engine's word, thus by somebody's hand: we have the kernel hold processes still"""


@dataclass(frozen=True, slots=True)
class Observation:
    """The engine and the proxy at one moment."""

    replicas: tuple[Observed, ...] = ()
    networks: Json = field(default_factory=dict)
    """real name -> the inspect body, for networks of the stack that exist"""
    volumes: tuple[str, ...] = ()
    routed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """service -> names of the replicas the proxy sends traffic to"""
    stale_routes: frozenset[str] = frozenset()
    """services whose routes at the proxy are not those of the stack"""
    ports: Mapping[tuple[str, int, str], str] = field(default_factory=dict)
    """(ip, port, protocol) -> who holds it, for ports of the stack that somebody else holds"""
    published: bool = True
    """the compose.yaml on the host is the rendered one"""
    findings: tuple[Finding, ...] = ()
    """what else the host says against the rollout: missing bind paths, conflicts at the proxy"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one replica. `passed` is None where the checks were not run (not running)."""

    at: float
    running: bool
    passed: bool | None = None
    output: str = ""
    """what the failed probe said, "exec pg_isready -> 2: no response" """
    exit_code: int = 0
    oom: bool = False
    restarts: int = 0
    started_at: str = ""
