# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build contexts, recipes and image archives as files: read, named by their content, packed.

The standard library alone: this runs on the controller too, where no docker SDK has to be.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from ..core.images.build_context import Entry, declared, fingerprint, ignore_rules, ignored
from ..core.images.image_sources import CA_FILE, Pack
from ..ports import PortError

SCRIPT = "base.sh"
RECIPE = "recipe.json"
_CHUNK = 1 << 20


def entries(root: str, dockerfile: str = "Dockerfile") -> list[Entry]:
    """The files that a build of this directory sees; the Dockerfile always, a recipe.json and a CA bundle never."""
    try:
        with open(os.path.join(root, ".dockerignore"), encoding="utf-8") as file:
            rules = ignore_rules(file.read())
    except FileNotFoundError:
        rules = ()
    return [
        _entry(root, path)
        for path in _files(root)
        if path == dockerfile or (path not in (RECIPE, CA_FILE) and not ignored(path, rules))
    ]


def _files(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        # a link to a directory is an entry, not a way into it
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(files + links):
            full = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(full).st_mode) or os.path.islink(full):
                yield os.path.relpath(full, root).replace(os.sep, "/")


def _entry(root: str, path: str) -> Entry:
    full = os.path.join(root, path)
    if os.path.islink(full):
        return Entry(path, os.readlink(full), link=True)
    digest = hashlib.sha256()
    with open(full, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return Entry(path, digest.hexdigest(), executable=bool(os.stat(full).st_mode & stat.S_IXUSR))


def context_pack(root: str, dockerfile: str = "Dockerfile") -> Pack:
    """A directory as something to build. Raises PortError where its Dockerfile is not there."""
    try:
        with open(os.path.join(root, dockerfile), encoding="utf-8") as file:
            text = file.read()
        said = read_dockerfile(text)
        return Pack(
            fingerprint(entries(root, dockerfile)),
            path=root,
            args=said.args,
            wants_ca=said.wants_ca,
            dockerfile=dockerfile,
        )
    except OSError as error:
        raise PortError(f"build context {root}: {error.strerror}: {error.filename}") from error


def read_dockerfile(text: str) -> Pack:
    """What a Dockerfile takes; its id is empty."""
    # "ca-bundle.cr[t]" is how a COPY speaks of a file that may not be there
    return Pack("", args=declared(text), wants_ca=any(name in text for name in (CA_FILE, f"{CA_FILE[:-1]}[")))


def recipe_pack(root: str) -> Pack:
    """A recipe: a recipe.json beside a Dockerfile or a base.sh, or one that is `like` another recipe."""
    try:
        with open(os.path.join(root, RECIPE), encoding="utf-8") as file:
            said: Mapping[str, Any] = json.load(file)
    except (OSError, ValueError) as error:
        raise PortError(f"recipe {root}: {RECIPE}: {error}") from error
    if like := str(said.get("like") or ""):
        return _variant(recipe_pack(os.path.join(os.path.dirname(root), like)), said)
    if not os.path.exists(os.path.join(root, SCRIPT)):
        pack = context_pack(root)
        return Pack(pack.id, path=root, args=pack.args, recipe=said, wants_ca=pack.wants_ca)
    return Pack(fingerprint(entries(root)), path=root, args=tuple(said.get("args") or ()), script=True, recipe=said)


def _variant(of: Pack, said: Mapping[str, Any]) -> Pack:
    """The same files with other arguments, another base or another name."""
    args = {**(of.recipe.get("args") or {}), **(said.get("args") or {})}
    own = {name: value for name, value in said.items() if name != "like"}
    return replace(of, recipe={**of.recipe, **own, "args": args})


def recipe_packs(folder: str, names: list[str]) -> dict[str, Pack]:
    """The recipes with these names and those that they are based on; a name that is no recipe is left out."""
    found: dict[str, Pack] = {}
    while names:
        name = names.pop()
        root = os.path.join(folder, name)
        if name in found or not name or os.sep in name or not os.path.isfile(os.path.join(root, RECIPE)):
            continue
        found[name] = recipe_pack(root)
        names.append(str(found[name].recipe.get("base") or ""))
    return found


def write_tar(root: str, file: BinaryIO, dockerfile: str = "Dockerfile") -> None:
    """The context as a tar: owned by root, modes 0644 and 0755.

    Times stay: web servers make ETags of them, and one time for all would make a changed file look unchanged.
    """
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries(root, dockerfile):
            info = tar.gettarinfo(os.path.join(root, entry.path), arcname=entry.path)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = int(info.mtime)
            if entry.link:
                tar.addfile(info)
                continue
            # a second hard link to a file would need the first one under its name
            info.type = tarfile.REGTYPE
            info.mode = 0o755 if entry.executable else 0o644
            with open(os.path.join(root, entry.path), "rb") as content:
                info.size = os.fstat(content.fileno()).st_size
                tar.addfile(info, content)


def with_file(tar_path: str, name: str, content: bytes) -> BinaryIO:
    """A copy of a tar, in memory or in a temporary file, with one file more."""
    copy = tempfile.SpooledTemporaryFile(max_size=32 * _CHUNK)  # noqa: SIM115
    with open(tar_path, "rb") as file:
        shutil.copyfileobj(file, copy)
    copy.seek(0)
    with tarfile.open(fileobj=copy, mode="a") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o644
        tar.addfile(info, io.BytesIO(content))
    copy.seek(0)
    return copy  # type: ignore[return-value]


def archive_pack(path: str) -> Pack:
    """The output of docker save: which images are in it. Raises PortError where it is something else."""
    try:
        with tarfile.open(path) as tar:
            manifest = index = None
            for member in tar:
                if member.name in ("manifest.json", "index.json"):
                    content = tar.extractfile(member)
                    read = json.loads(content.read()) if content else None
                    manifest, index = (read, index) if member.name == "manifest.json" else (manifest, read)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise PortError(f"image archive {path}: {error}") from error
    if not isinstance(manifest, list):
        raise PortError(f"image archive {path}: there is no manifest.json in it, so docker save did not write it")
    # an engine names an image by its configuration, one with containerd's store by its manifest
    ids = [os.path.basename(str(image.get("Config", ""))).removesuffix(".json") for image in manifest]
    ids += [str(m.get("digest", "")).removeprefix("sha256:") for m in (index or {}).get("manifests", ())]
    refs = [ref for image in manifest for ref in image.get("RepoTags") or ()]
    name = hashlib.sha256(json.dumps([sorted(ids), sorted(refs)]).encode()).hexdigest()
    return Pack(name, path=path, images=tuple(f"sha256:{i}" for i in ids if i), refs=tuple(refs))
