# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of KEY=VALUE lines, as Compose reads env_file, label_file and .env."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .interpolation import Refuse, substitute

_LINE = re.compile(r"\s*(?:export\s+)?(?P<key>[\w.\-\[\]]+)[ \t]*(?:(?P<sign>[=:])[ \t]*|(?=\r?\n|$|#))")
_SKIP = re.compile(r"(?:\s+|#[^\n]*)*")
_ESCAPED = re.compile(r"\\(?:0(?=[0-3][0-7]{2}))?([nrtabfv\\\"$]|(?<=0)[0-3][0-7]{2})")
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "$": "$$",
}


def pairs(text: str, variables: Mapping[str, Any], refuse: Refuse, raw: bool = False) -> dict[str, str]:
    """The values of a file. A key without `=` takes its value from `variables`, or is left out.

    Single quotes keep text as it is; other values may use variables and keys further up. `raw` takes them as they are.
    """
    if raw:
        return _raw(text, variables, refuse)
    result: dict[str, str] = {}
    at = _skipped(text, 0)
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        found = _LINE.match(text, at)
        if not found:
            refuse(f"line {line} is not KEY=VALUE: {text[at:].splitlines()[0]!r}", "start a comment with #")
            at = _skipped(text, _line_end(text, at))
            continue
        key, at = found["key"], found.end()
        if not found["sign"]:
            if variables.get(key) is not None:
                result[key] = str(variables[key])
        else:
            known = {**result, **{name: value for name, value in variables.items() if value is not None}}
            result[key], at = _value(text, at, line, known, _at_line(refuse, line))
        at = _skipped(text, at)
    return result


def _raw(text: str, variables: Mapping[str, Any], refuse: Refuse) -> dict[str, str]:
    """As `docker run --env-file` reads it: what stands after the first = is the value, quotes, spaces and all."""
    result: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        key, sign, value = line.removesuffix("\r").lstrip().partition("=")
        if (not key and not sign) or key.startswith("#"):
            continue
        if not key or any(c.isspace() for c in key):
            refuse(f"line {number} is not KEY=VALUE: {line.strip()!r}", "write KEY=VALUE without spaces before the =")
        elif sign:
            result[key] = value
        elif variables.get(key) is not None:
            result[key] = str(variables[key])
    return result


def _value(text: str, at: int, line: int, known: Mapping[str, Any], refuse: Refuse) -> tuple[str, int]:
    quote = text[at : at + 1]
    end = _line_end(text, at)
    if quote not in ('"', "'"):
        return substitute(text[at:end].split(" #")[0].rstrip(), known, refuse), end
    inner, at = [], at + 1
    while at < len(text) and text[at] != quote:
        if text[at] == "\\":
            inner.append(quote if text[at + 1 : at + 2] == quote == "'" else text[at : at + 2])
            at += 2
        else:
            inner.append(text[at])
            at += 1
    if at >= len(text):
        refuse(f"the quote of line {line} never closes", f"end the value with {quote}")
    value = "".join(inner)
    if quote == '"':
        value = _ESCAPED.sub(lambda found: _ESCAPES.get(found[1]) or chr(int(found[1], 8)), value)
        value = substitute(value, known, refuse)
    return value, at + 1


def _at_line(refuse: Refuse, line: int) -> Callable[[str, str], None]:
    return lambda problem, fix: refuse(f"line {line}: {problem}", fix)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _skipped(text: str, at: int) -> int:
    found = _SKIP.match(text, at)
    return found.end() if found else at
