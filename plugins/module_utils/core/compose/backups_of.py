# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a stack is backed up, and who holds still for it: `x-quaylock.backup` at the top of the model."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ..items import (
    CONFIG,
    BackupPlan,
    BucketItem,
    ImageItem,
    Item,
    PathItem,
    PostgresItem,
    Quiet,
    SqliteItem,
    VolumeItem,
    Writer,
)
from ..model import Finding, MountedFile, Service
from .nodes import Node
from .scope import Scope, host_path

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_WRITERS = "name the services that write: quiesce: {api: pause}"
_STILL = tuple(quiet.value for quiet in Quiet if quiet is not Quiet.COMMANDS)


def read(extra: Node, services: Mapping[str, Service], scope: Scope) -> BackupPlan:
    """`extra` is x-quaylock at the top. `services` are the active ones."""
    node = extra.at("backup")
    items = tuple(i for i in (_item(name, entry, services, scope) for name, entry in node.at("items").items()) if i)
    _stores(node.at("items"), items, services)
    longest = node.at("longest").seconds(BackupPlan().longest, 0.1)
    writers = _writers(node.at("quiesce"), items, services)
    drill = _drilled(node.at("drill"), services)
    before = extra.at("backup_before").flag()
    if before and not items:
        extra.at("backup_before").refuse("has nothing to back up", "declare x-quaylock.backup.items")
    if node.given:
        node.close(extensions=False)
        if not node.has("items"):
            node.refuse("declares no items", "write items: {database: {type: postgres, service: db}}")
    return BackupPlan(items, writers, longest, drill, before)


def _drilled(node: Node, services: Mapping[str, Service]) -> tuple[str, ...]:
    for entry in node.entries() if node.given else ():
        name = entry.text()
        if name not in services:
            entry.refuse(f"there is no active service {name!r}", f"there are: {', '.join(sorted(services))}")
        elif services[name].one_shot:
            entry.refuse(f"{name} is a one-shot and ends", "drop it")
    return tuple(node.texts())


def keys(plan: BackupPlan, scope: Scope) -> list[MountedFile]:
    """The secrets that open buckets, as files that only root reads: it may be that no service mounts them."""
    wanted = {key for item in plan.items if isinstance(item, BucketItem) for key in (item.access_key, item.secret_key)}
    found = [scope.secrets.get(key) for key in sorted(wanted)]
    return [f if f.external else replace(f, mode=0o400) for f in found if isinstance(f, MountedFile)]


# -- items ----------------------------------------------------------------------


def _item(name: str, node: Node, services: Mapping[str, Service], scope: Scope) -> Item | None:
    if not _NAME.fullmatch(name):
        node.refuse(f"{name!r} is not an item's name", "lower case letters, digits, - and _")
    elif name == CONFIG:
        node.refuse("is an item of every set by itself", "choose another name")
    if not node.has("type"):
        node.refuse("has no type", f"one of {', '.join(_KINDS)}")
        return None
    kind = node.at("type").one_of(tuple(_KINDS), "")
    if not kind:
        return None
    every = node.at("every").seconds(0.0)
    item = _KINDS[kind](name, node, services, scope, every)
    node.close(extensions=False)
    return item


def _postgres(name: str, node: Node, services: Mapping[str, Service], _scope: Scope, every: float) -> PostgresItem:
    service = _service(node, services)
    databases = tuple(node.at("databases").texts(single=True))
    if node.has("databases") and not databases:
        node.at("databases").refuse("is empty", "name a database, or drop it for all of them")
    return PostgresItem(name, service, databases, node.at("user").text(), every)


def _sqlite(name: str, node: Node, _services: Mapping[str, Service], scope: Scope, every: float) -> SqliteItem:
    path = _given(node, "path", "name the database file")
    volume = _volume(node, scope) if node.has("volume") else ""
    if volume:
        return SqliteItem(name, _inside(node.at("path"), path), volume, every)
    return SqliteItem(name, host_path(node.at("path"), path, scope.context) if path else "", "", every)


def _files(name: str, node: Node, _services: Mapping[str, Service], scope: Scope, every: float) -> VolumeItem:
    if not node.has("volume"):
        node.refuse("names no volume", f"one of {', '.join(sorted(scope.volumes)) or 'none that is declared'}")
    return VolumeItem(name, _volume(node, scope), tuple(node.at("exclude").texts()), every)


def _path(name: str, node: Node, _services: Mapping[str, Service], scope: Scope, every: float) -> PathItem:
    path = _given(node, "path", "name a file or folder of the host")
    placed = host_path(node.at("path"), path, scope.context) if path else ""
    if placed == "/":
        node.at("path").refuse("is the whole host", "name a folder")
    return PathItem(name, placed, tuple(node.at("exclude").texts()), every)


def _bucket(name: str, node: Node, services: Mapping[str, Service], scope: Scope, every: float) -> BucketItem:
    standard = BucketItem("", "")
    endpoint = node.at("endpoint").text().rstrip("/")
    service = _service(node, services) if node.has("service") else ""
    port = node.at("port").integer(0, 1, 65535)
    if bool(endpoint) == node.has("service"):
        node.refuse("needs one place", "write either endpoint: https://..., or service: and port:")
    elif endpoint and not endpoint.startswith(("http://", "https://")):
        node.at("endpoint").refuse(f"{endpoint!r} is not an address", "write https://s3.example.org")
    elif endpoint and port:
        node.at("port").refuse("belongs to a service", "write it into the endpoint")
    elif service and not port:
        node.refuse("has no port", f"name the one that {service} listens on")
    return BucketItem(
        name=name,
        bucket=_given(node, "bucket", "name the bucket"),
        endpoint=endpoint,
        service=service,
        port=port,
        region=node.at("region").text(standard.region),
        access_key=_secret(node, "access_key", scope),
        secret_key=_secret(node, "secret_key", scope),
        prefix=node.at("prefix").text(),
        every=every,
    )


def _image(name: str, node: Node, services: Mapping[str, Service], _scope: Scope, every: float) -> ImageItem:
    wanted = tuple(node.at("services").texts()) or tuple(services)
    for service in wanted:
        if service not in services:
            node.at("services").refuse(f"there is no service {service!r}", f"there are: {', '.join(sorted(services))}")
    return ImageItem(name, wanted, every)


_KINDS: Mapping[str, Callable[[str, Node, Mapping[str, Service], Scope, float], Item]] = {
    "postgres": _postgres,
    "sqlite": _sqlite,
    "volume": _files,
    "path": _path,
    "bucket": _bucket,
    "image": _image,
}


def _given(node: Node, key: str, fix: str) -> str:
    text = node.at(key).text()
    if not text:
        node.refuse(f"has no {key}", fix)
    return text


def _service(node: Node, services: Mapping[str, Service]) -> str:
    name, there = node.at("service").text(), f"there are: {', '.join(sorted(services)) or 'none'}"
    if not name:
        node.refuse("names no service", there)
    elif name not in services:
        node.at("service").refuse(f"there is no active service {name!r}", there)
    elif services[name].one_shot:
        node.at("service").refuse(f"{name} is a one-shot and ends", "name the service that keeps the data")
    return name


def _volume(node: Node, scope: Scope) -> str:
    key = node.at("volume").text()
    if key and key not in scope.volumes:
        there = ", ".join(sorted(scope.volumes)) or "none"
        node.at("volume").refuse(f"volume {key!r} is not declared", f"there are: {there}")
    return key


def _secret(node: Node, key: str, scope: Scope) -> str:
    name = _given(node, key, "name the secret of this stack that holds it")
    if name and name not in scope.secrets:
        there = ", ".join(sorted(scope.secrets)) or "none"
        node.at(key).refuse(
            f"secret {name!r} is not declared", f"a key of secrets, never the value; there are: {there}"
        )
    file = scope.secrets.get(name)
    if isinstance(file, Finding) and file not in node.findings:
        node.findings.append(file)
    return name


def _inside(node: Node, path: str) -> str:
    """A path below the root of a volume."""
    normal = posixpath.normpath(path.lstrip("/")) if path else ""
    if normal.startswith(".."):
        node.refuse(f"{path!r} leaves the volume", "write it from the volume's root")
    return normal


def _stores(node: Node, items: Iterable[Item], services: Mapping[str, Service]) -> None:
    """Files of a database that runs are no backup of it, and a volume that nobody mounts is none of this stack's."""
    databases = {i.service: i.name for i in items if isinstance(i, PostgresItem) and i.service in services}
    for item in items:
        volume = item.volume if isinstance(item, (VolumeItem, SqliteItem)) else ""
        users = [name for name, service in services.items() if volume in service.volumes]
        at = node.at(item.name).at("volume")
        if volume and not users and not any(finding.path == at.path for finding in at.findings):
            at.refuse(f"no active service mounts {volume}", "drop the item, or switch on the profile of its service")
        for name in users if isinstance(item, VolumeItem) else ():
            if name in databases:
                problem = f"{volume} is written by {name} at any time, and the item {databases[name]} is its backup"
                at.refuse(problem, "drop this one")


# -- writers ----------------------------------------------------------------------


def _writers(node: Node, items: Iterable[Item], services: Mapping[str, Service]) -> tuple[Writer, ...]:
    """Who holds still: what is asked for, or else everybody who writes to an item without being its database."""
    if not node.given:
        return derived(tuple(items), services)
    if isinstance(node.value, (list, tuple)):
        names = [(entry.text(), entry) for entry in node.entries()]
        found = [(Writer(name), entry) for name, entry in names]
    else:
        found = [(_writer(name, entry), entry) for name, entry in node.items()]
    stores = {i.service: i.name for i in items if isinstance(i, (PostgresItem, BucketItem)) and i.service}
    for writer, entry in found:
        if writer.service not in services:
            entry.refuse(f"there is no active service {writer.service!r}", f"there are: {', '.join(sorted(services))}")
        elif services[writer.service].one_shot:
            entry.refuse(f"{writer.service} is a one-shot and ends", "drop it")
        elif writer.service in stores and writer.how is not Quiet.COMMANDS:
            problem = f"{writer.service} has to answer for the item {stores[writer.service]}"
            entry.refuse(problem, _WRITERS)
    return tuple(writer for writer, _entry in found)


def _writer(name: str, node: Node) -> Writer:
    if isinstance(node.value, Mapping):
        hold, go_on = tuple(node.at("hold").texts()), tuple(node.at("go_on").texts())
        node.close(extensions=False)
        if not hold or not go_on:
            node.refuse("needs both commands", 'write hold: ["app", "freeze"] and go_on: ["app", "thaw"]')
        return Writer(name, Quiet.COMMANDS, hold, go_on)
    return Writer(name, Quiet(node.one_of(_STILL, Quiet.PAUSE.value)))


def derived(items: tuple[Item, ...], services: Mapping[str, Service]) -> tuple[Writer, ...]:
    """The services that write to what is backed up: they mount its volume, or depend on its database or store.

    One database, file or bucket alone is consistent by itself, and nobody has to hold still for it.
    """
    written = [i for i in items if not isinstance(i, ImageItem)]
    if len(written) < 2 and not any(isinstance(i, (VolumeItem, PathItem)) for i in written):
        return ()
    stores = {i.service for i in written if isinstance(i, (PostgresItem, BucketItem)) and i.service}
    volumes = {i.volume for i in written if isinstance(i, (VolumeItem, SqliteItem)) and i.volume}
    paths = [i.path for i in written if isinstance(i, (PathItem, SqliteItem)) and i.path.startswith("/")]
    found = []
    for name, service in services.items():
        if name in stores or service.one_shot:
            continue
        depends = stores.intersection(d.service for d in service.depends_on)
        mounts = volumes.intersection(service.written)
        binds = any(_meets(path, bind) for path in paths for bind in service.written)
        if depends or mounts or binds:
            found.append(Writer(name))
    return tuple(found)


def _meets(path: str, other: str) -> bool:
    """One of two paths of the host lies in the other."""
    one, two = path.rstrip("/") + "/", other.rstrip("/") + "/"
    return other.startswith("/") and (one.startswith(two) or two.startswith(one))
