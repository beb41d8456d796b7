# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Variables in Compose files: $V, ${V}, ${V:-default}, ${V:?why}, ${V:+instead}, these without the colon, and $$."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.nodes import plain

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATOR = re.compile(r":?[-?+]")

Refuse = Callable[[str, str], None]
"""called with the problem and the fix"""


def substitute(text: str, variables: Mapping[str, Any], refuse: Refuse) -> str:
    """The text with its variables put in. A variable that is not set is refused, and counts as empty."""
    out, at = [], 0
    while (dollar := text.find("$", at)) >= 0:
        out.append(text[at:dollar])
        value, at = _one(text, dollar + 1, variables, refuse)
        out.append(value)
    return "".join(out) + text[at:]


def _one(text: str, at: int, variables: Mapping[str, Any], refuse: Refuse) -> tuple[str, int]:
    """The value of what starts after a dollar sign, and where the rest of the text begins."""
    if text[at : at + 1] == "$":
        return "$", at + 1
    if text[at : at + 1] == "{":
        end = _closing(text, at)
        name = _NAME.match(text, at + 1)
        if end < 0:
            refuse(f"{text!r} has a ${{ that is never closed", "end the variable with }, or write $$ for a dollar sign")
            return "", len(text)
        if name:
            inner = text[name.end() : end]
            operator = _OPERATOR.match(inner)
            if not inner or operator:
                sign = operator[0] if operator else ""
                return _value(name[0], sign, inner[len(sign) :], variables, refuse), end + 1
        refuse(
            f"{text[at - 1 : end + 1]!r} is not a variable",
            "write ${NAME}, with :-, -, :?, ?, :+ or + after the name, or $$ for a dollar sign",
        )
        return "", end + 1
    if name := _NAME.match(text, at):
        return _value(name[0], "", "", variables, refuse), name.end()
    # as in Compose: a $ that starts no variable is a dollar sign
    return "$", at


def _value(name: str, sign: str, word: str, variables: Mapping[str, Any], refuse: Refuse) -> str:
    value = variables.get(name)
    there = value is not None and not (sign.startswith(":") and value == "")
    match sign[-1:]:
        case "+":
            return substitute(word, variables, refuse) if there else ""
        case "-":
            return plain(value) if there else substitute(word, variables, refuse)
        case "?" if not there:
            refuse(
                f"variable {name} is required: {substitute(word, variables, refuse) or 'it has no value'}",
                f"set {name}",
            )
        case _ if value is None:
            refuse(f"variable {name} is not set", f"set {name}, or give it a default: ${{{name}:-default}}")
    return "" if value is None else plain(value)


def _closing(text: str, at: int) -> int:
    """Index of the brace that closes the one at `at`, -1 where none does. Braces of a default count: ${V:-{}}."""
    depth = 0
    for index in range(at, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if not depth:
                return index
    return -1
