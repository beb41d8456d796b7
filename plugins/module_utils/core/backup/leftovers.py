# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a backup that was killed left behind, by the journal's word: who still holds still, and what is still open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..model import Json
from .making import Still


@dataclass(frozen=True, slots=True)
class Left:
    """`still` were asked to hold still and did not go on by the journal's word; `opened` are items not let go of."""

    still: tuple[Still, ...] = ()
    opened: tuple[str, ...] = ()
    sealing: bool = False
    """the manifest may be in the repository, or not: only the repository knows"""


def left(entries: Iterable[tuple[str, Json]]) -> Left:
    """Read (what, details) of the journal, in their order. What was to be done may have been done."""
    still: dict[str, Still] = {}
    opened: dict[str, None] = {}
    sealing = False
    for what, details in entries:
        asked = details.get("do")
        if what == "do" and asked == "Quiesce":
            still[details["name"]] = Still(details["service"], details["name"], details.get("id", ""))
        elif what == "done" and asked == "Resume":
            still.pop(details["name"], None)
        elif what == "do" and asked == "Open":
            opened[details["item"]] = None
        elif what == "done" and asked == "Close":
            opened.pop(details["item"], None)
        elif what == "do" and asked == "Seal":
            sealing = True
    return Left(tuple(still.values()), tuple(opened), sealing)
