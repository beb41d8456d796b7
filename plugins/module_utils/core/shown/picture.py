# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A rollout as a picture: an inline SVG in which every new replica is a row, and who waited for whom is a line.

Shape and pattern say what a colour says too. Colours are classes of the page's style, so that dark and light have one
picture. Nothing here is HTML from outside: every text goes through `escape`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from .timeline import Bar, Timeline

ROWS = 60
"""rows that are drawn at most"""
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)


@dataclass(frozen=True, slots=True)
class Size:
    """Units of the picture. `label` is the column of names; without one the names are above their bars."""

    width: int
    label: int
    row: int
    text: int

    @property
    def above(self) -> int:
        return 0 if self.label else self.text + 5


WIDE = Size(960, 210, 26, 13)
NARROW = Size(360, 0, 34, 12)


def picture(timeline: Timeline, size: Size, kind: str, stack: str = "") -> str:
    """The SVG. `kind` is its class, by which the page shows one of two sizes; names are without that of the stack."""
    bars = list(timeline.bars.values())[:ROWS]
    more = len(timeline.bars) - len(bars)
    scale = _Scale(timeline, size)
    top = 26
    height = top + len(bars) * (size.row + size.above) + (20 if more else 8)
    rows = {one.name: top + n * (size.row + size.above) for n, one in enumerate(bars)}
    parts = [
        f'<svg class="picture {kind}" viewBox="0 0 {size.width} {height}" role="img"'
        f' aria-label="{escape(summary(timeline))}" xmlns="http://www.w3.org/2000/svg">',
        _axis(scale, size, top, height),
        _moments(timeline, scale, size, height),
    ]
    parts += [_waited(timeline, one, rows, scale, size) for one in bars]
    parts += [_row(timeline, one, rows[one.name], scale, size, one.name.removeprefix(f"{stack}-")) for one in bars]
    if more:
        parts.append(f'<text class="small" x="4" y="{height - 5}">and {more} more replicas</text>')
    return "".join([*parts, "</svg>"])


class _Scale:
    """From a moment to a place."""

    def __init__(self, timeline: Timeline, size: Size) -> None:
        self.begun = timeline.begun
        ends = [m for one in timeline.bars.values() for m in one.marks.values()]
        last = max([timeline.finished or timeline.now, *ends])
        self.seconds = max(last - self.begun, 0.5)
        self.left = size.label + 6
        self.right = size.width - 58

    def x(self, at: float) -> float:
        share = min(max((at - self.begun) / self.seconds, 0.0), 1.0)
        return round(self.left + share * (self.right - self.left), 1)


def _axis(scale: _Scale, size: Size, top: int, height: int) -> str:
    most = 4 if size.label == 0 else 8
    step = next((s for s in STEPS if scale.seconds / s <= most), scale.seconds / most)
    parts = []
    count = int(scale.seconds / step)
    for number in range(count + 1):
        x = scale.x(scale.begun + number * step)
        parts.append(f'<line class="grid" x1="{x}" y1="{top - 6}" x2="{x}" y2="{height - 4}"/>')
        anchor = "start" if number == 0 and not size.label else "middle"
        parts.append(f'<text class="small" x="{x}" y="{top - 11}" text-anchor="{anchor}">{span(number * step)}</text>')
    return "".join(parts)


def _moments(timeline: Timeline, scale: _Scale, size: Size, height: int) -> str:
    parts = []
    for at, kind, word in ((timeline.turned, "turned", "turned back"), (timeline.committed, "commit", "released")):
        if at is None:
            continue
        x = scale.x(at)
        anchor = "end" if x > size.width - 90 else "middle"
        parts.append(f'<line class="{kind}" x1="{x}" y1="18" x2="{x}" y2="{height - 4}"/>')
        parts.append(f'<text class="small {kind}-word" x="{x}" y="{height - 1}" text-anchor="{anchor}">{word}</text>')
    return "".join(parts)


def _waited(timeline: Timeline, one: Bar, rows: dict[str, int], scale: _Scale, size: Size) -> str:
    """A line from the moment its last dependency was there down to where it started."""
    name, until = timeline.waits_for(one)
    started = one.at("started")
    if not name or until is None or started is None:
        return ""
    of = [b for b in timeline.of(name) if b.name in rows]
    giver = next((b for b in of if (b.at("ended") or b.at("passed")) == until), None)
    if giver is None:
        return ""
    middle = size.above + size.row / 2
    x, y, to_x, to_y = scale.x(until), rows[giver.name] + middle, scale.x(started), rows[one.name] + middle
    line = f'<path class="wait" d="M{x} {y}V{to_y}H{max(to_x, x)}"/>'
    return line + f'<circle class="start" cx="{max(to_x, x)}" cy="{to_y}" r="3"/>'


def _row(timeline: Timeline, one: Bar, top: int, scale: _Scale, size: Size, shown: str) -> str:
    middle = top + size.above + size.row / 2
    name, until = timeline.waits_for(one)
    label = [f'<g class="bar"><title>{escape(words(timeline, one))}</title>']
    x, y = (4, middle + 4) if size.label else (2, top + size.text)
    label.append(f'<text x="{x}" y="{y}">{escape(_cut(shown, 26 if size.label else 40))}</text>')
    parts = [*label]
    end = one.at("failed") or one.at("gone") or timeline.finished or timeline.now
    stations = [("created", "made"), ("started", "starting"), ("passed", "checked"), ("held", "good")]
    edges = [(one.at(mark), kind) for mark, kind in stations]
    known = [(at, kind) for at, kind in edges if at is not None]
    end = one.at("ended") or end
    for number, (at, kind) in enumerate(known):
        until_at = known[number + 1][0] if number + 1 < len(known) else end
        x1, x2 = scale.x(at), scale.x(max(at, until_at or at))
        thick = {"made": 2, "starting": 6, "checked": 12, "good": 12}[kind]
        width = max(round(x2 - x1, 1), 1.0)
        parts.append(
            f'<rect class="{kind}" x="{x1}" y="{middle - thick / 2}" width="{width}" height="{thick}" rx="2"/>'
        )
    parts += [_sign(mark, scale.x(one.marks[mark]), middle) for mark in ("row", "switched") if mark in one.marks]
    parts.append(_verdict(timeline, one, end or scale.begun, scale, middle))
    if one.at("started") is None:
        word = "waited" if timeline.finished else "waits"
        after = f"{word} for {name}" if name and until is None else "not started"
        y = middle - 4 if known else middle + 4
        parts.append(
            f'<text class="small" x="{scale.x(known[0][0]) if known else scale.left}" y="{y}">{escape(after)}</text>'
        )
    return "".join([*parts, "</g>"])


def _sign(mark: str, x: float, y: float) -> str:
    if mark == "row":
        return f'<line class="row" x1="{x}" y1="{y - 6}" x2="{x}" y2="{y + 6}"/>'
    return f'<path class="switched" d="M{x} {y - 9}L{x + 7} {y}L{x} {y + 9}L{x - 7} {y}Z"/>'


def _verdict(timeline: Timeline, one: Bar, end: float, scale: _Scale, y: float) -> str:
    """The sign at the end of a bar, and how long it took to get there."""
    if one.at("failed") is not None:
        x = scale.x(end)
        cross = f"M{x - 5} {y - 5}L{x + 5} {y + 5}M{x - 5} {y + 5}L{x + 5} {y - 5}"
        return f'<path class="cross" d="{cross}"/>' + _took(one.at("failed"), timeline, scale, y, "failed-word")
    ended = one.at("ended")
    at = ended or one.at("passed")
    if at is None:
        return ""
    x = scale.x(ended or at)
    tick = f'<path class="tick" d="M{x + 2} {y}L{x + 6} {y + 4}L{x + 13} {y - 5}"/>' if ended else ""
    return tick + _took(at, timeline, scale, y, "")


def _took(at: float | None, timeline: Timeline, scale: _Scale, y: float, kind: str) -> str:
    seconds = span((at or timeline.begun) - timeline.begun)
    return f'<text class="small {kind}" x="{scale.right + 10}" y="{y + 4}">{seconds}</text>'


def words(timeline: Timeline, one: Bar) -> str:
    """A row for those who do not see it, and as a tooltip."""
    said = {
        "created": "created",
        "started": "started",
        "passed": "first pass",
        "row": "row complete",
        "held": "held",
        "switched": "got its traffic",
        "ended": "ended well",
        "failed": "failed",
        "gone": "gone",
    }
    parts = [f"{word} at {span(one.marks[m] - timeline.begun)}" for m, word in said.items() if m in one.marks]
    name, until = timeline.waits_for(one)
    if name:
        parts.insert(0, f"waited for {name}" if until is not None else f"waits for {name}")
    text = f"{one.name}: {', '.join(parts) or 'not created'}"
    return f"{text}; {one.said}" if one.said and one.at("failed") is not None else text


def summary(timeline: Timeline) -> str:
    bad = [b.name for b in timeline.bars.values() if b.at("failed") is not None]
    good = sum(b.at("passed") is not None or b.at("ended") is not None for b in timeline.bars.values())
    text = f"{len(timeline.bars)} new replicas, {good} passed"
    return f"{text}; failed: {', '.join(bad)}" if bad else text


def span(seconds: float) -> str:
    """0.42 -> 0.4 s, 75 -> 1:15 min, 4000 -> 1:06 h"""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 and seconds != int(seconds) else f"{seconds:.0f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"
