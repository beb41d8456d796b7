# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A set read from the repository to its last byte, and compared with its manifest; nothing is restored."""

from __future__ import annotations

import tempfile
from typing import Any

from ..core.backup.manifest import Part, Taken, differences
from ..ports import PortError
from .extract import LATEST, found
from .vault import Vault


def verify(vault: Vault, stack: str, wanted: str = LATEST) -> dict[str, Any]:
    """Tell what of a set is not as it was written. Raises Invalid where there is no such set."""
    manifest = found(vault, stack, wanted)
    lost: list[str] = []
    with tempfile.TemporaryDirectory(prefix="quaylock-verify.") as folder, vault.anew(f"{folder}/anew") as anew:
        try:
            anew.reread(manifest)
        except PortError as error:
            lost.append(f"  why     manifest: {error}")
        differ = {taken.name: _differs(anew, taken) for taken in manifest.items}
    items = [{"name": t.name, "ok": not differ[t.name], "said": "; ".join(differ[t.name])} for t in manifest.items]
    answer: dict[str, Any] = {"changed": False, "set": manifest.id, "items": items, "notes": []}
    bad = lost + [f"  why     {name}: {text}" for name, said in differ.items() for text in said]
    if not bad:
        return {**answer, "outcome": "whole"}
    lines = [f"{stack}: set {manifest.id} is not in the repository as it was written", *bad]
    lines.append("  next    make a new set, and look at the repository: restic check --read-data")
    return {**answer, "outcome": "damaged", "failed": True, "msg": "\n".join(lines)}


def _differs(vault: Vault, taken: Taken) -> list[str]:
    found: list[str] = []
    for part in taken.parts:
        try:
            there = vault.repository.read_back(part)
        except PortError as error:
            found.append(str(error))
        else:
            # rows are counted by who restores it
            found += differences([Part(part.path, part.size, part.sha256, files=part.files)], [there])
    return found
