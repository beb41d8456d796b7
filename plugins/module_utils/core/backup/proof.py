# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a drill found out about a set: it was restored, compared and healthy, or it was not. Kept beside the set."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .manifest import LEAP, Unreadable

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, as item database or service db. `said` is the evidence, or why it failed."""

    what: str
    ok: bool
    said: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """One drill of one set. All times in seconds: `at` since the epoch, when it ended.

    `rto` is how long it took from the repository to services that are healthy; `rpo` how old the set was when the
    drill began, which is what a disaster at that moment would have lost.
    """

    set: str
    stack: str
    host: str
    at: float
    ok: bool
    rto: float = 0.0
    rpo: float = 0.0
    checks: tuple[Check, ...] = ()
    who: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        return tuple(f"{check.what}: {check.said}" for check in self.checks if not check.ok)


def written(proof: Proof) -> bytes:
    return json.dumps({"format": FORMAT, **asdict(proof)}, indent=1, sort_keys=True).encode() + b"\n"


def read(content: bytes) -> Proof:
    """Raises Unreadable with what is wrong."""
    try:
        found: dict[str, Any] = json.loads(content)
        version = found.pop("format")
        if version != FORMAT:
            raise Unreadable(f"the proof has format {version}, and this version of Quaylock knows {FORMAT}")
        return Proof(checks=tuple(Check(**check) for check in found.pop("checks")), **found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"this is not a proof: {type(error).__name__}: {error}") from error


def last_words(proofs: Iterable[Proof], now: float) -> dict[str, Proof]:
    """Set -> its newest drill. One from the future is none: it would have the last word for ever."""
    last: dict[str, Proof] = {}
    for proof in sorted(proofs, key=lambda proof: proof.at):
        if proof.at <= now + LEAP:
            last[proof.set] = proof
    return last


def proven(proofs: Iterable[Proof], now: float) -> dict[str, float]:
    """Set -> when it was proven. The last word counts: a set that failed its newest drill is not proven any more."""
    return {name: proof.at for name, proof in last_words(proofs, now).items() if proof.ok}
