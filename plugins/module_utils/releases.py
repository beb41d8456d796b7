# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kept releases on a host: their images and files stay, and all that a return needs is looked for before it begins."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .core import releases as core
from .core.compose import compose
from .core.compose.scope import Context
from .core.images import image_sources
from .core.model import Finding, Image, Invalid, Stack
from .core.releases import Release
from .journal import SqliteJournal
from .ports import Files, ImageStore, PortError


def read(release: Release) -> Stack:
    """The stack as it was released. Raises Invalid where this version refuses what an older one took."""
    context = {**release.model["context"], "profiles": tuple(release.model["context"]["profiles"])}
    return compose.read(release.stack, release.model["definition"], Context(**context))


def version(release: Release) -> core.Version:
    return core.Version(read(release), release.images)


def pinned(release: Release, stack: Stack) -> Mapping[str, Image]:
    """The exact images of a release, by the reference that its services name. A tag may have moved since."""
    found = {}
    for service in stack.services:
        known = release.images.get(service.image)
        if known:
            found[service.image] = Image(service.image, str(known["id"]), str(known.get("digest") or ""))
    return found


def lacking(release: Release, stack: Stack, images: ImageStore, files: Files) -> list[Finding]:
    """What of a release is gone and cannot be had again, so that it cannot be returned to."""
    found = []
    for ref, image in sorted(pinned(release, stack).items()):
        if images.image(image.id) is None and not image.digest:
            found.append(
                Finding(
                    f"images.{ref}",
                    f"{core.short(image.id)} of release {release.id} is not on this host any more, and no registry has"
                    " it under a digest",
                    "return to another release, or deploy that version again from its sources",
                )
            )
    found += [
        Finding(
            f"{f.kind}s.{f.key}",
            f"its content of release {release.id} is not on this host any more ({f.host_path})",
            "return to another release, or deploy that version again with its secrets",
        )
        for f in stack.files
        if not files.exists(f.host_path)
    ]
    return found


def others(releases: Iterable[Release], images: ImageStore, files: Files) -> Finding:
    """Which releases can be returned to, for whoever asked for one that cannot."""
    good = [r.id for r in releases if not problems(r, images, files)]
    return Finding("release", f"can be returned to: {', '.join(good) or 'none'}")


def problems(release: Release, images: ImageStore, files: Files) -> list[Finding]:
    try:
        return lacking(release, read(release), images, files)
    except Invalid as refused:
        return [Finding(f"release {release.id}.{f.path}", f.problem, f.fix) for f in refused.findings]


def contents(stack: Stack, files: Files) -> Mapping[str, bytes]:
    """Secrets and configs as they were kept on the host, by host path."""
    kept = {f.host_path: files.read(f.host_path) for f in stack.files if not f.external}
    return {path: content for path, content in kept.items() if content is not None}


def paths(releases: Iterable[Release]) -> frozenset[str]:
    """Host paths of the secrets and configs that kept releases mount."""
    found: set[str] = set()
    for release in releases:
        try:
            found |= {f.host_path for f in read(release).files}
        except Invalid:
            continue
    return frozenset(found)


def protect(images: ImageStore, stack: str, releases: Sequence[Release], removed: bool = False) -> list[str]:
    """Give the images of kept releases a name of ours, and let those go that no release needs: what went wrong.

    An image that we built ourselves (quaylock.local) is removed with its names when the last release that needs it is
    let go, unless a container uses it. A teardown (`removed`) leaves it, because it is often followed by a deploy.
    """
    wanted = core.tags(releases)
    notes: list[str] = []
    try:
        there = {tag: i for tag, i in images.tagged(core.REPOSITORY).items() if core.belongs(tag, stack)}
    except PortError as error:
        return [f"images of kept releases are not protected from docker image prune: {error}"]
    for tag, image in wanted.items():
        if there.get(tag) == image or images.image(image) is None:
            continue
        try:
            images.tag(image, tag)
        except PortError as error:
            notes.append(f"{core.short(image)} is not protected from docker image prune: {error}")
    for tag, image in there.items():
        if tag not in wanted:
            try:
                _let_go(images, tag, image, own=not removed)
            except PortError as error:
                notes.append(f"the image {core.short(image)} of a release that is not kept any more stays: {error}")
    return notes


def _let_go(images: ImageStore, tag: str, image: str, own: bool) -> None:
    names = [n for n in images.names(image) if n != tag]
    elsewhere = any(n.startswith(f"{core.REPOSITORY}:") for n in names)  # another stack keeps it
    if own and not elsewhere and not images.in_use(image):
        for name in (n for n in names if n.startswith(f"{image_sources.OWN_REGISTRY}/")):
            images.untag(name)
    images.untag(tag)


def listing(journal: SqliteJournal, stack: str, keep: int, images: ImageStore, files: Files) -> list[dict[str, Any]]:
    """The kept releases for people and for JSON, the serving one first."""
    found = []
    for place, release in enumerate(journal.releases(stack, keep)):
        missing = problems(release, images, files)
        found.append(
            {
                "id": release.id,
                "serving": place == 0,
                "at": stamp(release.at),
                "who": release.who,
                "commit": str(release.asked.get("commit", "")),
                "returned_to": release.returned_to,
                "restore_points": dict(release.points),
                "images": {
                    ref: str(entry.get("digest") or entry.get("id") or "") for ref, entry in release.images.items()
                },
                "can_be_returned_to": not missing,
                "missing": [str(f) for f in missing],
            }
        )
    return found


def stamp(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at else ""


def shown(release: Release) -> dict[str, Any]:
    """One release in full: who, from where, when, what. Values of environment variables are left out."""
    stack = read(release)
    return {
        "id": release.id,
        "at": stamp(release.at),
        "who": release.who,
        "asked": dict(release.asked),
        "restore_points": dict(release.points),
        "services": [
            {
                "name": s.name,
                "image": s.image,
                "digest": str((release.images.get(s.image) or {}).get("digest") or ""),
                "image_id": str((release.images.get(s.image) or {}).get("id") or ""),
                "replicas": 0 if s.one_shot else s.replicas,
                "one_shot": s.one_shot,
                "environment": sorted(str(e).partition("=")[0] for e in s.container.get("Env") or []),
                "networks": list(s.networks),
                "volumes": list(s.volumes),
                "routes": [f"{r.entrypoint} {r.host or '*'}{r.path} -> {r.port}" for r in s.routes],
            }
            for s in stack.services
        ],
        "files": [f"{f.kind} {f.key}" for f in stack.files],
        "members": {k: list(v) for k, v in release.committed.get("members", {}).items()},
    }
