# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole sets in another repository, under another password: a set is there, or nothing of it counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..core.backup.manifest import Manifest, placed
from ..core.backup.repository import Snapshot
from ..ports import PortError
from .vault import PROOF, Vault


def copy(vault: Vault, there: Vault, stack: str, dry: bool = False) -> dict[str, Any]:
    """Have every set of the stack there as well, the oldest first. What is there already is not read again.

    The snapshots of a set's data go first, and its manifest goes only when all of them are there: whoever is killed on
    the way leaves snapshots that no set points to, and the next copy goes on with them. Raises PortError.
    """
    here = vault.sealed(stack)
    known = {manifest.id for _snapshot, manifest in there.sealed(stack)}
    missing = [each for each in reversed(here) if each[1].id not in known]
    proofs = [s for s in vault.snapshots(stack) if PROOF in s.tags]
    new = {s.original or s.id: s.id for s in proofs}.keys() - _origins(there, stack).values()
    answer: dict[str, Any] = {"changed": bool(missing or new), "sets": [manifest.id for _snapshot, manifest in missing]}
    if dry:
        return {**answer, "outcome": "planned"}
    vault.repository.unlock()
    there.repository.unlock()
    origins = _origins(vault, stack)
    for sealed, manifest in missing:
        _copied(vault, there, sealed, manifest, origins)
    # what drills said of a set is kept beside it: retention there asks for it, too
    there.repository.copy(vault.repository.repository, [s.id for s in proofs if (s.original or s.id) in new])
    wanted = {origins[id] for _snapshot, m in here for id in m.snapshots if id in origins}  # noqa: A001
    there.repository.forget(_strays(there, stack, wanted))
    return {**answer, "outcome": "copied"}


def _copied(vault: Vault, there: Vault, sealed: Snapshot, manifest: Manifest, origins: Mapping[str, str]) -> None:
    if lost := manifest.snapshots - origins.keys():
        raise PortError(f"set {manifest.id} lacks {_named(lost)} of its own snapshots, and is not copied")
    wanted = {origins[id]: id for id in manifest.snapshots}  # noqa: A001
    gone = wanted.keys() - _origins(there, manifest.stack).values()
    there.repository.copy(vault.repository.repository, [wanted[origin] for origin in gone])
    moved = {origin: id for id, origin in _origins(there, manifest.stack).items()}  # noqa: A001
    if lacking := wanted.keys() - moved.keys():
        raise PortError(f"set {manifest.id}: restic said that it copied {_named(lacking)}, and they are not there")
    there.repository.copy(vault.repository.repository, [sealed.id])
    found = next((m for m in there.sets(manifest.stack) if m.id == manifest.id), None)
    if found != placed(manifest, {id: moved[origin] for origin, id in wanted.items()}):  # noqa: A001
        raise PortError(f"set {manifest.id} is not off-site what it is here")


def _named(snapshots: Collection[str]) -> str:
    return ", ".join(sorted(id[:8] for id in snapshots))  # noqa: A001


def _origins(vault: Vault, stack: str) -> dict[str, str]:
    """Id -> the id that it was made with, of every snapshot of the stack."""
    return {snapshot.id: snapshot.original or snapshot.id for snapshot in vault.snapshots(stack)}


def _strays(there: Vault, stack: str, wanted: Collection[str]) -> list[str]:
    """What no set points to, neither there nor here: the rest of a copy whose set is gone meanwhile."""
    left = there.leftovers(stack)
    origins = _origins(there, stack) if left else {}
    return [id for id in left if origins.get(id) not in wanted]  # noqa: A001
