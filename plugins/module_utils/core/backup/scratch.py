# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stack beside the real one, for what was restored to be tried out: nothing of it reaches anybody outside."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..items import BackupPlan, BucketItem, Item, PostgresItem, SqliteItem, VolumeItem
from ..model import Dependency, MountedFile, Network, Service, Stack, Volume

NETWORK = "closed"
"""the only network of a scratch stack; an internal one, without a way out"""
SUFFIX = "-drill"
_AWAY = "thrown-away"
HOLD = 1.0
"""seconds that a replica is watched after its checks passed: nobody is served by it"""


def name_of(stack: str) -> str:
    return f"{stack}{SUFFIX}"


def stores(plan: BackupPlan, items: Collection[str]) -> tuple[str, ...]:
    """The services that something is put into while they run."""
    return tuple(dict.fromkeys(_store(item) for item in plan.items if item.name in items and _store(item)))


def _store(item: Item) -> str:
    return item.service if isinstance(item, (PostgresItem, BucketItem)) else ""


def volumes(stack: Stack) -> Mapping[str, str]:
    """Volume of the stack -> its counterpart in the scratch stack, by real names."""
    return {v.name: f"{name_of(stack.name)}_{v.key}" for v in stack.volumes}


def scratch(
    stack: Stack, services: Collection[str], folder: str, paths: Mapping[str, str], items: Collection[Item] = ()
) -> Stack:
    """The stack with these services alone, one replica each, on a network without a way out, with volumes of its own:

    those that the services mount, and those of `items`.

    `folder` is where its files lie, `paths` maps paths of the host to where their restored counterparts are. What
    else the stack's services write on the host is given a folder that is thrown away, and sockets are not given at all.
    """
    name = name_of(stack.name)
    places = volumes(stack)
    files = tuple(_file(file, folder) for file in stack.files)
    moved = {**paths, **{old.host_path: new.host_path for old, new in zip(stack.files, files, strict=True)}}
    chosen = tuple(_service(s, services, places, moved, folder) for s in stack.services if s.name in services)
    labels = {"com.docker.compose.project": name}
    body = {"Driver": "bridge", "Internal": True, "Labels": {**labels, "com.docker.compose.network": NETWORK}}
    used = {key for service in chosen for key in service.volumes}
    used |= {item.volume for item in items if isinstance(item, (VolumeItem, SqliteItem))}
    own = tuple(_volume(v, places[v.name], labels) for v in stack.volumes if v.key in used)
    rendered = {"name": name, "services": {s.name: {"image": s.image} for s in chosen}}
    return Stack(name, chosen, (Network(NETWORK, f"{name}_{NETWORK}", body=body),), own, files, rendered)


def _volume(volume: Volume, name: str, labels: Mapping[str, str]) -> Volume:
    body = {"Driver": "local", "DriverOpts": {}, "Labels": {**labels, "com.docker.compose.volume": volume.key}}
    return Volume(volume.key, name, body=body)


def _file(file: MountedFile, folder: str) -> MountedFile:
    if file.external:
        return file
    return replace(file, host_path=posixpath.join(folder, f"{file.kind}s", posixpath.basename(file.host_path)))


def thrown_away(stack: Stack, folder: str) -> tuple[str, ...]:
    """Folders of the host that a scratch stack is given to write into, and that have to be there."""
    found = []
    for service in stack.services:
        host = service.container.get("HostConfig", {})
        sources = [str(mount.get("Source", "")) for mount in host.get("Mounts", ())]
        sources += [bind.partition(":")[0] for bind in host.get("Binds", ())]
        found += [source for source in sources if source.startswith(posixpath.join(folder, _AWAY) + "/")]
    return tuple(dict.fromkeys(found))


def _service(
    service: Service, chosen: Collection[str], volumes: Mapping[str, str], paths: Mapping[str, str], folder: str
) -> Service:
    body: dict[str, Any] = {k: v for k, v in service.container.items() if k not in ("ExposedPorts", "NetworkingConfig")}
    host: dict[str, Any] = {k: v for k, v in body.get("HostConfig", {}).items() if k not in _SHARED}
    host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
    if "Mounts" in host:
        mounts = (_mount(mount, volumes, paths, folder) for mount in host["Mounts"])
        host["Mounts"] = [mount for mount in mounts if mount]
    if "Binds" in host:
        binds = (_bind(bind, paths, folder) for bind in host["Binds"])
        host["Binds"] = [bind for bind in binds if bind]
    endpoints = (service.container.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    aliases = dict.fromkeys([service.name, *(a for e in endpoints.values() for a in (e or {}).get("Aliases", ()))])
    body["HostConfig"] = host
    body["NetworkingConfig"] = {"EndpointsConfig": {NETWORK: {"Aliases": list(aliases)}}}
    return replace(
        service,
        container=body,
        build=None,
        pull_policy="missing",
        replicas=1,
        gate=replace(service.gate, hold=min(service.gate.hold, HOLD)),
        depends_on=tuple(_depends(service.depends_on, chosen)),
        networks=(NETWORK,),
        container_name="",
        bound="",
        routes=(),
        restore_point=None,
        published=(),
        binds=(),
    )


_SHARED = ("PortBindings", "NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "Links", "ExtraHosts")
"""what a container has of the host or of other containers"""


def _depends(depends: Collection[Dependency], chosen: Collection[str]) -> list[Dependency]:
    return [dependency for dependency in depends if dependency.service in chosen]


def _mount(
    mount: Mapping[str, Any], volumes: Mapping[str, str], paths: Mapping[str, str], folder: str
) -> Mapping[str, Any]:
    source = str(mount.get("Source", ""))
    if mount.get("Type") == "volume" and source:
        return {**mount, "Source": volumes.get(source, source)}
    if mount.get("Type") == "bind":
        place = _place(source, paths, folder, bool(mount.get("ReadOnly")))
        return {**mount, "Source": place} if place else {}
    return mount


def _bind(bind: str, paths: Mapping[str, str], folder: str) -> str:
    source, target, *mode = bind.split(":")
    place = _place(source, paths, folder, "ro" in (mode[0].split(",") if mode else ()))
    return ":".join([place, target, *mode]) if place else ""


def _place(source: str, paths: Mapping[str, str], folder: str, read_only: bool) -> str:
    """Where a scratch container finds what the real one has at `source`."""
    if source.endswith(".sock"):
        return ""
    for path, place in paths.items():
        if source == path or source.startswith(path.rstrip("/") + "/"):
            return place + source[len(path.rstrip("/")) :]
    return source if read_only else posixpath.join(folder, _AWAY, source.strip("/").replace("/", "-"))
