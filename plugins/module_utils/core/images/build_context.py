# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a directory a build sees, and what that is called. Paths are relative, with slashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

Rule = tuple[bool, "re.Pattern[str]"]
"""(keeps, pattern): a line of .dockerignore; the last one that fits a path decides"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or symbolic link of a context. `content` is a SHA-256 in hex, or the target of a link."""

    path: str
    content: str
    executable: bool = False
    link: bool = False


def ignore_rules(text: str) -> tuple[Rule, ...]:
    """Read a .dockerignore: Go's filepath.Match per path element, `**` for any number of them, `!` takes back."""
    rules = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        keeps = line.startswith("!")
        pattern = "/".join(part for part in line.lstrip("!").strip().split("/") if part not in ("", "."))
        if pattern:
            rules.append((keeps, re.compile(_expression(pattern))))
    return tuple(rules)


def ignored(path: str, rules: Iterable[Rule]) -> bool:
    """Whether a file stays out; a rule that fits one of its directories fits it too."""
    parts = path.split("/")
    prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    out = False
    for keeps, pattern in rules:
        if any(pattern.fullmatch(prefix) for prefix in prefixes):
            out = not keeps
    return out


def _expression(pattern: str) -> str:
    result, at = "", 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**/"):
            result, at = result + "(?:.*/)?", at + 3
        elif rest.startswith("**"):
            result, at = result + ".*", at + 2
        elif rest[0] == "*":
            result, at = result + "[^/]*", at + 1
        elif rest[0] == "?":
            result, at = result + "[^/]", at + 1
        elif rest[0] == "[" and "]" in rest[1:]:
            end = rest.index("]", 1)
            result, at = result + "[" + rest[1:end].replace("\\", "\\\\") + "]", at + end + 1
        elif rest[0] == "\\" and len(rest) > 1:
            result, at = result + re.escape(rest[1]), at + 2
        else:
            result, at = result + re.escape(rest[0]), at + 1
    return result


def fingerprint(entries: Iterable[Entry]) -> str:
    """SHA-256 over names, content and executable bits: not over times, owners or the place."""
    rows = sorted([e.path, e.content, e.executable, e.link] for e in entries)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def declared(dockerfile: str) -> tuple[str, ...]:
    """The names that a Dockerfile takes as ARG."""
    return tuple(dict.fromkeys(re.findall(r"^\s*ARG\s+([A-Za-z_]\w*)", dockerfile, re.MULTILINE | re.IGNORECASE)))
