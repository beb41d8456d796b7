# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the table of each role's variables into its README, from its argument_specs. `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- BEGIN ARGUMENTS -->", "<!-- END ARGUMENTS -->"


def plain(text: object) -> str:
    """Ansible's markup as Markdown, on one line, safe in a table."""
    sentences = [str(part).strip() for part in text] if isinstance(text, list) else [str(text).strip()]
    joined = " ".join(" ".join(sentences).split())
    joined = re.sub(r"\b[VOC]\(([^)]*)\)", r"`\1`", joined)
    return joined.replace("|", "\\|")


def default_of(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    if "default" not in option:
        return ""
    value = option["default"]
    shown = value if isinstance(value, str) and value else json.dumps(value)
    return "`" + " ".join(str(shown).split()).replace("|", "\\|") + "`"


def rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, option in options.items():
        kind = option.get("type", "str")
        if option.get("elements"):
            kind += f" of {option['elements']}"
        meaning = plain(option["description"])
        if option.get("choices"):
            meaning += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        yield f"| `{prefix}{name}` | {kind} | {default_of(option)} | {meaning} |"
        inner = f"{prefix}{name}[]." if option.get("elements") == "dict" else f"{prefix}{name}."
        yield from rows(option.get("options") or {}, inner)


def table(specs: Mapping[str, Any]) -> str:
    parts = []
    for entry, spec in specs.items():
        if entry != "main":
            parts.append(f"Entry point `{entry}`: {plain(spec['short_description'])}\n")
        parts.append("| variable | type | default | meaning |\n| --- | --- | --- | --- |")
        parts += rows(spec.get("options") or {})
        parts.append("")
    return "\n".join(parts).rstrip()


def updated(readme: str, specs: Mapping[str, Any]) -> str:
    """The README with its table renewed. Raises ValueError where the marks are missing."""
    before, mark, rest = readme.partition(BEGIN)
    _until, closing, after = rest.partition(END)
    if not mark or not closing:
        raise ValueError(f"no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{table(specs)}\n\n{END}{after}"


def main(check: bool) -> int:
    stale = 0
    for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        readme = path.parent.parent / "README.md"
        where = readme.relative_to(ROOT)
        specs = yaml.safe_load(path.read_text())["argument_specs"]
        if not readme.exists():
            print(f"{where}: missing")
            stale += 1
            continue
        present = readme.read_text()
        try:
            wanted = updated(present, specs)
        except ValueError as problem:
            print(f"{where}: {problem}")
            stale += 1
            continue
        if wanted != present:
            print(f"{where}: {'is not what argument_specs says; next: make docs' if check else 'written'}")
            stale += 1
            if not check:
                readme.write_text(wanted)
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(bool(main("--check" in sys.argv[1:])))
