# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where an image comes from: what is wanted, which sources are asked in which order, and what a refusal means."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from ..graph import cycle
from ..model import Finding, Image, Invalid, Json

OWN_REGISTRY = "quaylock.local"
"""the first part of the names of images that were built here: no registry of that name exists, so nothing pulls them"""

CA_FILE = "ca-bundle.crt"
"""the optional file in a build context that pip and friends trust while an image is built"""

PREDEFINED_ARGS = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"})
"""build arguments that every Dockerfile knows without ARG, in capitals or not"""


KEYS = frozenset(
    {"ref", "source", "recipe", "context", "dockerfile", "args", "target", "archive", "pull", "base", "keep_ca"}
    | {"on_host", "allow_floating"}
)
"""what an entry of images may say"""


class Source(str, Enum):
    REGISTRY = "registry"
    BUILD = "build"
    ARCHIVE = "archive"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Reference:
    """A name of an image, taken apart. `registry` is docker.io where none is written."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def floating(self) -> bool:
        return not self.digest and self.tag in ("", "latest")

    @property
    def name(self) -> str:
        """Registry and repository the way the engine writes them: docker.io and library/ are left out."""
        if self.registry != "docker.io":
            return f"{self.registry}/{self.repository}"
        return self.repository.removeprefix("library/")

    @property
    def version(self) -> str:
        """What is pulled of `name`: the digest, else the tag."""
        return self.digest or self.tag or "latest"

    def mirrored(self, mirror: str) -> Reference:
        """The same image in a mirror of Docker Hub, "mirror.example.org:5000" or with a path behind it."""
        registry, _sign, path = mirror.strip("/").partition("/")
        return replace(self, registry=registry, repository=f"{path}/{self.repository}" if path else self.repository)


def reference(text: str) -> Reference:
    """Take "[registry/]repository[:tag][@digest]" apart. Raises ValueError with what is wrong."""
    rest, _sign, digest = text.partition("@")
    if digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError("after @ comes sha256: and 64 hexadecimal digits")
    first, slash, path = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, rest = first, path
    else:
        registry = "docker.io"
    repository, colon, tag = rest.partition(":")
    if colon and not re.fullmatch(r"\w[\w.-]{0,127}", tag, re.ASCII):
        raise ValueError(f"{tag!r} is not a tag")
    if not re.fullmatch(
        r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*", repository
    ):
        raise ValueError(f"{repository!r} is not a repository: lower-case letters, digits and . _ - between them")
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(registry, repository, tag, digest)


@dataclass(frozen=True, slots=True)
class Pack:
    """What can be built or loaded, known by its content. The bytes may still be elsewhere.

    `args` are the names that its Dockerfile declares, `script` says that it is a root file system made by base.sh,
    `images` are the ids in an archive, `refs` the names in it; `recipe` is what its recipe.json says.
    """

    id: str
    path: str = ""
    args: tuple[str, ...] = ()
    script: bool = False
    images: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    recipe: Json = field(default_factory=dict)
    wants_ca: bool = False
    dockerfile: str = "Dockerfile"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One image: what it is called, and what it may be made of. `base` is the key of another one."""

    key: str
    ref: str = ""
    source: Source = Source.AUTO
    name: str = ""
    build: Pack | None = None
    dockerfile: str = "Dockerfile"
    args: Json = field(default_factory=dict)
    target: str = ""
    archive: Pack | None = None
    archive_path: str = ""
    base: str = ""
    always: bool = False
    keep_ca: bool = False
    needs: tuple[str, ...] = ()
    implied: bool = False
    """nobody asked for it but as a base"""

    @property
    def lock_key(self) -> str:
        return self.ref or f"{OWN_REGISTRY}/{self.name}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One source that was or will be asked; `why` is what it answered when it could not."""

    source: str
    what: str
    why: str = ""
    hint: str = ""

    def __str__(self) -> str:
        verb = {"archive": "load", "mirror": "pull", "registry": "pull", "build": "build"}[self.source]
        first, line, rest = self.why.partition("\n")
        said = f": {first}" + (f" ({self.hint})" if self.hint else "") if first else ""
        return f"{verb} {self.what}{said}{line}{rest}"


def read(
    images: Mapping[str, Json], packs: Mapping[str, Pack], default: str = "auto", allow_floating: bool = False
) -> dict[str, Wanted]:
    """Complete what is wanted by what the recipes say, bases included. Raises Invalid with everything that is wrong.

    `packs` has "recipe:<name>", "context:<key>" and "archive:<key>" for everything that was found. The result is in an
    order in which bases come first.
    """
    findings: list[Finding] = []
    result: dict[str, Wanted] = {}
    waiting = [(key, dict(given), False) for key, given in images.items()]
    while waiting:
        key, given, implied = waiting.pop(0)
        entry = _one(key, given, packs, default, allow_floating, implied, findings)
        result[key] = entry
        if not entry.base or entry.base in images or entry.base in result:
            continue
        if f"recipe:{entry.base}" in packs:
            # where only registries are trusted, a base that nobody spoke about comes from one too
            source = default if default == Source.REGISTRY.value else Source.AUTO.value
            same = {"recipe": entry.base, "source": source, "pull": given.get("pull") or "missing"}
            waiting.append((entry.base, same, True))
        else:
            findings.append(
                Finding(
                    f"images.{key}.base", f"{entry.base!r} is neither an entry of images nor a recipe", _known(packs)
                )
            )
            result[key] = replace(entry, base="")
    ring = cycle({w.key: [w.base] if w.base else [] for w in result.values()})
    if ring:
        findings.append(Finding("images", f"bases form a cycle: {' -> '.join(ring)}", "one of them needs another base"))
    if findings:
        raise Invalid(tuple(findings))
    ordered: dict[str, Wanted] = {}

    def place(key: str) -> None:
        if key not in ordered:
            if result[key].base:
                place(result[key].base)
            ordered[key] = result[key]

    for key in result:
        place(key)
    return ordered


def _known(packs: Mapping[str, Pack]) -> str:
    names = sorted(name.removeprefix("recipe:") for name in packs if name.startswith("recipe:"))
    return "recipes: " + (", ".join(names) or "none were found")


def _one(
    key: str,
    given: Mapping[str, Any],
    packs: Mapping[str, Pack],
    default: str,
    allow_floating: bool,
    implied: bool,
    findings: list[Finding],
) -> Wanted:
    where = f"images.{key}"

    def wrong(name: str, problem: str, fix: str = "") -> None:
        findings.append(Finding(f"{where}.{name}" if name else where, problem, fix))

    for name in sorted(given.keys() - KEYS):
        wrong(name, "is not known", f"known are {', '.join(sorted(KEYS))}")
    choice = given.get("source") or default
    if choice not in {s.value for s in Source}:
        wrong("source", f"is {choice!r}", f"it is one of {', '.join(s.value for s in Source)}")
        choice = Source.AUTO.value
    if (given.get("pull") or "missing") not in ("missing", "always"):
        wrong("pull", f"is {given['pull']!r}", "it is missing or always")
    source = Source(choice)
    floats = allow_floating or bool(given.get("allow_floating"))
    recipe, context, archive = given.get("recipe") or "", given.get("context") or "", given.get("archive") or ""
    if not re.fullmatch(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", key):
        wrong("", "is not a key", "lower-case letters and digits, with . _ - between them")
    if recipe and context:
        wrong("recipe", "stands beside context", "keep one of them")

    build = None
    if recipe or context:
        build = packs.get(f"recipe:{recipe}" if recipe else f"context:{key}")
        if not build and recipe:
            wrong("recipe", f"there is no recipe {recipe!r}", _known(packs))
        elif not build:
            wrong("context", f"{context} is not a directory")
    loaded = packs.get(f"archive:{key}") if archive else None
    if archive and not loaded:
        wrong("archive", f"{archive} cannot be read as the output of docker save")
    said = build.recipe if build else {}
    ref = given.get("ref") or (said.get("ref") or "" if source != Source.BUILD else "")

    if source == Source.REGISTRY and not ref:
        wrong("ref", "is missing", "source registry pulls it")
    if source == Source.BUILD and not build and not (recipe or context):
        wrong("source", "build has nothing to build", "name a recipe or a context")
    if source == Source.ARCHIVE and not archive:
        wrong("archive", "is missing", "source archive loads it")
    if archive and not ref:
        wrong("ref", "is missing", "it names the image in the archive")
    if archive and loaded and ref and loaded.refs and full(ref) not in {full(r) for r in loaded.refs}:
        wrong("ref", f"{ref} is not in {archive}", f"it holds {', '.join(loaded.refs)}")
    if source == Source.AUTO and not (ref or recipe or context or archive):
        wrong("", "has no source", "name a ref, a recipe, a context or an archive")
    if ref:
        try:
            parsed = reference(ref)
        except ValueError as error:
            wrong("ref", f"{ref}: {error}")
        else:
            if parsed.floating and source in (Source.REGISTRY, Source.AUTO) and not floats:
                wrong("ref", f"{ref} floats: it is another image tomorrow", "pin a tag or a digest, or allow_floating")

    args = {**(said.get("args") or {}), **(given.get("args") or {})}
    base = given.get("base") or said.get("base") or ""
    if build:
        known = {*build.args, *(said.get("args") or {})}
        for name in args:
            if name not in known and name.upper() not in PREDEFINED_ARGS:
                wrong(f"args.{name}", "is not an ARG of the Dockerfile", f"it has {', '.join(sorted(known)) or 'none'}")
        if base and "BASE_IMAGE" not in build.args:
            wrong(
                "base", f"{base} has no place in the Dockerfile", "start it with ARG BASE_IMAGE and FROM ${BASE_IMAGE}"
            )
        if given.get("keep_ca") and "KEEP_CA" not in build.args:
            wrong("keep_ca", "has no place in the Dockerfile", "only a Dockerfile with ARG KEEP_CA can keep the bundle")
    elif given.get("base"):
        wrong("base", "is given for an image that is not built")
    return Wanted(
        key=key,
        ref=ref,
        source=source,
        name=recipe or key,
        build=build,
        dockerfile=given.get("dockerfile") or "Dockerfile",
        args={name: str(value) for name, value in args.items()},
        target=given.get("target") or "",
        archive=loaded,
        archive_path=archive,
        base=base if build and source in (Source.BUILD, Source.AUTO) else "",
        always=given.get("pull") == "always",
        keep_ca=bool(given.get("keep_ca")),
        needs=tuple(said.get("needs") or ()),
        implied=implied,
    )


def attempts(wanted: Wanted, mirror: str = "") -> tuple[Attempt, ...]:
    """Every source of an image that is not there, in the order in which they are asked."""
    result = []
    if wanted.archive and wanted.source in (Source.ARCHIVE, Source.AUTO):
        result.append(Attempt("archive", wanted.archive_path))
    if wanted.ref and wanted.source in (Source.REGISTRY, Source.AUTO):
        if mirror and reference(wanted.ref).registry == "docker.io":
            result.append(Attempt("mirror", full(wanted.ref, mirror)))
        result.append(Attempt("registry", wanted.ref))
    if wanted.build and wanted.source in (Source.BUILD, Source.AUTO):
        result.append(
            Attempt("build", f"{wanted.name} from {'recipe' if wanted.build.recipe else 'context'} {wanted.name}")
        )
    return tuple(result)


def full(ref: str, mirror: str = "") -> str:
    """A reference with everything in it that is usually left out, or its name in a mirror."""
    parsed = reference(ref)
    parsed = parsed.mirrored(mirror) if mirror else parsed
    tag = f":{parsed.tag}" if parsed.tag else "" if parsed.digest else ":latest"
    return f"{parsed.registry}/{parsed.repository}{tag}" + (f"@{parsed.digest}" if parsed.digest else "")


def content_tag(wanted: Wanted, base_id: str, ca: str = "") -> str:
    """The name of a built image: the same files, arguments and base give the same name.

    `ca` is the bundle's hash; it counts only where the bundle stays in the image.
    """
    if not wanted.build:
        raise ValueError(f"{wanted.key} is not built")
    made_of = [
        wanted.build.id,
        sorted(wanted.args.items()),
        base_id,
        wanted.dockerfile,
        wanted.target,
        ca if wanted.keep_ca else "",
    ]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"{OWN_REGISTRY}/{wanted.name}:{digest[:12]}"


def build_args(wanted: Wanted, base: str) -> dict[str, str]:
    """The arguments of the build, only those that the Dockerfile declares or every Dockerfile knows."""
    args = dict(wanted.args)
    if base:
        args["BASE_IMAGE"] = base
    if wanted.keep_ca:
        args["KEEP_CA"] = "yes"
    known = wanted.build.args if wanted.build else ()
    return {name: value for name, value in args.items() if name in known or name.upper() in PREDEFINED_ARGS}


def bases(keys: Iterable[str], wanted: Mapping[str, Wanted]) -> tuple[str, ...]:
    """The images with these keys and everything below them, lowest first."""
    found: dict[str, None] = {}

    def add(key: str) -> None:
        if wanted[key].base:
            add(wanted[key].base)
        found.setdefault(key)

    for key in keys:
        add(key)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a source said no. `gone` says that the registry itself cannot be reached, whatever it is asked for."""

    words: str
    hint: str = ""
    gone: bool = False


_Row = tuple[str, str, str, bool]
"""part of the answer, what it means, what to do, whether the registry is gone"""

_FULL: _Row = (r"no space left on device", "the host's disk is full", "free space below the engine's data root", False)

_OF_REGISTRIES: tuple[_Row, ...] = (
    _FULL,
    (r"no such host|name resolution|server misbehaving", "its name is not known to DNS",
     "check the name and the host's resolver", True),
    (r"connection refused", "it refuses the connection", "check that the registry runs and the port is right", True),
    (r"network is unreachable|no route to host", "there is no route to it", "check the host's network and proxy", True),
    (r"timeout|timed out|deadline exceeded|request canceled", "it did not answer in time",
     "check the host's network, firewall and proxy", True),
    (r"http response to https client", "it speaks HTTP, not HTTPS",
     "give it TLS, or list it under insecure-registries in daemon.json", True),
    (r"x509|certificate", "its certificate is not trusted by the engine",
     "put the CA into /etc/docker/certs.d/<registry>/ca.crt", True),
    (r"toomanyrequests|too many requests|rate limit", "it has enough of this host for now",
     "log in with docker login, or use a mirror", False),
    (r"no matching manifest|does not match the specified platform", "it has the image for other platforms only",
     "take a reference that covers this host's architecture", False),
    (r"manifest unknown|manifest for .* not found|name unknown|does not exist|: not found$",
     "it has no such image or tag, or shows it to nobody without a login", "check the reference", False),
    (r"denied|unauthorized|authentication required|no basic auth|insufficient_scope", "it refuses access",
     "check the name, or docker login on the host as the user that deploys", False),
)  # fmt: skip

_OF_BUILDS: tuple[_Row, ...] = (
    _FULL,
    (r"temporary failure (in name )?resol|could not resolve|unable to resolve host", "a name was not known to DNS",
     "check the DNS servers of the engine's containers", False),
    (r"certificate_verify_failed|ssl certificate problem|unable to get local issuer|self.signed certificate",
     "a server's certificate was not trusted", "name the proxy's CA bundle: images_ca_bundle", False),
    (r"not known manifest|pull access denied|dial tcp|manifest for .* not found",
     "its FROM names an image that is not here", "name a base", False),
)  # fmt: skip


def reason(answer: str) -> Reason:
    """What the engine's answer about a registry means; the answer itself where we know nothing better."""
    return _reason(answer, _OF_REGISTRIES)


def build_reason(output: str) -> Reason:
    """What a build's last words mean; no words where we know nothing better."""
    found = _reason(output, _OF_BUILDS)
    return found if found.hint else Reason("")


def _reason(answer: str, rows: tuple[_Row, ...]) -> Reason:
    text = " ".join(answer.split())
    for pattern, words, hint, gone in rows:
        if re.search(pattern, text, re.IGNORECASE):
            return Reason(words, hint, gone)
    return Reason(text)


def refusal(failed: Mapping[str, Iterable[Attempt]], wanted: Mapping[str, Wanted]) -> str:
    """Every image that could not be had, with every source that was asked and what it said; bases that failed too."""
    asked = [key for key, entry in wanted.items() if not entry.implied]
    lines = [f"{len([key for key in asked if key in failed])} of {len(asked)} images could not be had:"]
    for key, tried in failed.items():
        what = [wanted[key].ref] if wanted[key].ref else []
        what += ["the base of others"] if wanted[key].implied else []
        lines.append(f"  {key}" + (f" ({', '.join(what)})" if what else ""))
        lines += ["    " + str(attempt).replace("\n", "\n    ") for attempt in tried]
    lines.append("The others are here, and no container was touched. Run it again when a source answers.")
    return "\n".join(lines)


def fell_back(wanted: Wanted, ref: str, tried: Iterable[Attempt]) -> str:
    """The loud word: what is used is not the image that was named."""
    asked = "; ".join(str(a) for a in tried if a.source in ("mirror", "registry"))
    return f"{wanted.key}: {ref} stands in for {wanted.ref}" + (f", which could not be had: {asked}" if asked else "")


def locked(lock: Json, wanted: Wanted) -> str:
    """The digest that this reference was pulled with before, so that the same image comes again."""
    entry = (lock.get("images") or {}).get(wanted.lock_key) or {}
    return str(entry.get("digest") or "") if entry.get("source") in ("registry", "mirror") else ""


def next_lock(
    lock: Json, had: Mapping[str, tuple[Image, str]], wanted: Mapping[str, Wanted], when: str
) -> dict[str, Any]:
    """The lock with what was just had, key -> (image, source). An entry that says the same keeps its time."""
    images = dict(lock.get("images") or {})
    for key, (image, source) in had.items():
        old = images.get(wanted[key].lock_key) or {}
        same = {"ref": image.ref, "digest": image.digest, "id": image.id}
        if any(old.get(name) != value for name, value in same.items()):
            images[wanted[key].lock_key] = {**same, "source": source, "when": when}
    return {"version": 1, "images": dict(sorted(images.items()))}
