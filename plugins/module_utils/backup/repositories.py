# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's repositories: there, opened by its own password, and by one that the host does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..adapters.restic import Restic
from ..core.backup.repository import Repository
from ..core.backup.settings import Settings
from ..core.model import Finding, Invalid

RECOVERY, USER = "quaylock-recovery", "quaylock"
"""whose the second key is, by restic's own list of keys: the file with its password may be far away by then"""


def prepare(settings: Settings, recovery: str = "", dry: bool = False) -> dict[str, Any]:
    """Make what is missing. Raises Invalid and PortError, and makes nothing over what is there.

    A repository that has no recovery key yet is said to lack it; with a password in `recovery` it gets one.
    """
    places = {"repository": settings.repository}
    if settings.offsite is not None:
        places["offsite"] = settings.offsite
    if wrong := [f for name, place in places.items() for f in _same(name, place, recovery)]:
        raise Invalid(tuple(wrong))
    made: list[str] = []
    lacking: list[str] = []
    added: list[str] = []
    there = {name: Restic(place, settings.host, settings.restic) for name, place in places.items()}
    opened = {name: restic.opens() for name, restic in there.items()}  # all of them, before anything is made
    for name, restic in there.items():
        if not opened[name]:
            made.append(name)
            if not dry:
                restic.init()
        known = [] if dry and not opened[name] else restic.keys()
        if RECOVERY in [key.host for key in known]:
            continue
        if recovery:
            added.append(name)
            if not dry:
                restic.add_key(recovery, RECOVERY, USER)
        else:
            lacking.append(name)
    return {"changed": bool(made or added), "made": made, "recovery_added": added, "recovery_lacking": lacking}


def _same(name: str, place: Repository, recovery: str) -> list[Finding]:
    """A key that the host has is none that survives the host."""
    try:
        own = Path(place.password_file).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, ValueError) as error:
        what = f"{place.password_file} cannot be read: {type(error).__name__}"
        return [Finding(f"{name}.password_file", what, "let the role quaylock.stacks.backup write it")]
    if recovery and own == recovery:
        return [Finding("recovery", f"is the host's own password of the {name}", "choose another one")]
    return []
