# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python -m tests.faults: every command x every fault on a real engine; prints the matrix, fails where a cell does."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import Any

from .host import ROOT, Machine
from .matrix import COLUMNS, ROWS, Field

RESULTS = ROOT / "build" / "faults" / "matrix.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--columns", default=",".join(COLUMNS), help="faults, separated by commas")
    parser.add_argument("--rows", default="", help="a regular expression that chooses commands")
    parser.add_argument("--minutes", type=float, default=600, help="begin no cell after so long")
    parser.add_argument(
        "--more", action="store_true", help="keep the results there are, and do what is missing or failed"
    )
    given = parser.parse_args()
    columns = given.columns.split(",")
    if unknown := [c for c in columns if c not in COLUMNS]:
        parser.error(f"no fault {', '.join(unknown)}; there are: {', '.join(COLUMNS)}")
    results: dict[str, dict[str, Any]] = {}
    if given.more and RESULTS.exists():
        results = json.loads(RESULTS.read_text())
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * given.minutes
    machine = Machine()
    try:
        machine.start()
        usual, small = Field(machine, f"{machine.name}-usual"), Field(machine, f"{machine.name}-small", small=True)
        for turn, (column, row) in enumerate((c, r) for c in columns for r in ROWS if re.search(given.rows, str(r))):
            key = f"{row} | {column}"
            if time.monotonic() > until or results.get(key, {}).get("wrong") == []:
                continue
            field, other = (small, usual) if column == "disk full" else (usual, small)
            other.leave()
            if not field.version:
                field.plain()
            cell = field.cell(row, column, turn % 3 == 0)
            results[key] = cell.as_dict()
            RESULTS.write_text(json.dumps(results, indent=1))
            said = "; ".join(cell.wrong) or "ok"
            print(
                f"{row!s:<40} {column:<15} {cell.seconds:5.1f} s  {cell.failed:>4} of {cell.requests:<6} {said}",
                flush=True,
            )
    finally:
        machine.stop()
    print("\n" + table(results))
    return 1 if any(cell["wrong"] for cell in results.values()) else 0


def table(results: dict[str, dict[str, Any]]) -> str:
    """Commands down, faults across; a cell is ok, FAILED, or - where it was not tried."""

    def mark(row: str, column: str) -> str:
        cell = results.get(f"{row} | {column}")
        return "-" if cell is None else "FAILED" if cell["wrong"] else "ok"

    used = [c for c in COLUMNS if any(key.endswith(f"| {c}") for key in results)]
    lines = ["| command | " + " | ".join(used) + " |", "| --- |" + " --- |" * len(used)]
    lines += [f"| {row} | " + " | ".join(mark(str(row), c) for c in used) + " |" for row in ROWS]
    good = sum(not cell["wrong"] for cell in results.values())
    lost = {c: [0, 0] for c in used}
    for cell in results.values():
        lost[cell["column"]][0] += cell["failed"]
        lost[cell["column"]][1] += cell["requests"]
    lines += ["", f"{good} of {len(results)} cells hold"]
    lines += [f"lost requests, {column}: {failed} of {asked}" for column, (failed, asked) in lost.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
