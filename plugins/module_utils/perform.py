# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Performing a command: from a value to calls of the adapters. The simulated host runs through the same lines."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .core import capacity, yaml_text
from .core.compose import restore_points
from .core.images.image_sources import reference
from .core.labels import create_body
from .core.model import Finding, Gate, Image, Json, Observation, Service, Stack
from .core.rollout.commands import (
    Announce,
    Command,
    Create,
    Drain,
    EnsureNetwork,
    EnsureVolume,
    Explain,
    Fetch,
    Look,
    Observe,
    Publish,
    Record,
    Remove,
    RemoveNetwork,
    RemoveVolume,
    Rename,
    Route,
    Start,
    Stop,
    TakePoint,
    Unroute,
    Withdraw,
    WriteFiles,
)
from .core.rollout.converge import UNKNOWN
from .core.rollout.state import Rollout, milestone
from .core.shown.report import plan_lines
from .core.shown.timeline import plan_entry
from .ports import Clock, Engine, Files, ImageStore, Ingress, Journal, PortError

LOG_LINES = 20


@dataclass(frozen=True)
class Host:
    """One Docker host as the engine sees it: its adapters, and the contents of secrets and configs by host path."""

    engine: Engine
    ingress: Ingress | None
    files: Files
    journal: Journal
    clock: Clock
    folder: str
    """where this stack's files lie on the host"""
    ingress_network: str = ""
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    pinned: Mapping[str, Image] = field(default_factory=dict)
    """on a return to a release: its own images by reference, whatever these references mean today"""
    kept: frozenset[str] = frozenset()
    """paths of secrets and configs that kept releases mount"""
    take_set: Callable[[str], str] | None = None
    """makes a set of the stack for a rollout, and names it"""
    images: ImageStore | None = None
    """where names of images are given and taken, for releases that are kept"""


def nobody(message: str) -> None:
    """Nobody listens to the progress of a fetch."""


def perform(host: Host, rollout: Rollout, command: Command, say: Callable[[str], None] = nobody) -> Any:
    """Do it. Raises PortError, or whatever an adapter could not foresee; the caller makes a Failed of it."""
    engine, stack = host.engine, rollout.stack
    if isinstance(command, Look):
        return engine.sample(command.name, _gate(rollout, command.service), host.clock.now(), command.check)
    if isinstance(command, Fetch):
        return fetch(host, stack, command.service, say)
    if isinstance(command, Observe):
        return observe(host, stack)
    if isinstance(command, Record):
        host.journal.milestone(rollout.id, command.kind, host.clock.now(), milestone(rollout, command.kind))
        if command.kind == "planned":
            host.journal.log(rollout.id, host.clock.now(), "plan", _planned(rollout))
    elif isinstance(command, TakePoint):
        return _take_point(host, rollout, command)
    elif isinstance(command, WriteFiles):
        for file in stack.files:
            if not file.external:
                host.files.write(file.host_path, host.contents[file.host_path], file.mode, file.owner)
    elif isinstance(command, EnsureNetwork):
        engine.create_network(next(n for n in stack.networks if n.key == command.key))
    elif isinstance(command, EnsureVolume):
        engine.create_volume(next(v for v in stack.volumes if v.key == command.key))
    elif isinstance(command, Create):
        service = stack.service(command.service)
        body = create_body(stack, service, command.number, rollout.id, rollout.images[service.image], host.folder)
        engine.create(command.name, body, (host.ingress_network,) if service.routes else (), command.quiet)
    elif isinstance(command, Start):
        engine.start(command.name)
    elif isinstance(command, Announce):
        engine.announce(command.name)
    elif isinstance(command, Withdraw):
        engine.withdraw(command.name)
    elif isinstance(command, Explain):
        return engine.logs(command.name, LOG_LINES)
    elif isinstance(command, (Route, Unroute, Drain)):
        return _traffic(host, rollout, command, say)
    elif isinstance(command, Stop):
        engine.stop(command.name, command.grace)
    elif isinstance(command, Remove):
        said = _forget(host, rollout, command)
        engine.remove(command.name)
        return said
    elif isinstance(command, Rename):
        engine.rename(command.name, command.new)
    elif isinstance(command, Publish):
        publish(host, rollout)
    elif isinstance(command, RemoveNetwork):
        engine.remove_network(command.name)
    elif isinstance(command, RemoveVolume):
        engine.remove_volume(command.name)
    return None


def _take_point(host: Host, rollout: Rollout, command: TakePoint) -> str:
    """What names it. Raises PortError with what the command said."""
    if command.service == restore_points.SET:
        if host.take_set is None:
            raise PortError("this host makes no backups")
        return host.take_set(rollout.id)
    point = rollout.stack.service(command.service).restore_point
    if point is None:
        return ""
    environment = {"QUAYLOCK_STACK": rollout.stack.name, "QUAYLOCK_ROLLOUT": rollout.id}
    code, said = host.engine.exec(command.name, point.command, point.timeout, environment)
    if code:
        raise PortError(
            f"{point.command[0]} in {command.name} ended with exit code {code}: {said or 'it said nothing'}"
        )
    return restore_points.name_of(said)


def _planned(rollout: Rollout) -> Json:
    new = {c.service: [name for name, _number in c.new] for c in rollout.plan.work}
    depends = {s.name: [d.service for d in s.depends_on] for s in rollout.stack.services}
    return plan_entry(plan_lines(rollout.stack, rollout.plan), new, depends)


def _gate(rollout: Rollout, service: str) -> Gate:
    if service in rollout.goals:
        return rollout.goals[service].gate
    track = rollout.tracks.get(service)
    return track.gate if track else UNKNOWN


def _traffic(
    host: Host, rollout: Rollout, command: Route | Unroute | Drain, say: Callable[[str], None] = nobody
) -> str:
    if host.ingress is None:
        return "no proxy on this host"
    name = rollout.stack.name
    if isinstance(command, Unroute):
        host.ingress.unroute(name, command.service)
        return ""
    if isinstance(command, Drain):
        return host.ingress.drain(name, command.service, command.name, command.timeout)
    stack = rollout.previous if command.old and rollout.previous else rollout.stack
    routes = next((s.routes for s in stack.services if s.name == command.service), ())
    if not routes:
        host.ingress.unroute(name, command.service)
        return ""
    addresses, absent = _addresses(host, command.servers)
    if absent and not (addresses and rollout.goals):
        raise PortError("; ".join(absent.values()))
    if absent:
        # on the way back what is left has to serve, whoever took the others away
        say(f"{command.service}: traffic goes to {', '.join(addresses)} alone: {'; '.join(absent.values())}")
    return host.ingress.route(name, command.service, routes, addresses)


def _addresses(host: Host, servers: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Who has an address in the proxy's network, and what is said of the others."""
    found, absent = {}, {}
    for server in servers:
        try:
            found[server] = host.engine.address(server, host.ingress_network)
        except PortError as error:
            absent[server] = str(error)
    return found, absent


def _forget(host: Host, rollout: Rollout, command: Remove) -> str:
    """The proxy lets go of a replica only now, when it has ended: forgetting a server cuts what is still open to it.

    So an application can say goodbye on SIGTERM to whom it still serves, as to WebSockets, through the proxy.
    """
    known = (*rollout.stack.services, *(rollout.previous.services if rollout.previous else ()))
    if host.ingress is None or not any(s.routes for s in known if s.name == command.service):
        return ""
    try:
        host.ingress.forget(rollout.stack.name, command.service, command.name)
    except PortError as error:
        return f"the proxy could not forget it: {error}"
    return ""


def fetch(host: Host, stack: Stack, name: str, say: Callable[[str], None] = nobody) -> Image:
    """The image of a service, from this host where its policy allows that."""
    service = stack.service(name)
    there = local_image(host, service)
    if there is not None or service.image not in host.pinned:
        return there or host.engine.fetch(service, say)
    wanted = host.pinned[service.image]
    if not wanted.digest:
        raise PortError(f"{wanted.id[:19]} is gone from this host, and no registry has it under a digest")
    repository = reference(service.image).name
    by_digest = replace(service, image=f"{repository}@{wanted.digest}", build=None, pull_policy="missing")
    fetched = host.engine.fetch(by_digest, say)
    if fetched.id != wanted.id:
        raise PortError(f"{by_digest.image} is {fetched.id[:19]} today, and was {wanted.id[:19]} when it was released")
    return replace(fetched, ref=fetched.id, digest=wanted.digest)


def local_image(host: Host, service: Service) -> Image | None:
    """The image of a service as it is here already, None where it has to be fetched."""
    wanted = host.pinned.get(service.image)
    if wanted is None:
        return None if service.pull_policy in ("always", "build") else host.engine.image(service.image)
    named = host.engine.image(service.image)
    if named is not None and named.id == wanted.id:
        return named
    there = host.engine.image(wanted.id)
    return replace(there, ref=there.id, digest=wanted.digest) if there else None


def observe(host: Host, stack: Stack) -> Observation:
    """The engine, the proxy and the files at this moment, and what they say against the rollout."""
    engine = host.engine
    routes = {s.name: s.routes for s in stack.services if s.routes and s.replicas}
    findings: list[Finding] = []
    routed: Mapping[str, frozenset[str]] = {}
    stale: set[str] = set()
    if host.ingress is not None:
        routed = host.ingress.routed(stack.name)
        there = host.ingress.routes(stack.name)
        stale = {s for s in {*routes, *there} if tuple(routes.get(s, ())) != tuple(there.get(s, ()))}
        findings += [Finding("x-quaylock.ingress", p) for p in host.ingress.problems(stack.name, routes)]
    for service in stack.services:
        findings += [
            Finding(
                f"services.{service.name}.volumes",
                f"{path} does not exist on the host",
                "create it, or correct the path",
            )
            for path in service.binds
            if not host.files.exists(path)
        ]
    findings += [
        Finding(f"{f.kind}s.{f.key}", f"{f.host_path} does not exist on the host", "create the file")
        for f in stack.files
        if f.external and not host.files.exists(f.host_path)
    ]
    if capacity.wanted(stack):
        findings += capacity.lacking(stack, engine.capacity())
    ports = [p for s in stack.services for p in s.published]
    return Observation(
        replicas=tuple(engine.replicas(stack.name)),
        networks=engine.networks([n.name for n in stack.networks]),
        volumes=tuple(engine.volumes([v.name for v in stack.volumes])),
        routed=routed,
        stale_routes=frozenset(stale),
        ports=engine.port_holders(stack.name, ports) if ports else {},
        published=host.files.read(rendered_path(host)) == rendered(stack),
        findings=tuple(findings),
    )


def rendered_path(host: Host) -> str:
    return posixpath.join(host.folder, "compose.yaml")


def rendered(stack: Stack) -> bytes:
    return yaml_text.dump(stack.rendered).encode()


def publish(host: Host, rollout: Rollout) -> None:
    """compose.yaml as it serves now; files that neither this release nor a kept one mounts are cleared away."""
    host.files.write(rendered_path(host), rendered(rollout.stack), 0o644)
    previous = rollout.previous.files if rollout.previous else ()
    clear_files(host, {f.host_path for f in (*rollout.stack.files, *previous)} | host.kept)


def clear_files(host: Host, used: Collection[str]) -> None:
    """Remove secrets and configs of ours that nobody mounts any more."""
    for kind in ("secrets", "configs"):
        folder = posixpath.join(host.folder, kind)
        for name in host.files.listing(folder):
            path = posixpath.join(folder, name)
            if path not in used:
                host.files.remove(path)


def withdraw(host: Host) -> None:
    """After a teardown: the rendered file, secrets and configs go too; what else lies in the folder is the user's."""
    host.files.remove(rendered_path(host))
    for kind in ("secrets", "configs"):
        folder = posixpath.join(host.folder, kind)
        for name in host.files.listing(folder):
            host.files.remove(posixpath.join(folder, name))
