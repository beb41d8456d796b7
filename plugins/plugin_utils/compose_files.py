# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compose files on the controller become one definition without variables, and the contents that the host must get."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.nodes import kind
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.stores import is_bind
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Finding, Invalid

from . import compose_merge, env_files
from .compose_yaml import BrokenYamlError, Override, documents
from .interpolation import substitute

_DEPTH = 100
"""deeper nesting is an alias that contains itself"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """`definition` is for core.compose.read; contents are by key, never in it. `files` are all that were read."""

    definition: dict[str, Any]
    secrets: Mapping[str, bytes]
    configs: Mapping[str, bytes]
    files: tuple[str, ...] = ()


def load(
    paths: Sequence[str | Mapping[str, Any]],
    variables: Mapping[str, Any],
    profiles: Collection[str] = (),
    folder: str = "",
    secrets: Collection[str] = (),
    configs: Collection[str] = (),
    name: str = "",
) -> Loaded:
    """Read, interpolate and merge the files; a mapping counts as a file that was parsed already.

    Relative paths start from `folder`, which is the first file's unless given; its `.env` adds variables that are not
    in `variables`. What is missing in a service whose profiles are off is not asked for, nor are the contents of the
    `secrets` and `configs` that somebody else hands over. `name` is the stack's, which files may ask for as
    COMPOSE_PROJECT_NAME. Raises Invalid with all findings.
    """
    first = next((path for path in paths if isinstance(path, str)), "")
    known = {"COMPOSE_PROJECT_NAME": name, **variables} if name else dict(variables)
    reading = _Reading(Path(folder or Path(first).parent), known)
    reading.dot_env()
    definition: dict[str, Any] = {}
    for index, path in enumerate(paths):
        label = path if isinstance(path, str) else f"definition {index + 1}" if len(paths) > 1 else "definition"
        for layer in reading.layers(path, label):
            definition = compose_merge.unique(reading.merged(definition, layer, label))
    if not paths:
        reading.refuse("", "no Compose file was given", "name at least one")
    services = definition.get("services")
    services = services if isinstance(services, Mapping) else {}
    active = [name for name, service in services.items() if _is_active(service, profiles)]
    for name in active:
        reading.complete(name, services[name])
    using = [services[name] for name in active]
    found = {
        what: reading.contents(definition, what, using, own) for what, own in (("secret", secrets), ("config", configs))
    }
    findings = [
        finding for owner, finding in reading.findings if owner is None or owner in active or owner not in services
    ]
    if findings:
        raise Invalid(tuple(dict.fromkeys(findings)))
    return Loaded(definition, found["secret"], found["config"], tuple(dict.fromkeys(reading.files)))


@dataclass(slots=True)
class _Reading:
    folder: Path
    variables: dict[str, Any]
    findings: list[tuple[str | None, Finding]] = field(default_factory=list)
    """with the service that each belongs to"""
    files: list[str] = field(default_factory=list)
    trail: tuple[str, ...] = ()
    """the files that include the one which is read"""
    imported: dict[str, dict[str, Any]] = field(default_factory=dict)
    """services that a file includes, by the file's label"""

    def refuse(self, path: str, problem: str, fix: str = "", owner: str | None = None) -> None:
        self.findings.append((owner, Finding(path, problem, fix)))

    def text(self, path: Path, asked: str, owner: str | None = None) -> str | None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as wrong:
            said = wrong.strerror if isinstance(wrong, OSError) else str(wrong)
            self.refuse(asked, f"{path} cannot be read: {said}", "write it there, or name another file", owner)
            return None
        self.files.append(str(path))
        return text

    def dot_env(self) -> None:
        path = self.folder / ".env"
        if path.is_file() and (text := self.text(path, ".env")) is not None:
            found = env_files.pairs(text, self.variables, lambda problem, fix: self.refuse(str(path), problem, fix))
            self.variables = {**found, **{key: value for key, value in self.variables.items() if value is not None}}

    # -- files ---------------------------------------------------------------

    def layers(self, source: str | Mapping[str, Any], label: str, asked: str = "") -> list[dict[str, Any]]:
        """The documents of one file with variables put in, `include` and `extends` resolved. `asked` names the file."""
        raw = [source] if isinstance(source, Mapping) else self.parsed(Path(source), asked or label)
        result = []
        for document in raw:
            if not isinstance(document, Mapping):
                self.refuse(label, f"must be a mapping, not {kind(document)}", "start with services:")
                continue
            below = self.included(document.get("include"), label)
            self.imported[label] = below.get("services") or {}
            services = document.get("services")
            layer = {
                key: self.put_in(entry, f"{label}: {key}")
                for key, entry in document.items()
                if key not in ("services", "include")
            }
            below_services = below.pop("services", None) or {}
            if isinstance(services, Mapping):
                # wherever the file lies: its paths start from the stack's folder, as in Compose
                layer["services"] = {
                    service: self.extended(services, service, (label,), self.folder, str(service), document)
                    for service in services
                }
            elif services is not None:
                layer["services"] = services
            if below_services and isinstance(layer.get("services", {}), Mapping):
                layer["services"] = {**below_services, **layer.get("services", {})}
            result.append(self.merged(below, layer, label) if below else layer)
        return result

    def included(self, wanted: Any, label: str) -> dict[str, Any]:
        """The model of all files that `include` names, as seen from the stack's folder. A file's own words win."""
        model: dict[str, Any] = {}
        if wanted is not None and not isinstance(wanted, list):
            self.refuse(f"{label}: include", f"must be a list, not {kind(wanted)}", "write - other/compose.yaml")
            wanted = []
        for index, raw in enumerate(wanted or ()):
            at = f"{label}: include[{index}]"
            entry = self.put_in(raw, at)
            entry = {"path": entry} if isinstance(entry, (str, list)) else entry
            paths = _texts(entry.get("path")) if isinstance(entry, Mapping) else None
            if not paths:
                self.refuse(at, "must name a file", "write path: other/compose.yaml")
                continue
            for key in entry:
                if key not in ("path", "project_directory", "env_file"):
                    self.refuse(f"{at}.{key}", "is not a known key", "known here: env_file, path, project_directory")
            files = [str(self.folder / path) for path in paths]
            if files[0] in self.trail or files[0] == label:
                ring = " -> ".join(Path(file).name for file in (*self.trail, label, files[0]))
                self.refuse(at, f"files include each other: {ring}", "break the circle")
                continue
            folder = entry.get("project_directory")
            folder = self.folder / str(folder) if folder else Path(files[0]).parent
            below = _Reading(folder, dict(self.variables), self.findings, self.files, (*self.trail, label))
            below.surroundings(_texts(entry.get("env_file")), at, self.folder)
            found: dict[str, Any] = {}
            for file in files:
                for layer in below.layers(file, file, at):
                    found = compose_merge.unique(below.merged(found, layer, file))
            model = self.merged(self.seen_from_here(found, folder), model, at)
        return model

    def surroundings(self, wanted: list[str] | None, at: str, folder: Path) -> None:
        """Variables that only the included files know: those of their env_file, or of the .env beside them."""
        if not wanted:
            self.dot_env()
            return
        for name in wanted:
            text = None if name == "/dev/null" else self.text(folder / name, f"{at}.env_file")
            if text is not None:
                found = env_files.pairs(text, self.variables, _Said(self, f"{at}.env_file ({name})", None))
                self.variables = {**found, **{key: value for key, value in self.variables.items() if value is not None}}

    def seen_from_here(self, model: dict[str, Any], folder: Path) -> dict[str, Any]:
        result = {key: value for key, value in model.items() if key not in ("name", "version", "include")}
        services = model.get("services")
        if isinstance(services, Mapping):
            result["services"] = {
                name: self.rebased(dict(service), folder) if isinstance(service, Mapping) else service
                for name, service in services.items()
            }
        if isinstance(model.get("volumes"), Mapping):
            result["volumes"] = {key: self._device(folder, entry) for key, entry in model["volumes"].items()}
        for section in ("secrets", "configs"):
            if isinstance(model.get(section), Mapping):
                result[section] = {
                    key: {**entry, "file": self._from(folder, entry["file"])}
                    if isinstance(entry, Mapping) and isinstance(entry.get("file"), str)
                    else entry
                    for key, entry in model[section].items()
                }
        return result

    def parsed(self, path: Path, asked: str, owner: str | None = None) -> list[Any]:
        text = self.text(path, asked, owner)
        if text is None:
            return []
        try:
            found = [document for document in documents(text) if document is not None]
        except BrokenYamlError as wrong:
            self.refuse(str(path), str(wrong), "", owner)
            return []
        if not found:
            self.refuse(str(path), "is empty", "start with services:", owner)
        return found

    def put_in(self, value: Any, path: str, owner: str | None = None, depth: int = 0) -> Any:
        """A copy of the value with all variables replaced."""
        if depth > _DEPTH:
            self.refuse(path[:120], "is nested without end", "an anchor must not contain its own alias", owner)
            return None
        if isinstance(value, str):
            return substitute(value, self.variables, lambda problem, fix: self.refuse(path, problem, fix, owner))
        if isinstance(value, Mapping):
            return {key: self.put_in(entry, f"{path}.{key}", owner, depth + 1) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.put_in(entry, f"{path}[{index}]", owner, depth + 1) for index, entry in enumerate(value)]
        if isinstance(value, Override):
            return Override(self.put_in(value.value, path, owner, depth + 1))
        return value

    def merged(self, base: dict[str, Any], layer: dict[str, Any], label: str) -> dict[str, Any]:
        """The layer of the file `label` over what was there."""
        result: dict[str, Any] = compose_merge.merged(base, layer, (), self._clash(label))
        return result

    def _clash(self, label: str) -> compose_merge.Refuse:
        def refuse(path: tuple[str, ...], problem: str, fix: str) -> None:
            owner = path[1] if path[:1] == ("services",) and len(path) > 1 else None
            self.refuse(f"{label}: {'.'.join(path)}", problem, fix, owner)

        return refuse

    # -- extends -------------------------------------------------------------

    def extended(
        self,
        services: Mapping[str, Any],
        name: str,
        trail: tuple[str, ...],
        here: Path,
        owner: str,
        document: Mapping[str, Any],
    ) -> Any:
        """A service over the one it extends. `trail` is the way here, the file first; `here` is the file's folder."""
        label = trail[0]
        service = self.put_in(services.get(name), f"{label}: services.{name}", owner)
        if not isinstance(service, Mapping):
            return service
        service = self.rebased(dict(service), here)
        if name in self.imported.get(label, {}):
            service = compose_merge.merged(self.imported[label][name], service, ("services", owner), self._clash(label))
        asked = service.pop("extends", None)
        if asked is None:
            return service
        where = f"{label}: services.{name}.extends"
        asked = {"service": asked} if isinstance(asked, str) else asked
        if not isinstance(asked, Mapping) or not isinstance(asked.get("service"), str):
            self.refuse(where, "must name a service", "write extends: {service: base, file: base.yaml}", owner)
            return service
        for key in asked:
            if key not in ("service", "file"):
                self.refuse(f"{where}.{key}", "is not a known key", "known here: file, service", owner)
        file, target = asked.get("file"), str(asked["service"])
        step = f"{here / str(file)}" if file else label
        ring = (*trail[1:], f"{label}:{name}")
        if f"{step}:{target}" in ring:
            chain = " -> ".join(entry.rpartition(":")[2] for entry in (*ring, f"{step}:{target}"))
            self.refuse(where, f"services extend each other: {chain}", "break the circle", owner)
            return service
        if file:
            found = self.parsed(here / str(file), f"{where}.file", owner)
            document = found[0] if found and isinstance(found[0], Mapping) else {}
            known = document.get("services")
            services = known if isinstance(known, Mapping) else {}
            here = (here / str(file)).parent
        imported = {} if file else self.imported.get(label, {})
        if target in imported and target not in services:
            return compose_merge.merged(imported[target], service, ("services", owner), self._clash(label))
        if target not in services:
            if not file or document:
                self.refuse(
                    where,
                    f"there is no service {target!r} in {step}",
                    f"there are: {', '.join(map(str, services))}",
                    owner,
                )
            return service
        base = self.extended(services, target, (step, *ring), here, owner, document)
        if not isinstance(base, Mapping):
            return service
        return compose_merge.merged(compose_merge.settled(base), service, ("services", owner), self._clash(label))

    def rebased(self, service: dict[str, Any], here: Path) -> dict[str, Any]:
        """Relative paths of a file elsewhere, as seen from the stack's folder."""
        if here.resolve() == self.folder.resolve():
            return service
        build, volumes = service.get("build"), service.get("volumes")
        if isinstance(build, str):
            service["build"] = self._from(here, build)
        elif isinstance(build, Mapping):
            service["build"] = {**build, "context": self._from(here, str(build.get("context", ".")))}
        if isinstance(volumes, list):
            service["volumes"] = [self._mount(here, entry) for entry in volumes]
        for key in ("env_file", "label_file"):
            if service.get(key):
                entries = service[key] if isinstance(service[key], list) else [service[key]]
                service[key] = [self._env_file(here, entry) for entry in entries]
        return service

    def _from(self, here: Path, path: str) -> str:
        if path.startswith(("/", "~", "git@")) or "://" in path:
            return path
        target, base = (here / path).resolve(), self.folder.resolve()
        up = next(n for n, parent in enumerate((base, *base.parents)) if target.is_relative_to(parent))
        rest = target.relative_to((base, *base.parents)[up])
        return "/".join([*([".."] * up or ["."]), *rest.parts])

    def _device(self, here: Path, volume: Any) -> Any:
        options = volume.get("driver_opts") if isinstance(volume, Mapping) else None
        if not isinstance(options, Mapping) or not is_bind(str(volume.get("driver", "local")), options):
            return volume
        return {**volume, "driver_opts": {**options, "device": self._from(here, str(options["device"]))}}

    def _mount(self, here: Path, entry: Any) -> Any:
        if isinstance(entry, Mapping):
            source = entry.get("source")
            return (
                {**entry, "source": self._from(here, str(source))} if entry.get("type") == "bind" and source else entry
            )
        source, colon, rest = str(entry).partition(":")
        return self._from(here, source) + colon + rest if colon and source.startswith(".") else entry

    def _env_file(self, here: Path, entry: Any) -> Any:
        if isinstance(entry, Mapping):
            return {**entry, "path": str(here / str(entry.get("path")))}
        return str(here / str(entry))

    # -- what lies beside the files ---------------------------------------------

    def complete(self, name: str, service: Any) -> None:
        """Put env_file, label_file and the variables that are only named into the service."""
        if not isinstance(service, dict):
            return
        for key, target in (("env_file", "environment"), ("label_file", "labels")):
            if key in service:
                found = self._pairs(service.pop(key), f"services.{name}.{key}", name)
                service[target] = compose_merge.merged(
                    found, service.get(target), ("services", name, target), self._clash(key)
                )
        if "environment" in service:
            service["environment"] = self._inherited(service["environment"])
        if isinstance(service.get("build"), dict) and "args" in service["build"]:
            service["build"]["args"] = self._inherited(service["build"]["args"])

    def _pairs(self, value: Any, path: str, owner: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            at = f"{path}[{index}]" if isinstance(value, list) else path
            entry = {"path": entry} if isinstance(entry, str) else entry
            if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
                self.refuse(at, "must name a file", "write path: app.env", owner)
                continue
            for key in entry:
                if key not in ("path", "required", "format"):
                    self.refuse(f"{at}.{key}", "is not a known key", "known here: path, required, format", owner)
            if entry.get("format") not in (None, "raw"):
                self.refuse(f"{at}.format", f"{entry['format']!r} is not a format", "raw, or leave it out", owner)
            file = self.folder / entry["path"]
            if not file.exists() and str(entry.get("required", True)).lower() == "false":
                continue
            text = self.text(file, at, owner)
            if text is not None:
                said = _Said(self, f"{at} ({file})", owner)
                found.update(env_files.pairs(text, self.variables, said, entry.get("format") == "raw"))
        return found

    def _inherited(self, value: Any) -> Any:
        """A variable that is only named takes its value from the outside, where it has one."""
        if isinstance(value, list):
            value = [
                f"{entry}={self.variables[entry]}"
                if isinstance(entry, str) and self.variables.get(entry) is not None
                else entry
                for entry in value
            ]
        elif isinstance(value, Mapping):
            value = {key: self.variables.get(key) if entry is None else entry for key, entry in value.items()}
        return value

    def contents(
        self, definition: dict[str, Any], what: str, services: Sequence[Any], own: Collection[str]
    ) -> dict[str, bytes]:
        """Contents of the secrets or configs that active services use, taken out of the definition. `own` are there."""
        section = definition.get(f"{what}s")
        if not isinstance(section, dict):
            return {}
        used = {key for service in services for key in _granted(service, f"{what}s")}
        result: dict[str, bytes] = {}
        for key, entry in section.items():
            if key in used and isinstance(entry, Mapping):
                content = None if key in own else self._content(entry, f"{what}s.{key}", what)
                if content is not None:
                    result[key] = content
                if content is not None or key in own:
                    section[key] = {k: v for k, v in entry.items() if k not in ("file", "environment", "content")}
        return result

    def _content(self, entry: Mapping[str, Any], path: str, what: str) -> bytes | None:
        if isinstance(entry.get("file"), str):
            file = self.folder / Path(entry["file"]).expanduser()
            if file.is_file():
                self.files.append(str(file))
                try:
                    return file.read_bytes()
                except OSError as wrong:
                    self.refuse(f"{path}.file", f"{file} cannot be read: {wrong.strerror}")
            elif not entry["file"].startswith("/"):
                fix = f"write it there, or set stack_{path}"
                self.refuse(f"{path}.file", f"there is no {file} on the controller", fix)
            # an absolute path that is not here is the host's own file
        elif isinstance(entry.get("environment"), str):
            value = self.variables.get(entry["environment"])
            if value is None:
                self.refuse(
                    f"{path}.environment", f"variable {entry['environment']} is not set", f"set it, or stack_{path}"
                )
            return None if value is None else str(value).encode()
        elif what == "config" and isinstance(entry.get("content"), str):
            return str(entry["content"]).encode()
        return None


@dataclass(frozen=True, slots=True)
class _Said:
    """A Refuse for one file of one service."""

    reading: _Reading
    path: str
    owner: str | None

    def __call__(self, problem: str, fix: str) -> None:
        self.reading.refuse(self.path, problem, fix, self.owner)


def _texts(value: Any) -> list[str] | None:
    """A text, or a list of texts; None where it is something else."""
    value = [value] if isinstance(value, str) else value
    return value if isinstance(value, list) and all(isinstance(entry, str) for entry in value) else None


def _is_active(service: Any, profiles: Collection[str]) -> bool:
    wanted = service.get("profiles") if isinstance(service, Mapping) else None
    return (
        not isinstance(wanted, list) or not wanted or "*" in profiles or bool({str(p) for p in wanted} & set(profiles))
    )


def _granted(service: Any, section: str) -> list[str]:
    grants = service.get(section) if isinstance(service, Mapping) else None
    if not isinstance(grants, list):
        return []
    return [str(grant.get("source")) if isinstance(grant, Mapping) else str(grant) for grant in grants]
