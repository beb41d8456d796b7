# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One Compose model over another, by the rules of the Compose Specification's page on merging.

Mappings merge, lists append, the rest is replaced; the tables name what differs. Paths are tuples of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .compose_yaml import Override, Reset

Path = tuple[str, ...]
Refuse = Callable[[Path, str, str], None]

_REPLACED = {"command", "entrypoint", "healthcheck.test"}
_KEYED = {
    *("annotations", "build.args", "build.additional_contexts", "build.labels", "deploy.labels", "environment"),
    *("labels", "sysctls"),
}
_LISTED = {"build.extra_hosts", "dns", "dns_opt", "dns_search", "env_file", "extra_hosts", "label_file", "tmpfs"}
_NAMED = {"depends_on": {"condition": "service_started", "required": True}, "networks": None}
_UNIQUE: dict[str, Callable[[Any], str]] = {}


def merged(base: Any, over: Any, path: Path, refuse: Refuse) -> Any:
    """`over` wins. Markers of !reset and !override are obeyed; `base` has none."""
    if isinstance(over, Override):
        return settled(over.value)
    rule = _rule(path)
    if over is None and rule not in _REPLACED:
        return base
    if rule in _REPLACED or base is None:
        return settled(over)
    if rule in _KEYED:
        return _rekeyed(_keyed(base), over)
    if rule in _LISTED:
        return _appended(_listed(base), _listed(settled(over)))
    if rule in _NAMED:
        base, over = _named(base, _NAMED[rule]), _named(over, _NAMED[rule])
    if rule == "build":
        base, over = _built(base), _built(over)
    if rule.startswith("ulimits.") and not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return settled(over)
    if rule == "logging" and _other_driver(base, over):
        return settled(over)
    if (
        path[:1] == ("networks",)
        and path[2:] == ("ipam", "config")
        and isinstance(base, list)
        and isinstance(over, list)
    ):
        return _pools(base, settled(over))
    return _plainly(base, over, path, refuse)


def settled(value: Any) -> Any:
    """A model without markers."""
    if isinstance(value, Override):
        return settled(value.value)
    if isinstance(value, Mapping):
        return {key: settled(entry) for key, entry in value.items() if not isinstance(entry, Reset)}
    if isinstance(value, list):
        return [settled(entry) for entry in value if not isinstance(entry, Reset)]
    return value


def unique(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The model with one entry per mount target, port and so on: the last one, in the place of the first."""
    services = definition.get("services")
    if not isinstance(services, Mapping):
        return dict(definition)
    narrowed = {}
    for name, service in services.items():
        narrowed[name] = service
        if isinstance(service, Mapping):
            narrowed[name] = {key: _narrowed(key, value) for key, value in service.items()}
    return {**definition, "services": narrowed}


def _plainly(base: Any, over: Any, path: Path, refuse: Refuse) -> Any:
    if isinstance(base, Mapping):
        if not isinstance(over, Mapping):
            refuse(
                path,
                "is a mapping in an earlier file and cannot be merged with something else",
                "write it alike, or !override to replace it",
            )
            return base
        result = dict(base)
        for key, entry in over.items():
            if isinstance(entry, Reset):
                result.pop(key, None)
            elif key in result:
                result[key] = merged(result[key], entry, (*path, str(key)), refuse)
            else:
                result[key] = settled(entry)
        return result
    if isinstance(base, list):
        if not isinstance(over, list):
            refuse(
                path,
                "is a list in an earlier file and cannot be merged with something else",
                "write it alike, or !override to replace it",
            )
            return base
        return _appended(base, settled(over))
    return settled(over)


def _rule(path: Path) -> str:
    """What the tables know a path by: the part below services.<name>."""
    if path[:1] == ("services",):
        return ".".join(path[2:])
    return (
        "labels"
        if path[:1] in (("networks",), ("volumes",), ("secrets",), ("configs",)) and path[2:] == ("labels",)
        else ""
    )


def _keyed(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    entries = (str(entry).partition("=") for entry in value) if isinstance(value, list) else ()
    return {key: text if sign else None for key, sign, text in entries}


def _rekeyed(base: dict[str, Any], over: Any) -> dict[str, Any]:
    gone = {key for key, entry in over.items() if isinstance(entry, Reset)} if isinstance(over, Mapping) else set()
    return {**{key: entry for key, entry in base.items() if key not in gone}, **_keyed(settled(over))}


def _listed(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        entries = ((key, entry if isinstance(entry, list) else [entry]) for key, entry in value.items())
        return [f"{key}={one}" for key, several in entries for one in several]
    return value if isinstance(value, list) else [value]


def _named(value: Any, default: Mapping[str, Any] | None) -> Any:
    if isinstance(value, list):
        return {entry: dict(default) if default else None for entry in value if isinstance(entry, str)}
    return value


def _built(value: Any) -> Any:
    return {"context": value} if isinstance(value, str) else value


def _other_driver(base: Any, over: Any) -> bool:
    drivers = [value.get("driver") for value in (base, over) if isinstance(value, Mapping)]
    return len(drivers) == 2 and all(drivers) and drivers[0] != drivers[1]


def _pools(base: list[Any], over: list[Any]) -> list[Any]:
    """A later file's pool changes the earlier one of the same subnet, and otherwise takes its place."""
    known = {pool.get("subnet"): pool for pool in base if isinstance(pool, Mapping)}
    return [{**known.get(pool.get("subnet"), {}), **pool} if isinstance(pool, Mapping) else pool for pool in over]


def _appended(base: list[Any], more: list[Any]) -> list[Any]:
    return [*base, *(entry for entry in more if entry not in base)]


def _narrowed(key: str, value: Any) -> Any:
    index = _UNIQUE.get(key)
    if index is None or not isinstance(value, list):
        return value
    result: dict[str, Any] = {}
    for entry in value:
        result[index(entry)] = entry
    return list(result.values())


def _assigned(entry: Any) -> str:
    return str(entry).partition("=")[0]


def _mounted(entry: Any) -> str:
    if isinstance(entry, Mapping):
        return str(entry.get("target"))
    parts = str(entry).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _granted(folder: str) -> Callable[[Any], str]:
    def index(entry: Any) -> str:
        if isinstance(entry, Mapping):
            return str(entry.get("target") or f"{folder}/{entry.get('source')}")
        return f"{folder}/{entry}"

    return index


def _port(entry: Any) -> str:
    if isinstance(entry, Mapping):
        host, protocol = entry.get("host_ip", "0.0.0.0"), entry.get("protocol", "tcp")
        return f"{host}:{entry.get('published')}:{entry.get('target')}/{protocol}"
    return str(entry)


_UNIQUE.update(dict.fromkeys(("cap_add", "cap_drop", "dns", "dns_opt", "dns_search", "profiles", "tmpfs"), _assigned))
_UNIQUE.update({"volumes": _mounted, "devices": _mounted, "ports": _port, "expose": str})
_UNIQUE.update({"secrets": _granted("/run/secrets"), "configs": _granted("")})
