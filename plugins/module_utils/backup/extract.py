# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Items of a set as files in a folder of this host, each compared with the manifest: what is there, is right."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..adapters import moving, trees
from ..core.backup.manifest import Manifest, Part, Taken
from ..core.model import Finding, Invalid
from ..ports import PortError
from .measured import pieces
from .vault import Vault

LATEST = "latest"
DRAFT = ".partial-"
"""begins the name of an item's folder while it is not whole"""


def found(vault: Vault, stack: str, wanted: str) -> Manifest:
    """The set that is meant: this host's newest, or whichever is named. Raises Invalid with what is there."""
    return chosen(stack, wanted, vault.offered(stack, "" if wanted == LATEST else wanted))


def chosen(stack: str, wanted: str, sets: Sequence[Manifest]) -> Manifest:
    """The set that is meant, from those that are there, the newest first. Raises Invalid with what is there."""
    if not sets:
        raise Invalid((Finding("set", f"{stack} has no set in this repository", "back it up"),))
    if wanted == LATEST:
        return sets[0]
    for manifest in sets:
        if manifest.id == wanted:
            return manifest
    there = ", ".join(m.id for m in sets[:20])
    raise Invalid((Finding("set", f"{stack} has no set {wanted!r}", f"there are, newest first: {there}"),))


def extract(
    vault: Vault, stack: str, wanted: str, items: Collection[str], to: str, dry: bool = False
) -> dict[str, Any]:
    """Put items (none named: all) into folders of `to` that are named after them.

    Raises Invalid, before anything is written, for an item that the set does not have and for a folder that is taken;
    PortError for what is not what the manifest says, of which nothing stays.
    """
    manifest = found(vault, stack, wanted)
    names = [taken.name for taken in manifest.items]
    wrong = [
        Finding(f"items.{name}", f"set {manifest.id} has no such item", f"it has: {', '.join(names)}")
        for name in items
        if name not in names
    ]
    taken = [t for t in manifest.items if not items or t.name in items]
    wrong += [
        Finding("to", f"{posixpath.join(to, t.name)} is there already", "name another folder, or move it away")
        for t in taken
        if os.path.lexists(os.path.join(to, t.name))
    ]
    if wrong:
        raise Invalid(tuple(wrong))
    answer = {"set": manifest.id, "at": manifest.at, "items": [_shown(t, to) for t in taken]}
    if dry:
        return {"changed": True, "outcome": "planned", **answer}
    for item in taken:
        extracted(vault, manifest, item, Path(to))
    return {"changed": True, "outcome": "restored", **answer}


def _shown(taken: Taken, to: str) -> dict[str, Any]:
    return {"name": taken.name, "type": taken.kind, "size": taken.size, "path": posixpath.join(to, taken.name)}


def extracted(vault: Vault, manifest: Manifest, taken: Taken, to: Path) -> None:
    """Whole under its own name, or not there at all."""
    draft = to / f"{DRAFT}{taken.name}"
    try:
        shutil.rmtree(draft, ignore_errors=True)  # what an earlier run left
        draft.mkdir(parents=True, mode=0o700)
        for part in taken.parts:
            if part.files:
                tree(vault, part, draft if len(taken.parts) == 1 else draft / "files")
            else:
                stream(vault, part, draft / name_of(manifest.stack, taken, part))
        draft.rename(to / taken.name)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            raise PortError(f"restoring {taken.name} to {to}: {error}") from error
        raise


def name_of(stack: str, taken: Taken, part: Part) -> str:
    """A stream's file, without the stack and the item that begin its name in the repository."""
    name = part.path.removeprefix(f"/{stack}.{taken.name}.")
    return f"{taken.name}.{name}" if "." not in name else name


def stream(vault: Vault, part: Part, path: Path) -> None:
    with open(path, "xb", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        for piece in pieces(vault.repository, part):
            file.write(piece)


def tree(vault: Vault, part: Part, folder: Path) -> Path:
    """A folder, or a file in the `folder`; which of them it is. Raises PortError where it is not as it was."""
    vault.repository.restore_tree(part.snapshot, part.path, str(folder))
    alone = folder / posixpath.basename(part.path)
    for place in (folder, alone) if part.files == 1 and alone.is_file() else (folder,):
        there = trees.digest_of(str(place))
        if (there.size, there.files, there.sha256) == (part.size, part.files, part.sha256):
            return place
    raise PortError(f"{part.path} was restored with {there.files} files and {there.size} bytes, and not as it was")


def named(vault: Vault, part: Part, place: Path) -> None:
    """A tree under a name of its own, be it a folder or a file. Nothing may be there."""
    folder = Path(aside(str(place)))
    moving.remove(str(folder))
    found = tree(vault, part, folder)
    found.rename(place)
    if found != folder:
        folder.rmdir()


def aside(place: str) -> str:
    """Where a tree is until it is whole."""
    return f"{place}.folder"
