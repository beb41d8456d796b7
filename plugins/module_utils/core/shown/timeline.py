# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A rollout over time, read from the journal: what each new replica reached when, and who waited for whom.

A fold over the log, so that it can be taken up at any entry; the page and the board in a terminal are drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..model import Json

ORDER = ("created", "started", "passed", "row", "held", "switched")
"""what a replica reaches, one after the other; `ended` is the good end of a one-shot, `failed` the end of a bad one"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One new replica. `marks` are seconds since the epoch; `said` is what its last failed check or its end said."""

    service: str
    name: str
    marks: Mapping[str, float] = field(default_factory=dict)
    said: str = ""

    def at(self, mark: str) -> float | None:
        return self.marks.get(mark)

    @property
    def reached(self) -> str:
        """The last thing it reached, "" where it was not even created."""
        for mark in ("failed", "gone", "ended", *reversed(ORDER)):
            if mark in self.marks:
                return mark
        return ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """`depends` is service -> services it waits for, as the Compose file has it. Bars are in the order of the plan."""

    bars: Mapping[str, Bar] = field(default_factory=dict)
    depends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    begun: float = 0.0
    now: float = 0.0
    committed: float | None = None
    finished: float | None = None
    turned: float | None = None
    """when it turned back"""
    note: str = ""
    """the last word of a pull or a build"""
    saving: str = ""
    """the service whose restore point is being taken"""
    checks: Mapping[str, str] = field(default_factory=dict)
    """what became of the checks of the verification, "" while one is asked"""
    count: int = 0
    """of the checks"""

    def of(self, service: str) -> tuple[Bar, ...]:
        return tuple(b for b in self.bars.values() if b.service == service)

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(b.service for b in self.bars.values()))

    def there(self, service: str) -> float | None:
        """When a dependent could count on this service; None where it cannot yet. What is not rolled out counts."""
        bars = self.of(service)
        moments = [b.at("ended") or b.at("passed") for b in bars]
        known = [m for m in moments if m is not None]
        return max(known, default=self.begun) if len(known) == len(bars) else None

    def waits_for(self, one: Bar) -> tuple[str, float | None]:
        """The dependency that let it wait the longest, and until when: None while it waits."""
        waited = [(name, self.there(name)) for name in self.depends.get(one.service, ()) if self.of(name)]
        still = [name for name, at in waited if at is None]
        if still:
            return still[0], None
        name, until = max(((n, a or 0.0) for n, a in waited), key=lambda entry: entry[1], default=("", 0.0))
        return name, until if name else None


def read(entries: Iterable[tuple[float, str, Json]], timeline: Timeline | None = None) -> Timeline:
    """Take more entries of the log in: (at, what, details), in their order."""
    state = timeline or Timeline()
    for at, what, details in entries:
        state = replace(state, begun=state.begun or at, now=max(state.now, at))
        state = _take(state, at, what, details)
    return state


def _take(state: Timeline, at: float, what: str, details: Json) -> Timeline:
    do, service, name = (str(details.get(key) or "") for key in ("do", "service", "name"))
    if what == "plan":
        planned = {n: Bar(s, n) for s, names in (details.get("new") or {}).items() for n in names}
        depends = {s: tuple(names) for s, names in (details.get("depends") or {}).items()}
        return replace(state, bars={**planned, **state.bars}, depends=depends, note="")
    if what == "note":
        return replace(state, note=str(details.get("said") or ""))
    if what == "check":
        checks = {**state.checks, name: str(details.get("outcome") or "")}
        return replace(state, checks=checks, count=int(details.get("count") or 0))
    if what == "committed":
        return replace(state, committed=at)
    if what == "finished":
        return replace(state, finished=at)
    if what == "gate":
        return _marked(state, service, name, str(details.get("reached")), at)
    if what == "do" and do == "Explain":
        return _marked(replace(state, turned=state.turned or at), service, name, "failed", at)
    if do == "TakePoint":
        state = replace(state, saving=service if what == "do" else "")
    if what == "failed" and do not in ("Look", "Explain", "Drain", "Withdraw", "Fetch"):
        state = replace(state, turned=state.turned if state.committed else state.turned or at)
        return _said(_marked(state, service, name, "failed", at), name, str(details.get("error") or ""))
    if what != "done":
        return state
    if do in ("Create", "Start"):
        return _marked(state, service, name, {"Create": "created", "Start": "started"}[do], at)
    if do == "Look":
        return _looked(state, service, name, at, details)
    if do == "Route" and not details.get("old"):
        for server in details.get("servers") or []:
            if server in state.bars:
                state = _marked(state, service, server, "switched", at)
        return state
    if do in ("Stop", "Remove") and name in state.bars:
        return _marked(state, service, name, "gone", at)
    return state


def _looked(state: Timeline, service: str, name: str, at: float, details: Json) -> Timeline:
    if not details.get("running", True) and state.turned is not None:
        return _marked(state, service, name, "gone", at)  # it was stopped, because another one failed
    if not details.get("running", True):
        code = details.get("exit_code", 0)
        if code == 0:
            return _marked(state, service, name, "ended", at)
        memory = " (out of memory)" if details.get("oom") else ""
        return _said(_marked(state, service, name, "failed", at), name, f"exited with code {code}{memory}")
    if details.get("passed"):
        return _said(_marked(state, service, name, "passed", at), name, "")
    return _said(state, name, str(details.get("output") or ""))


def _marked(state: Timeline, service: str, name: str, mark: str, at: float) -> Timeline:
    """The first time counts."""
    if not name or (name not in state.bars and mark in ("failed", "gone")):
        return state
    one = state.bars.get(name) or Bar(service, name)
    if mark in one.marks:
        return state
    return replace(state, bars={**state.bars, name: replace(one, marks={**one.marks, mark: at})})


def _said(state: Timeline, name: str, said: str) -> Timeline:
    one = state.bars.get(name)
    if one is None or ("failed" in one.marks and one.said):
        return state
    return replace(state, bars={**state.bars, name: replace(one, said=said)})


def plan_entry(lines: Sequence[str], new: Mapping[str, Sequence[str]], depends: Mapping[str, Sequence[str]]) -> Json:
    """The journal's entry of a plan: for people, and for what is drawn."""
    entry: dict[str, Any] = {"lines": list(lines)}
    entry["new"] = {service: list(names) for service, names in new.items() if names}
    entry["depends"] = {service: list(names) for service, names in depends.items() if names}
    return entry
