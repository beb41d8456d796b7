# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The board: a rollout, or a stack at rest, as a few lines for a terminal. One line per service, words beside signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .picture import span
from .timeline import Bar, Timeline

HEIGHT = 22
"""lines at most, because how high the terminal is cannot be known in every place"""
_COLOURS = {"✔": "32", "✖": "31", "▲": "33", "●": "36", "○": "2", "=": "32"}
_LEFT = ("failed", "gone", "", "created", "started", "passed", "row", "held", "switched", "ended")
"""how far a replica has come: a service is as far as the last of its replicas"""


def rollout(timeline: Timeline, title: str, now: float, width: int = 80, height: int = HEIGHT) -> list[str]:
    """A rollout that goes on, or has ended. `now` is in the timeline's own seconds."""
    services = timeline.services
    rows = [(_place(timeline, s), _row(timeline, s, now)) for s in services]
    done = sum(sign == "✔" for _place_, (sign, *_rest) in rows)
    phase = _phase(timeline)
    head = f"{title}  {phase}  {span(max(now - timeline.begun, 0.0)) if timeline.begun else ''}"
    if services:
        head += f"  {done} of {len(services)} through"
    if not services and timeline.note:
        return _fit([("●", head), (" ", timeline.note)], width)
    label = max((len(s) for s in services), default=0)
    count = max((len(c) for _place_, (_sign, c, *_rest) in rows), default=0)
    shown = [row for _place_, row in rows]
    dropped = 0
    if len(rows) > height - 2:
        # the interesting ones: what failed, what is at work, what waits, what is through; in the order of the plan
        kept = sorted(range(len(rows)), key=lambda n: (rows[n][0], n))[: height - 2]
        shown = [rows[n][1] for n in sorted(kept)]
        services = tuple(services[n] for n in sorted(kept))
        dropped = len(rows) - len(shown)
    lines = [(_sign(timeline), head)]
    for service, (sign, replicas, words, took) in zip(services, shown, strict=True):
        lines.append((sign, f"  {service.ljust(label)}  {replicas.ljust(count)}  {took.rjust(8)}  {words}"))
    if dropped:
        lines.append((" ", f"  and {dropped} more"))
    return _fit(lines, width)


def _sign(timeline: Timeline) -> str:
    if timeline.turned is not None or any(o not in ("", "passed") for o in timeline.checks.values()):
        return "✖"
    return "✔" if timeline.committed is not None else "●"


def _phase(timeline: Timeline) -> str:
    if timeline.checks:
        return _verified(timeline)
    if timeline.finished is not None:
        return "was undone" if timeline.turned is not None else "is released"
    if timeline.turned is not None:
        return "turns back"
    if timeline.committed is not None:
        return "is released, what was before leaves"
    if timeline.saving:
        return f"takes the restore point of {timeline.saving}"
    return "rolls out" if timeline.bars else "looks and fetches images"


def _verified(timeline: Timeline) -> str:
    done = [outcome for outcome in timeline.checks.values() if outcome]
    if any(outcome != "passed" for outcome in done):
        failed = sum(outcome != "passed" for outcome in done)
        return f"is released, NOT verified: {failed} of {timeline.count} checks failed"
    if len(done) == timeline.count:
        return f"is released and verified: {timeline.count} checks"
    return f"is released, and is verified: {len(done)} of {timeline.count} checks passed"


def _place(timeline: Timeline, service: str) -> int:
    """What is shown first where not everything fits."""
    sign = _row(timeline, service, timeline.now)[0]
    return {"✖": 0, "●": 1, "○": 2, "✔": 3}[sign]


def _row(timeline: Timeline, service: str, now: float) -> tuple[str, str, str, str]:
    """Sign, how many replicas passed, words, time."""
    bars = timeline.of(service)
    one = min(bars, key=lambda b: _LEFT.index(b.reached))
    good = sum(b.at("passed") is not None or b.at("ended") is not None for b in bars)
    sign, words = _words(timeline, one)
    began = one.at("started")
    ended = one.at("failed") or one.at("ended") or one.at("passed")
    took = span((ended or now) - began) if began is not None else ""
    return sign, f"{good}/{len(bars)}", words, took


def _words(timeline: Timeline, one: Bar) -> tuple[str, str]:
    reached = one.reached
    if reached == "failed":
        return "✖", f"failed: {one.said}" if one.said else "failed"
    if reached == "gone":
        return "✖", "taken away again"
    if reached in ("", "created"):
        name, until = timeline.waits_for(one)
        return "○", f"waits for {name}" if name and until is None else "is next"
    if reached == "started":
        said = one.said.splitlines()
        return "●", f"not ready: {said[0]}" if said else "starts"
    if reached in ("passed", "row") and timeline.committed is None:
        return "●", "passes its checks" if reached == "passed" else "passed, is watched"
    return "✔", {"ended": "ended well", "switched": "serves", "held": "passed and held"}.get(reached, "passed")


_HEALTH = {"healthy": "✔", "done": "✔", "degraded": "▲", "down": "✖", "unhealthy": "✖", "failed": "✖"}


def rest(stack: Mapping[str, Any], title: str, width: int = 80, height: int = HEIGHT) -> list[str]:
    """A stack at rest, from its status."""
    services: Sequence[Mapping[str, Any]] = stack["services"]
    state = "healthy" if stack["healthy"] else "NOT HEALTHY" if stack["present"] else "not deployed"
    since = f"  release {stack['release']} since {stack['released_at']}" if stack["release"] else ""
    told = stack.get("verification") or {}
    proven = not told.get("declared") or told["outcome"] == "verified"
    sign = "✖" if not stack["healthy"] else "✔" if proven else "▲"
    lines = [(sign, f"{title}  {state}{'' if proven else ', NOT VERIFIED'}{since}")]
    label = max((len(s["name"]) for s in services), default=0)
    health = max((len(s["health"]) for s in services), default=0)
    sick = sorted(services, key=lambda s: _HEALTH.get(s["health"], "▲") == "✔")
    shown = list(services) if len(services) <= height - 2 else [s for s in services if s in sick[: height - 2]]
    for service in shown:
        count = "once" if service["one_shot"] else f"{service['replicas']}/{service['wanted']}"
        words = (
            f"  {service['name'].ljust(label)}  {service['health'].ljust(health)}  {count.ljust(5)}  {service['image']}"
        )
        lines.append((_HEALTH.get(service["health"], "▲"), words))
    if len(shown) < len(services):
        lines.append((" ", f"  and {len(services) - len(shown)} more"))
    return _fit(lines, width)


def _fit(lines: Sequence[tuple[str, str]], width: int) -> list[str]:
    """One line each: longer ones would wrap, and the board could not be drawn over itself."""
    made = []
    for sign, text in lines:
        clean = "".join(c if c.isprintable() else " " for c in f"{sign} {text}")
        made.append(clean if len(clean) <= width else clean[: width - 1] + "…")
    return made


def painted(lines: Sequence[str], before: int) -> str:
    """The board for a terminal, drawn over `before` lines of the one before. Colours are of the signs alone."""
    up = f"\x1b[{before}A\x1b[J" if before else ""
    return up + "\n".join(_coloured(line) for line in lines)


def _coloured(line: str) -> str:
    colour = _COLOURS.get(line[:1])
    return f"\x1b[{colour}m{line[:1]}\x1b[0m{line[1:]}" if colour else line
