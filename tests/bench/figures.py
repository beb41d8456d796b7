# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A measured figure, its table and its file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """`ours` and `peer` in `unit`; `target` is what the ratio ours / peer must not exceed, None for a mere report."""

    name: str
    ours: float | None
    peer: float | None
    target: float | None
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        return round(self.ours / self.peer, 3) if self.ours is not None and self.peer else None

    @property
    def reached(self) -> bool:
        return self.target is None or (self.ratio is not None and self.ratio <= self.target)

    def as_json(self) -> dict[str, str | float | None]:
        row = {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return {**row, "ratio": self.ratio}


def write(figures: Sequence[Figure], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")


def table(figures: Sequence[Figure]) -> str:
    def cell(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    rows = [("", "ours", "peer", "unit", "ratio", "target", "")]
    rows += [
        (
            figure.name,
            cell(figure.ours, 2),
            cell(figure.peer, 2),
            figure.unit,
            cell(figure.ratio, 3),
            f"<= {figure.target:g}" if figure.target is not None else "-",
            "" if figure.target is None or figure.ratio is None else "reached" if figure.reached else "MISSED",
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) if column in (0, 3, 6) else text.rjust(width)
                  for column, (text, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    )  # fmt: skip
