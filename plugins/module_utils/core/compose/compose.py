# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Compose model becomes a Stack, or is refused with everything that is wrong with it (Compose Specification)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import graph
from ..model import (
    Build,
    Condition,
    Dependency,
    FailureAction,
    Finding,
    Invalid,
    MountedFile,
    Network,
    Order,
    Route,
    Service,
    Stack,
)
from . import backups_of, builds, gates_of, restore_points, stores, updates_of, verify_of
from .container import Container, container, service_labels
from .nodes import Node
from .rendered import rendered
from .scope import Context, Scope

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SERVICE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")

_TOP = {
    "jobs": "write a service with x-quaylock.one_shot, and start it where a service waits for its completion",
    "include": "name all files of the stack; they are merged in that order",
    "models": "run the model as a service of its own",
}
_SWARM = "it belongs to Docker Swarm; leave it out on a single host"
_WINDOWS = "it is for Windows containers; leave it out"
_LATER = "not supported by this version"
_SERVICE = {
    "cpu_count": _WINDOWS,
    "cpu_percent": _WINDOWS,
    "credential_spec": _WINDOWS,
    "develop": "it is for `docker compose watch`: keep it in a file of your own, and mount the source with volumes",
    "env_file": "it is read where the Compose files are; hand the files over, or write environment",
    "extends": "it is resolved where the Compose files are; hand the files over",
    "external_links": "put both services on one network",
    "isolation": _WINDOWS,
    "label_file": "it is read where the Compose files are; hand the files over, or write labels",
    "links": "services on one network find each other by name; give networks.<name>.aliases",
    "mac_address": "two generations of a service run side by side; leave it out",
    "models": _TOP["models"],
    "platform": "a rollout runs images of the host's own platform; leave it out, and build or push one for it",
    "post_start": f"{_LATER}: use a service with x-quaylock.one_shot",
    "pre_start": f"{_LATER}: use a service with x-quaylock.one_shot",
    "pre_stop": f"{_LATER}: use stop_signal and stop_grace_period",
    "provider": "name an image or a build",
    "pull_refresh_after": "use pull_policy: always",
    "use_api_socket": "a container must not own the engine; use a filtered socket proxy",
    "volume_driver": "set volumes.<name>.driver at the top level",
    "volumes_from": "name the volumes in both services",
}
BLUE_GREEN = "blue-green"
STRATEGIES = ("rolling", BLUE_GREEN)
"""x-quaylock.strategy: service by service as each has passed, or all of them once the last one has"""
_WHOLE = f"and strategy {BLUE_GREEN} switches the whole stack at once"
_DROP = "drop it, or use strategy: rolling"
_DEPLOY = {"placement": _SWARM, "endpoint_mode": _SWARM}


def read(name: str, definition: Mapping[str, Any], context: Context) -> Stack:
    """Check and complete a definition whose variables were already put in; a `$` is a `$` here.

    Raises Invalid with all findings. Services outside of `context.profiles` are left out.
    """
    findings: list[Finding] = []
    root = Node(definition, "", findings)
    if not _NAME.fullmatch(name):
        findings.append(Finding("name", f"{name!r} is not a stack's name", "lower case letters, digits, - and _"))
    root.at("version").text(loose=True)
    root.at("name").text()
    scope = Scope(
        name,
        context,
        stores.networks(root.at("networks"), name),
        stores.volumes(root.at("volumes"), name, context),
        stores.files(root.at("secrets"), "secret", context),
        stores.files(root.at("configs"), "config", context),
    )
    if context.ingress_network in scope.networks:
        root.at("networks").at(context.ingress_network).refuse(
            "is the proxy's network", "drop it: a route attaches its service"
        )
    nodes = _active(root.at("services"), context)
    extra = root.at("x-quaylock")
    run = verify_of.wanted(extra)
    others = {key: entry for key, entry in root.at("services").items() if key not in nodes and key in run}
    blue_green = extra.at("strategy").one_of(STRATEGIES, STRATEGIES[0]) == BLUE_GREEN
    root.close(_TOP)
    depends = _dependencies(root.at("services"), nodes)
    completed = {d.service: key for key, on in depends.items() for d in on if d.condition is Condition.COMPLETED}
    files: list[MountedFile] = []
    services = tuple(_service(node, key, scope, depends[key], completed.get(key), files) for key, node in nodes.items())
    jobs = tuple(_job(node, key, scope, files) for key, node in others.items())
    _together(services, depends, root.at("services"))
    if blue_green:
        _all_at_once(services, root.at("services"))
    known = {service.name: service for service in services}
    backup = backups_of.read(extra, known, scope)
    verify = verify_of.read(extra, known, others, scope)
    extra.close(extensions=False)
    _same_file(files, findings)
    if findings:
        raise Invalid(tuple(dict.fromkeys(findings)))
    made = (*services, *jobs)
    networks, volumes = {n for s in made for n in s.networks}, {v for s in made for v in s.volumes}
    routed = [s.name for s in services if s.routes]
    ingress = Network(context.ingress_network, context.ingress_network, external=True)
    # what a service mounts has the mode that it asks for
    own = (*backups_of.keys(backup, scope), *verify_of.keys(verify, scope))
    unique = {(file.kind, file.key): file for file in (*own, *files)}
    return Stack(
        name,
        services,
        tuple(n for key, n in scope.networks.items() if key in networks) + ((ingress,) if routed else ()),
        tuple(volume for key, volume in scope.volumes.items() if key in volumes),
        tuple(unique.values()),
        rendered(name, definition, list(nodes), routed, unique.values(), context, list(others)),
        blue_green,
        backup,
        verify,
        jobs,
    )


def _active(node: Node, context: Context) -> dict[str, Node]:
    """The services whose profiles are on; those without profiles always are."""
    active, known = {}, set()
    for key, entry in node.items():
        profiles = entry.at("profiles").texts()
        known.update(profiles)
        if not _SERVICE_NAME.fullmatch(key):
            entry.refuse(f"{key!r} is not a service's name", "letters, digits, ., - and _")
        if not profiles or "*" in context.profiles or not set(profiles).isdisjoint(context.profiles):
            active[key] = entry
    if not node.value:
        node.refuse("there is no service", "a stack needs at least one")
    elif not active:
        node.refuse("no service is active", f"switch on one of the profiles: {', '.join(sorted(known))}")
    return active


# -- dependencies ---------------------------------------------------------------


def _dependencies(services: Node, active: Mapping[str, Node]) -> dict[str, tuple[Dependency, ...]]:
    result = {}
    for key, node in active.items():
        found = []
        for dependency, entry in _depends_on(node.at("depends_on")):
            if dependency.service in active:
                found.append(dependency)
            elif dependency.required:
                names = sorted(name for name, _node in services.items())
                known = dependency.service in names
                problem = f"service {dependency.service!r} " + ("is not active" if known else "does not exist")
                fix = "switch its profile on, or set required: false" if known else f"there are: {', '.join(names)}"
                entry.refuse(problem, fix)
        result[key] = tuple(found)
    ring = graph.cycle({key: [d.service for d in on] for key, on in result.items()})
    if ring:
        services.at(ring[0]).at("depends_on").refuse(
            f"services wait for each other: {' -> '.join(ring)}", "break the circle"
        )
    return result


def _depends_on(node: Node) -> list[tuple[Dependency, Node]]:
    if isinstance(node.value, (list, tuple)):
        return [(Dependency(entry.text()), entry) for entry in node.entries()]
    found = []
    conditions = tuple(condition.value for condition in Condition)
    for key, entry in node.items():
        condition = entry.at("condition").one_of(conditions, Condition.STARTED.value)
        if not entry.has("condition"):
            entry.refuse("has no condition", f"one of {', '.join(conditions)}")
        required, restart = entry.at("required").flag(True), entry.at("restart").flag()
        entry.close()
        found.append((Dependency(key, Condition(condition), required, restart), entry))
    return found


# -- one service ------------------------------------------------------------------


def _service(
    node: Node,
    name: str,
    scope: Scope,
    depends: tuple[Dependency, ...],
    completed_for: str | None,
    files: list[MountedFile],
    job: bool = False,
) -> Service:
    extra = node.at("x-quaylock")
    routes = gates_of.routes(node, scope.context)
    made = container(node, scope, bool(routes))
    files += made.mounts.files
    image, build = _image(node, name, scope)
    policy = builds.pull_policy(node.at("pull_policy"), build is not None)
    replicas = _replicas(node)
    one_shot = job or _one_shot(extra.at("one_shot"), completed_for)
    forward, back = updates_of.ways(node, replicas, one_shot)
    if one_shot:
        gate = gates_of.one_shot_gate(node)
        if not job:
            _finishes(node, made, replicas, routes)
    else:
        gate = gates_of.gate(node, made.body.get("Healthcheck", {}), forward.hold)
    mode = made.body["HostConfig"].get("NetworkMode")
    if mode == "none":
        for probe in extra.at("gate").at("probes").entries():
            if not probe.has("exec"):
                probe.refuse("has no address to ask: network_mode is none", "ask inside the container, with exec")
    if routes and mode:
        node.at("network_mode").refuse("keeps the service off the proxy's network", "use networks, or drop the routes")
    bound = _bound(node, made, forward.order, replicas, one_shot)
    if bound and node.at("deploy").at("rollback_config").has("order") and back.order is Order.START_FIRST:
        _cannot_start_first(node.at("deploy").at("rollback_config"), bound)
    _alone(node, made, replicas)
    if node.at("attach").flag():
        node.at("attach").refuse(
            "nothing attaches to a rollout's containers", "drop it; `docker compose logs` shows what they say"
        )
    restore_point = restore_points.read(node, one_shot)
    extra.close(extensions=False)
    node.at("deploy").close(_DEPLOY)
    node.close(_SERVICE)
    return Service(
        name=name,
        image=image,
        container=made.body,
        gate=gate,
        spec=_spec(made, scope),
        build=build,
        pull_policy=policy,
        replicas=replicas,
        depends_on=depends,
        networks=made.networks,
        volumes=tuple(made.mounts.volumes),
        written=tuple(dict.fromkeys(what for _kind, what in made.mounts.writes)),
        labels=service_labels(node),
        one_shot=one_shot,
        order=Order.STOP_FIRST if bound else forward.order or Order.START_FIRST,
        update=forward.update,
        back=replace(back, order=Order.STOP_FIRST if bound else back.order or Order.START_FIRST),
        bound=bound,
        container_name=made.container_name,
        grace=made.grace,
        routes=routes,
        restore_point=restore_point,
        published=tuple(sorted({(port.host_ip, port.fixed, port.protocol) for port in made.ports if port.fixed})),
        binds=tuple(dict.fromkeys(made.mounts.needed)),
    )


def _job(node: Node, name: str, scope: Scope, files: list[MountedFile]) -> Service:
    """A service that checks run, each time anew; what it waits for was there long before."""
    _depends_on(node.at("depends_on"))
    node.at("x-quaylock").has("one_shot")
    return _service(node, name, scope, (), None, files, job=True)


def _image(node: Node, name: str, scope: Scope) -> tuple[str, Build | None]:
    image = node.at("image").text()
    build = builds.build(node.at("build"), scope.context)
    if not image and not build:
        node.refuse("has neither image nor build", "name an image")
    return image or f"{scope.stack}-{name}", build


def _replicas(node: Node) -> int:
    scale, replicas = node.at("scale"), node.at("deploy").at("replicas")
    mode = node.at("deploy").at("mode")
    if mode.text("replicated").endswith("-job"):
        mode.refuse(f"{mode.text()!r} is for a service that ends", "use x-quaylock.one_shot")
    elif mode.one_of(("replicated", "global"), "replicated") == "global" and replicas.integer(1, 0) != 1:
        replicas.refuse(
            "a global service has one replica on each host, and here is one host", "drop it, or mode: global"
        )
    count, other = replicas.integer(1, 0), scale.integer(1, 0)
    if replicas.given and scale.given and count != other:
        scale.refuse(f"{other} differs from deploy.replicas: {count}", "keep one of them")
    return count if replicas.given else other


def _one_shot(node: Node, completed_for: str | None) -> bool:
    if completed_for and node.given and not node.flag():
        node.refuse(f"is false, but {completed_for} waits until this service completed", "drop one of them")
    return bool(completed_for) or node.flag()


def _finishes(node: Node, made: Container, replicas: int, routes: tuple[Route, ...]) -> None:
    """What a service that ends cannot have."""
    policy = made.body["HostConfig"]["RestartPolicy"]["Name"]
    if policy != "no":
        node.at("restart").refuse(f"{policy} would start a one-shot again after it ended", 'set restart: "no"')
    if replicas != 1:
        node.at("deploy").at("replicas").refuse(f"a one-shot runs once, not {replicas} times", "drop it")
    if routes:
        node.at("x-quaylock").at("ingress").refuse("a one-shot takes no traffic", "drop it")


def _bound(node: Node, made: Container, order: Order | None, replicas: int, one_shot: bool) -> str:
    """Why two generations cannot run side by side, in words; "" where they can."""
    reasons = list(made.alone)
    if reasons and order is Order.START_FIRST:
        _cannot_start_first(node.at("deploy").at("update_config"), " and ".join(reasons))
    if replicas == 1 and not one_shot and order is not Order.START_FIRST:
        reasons += [f"it writes {kind} {what} with one replica" for kind, what in dict.fromkeys(made.mounts.writes)]
    return " and ".join(reasons)


def _cannot_start_first(config: Node, why: str) -> None:
    config.at("order").refuse(
        f"start-first needs two replicas side by side, but {why}", "use stop-first, or drop what is fixed"
    )


def _alone(node: Node, made: Container, replicas: int) -> None:
    if replicas > 1 and made.alone:
        where = node.at("scale") if node.has("scale") else node.at("deploy").at("replicas")
        where.refuse(
            f"{replicas} replicas cannot run side by side: {' and '.join(made.alone)}",
            "use one replica, or drop what is fixed",
        )


def _spec(made: Container, scope: Scope) -> str:
    """Names what a replica is made from. Files count by the fingerprints in their paths."""
    networks = {key: scope.networks[key].name for key in made.networks if key in scope.networks}
    modes = sorted((file.host_path, file.mode, *(file.owner if any(file.owner) else ())) for file in made.mounts.files)
    whole = [made.body, networks, modes, made.container_name]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


# -- all services together ----------------------------------------------------------


def _together(services: tuple[Service, ...], depends: Mapping[str, tuple[Dependency, ...]], node: Node) -> None:
    """What only shows when services are seen side by side."""
    known = {service.name: service for service in services}
    for name, on in depends.items():
        at = node.at(name).at("depends_on")
        for dependency in on:
            target = known[dependency.service]
            if not target.replicas:
                at.refuse(f"{target.name} has no replica", "give it one, or drop the dependency")
            elif dependency.condition is Condition.HEALTHY and target.one_shot:
                at.refuse(f"{target.name} ends and never is healthy", "wait with service_completed_successfully")
            elif dependency.condition is Condition.HEALTHY and target.gate.opted_out:
                at.refuse(f"{target.name} opted out of its gate and never is healthy", "wait with service_started")
    _twice(services, node)


def _all_at_once(services: tuple[Service, ...], node: Node) -> None:
    """What blue-green cannot mean: it switches all that is new, or nothing."""
    for service in services:
        at = node.at(service.name)
        if service.update.canary:
            at.at("x-quaylock").at("canary").refuse(f"takes traffic before the others, {_WHOLE}", _DROP)
        for key, update in (("update_config", service.update), ("rollback_config", service.back.update)):
            config = at.at("deploy").at(key)
            if update.parallelism and (config.has("parallelism") or key == "update_config"):
                config.at("parallelism").refuse(f"brings replicas in batches, {_WHOLE}", _DROP)
            if update.failure_action is not FailureAction.ROLLBACK and config.has("failure_action"):
                config.at("failure_action").refuse(f"leaves a stack in part new, {_WHOLE}", "use rollback")


def _twice(services: tuple[Service, ...], node: Node) -> None:
    """Host ports, container names and routes that two services want."""
    names: dict[str, str] = {}
    sockets: dict[tuple[int, str], list[tuple[str, str]]] = {}
    paths: dict[tuple[str, str, str], str] = {}
    modes: dict[str, tuple[str, str]] = {}
    for service in services:
        at = node.at(service.name)
        if service.container_name:
            other = names.setdefault(service.container_name, service.name)
            if other != service.name:
                at.at("container_name").refuse(
                    f"{service.container_name!r} is also the name of {other}", "choose another"
                )
        for ip, port, protocol in service.published:
            takers = sockets.setdefault((port, protocol), [])
            for other_ip, other in takers:
                if other != service.name and (ip == other_ip or not {ip, other_ip}.isdisjoint({"", "0.0.0.0", "::"})):
                    at.at("ports").refuse(f"{other} publishes port {port}/{protocol} too", "choose another port")
            takers.append((ip, service.name))
        for index, route in enumerate(service.routes):
            place = f"{at.path}.x-quaylock.ingress[{index}]"
            mode, first = modes.setdefault(route.entrypoint, (route.mode, service.name))
            taken = paths.setdefault((route.entrypoint, route.host, route.path), service.name)
            if mode != route.mode:
                problem = f"entrypoint {route.entrypoint} carries {mode} for {first} already"
                at.findings.append(Finding(place, problem, "use another entrypoint"))
            elif taken != service.name or any(
                (r.entrypoint, r.host, r.path) == (route.entrypoint, route.host, route.path)
                for r in service.routes[:index]
            ):
                what = f"{route.entrypoint} {route.host or '*'}{route.path}"
                at.findings.append(Finding(place, f"{taken} has the same route, {what}", "change host or path"))


def _same_file(files: list[MountedFile], findings: list[Finding]) -> None:
    """One file on the host has one mode and one owner, however many services mount it."""
    known: dict[tuple[str, str], MountedFile] = {}
    for file in files:
        first, place = known.setdefault((file.kind, file.key), file), f"{file.kind}s.{file.key}"
        if first.mode != file.mode:
            problem = f"is granted with the modes {first.mode:04o} and {file.mode:04o}"
            findings.append(Finding(place, problem, "use one mode everywhere"))
        if first.owner != file.owner:
            owners = " and ".join(f"{user}:{group}" for user, group in (first.owner, file.owner))
            findings.append(Finding(place, f"is granted to the owners {owners}", "use one owner, or a second key"))
