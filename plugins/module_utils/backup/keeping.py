# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Retention, carried out: sets that nobody needs any more go, and what only they held goes with them."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection
from typing import Any

from ..adapters.local import locked
from ..core.backup.manifest import Manifest
from ..core.backup.proof import proven
from ..core.backup.retention import Fate, Kept, Rule, retention
from ..journal import SqliteJournal
from ..ports import PortError
from ..request import Request
from .vault import Vault

_ROLLOUT = re.compile(r"r-\d{8}-\d{6}-[0-9a-f]{4}")
"""what a rollout, and the release that it made, is called"""


def fates(vault: Vault, stack: str, rule: Rule, now: float, releases: Collection[str] = ()) -> tuple[Fate, ...]:
    """What becomes of each set of a stack, and why; the newest first. `releases` are those that can be returned to."""
    when = proven(vault.proofs(stack), now)
    return retention([_kept(m, when.get(m.id, 0.0), releases) for m in vault.sets(stack)], rule, now)


def _kept(manifest: Manifest, proven: float, releases: Collection[str]) -> Kept:
    """What is pinned to a release is let go with it."""
    needs = frozenset(taken.set for taken in manifest.items if taken.set)
    pinned = manifest.pinned
    if _ROLLOUT.fullmatch(pinned) and pinned not in releases:
        pinned = ""
    return Kept(manifest.id, manifest.stack, manifest.at, proven, pinned, needs)


def keep(request: Request, vault: Vault, rule: Rule, dry: bool = False) -> dict[str, Any]:
    """Remove what the rule lets go. Raises PortError where the repository cannot be used.

    A run that is killed in between leaves snapshots of no set, or content of no snapshot: the next one takes them.
    """
    with locked(request.locks, request.name, request.who, request.wait):
        with contextlib.closing(SqliteJournal(request.journal_path)) as journal:
            releases = [release.id for release in journal.releases(request.name, request.releases_kept)]
        decided = fates(vault, request.name, rule, time.time(), releases)
        gone = [fate.set.id for fate in decided if not fate.stays]
        answer: dict[str, Any] = {
            "changed": bool(gone),
            "outcome": "planned" if dry else "kept",
            "fates": [{"id": fate.set.id, "stays": fate.stays, "why": fate.why} for fate in decided],
            "notes": [],
        }
        if not gone or dry:
            return answer
        vault.repository.unlock()
        vault.drop(gone, request.name)
        try:
            vault.repository.prune()
        except PortError as error:
            # the sets are gone; their content is taken by the next one
            answer["notes"].append(f"what the sets held is still in the repository: {error}")
        return answer
