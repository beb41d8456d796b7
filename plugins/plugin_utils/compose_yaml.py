# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""YAML as Compose reads it: `yes` and `22:22` are text, 0440 is octal, no key comes twice, !reset and !override."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml


class Reset:
    """What !reset leaves: the key goes, whatever earlier files said."""


@dataclass(frozen=True)
class Override:
    """What !override leaves: this value alone, not merged with earlier files."""

    value: Any


class BrokenYamlError(ValueError):
    """Says in which line and why."""


def documents(text: str) -> list[Any]:
    """All documents of a file. Raises BrokenYamlError."""
    try:
        # the loader below is PyYAML's safe one with other rules for plain words
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.constructor.ConstructorError as wrong:
        unknown = re.search(r"for the tag '([^']+)'", str(wrong.problem))
        if unknown:
            wrong.problem = f"the tag {unknown[1]} is not known; Compose has !reset and !override"
        raise BrokenYamlError(_placed(wrong)) from wrong
    except yaml.MarkedYAMLError as wrong:
        raise BrokenYamlError(_placed(wrong)) from wrong
    except (yaml.YAMLError, RecursionError) as wrong:
        raise BrokenYamlError(str(wrong)) from wrong


def _placed(wrong: yaml.MarkedYAMLError) -> str:
    mark = wrong.problem_mark or wrong.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + str(wrong.problem or wrong.context)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key, _value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                problem = f"the key {key.value!r} is already in line {seen[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen[key.value] = line
        return super().construct_mapping(node, deep)

    def integer(self, node: yaml.ScalarNode) -> int:
        text = str(node.value).replace("_", "")
        sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
        if re.fullmatch(r"0[0-7]+", digits):
            return sign * int(digits, 8)
        return sign * int(digits, 0)

    def marked(self, node: yaml.Node) -> Any:
        if node.tag == "!reset":
            return Reset()
        if isinstance(node, yaml.MappingNode):
            return Override(self.construct_mapping(node, deep=True))
        if isinstance(node, yaml.SequenceNode):
            return Override(self.construct_sequence(node, deep=True))
        resolver: Any = self
        tag = resolver.resolve(yaml.ScalarNode, node.value, (True, False))
        return Override(self.construct_object(yaml.ScalarNode(tag, node.value, node.start_mark, node.end_mark)))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)
_Loader.add_constructor("!reset", _Loader.marked)
_Loader.add_constructor("!override", _Loader.marked)
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [c.strip("\0") for c in _first]
    )
