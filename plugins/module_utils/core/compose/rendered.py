# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Compose model as it lands on the host: active services, absolute paths, files instead of secrets.

Only a definition that was read without findings is rendered, so shapes are not checked again here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from typing import Any

from ..durations import seconds
from ..model import Json, MountedFile
from .nodes import plain
from .scope import Context
from .stores import is_bind

_TEXTS = ("memory", "interval", "timeout", "period", "monitor", "delay")
"""endings of keys that Compose wants as text, where we also take a number"""
_TABLES = ("aux_addresses", "driver_opts", "options", "storage_opt")
"""mappings whose values Compose wants as text"""
_READ_BEFORE = ("env_file", "extends", "label_file")
"""what the controller has read; an empty one may be left, and Compose would look for a file without a name"""
_MICROSECONDS = ("cpu_rt_period", "cpu_rt_runtime")
"""durations by the specification; Compose takes the number alone"""
_FREE = ("annotations", "args", "environment", "labels", "networks", "sysctls")
"""mappings in which a key with nothing behind it says something; elsewhere Compose refuses it"""


def rendered(
    name: str,
    definition: Json,
    active: Collection[str],
    routed: Collection[str],
    files: Collection[MountedFile],
    context: Context,
    jobs: Collection[str] = (),
) -> dict[str, Any]:
    """A model that `docker compose config` accepts as it stands. It reads $ as a variable, so each $ is doubled.

    `jobs` are run by name alone, and keep their profiles so that nothing else starts them.
    """
    model: dict[str, Any] = {"name": name, "services": {}}
    for key, service in definition["services"].items():
        if key in active:
            model["services"][key] = _service(service, active, key in routed, context)
        elif key in jobs:
            made = _service(service, (*active, *jobs), False, context)
            model["services"][key] = {**made, "profiles": list(service["profiles"])}
    for section in ("networks", "volumes"):
        if definition.get(section):
            model[section] = {
                key: None if entry is None else _placed(_value("", entry), context)
                for key, entry in definition[section].items()
            }
    if routed:
        network = {"name": context.ingress_network, "external": True}
        model.setdefault("networks", {})[context.ingress_network] = network
    for file in sorted(files, key=lambda file: file.key):
        path = file.host_path if file.external else f"./{file.kind}s/{file.key}-{file.fingerprint}"
        model.setdefault(f"{file.kind}s", {})[file.key] = {"file": _doubled(path)}
    model.update({key: _copy(value) for key, value in definition.items() if str(key).startswith("x-")})
    return model


def _service(service: Json, active: Collection[str], routed: bool, context: Context) -> dict[str, Any]:
    result = {
        key: _value(key, value)
        for key, value in service.items()
        if key != "profiles" and value is not None and (value or key not in _READ_BEFORE)
    }
    depends = result.get("depends_on")
    if isinstance(depends, Mapping):
        result["depends_on"] = {key: value for key, value in depends.items() if key in active}
    elif depends:
        result["depends_on"] = [key for key in depends if key in active]
    if result.get("volumes"):
        result["volumes"] = [_mount(volume, context) for volume in result["volumes"]]
    build = result.get("build")
    if isinstance(build, Mapping):
        result["build"] = {**build, "context": _absolute(build.get("context", "."), context)}
    elif build is not None:
        result["build"] = _absolute(build, context)
    if result.get("restart") is False:
        result["restart"] = "no"
    if routed:
        networks = result.get("networks") or ["default"]
        ingress = context.ingress_network
        result["networks"] = {**networks, ingress: None} if isinstance(networks, dict) else [*networks, ingress]
    return result


def _free(name: str, value: Any) -> Any:
    """An entry of a mapping whose keys are the user's: a variable may be called like a duration of Compose's."""
    return plain(value) if isinstance(value, float) else _value("" if name in _MICROSECONDS else name, value)


def _value(key: str, value: Any) -> Any:
    """Numbers become text where Compose insists on it, and what is empty goes."""
    if key.startswith("x-"):
        return _copy(value)
    if isinstance(value, (list, tuple)):
        return [_value("", entry) if isinstance(entry, Mapping) else _doubled(plain(entry)) for entry in value]
    if isinstance(value, Mapping):
        if key in _TABLES:
            return {name: _doubled(plain(entry)) for name, entry in value.items() if entry is not None}
        return {
            name: _free(str(name), entry) if key in _FREE else _value(str(name), entry)
            for name, entry in value.items()
            if entry is not None or key in _FREE
        }
    if isinstance(value, (int, float)) and key.endswith(_TEXTS):
        return plain(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if key in _MICROSECONDS and isinstance(value, str) and not value.isdigit():
        return round(seconds(value) * 1e6)
    return _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(entry) for entry in value]
    return _doubled(str(value)) if isinstance(value, str) else value


def _doubled(text: str) -> str:
    return text.replace("$", "$$")


def _placed(volume: dict[str, Any], context: Context) -> dict[str, Any]:
    """A volume, or a network, which has no such options."""
    options = volume.get("driver_opts") or {}
    if not is_bind(volume.get("driver", "local"), options):
        return volume
    return {**volume, "driver_opts": {**options, "device": _absolute(options["device"], context)}}


def _mount(volume: Any, context: Context) -> Any:
    if isinstance(volume, Mapping):
        if volume.get("type") == "bind":
            return {**volume, "source": _absolute(volume["source"], context)}
        return volume
    source, colon, rest = volume.partition(":")
    return _absolute(source, context) + colon + rest if colon and source.startswith(".") else volume


def _absolute(path: str, context: Context) -> str:
    """Relative paths would otherwise start from the folder where compose.yaml lies."""
    if path.startswith(("/", "git@")) or "://" in path:
        return path
    return posixpath.normpath(posixpath.join(_doubled(context.project_directory), path))
