# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading a tree that somebody else wrote, with the path of everything that is wrong in it.

A key counts as known because some code asked for it, and `close` refuses all others: nothing is ignored by oversight.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from .. import durations
from ..model import Finding

T = TypeVar("T")
Number = TypeVar("Number", int, float)

_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "nothing"}
_TRUE = ("true", "yes", "y", "on")
_FALSE = ("false", "no", "n", "off")


def kind(value: object) -> str:
    """What a value is, in words for people who write YAML."""
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else _KINDS.get(type(value), type(value).__name__)


def plain(value: object) -> str:
    """A scalar as Compose turns it into text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return _written(value)
    return str(value)


def _written(number: float) -> str:
    """As Go prints it: 0.5, 100000, 1e+06."""
    digits = re.sub(r"e.*|[-.]", "", repr(number)).strip("0") or "0"
    scientific = f"{number:.{len(digits) - 1}e}"
    power = int(scientific.partition("e")[2])
    return scientific if not -4 <= power < 6 else f"{number:.{max(len(digits) - 1 - power, 0)}f}"


class Node:
    """One place in the tree. Readers return the default where nothing is given or where they refused."""

    __slots__ = ("_asked", "findings", "path", "value")

    def __init__(self, value: Any, path: str, findings: list[Finding]) -> None:
        self.value = value
        self.path = path
        self.findings = findings
        self._asked: dict[str, Node] = {}

    def refuse(self, problem: str, fix: str = "") -> None:
        self.findings.append(Finding(self.path, problem, fix))

    @property
    def given(self) -> bool:
        return self.value is not None

    # -- mappings ------------------------------------------------------------

    def _mapping(self) -> Mapping[Any, Any]:
        if self.value is None:
            return {}
        if not isinstance(self.value, Mapping):
            self.refuse(f"must be a mapping, not {kind(self.value)}")
            self.value = {}
        return self.value

    def has(self, key: str) -> bool:
        """Whether the key has a value; makes the key known."""
        return self.at(key).given

    def at(self, key: str) -> Node:
        """The value behind a key, the same node each time; makes the key known."""
        if key not in self._asked:
            path = f"{self.path}.{key}" if self.path else key
            self._asked[key] = Node(self._mapping().get(key), path, self.findings)
        return self._asked[key]

    def items(self) -> Iterator[tuple[str, Node]]:
        """All entries of a mapping with free keys."""
        for key in self._mapping():
            if isinstance(key, str):
                yield key, self.at(key)
            else:
                self.refuse(f"the key {key!r} must be text", f'write "{plain(key)}"')

    def close(self, reasons: Mapping[str, str] | None = None, extensions: bool = True) -> None:
        """Refuse each key that nobody asked for. `reasons` maps keys that people may expect to what to do instead.

        Such a key with nothing behind it is let through: `docker compose config` writes some of them.
        """
        for key, value in self._mapping().items():
            if key in self._asked or (extensions and str(key).startswith("x-") and key != "x-quaylock"):
                continue
            if reasons and key in reasons and value in (None, "", {}, []):
                continue
            at = Finding(f"{self.path}.{key}" if self.path else str(key), "", "")
            if key == "x-quaylock":
                problem, fix = "is read at the top and below a service", "move it to services.<name>.x-quaylock"
            elif reasons and key in reasons:
                problem, fix = "is not supported", reasons[key]
            else:
                known = list(self._asked)
                near = difflib.get_close_matches(str(key), known, 1, 0.6)
                problem = "is not a known key"
                fix = f"did you mean {near[0]}?" if near else "known here: " + ", ".join(sorted(known))
            self.findings.append(Finding(at.path, problem, fix))

    # -- lists ---------------------------------------------------------------

    def entries(self) -> list[Node]:
        if self.value is None:
            return []
        if not isinstance(self.value, (list, tuple)):
            self.refuse(f"must be a list, not {kind(self.value)}")
            return []
        entries = [Node(value, f"{self.path}[{index}]", self.findings) for index, value in enumerate(self.value)]
        for entry in entries:
            if not entry.given:
                entry.refuse("is empty", "write something, or drop the entry")
        return [entry for entry in entries if entry.given]

    def texts(self, single: bool = False, loose: bool = False) -> list[str]:
        """A list of texts; `single` lets one text stand for a list of one, `loose` is as in `text`."""
        if single and self.value is not None and not isinstance(self.value, (list, tuple, Mapping)):
            return [self.text(loose=loose)]
        return [entry.text(loose=loose) for entry in self.entries()]

    def pairs(self, blank: str | None = "") -> dict[str, str | None]:
        """A mapping, or a list of KEY=VALUE, as a mapping. `blank` is the value of a key that has none."""
        result: dict[str, str | None] = {}
        if isinstance(self.value, (list, tuple)):
            for entry in self.entries():
                key, equals, text = entry.text().partition("=")
                if not key:
                    entry.refuse("has no key", "write KEY=VALUE")
                result[key] = text if equals else blank
        elif self.value is not None:
            for name, entry in self.items():
                result[name] = entry.text(loose=True) if entry.given else blank
        return result

    def table(self) -> dict[str, str]:
        """A mapping of texts, which Compose does not take as a list."""
        return {name: entry.text(loose=True) for name, entry in self.items()}

    # -- scalars -------------------------------------------------------------

    def text(self, default: str = "", loose: bool = False) -> str:
        """Text; `loose` takes a number or a flag for its text, where Compose does."""
        if self.value is None:
            return default
        if isinstance(self.value, (Mapping, list, tuple)):
            self.refuse(f"must be text, not {kind(self.value)}")
            return default
        if not loose and not isinstance(self.value, str):
            self.refuse(f"must be text, not {kind(self.value)}", f'write "{plain(self.value)}"')
        return plain(self.value)

    def one_of(self, words: tuple[str, ...], default: str) -> str:
        word = self.text(default)
        if word not in words:
            self.refuse(f"{word!r} is not one of {', '.join(words)}", self._nearest(word, words))
            return default
        return word

    def flag(self, default: bool = False) -> bool:
        if self.value is None:
            return default
        word = str(self.value).lower()
        if not isinstance(self.value, (bool, str)) or word not in _TRUE + _FALSE:
            self.refuse(f"must be true or false, not {self._shown()}")
            return default
        return word in _TRUE

    def integer(self, default: int = 0, least: int | None = None, most: int | None = None) -> int:
        return self._bounded(self._scalar(_integer, default), default, least, most)

    def number(self, default: float = 0.0, least: float | None = None) -> float:
        return self._bounded(self._scalar(_number, default), default, least, None)

    def seconds(self, default: float = 0.0, least: float | None = 0.0) -> float:
        value = self._scalar(durations.seconds, default)
        if least is not None and value < least:
            self.refuse(f"{self.value} is too short", f"at least {durations.spoken(least)}")
            return default
        return value

    def size(self, default: int = 0) -> int:
        return self._scalar(durations.size, default)

    def _scalar(self, parse: Callable[[object], T], default: T) -> T:
        if self.value is None:
            return default
        if isinstance(self.value, (Mapping, list, tuple)):
            self.refuse(f"must be a single value, not {kind(self.value)}")
            return default
        try:
            return parse(self.value)
        except ValueError as wrong:
            self.refuse(str(wrong))
            return default

    def _bounded(self, number: Number, default: Number, least: Number | None, most: Number | None) -> Number:
        if self.value is None:
            return default
        if (least is not None and number < least) or (most is not None and number > most):
            limit = (
                f"at least {least}" if most is None else f"at most {most}" if least is None else f"{least} to {most}"
            )
            self.refuse(f"{self.value} is out of range", limit)
            return default
        return number

    def _shown(self) -> str:
        return kind(self.value) if isinstance(self.value, (Mapping, list, tuple)) else repr(self.value)

    @staticmethod
    def _nearest(word: str, words: tuple[str, ...]) -> str:
        near = difflib.get_close_matches(word, words, 1, 0.6)
        return f"did you mean {near[0]}?" if near else ""


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+", value.strip()):
        return int(value)
    raise ValueError(f"must be a whole number, not {value!r}")


def _number(value: object) -> float:
    if not isinstance(value, bool):
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError(f"must be a number, not {value!r}")
