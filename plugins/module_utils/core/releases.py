# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases: which are kept and returned to, by which names their images are kept, and what tells two of them apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .model import Finding, Invalid, Json, Service, Stack

KEEP = 5
"""releases of a stack that can be returned to, the serving one among them"""
MOST = 100
PREVIOUS = "previous"
REPOSITORY = "quaylock.kept/image"
"""kept images have a tag of ours here, so that `docker image prune` does not take them for dangling ones"""
SHORT = 12
LONGEST = 160
"""characters of one value in a comparison"""


@dataclass(frozen=True, slots=True)
class Release:
    """One release as the journal has it. `at` is when it was committed, `asked` what the audit says besides `who`."""

    id: str
    stack: str
    who: str
    at: float
    asked: Json
    model: Json
    committed: Json

    @property
    def images(self) -> Mapping[str, Json]:
        """reference -> {id, digest}, as they were when it was released"""
        found: Mapping[str, Json] = self.committed.get("images", {})
        return found

    @property
    def points(self) -> Mapping[str, str]:
        """service -> the restore point that was taken before this release changed anything"""
        found: Mapping[str, str] = self.committed.get("points", {})
        return found

    @property
    def returned_to(self) -> str:
        return str(self.asked.get("release", ""))


def chosen(stack: str, wanted: str, releases: Sequence[Release]) -> Release:
    """The release that is meant, from those that are kept, the serving one first. Raises Invalid with what is there."""
    if not releases:
        raise Invalid((Finding("release", f"{stack} has no release on this host", "deploy it"),))
    if wanted == PREVIOUS:
        if len(releases) > 1:
            return releases[1]
        problem = f"there is none before {releases[0].id}, which serves"
        raise Invalid((Finding("release", problem, "deploy the version that you want"),))
    for release in releases:
        if release.id == wanted:
            return release
    there = ", ".join(r.id for r in releases)
    raise Invalid((Finding("release", f"{stack} keeps no release {wanted!r}", f"there are, newest first: {there}"),))


def by_rollback_config(stack: Stack) -> Stack:
    """The stack of a release as a return to it is rolled out: by the rollback_config of its services."""
    return replace(stack, services=tuple(s if s.one_shot else _back(s) for s in stack.services))


def _back(service: Service) -> Service:
    back = service.back
    gate = replace(service.gate, hold=back.hold)
    return replace(service, order=back.order or service.order, update=back.update, gate=gate)


def tag_of(stack: str, image_id: str) -> str:
    """The name by which an image is kept. A stack's name has no dot, so that names of two stacks never meet."""
    return f"{REPOSITORY}:{stack}.{image_id.partition(':')[2][:SHORT]}"


def tags(releases: Iterable[Release]) -> Mapping[str, str]:
    """tag -> image id, of everything that kept releases are made of"""
    return {tag_of(r.stack, entry["id"]): entry["id"] for r in releases for entry in r.images.values() if entry["id"]}


def belongs(tag: str, stack: str) -> bool:
    return tag.startswith(f"{REPOSITORY}:{stack}.")


# -- what tells two of them apart ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """A stack as it was, or is asked for, with what its image references resolved to."""

    stack: Stack
    images: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """`sign` is +, - or ~. Values of environment variables, secrets and build arguments are never in here."""

    path: str
    sign: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        values = " -> ".join(v for v in (self.before, self.after) if v)
        return f"{self.sign} {self.path}" + (f": {values}" if values else "")


_KEYS_ONLY = ("environment", "args")
"""mappings whose values may be confidential: only their keys are shown"""


def compare(before: Version, after: Version) -> tuple[Difference, ...]:
    """What is different, service by service in the model's order, then networks, volumes, secrets and configs."""
    old, new = before.stack.rendered, after.stack.rendered
    found: list[Difference] = []
    services = (old.get("services") or {}, new.get("services") or {})
    for name in dict.fromkeys([*services[1], *services[0]]):
        path = f"services.{name}"
        if name not in services[0]:
            found.append(Difference(path, "+", after=_image(name, after)))
        elif name not in services[1]:
            found.append(Difference(path, "-", _image(name, before)))
        else:
            found += _image_changes(path, name, before, after)
            found += _changes(path, _without_image(services[0][name]), _without_image(services[1][name]))
    for section in ("networks", "volumes"):
        found += _changes(section, old.get(section) or {}, new.get(section) or {})
    return (*found, *_files(before.stack, after.stack))


def _without_image(service: Any) -> Any:
    return {key: value for key, value in service.items() if key != "image"} if isinstance(service, Mapping) else service


def _image(name: str, version: Version) -> str:
    ref = next((s.image for s in version.stack.services if s.name == name), "")
    known = version.images.get(ref) or {}
    identity = short(str(known.get("digest") or known.get("id") or ""))
    return f"{ref} ({identity})" if identity else ref


def short(identity: str) -> str:
    """sha256:0123456789abcdef... -> sha256:0123456789ab"""
    kind, colon, digits = identity.partition(":")
    return f"{kind}:{digits[:SHORT]}" if colon else identity[:SHORT]


def _image_changes(path: str, name: str, before: Version, after: Version) -> list[Difference]:
    one, other = _image(name, before), _image(name, after)
    return [Difference(f"{path}.image", "~", one, other)] if one != other else []


def _changes(path: str, before: Any, after: Any) -> list[Difference]:
    if before == after:
        return []
    key = path.rpartition(".")[2]
    if key in _KEYS_ONLY:
        return _keys(path, _pairs(before), _pairs(after))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return [
            difference
            for name in dict.fromkeys([*before, *after])
            for difference in _entry(f"{path}.{name}", name, before, after)
        ]
    if isinstance(before, list) and isinstance(after, list) and key not in ("command", "entrypoint", "test"):
        gone = [Difference(path, "-", _text(v)) for v in before if v not in after]
        return gone + [Difference(path, "+", after=_text(v)) for v in after if v not in before]
    return [Difference(path, "~", _text(before), _text(after))]


def _entry(path: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    if name in before and name in after:
        return _changes(path, before[name], after[name])
    there = before if name in before else after
    sign = "-" if name in before else "+"
    if name in _KEYS_ONLY:
        return [Difference(f"{path}.{key}", sign) for key in _pairs(there[name])]
    text = _text(there[name])
    return [Difference(path, sign, text) if sign == "-" else Difference(path, sign, after=text)]


def _keys(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    signs = {True: {True: "~", False: "-"}, False: {True: "+"}}
    return [
        Difference(f"{path}.{name}", signs[name in before][name in after])
        for name in dict.fromkeys([*before, *after])
        if name not in before or name not in after or before[name] != after[name]
    ]


def _pairs(value: Any) -> Mapping[str, Any]:
    """A mapping, from one or from a list of KEY=value."""
    if isinstance(value, Mapping):
        return value
    return {str(v).partition("=")[0]: v for v in value} if isinstance(value, list) else {}


def _files(before: Stack, after: Stack) -> list[Difference]:
    old, new = ({(f.kind, f.key): f.fingerprint or f.host_path for f in s.files} for s in (before, after))
    found = []
    for kind, key in sorted({*old, *new}):
        if (kind, key) not in old:
            found.append(Difference(f"{kind}s.{key}", "+"))
        elif (kind, key) not in new:
            found.append(Difference(f"{kind}s.{key}", "-"))
        elif old[kind, key] != new[kind, key]:
            found.append(Difference(f"{kind}s.{key}", "~", after="another content"))
    return found


def _text(value: Any) -> str:
    """One line. What is nested may hold confidential values in its depths, so they are cleared there as well."""
    text = value if isinstance(value, str) else json.dumps(_cleared(value), ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _cleared(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: sorted(_pairs(v)) if k in _KEYS_ONLY else _cleared(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_cleared(v) for v in value]
    return value
