# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""YAML for people without a YAML library on the host: block style, strings quoted as JSON does (which is YAML too)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""what JSON leaves as it is, but YAML does not take or reads as the end of a line"""
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def dump(value: Mapping[str, Any]) -> str:
    """A mapping of JSON values, keys in their own order."""
    return "\n".join(_block(value, "")) + "\n"


def _block(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(f"{indent}{_scalar(str(key))}:", item, indent + "  ")
    else:
        for item in value:
            lines = list(_block(item, indent + "  ")) if _nests(item) else [indent + "  " + _scalar(item)]
            yield f"{indent}- {lines[0][len(indent) + 2 :]}"
            yield from lines[1:]


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    if _nests(item):
        yield head
        yield from _block(item, indent)
    else:
        yield f"{head} {_scalar(item)}"


def _nests(value: Any) -> bool:
    return bool(value) and isinstance(value, (Mapping, Sequence)) and not isinstance(value, (str, bytes))


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))
