# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service finds in its file system: volumes, bind mounts, tmpfs, secrets and configs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..model import Finding, MountedFile
from .nodes import Node
from .scope import Scope, host_path

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")


@dataclass(slots=True)
class Mounts:
    """`mounts` and `binds` are the engine's; a bind whose host path the engine may create goes to `binds`.

    `needed` are host paths that must be there before; `writes` says in words which lasting places it may write.
    """

    mounts: list[dict[str, Any]] = field(default_factory=list)
    binds: list[str] = field(default_factory=list)
    tmpfs: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    files: list[MountedFile] = field(default_factory=list)
    writes: list[tuple[str, str]] = field(default_factory=list)
    """("volume" or "host path", its key or path)"""
    taken: dict[str, str] = field(default_factory=dict)
    """target -> the path of the entry that mounts there"""

    def claim(self, node: Node, target: str) -> None:
        if not target.startswith("/"):
            node.refuse(f"the target {target!r} is not absolute", "start it with /")
        elif target in self.taken:
            node.refuse(f"{target} is mounted twice", f"{self.taken[target]} does it too")
        self.taken[target] = node.path


def mounts(service: Node, scope: Scope) -> Mounts:
    result = Mounts()
    for entry in service.at("volumes").entries():
        if isinstance(entry.value, Mapping):
            _long(entry, scope, result)
        else:
            _short(entry, scope, result)
    for entry in _listed(service.at("tmpfs")):
        target, _colon, options = entry.text().partition(":")
        result.claim(entry, target)
        result.tmpfs[target] = options
    for entry in service.at("secrets").entries():
        _grant(entry, "secret", scope, result)
    for entry in service.at("configs").entries():
        _grant(entry, "config", scope, result)
    return result


def _listed(node: Node) -> list[Node]:
    return [node] if isinstance(node.value, str) else node.entries()


def _short(entry: Node, scope: Scope, result: Mounts) -> None:
    parts = entry.text().split(":")
    if len(parts) > 3 or not all(parts):
        entry.refuse(f"{entry.value!r} is not a volume", "write source:target, source:target:ro, or just the target")
        return
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    read_only, options, no_copy = False, [], False
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "rw"):
            read_only = option == "ro"
        elif option == "nocopy":
            no_copy = True
        elif option in ("z", "Z", *_PROPAGATION):
            options.append(option)
        else:
            entry.refuse(
                f"{option!r} is not an option of a volume", "known: ro, rw, nocopy, z, Z, " + ", ".join(_PROPAGATION)
            )
    if source.startswith((".", "/", "~")):
        result.claim(entry, target)
        _bind_created(entry, host_path(entry, source, scope.context), target, read_only, options, result)
    else:
        for option in options:
            entry.refuse(f"{option!r} is an option of bind mounts", "leave it out for a volume")
        _volume(entry, entry, source, target, read_only, no_copy, scope, result)


def _long(entry: Node, scope: Scope, result: Mounts) -> None:
    kinds = {
        "cluster": "a cluster volume needs Docker Swarm",
        "npipe": "a named pipe needs Windows",
        "image": "an image as a mount needs Docker Engine 28",
    }
    kind = entry.at("type").text()
    source, target = entry.at("source").text(), entry.at("target").text()
    read_only = entry.at("read_only").flag()
    entry.at("consistency").text()
    bind, volume, tmpfs = entry.at("bind"), entry.at("volume"), entry.at("tmpfs")
    entry.close({"image": kinds["image"]})
    for name, options in (("bind", bind), ("volume", volume), ("tmpfs", tmpfs)):
        if options.given and name != kind:
            options.refuse(f"does not belong to a mount of type {kind or 'unknown'}", f"write type: {name}, or drop it")
    if not target:
        entry.refuse("has no target", "name the path in the container: target: /var/lib/app")
        return
    if kind == "volume":
        no_copy = volume.at("nocopy").flag()
        volume.close(
            {"subpath": "it needs Docker Engine 26; mount the volume whole", "labels": "label the volume itself"}
        )
        _volume(entry, entry.at("source"), source, target, read_only, no_copy, scope, result)
    elif kind == "bind":
        _bind(entry, bind, source, target, read_only, scope, result)
    elif kind == "tmpfs":
        limits: dict[str, Any] = {}
        if tmpfs.has("size"):
            limits["SizeBytes"] = tmpfs.at("size").size()
        if tmpfs.has("mode"):
            limits["Mode"] = mode(tmpfs.at("mode"), 0o1777)
        tmpfs.close()
        if source:
            entry.at("source").refuse("a tmpfs has no source", "leave it out")
        result.claim(entry, target)
        mount = {"Type": "tmpfs", "Target": target, "ReadOnly": read_only}
        result.mounts.append({**mount, "TmpfsOptions": limits} if limits else mount)
    else:
        entry.at("type").refuse(
            f"{kind!r} is not supported" if kind else "is missing", kinds.get(kind, "volume, bind or tmpfs")
        )


def _volume(
    entry: Node, named: Node, key: str, target: str, read_only: bool, no_copy: bool, scope: Scope, result: Mounts
) -> None:
    result.claim(entry, target)
    mount: dict[str, Any] = {"Type": "volume", "Target": target, "ReadOnly": read_only}
    if no_copy:
        mount["VolumeOptions"] = {"NoCopy": True}
    if key:
        volume = scope.volumes.get(key)
        if volume is None:
            fix = f"add {key}: under volumes" if _VOLUME_NAME.fullmatch(key) else "write a path as ./path or /path"
            named.refuse(f"volume {key!r} is not declared", fix)
            return
        mount["Source"] = volume.name
        result.volumes += [key] if key not in result.volumes else []
        if not read_only:
            result.writes.append(("volume", key))
    result.mounts.append(mount)


def _bind(entry: Node, bind: Node, source: str, target: str, read_only: bool, scope: Scope, result: Mounts) -> None:
    options = []
    if bind.has("propagation"):
        options.append(bind.at("propagation").one_of(_PROPAGATION, "rprivate"))
    if bind.has("selinux"):
        options.append(bind.at("selinux").one_of(("z", "Z"), "z"))
    create = bind.at("create_host_path").flag(True)
    bind.close({"recursive": "it needs Docker Engine 25; leave it out"})
    if not source:
        entry.refuse("a bind mount needs a source", "name the path on the host")
        return
    result.claim(entry, target)
    path = host_path(entry.at("source"), source, scope.context)
    if create:
        _bind_created(entry, path, target, read_only, options, result)
        return
    mount: dict[str, Any] = {"Type": "bind", "Source": path, "Target": target, "ReadOnly": read_only}
    for option in options:
        if option in ("z", "Z"):
            bind.refuse("selinux needs create_host_path", "drop one of them")
        else:
            mount["BindOptions"] = {"Propagation": option}
    result.mounts.append(mount)
    result.needed.append(path)
    _wrote(path, read_only, result)


def _bind_created(entry: Node, path: str, target: str, read_only: bool, options: list[str], result: Mounts) -> None:
    if ":" in path or ":" in target:
        entry.refuse("the engine cannot take a path with a colon here", "set bind.create_host_path: false")
    result.binds.append(":".join((path, target, ",".join(["ro" if read_only else "rw", *options]))))
    _wrote(path, read_only, result)


def _wrote(path: str, read_only: bool, result: Mounts) -> None:
    # a socket is spoken to, not written
    if not read_only and not path.endswith(".sock"):
        result.writes.append(("host path", path))


def mode(node: Node, default: int) -> int:
    """File permissions: a YAML number, or octal digits as text."""
    if node.given:
        try:
            bits = int(node.value, 8) if isinstance(node.value, str) else int(node.value)
        except (TypeError, ValueError):
            bits = -1
        if not isinstance(node.value, bool) and 0 <= bits <= 0o7777:
            return bits
        node.refuse(f"{node.value!r} is not a file mode", 'write it in octal, as "0440"')
    return default


def _identity(node: Node) -> int:
    """A user's or group's number, which Compose writes as text."""
    text = node.text("0")
    if text.isascii() and text.isdigit():
        return int(text)
    if isinstance(node.value, str):
        node.refuse(f"{text!r} is not a number", "write the number that the name has in the image")
    return 0


def _grant(entry: Node, kind: str, scope: Scope, result: Mounts) -> None:
    """A secret or config as a read-only bind mount of its file on the host."""
    target, bits, owner = "", None, (0, 0)
    if isinstance(entry.value, Mapping):
        key, target = entry.at("source").text(), entry.at("target").text()
        bits = mode(entry.at("mode"), 0o444) if entry.has("mode") else None
        owner = (_identity(entry.at("uid")), _identity(entry.at("gid")))
        entry.close()
        if not key:
            entry.refuse("has no source", f"name the {kind}")
            return
    else:
        key = entry.text()
    known = scope.secrets if kind == "secret" else scope.configs
    file = known.get(key)
    if file is None:
        entry.refuse(f"{kind} {key!r} is not declared", f"add {key}: under {kind}s")
        return
    folder = "/run/secrets/" if kind == "secret" else "/"
    target = target or key
    target = target if target.startswith("/") else folder + target
    result.claim(entry, target)
    if isinstance(file, Finding):
        if file not in entry.findings:
            entry.findings.append(file)
        return
    if file.external:
        for name, asked in (("mode", bits not in (None, file.mode)), ("uid", owner[0] > 0), ("gid", owner[1] > 0)):
            if asked:
                entry.at(name).refuse(
                    f"the file is your own, and keeps its {name}", f"change it on the host, or drop {name}"
                )
    else:
        file = replace(file, mode=file.mode if bits is None else bits, owner=owner)
    result.files.append(file)
    result.mounts.append({"Type": "bind", "Source": file.host_path, "Target": target, "ReadOnly": True})
    result.needed += [file.host_path] if file.external else []
