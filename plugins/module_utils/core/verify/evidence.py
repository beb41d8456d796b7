# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is kept of a verification, and what people read of it: short, and without the contents of secrets."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..checks import asked
from .verifying import Result, Verification

SHOWN = 2000
"""characters of an output that are kept"""
BLACK = "********"
LEAST = 3
"""a secret that is shorter would blacken everything"""
LAST = 12
"""lines of an output in a message; the answer has more"""
VERIFIED, FAILED = "verified", "failed"


def redacting(secrets: Iterable[bytes]) -> Callable[[str], str]:
    """Blackens contents of secrets wherever they stand, also as base64, in an URL, and in JSON."""
    words: set[str] = set()
    for content in secrets:
        text = content.decode(errors="replace").strip()
        for word in {text, *text.splitlines()}:
            if len(word) >= LEAST:
                encoded = base64.b64encode(word.encode()).decode()
                words |= {word, *_in_an_address(word), json.dumps(word)[1:-1], encoded}
    ordered = sorted(words, key=len, reverse=True)

    def redacted(text: str) -> str:
        for word in ordered:
            text = text.replace(word, BLACK)
        return text

    return redacted


_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def _in_an_address(word: str) -> tuple[str, str]:
    """As it stands in an URL, and in a form."""
    quoted = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in word.encode())
    return quoted, quoted.replace("%20", "+")


def shortened(text: str) -> str:
    """Its beginning and, mostly, its end: that is where programs say why."""
    if len(text) <= SHOWN:
        return text
    head = SHOWN // 4
    return f"{text[:head]}\n... {len(text) - SHOWN} characters ...\n{text[head - SHOWN :]}"


def clean(text: str) -> str:
    """Without what steers a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def shown(result: Result, redacted: Callable[[str], str]) -> dict[str, Any]:
    """One result for the journal and the module's answer."""
    return {
        "name": result.check.name,
        "kind": type(result.check.ask).__name__.lower(),
        "outcome": result.outcome,
        "asked": clean(redacted(asked(result.check.ask)))[:SHOWN],
        "said": clean(redacted(result.problem))[:SHOWN],
        "output": shortened(clean(redacted(result.output))),
        "values": {name: redacted(text) for name, text in result.values.items()},
        "seconds": round(result.seconds, 1),
        "tries": result.tries,
    }


def record(
    id_: str, release: str, state: Verification, redacted: Callable[[str], str], began: float, ended: float
) -> dict[str, Any]:
    """The whole of it. `began` and `ended` are in seconds since the epoch."""
    checks = [shown(state.results[check.name], redacted) for check in state.plan.checks]
    failed = [check["name"] for check in checks if check["outcome"] != "passed"]
    return {
        "id": id_,
        "release": release,
        "outcome": FAILED if failed else VERIFIED,
        "began": began,
        "at": ended,
        "seconds": round(ended - began, 1),
        "checks": checks,
        "failed_checks": failed,
    }


def summary(verification: Mapping[str, Any]) -> str:
    """In a few words: verified: 7 checks."""
    count = len(verification["checks"])
    failed = len(verification["failed_checks"])
    words = "1 check" if count == 1 else f"{count} checks"
    return f"NOT verified: {failed} of {words} failed" if failed else f"verified: {words}"


def lines(verification: Mapping[str, Any]) -> list[str]:
    """The evidence of what failed, for people; what was not asked is told in one line."""
    found = []
    for check in verification["checks"]:
        if check["outcome"] == "passed":
            continue
        if not check["tries"]:
            found.append(f"{check['name']}: {check['outcome']}: {check['said']}")
            continue
        tries = f", {check['tries']} tries" if check["tries"] > 1 else ""
        found.append(f"{check['name']}: {check['asked']} -> {check['said']} ({check['seconds']} s{tries})")
        found += [f"  {line}" for line in check["output"].splitlines()[-LAST:]]
    return found


def failure_text(name: str, verification: Mapping[str, Any], ended: str, serving: str, again: str) -> str:
    """What did not pass with its evidence, what serves now, what to do next. `ended` is what became of the release."""
    failed, count = len(verification["failed_checks"]), len(verification["checks"])
    became = f"release {verification['release']} {ended}: " if ended else f"release {verification['release']}: "
    text = [f"{name}: {became}{failed} of {count} checks of its verification did not pass"]
    text += [f"  check   {line}" if not line.startswith(" ") else f"          {line}" for line in lines(verification)]
    text.append("  now     " + "\n          ".join(serving.splitlines()))
    text.append("  next    " + "\n          ".join(again.splitlines()))
    return "\n".join(text)
