# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the tables of docs/compose.md from the lists that the tests hold true. `--check` only compares.

What is refused is asked of the reader itself, so the page says what a user will read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.quaylock.stacks.tests.fixtures.compose_corpus import cases, differences
from ansible_collections.quaylock.stacks.tests.fixtures.compose_keys import SERVICE, Row, rows

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compose.md"
BEGIN, END = "<!-- BEGIN KEYS -->", "<!-- END KEYS -->"


def short(key: str) -> str:
    return f"`{key.removeprefix(SERVICE)}`"


def plain_keys(found: list[Row]) -> Iterator[str]:
    """The keys that mean what Compose says, those of one mapping together."""
    groups: dict[str, list[str]] = {}
    for row in found:
        head, _dot, rest = row.key.removeprefix(SERVICE).replace("[]", "").partition(".")
        groups.setdefault(head, []).append(rest.removeprefix("*.") or "")
    for head, rest in sorted(groups.items()):
        inner = ", ".join(name for name in rest if name)
        yield f"`{head}`" + (f" ({inner})" if inner else "")


def table(head: str, lines: Iterator[tuple[str, str]]) -> list[str]:
    return [f"| {head} |", "| --- | --- |", *(f"| {key} | {escaped(text)} |" for key, text in lines), ""]


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def refusal(row: Row) -> str:
    said = next(iter(row.refusals()), None)
    if said is None:
        raise SystemExit(f"{row.key} is not refused; move it in tests/fixtures/compose/keys.yaml")
    return said.fix if said.problem == "is not supported" else f"{said.problem}: {said.fix}"


def tables() -> str:
    read = rows("read")
    services = [row for row in read if row.key.startswith(SERVICE)]
    tops = [row for row in read if not row.key.startswith(SERVICE)]
    parts = ["### Read, and meaning what Compose says", ""]
    parts += ["Of a service: " + ", ".join(plain_keys([row for row in services if not row.note])) + ".", ""]
    parts += ["At the top: " + ", ".join(plain_keys([row for row in tops if not row.note])) + ".", ""]
    parts += ["### Read, and worth a word", ""]
    parts += table("key | here", ((short(row.key), row.note) for row in read if row.note))
    parts += ["### Taken, and without effect", ""]
    parts += table("key | why", ((short(row.key), row.note) for row in rows("idle")))
    parts += ["### Refused", ""]
    parts += table("key | the way out", ((short(row.key), refusal(row)) for row in rows("refused")))
    parts += ["### Where `docker compose config` says something else", ""]
    parts += [f"Compared key by key over {len(cases())} sets of files.", ""]
    parts += table("key | why", ((f"`{entry['key']}`", " ".join(entry["why"].split())) for entry in differences()))
    return "\n".join(parts).rstrip()


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    made_now = f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"
    if made_now == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/compose.md is not what the lists say: run make docs")
        return 1
    PAGE.write_text(made_now, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
