# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Backups as Prometheus reads them: the text of a file for node-exporter's textfile collector.

Times are of the moment that a set shows, so that an age is `time()` minus it also where nothing runs here any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .records import Record
from .settings import Settings
from .staleness import Seen

PREFIX = "quaylock_backup"


def text(
    stacks: Iterable[tuple[Seen, Collection[str]]],
    records: Iterable[Record],
    settings: Settings,
    now: float,
    reachable: bool = True,
) -> str:
    """`stacks` are what was seen of each, and what of it is stale."""
    lines: list[str] = []
    known, done = list(stacks), [record for record in records if record.at]

    def metric(name: str, kind: str, help_: str, values: Iterable[tuple[Mapping[str, str], float]]) -> None:
        found = list(values)
        if found:
            lines.extend((f"# HELP {PREFIX}_{name} {help_}", f"# TYPE {PREFIX}_{name} {kind}"))
            lines.extend(f"{PREFIX}_{name}{labels(given)} {_number(value)}" for given, value in found)

    def of_sets(name: str, help_: str, values: Iterable[tuple[Seen, float]], kind: str = "gauge") -> None:
        metric(name, kind, help_, [({"stack": each.stack}, value) for each, value in values])

    def of_tasks(name: str, help_: str, values: Iterable[tuple[Record, float]], kind: str = "gauge") -> None:
        metric(name, kind, help_, [({"task": r.task, "stack": r.stack}, value) for r, value in values])

    seen = [each for each, _stale in known]
    made = [each for each in seen if each.at]
    proven = [each for each in seen if each.proven]
    of_sets("sets", "Sets in the repository.", [(s, s.sets) for s in seen])
    of_sets("last_set_timestamp_seconds", "The moment that the newest set shows.", [(s, s.at) for s in made])
    of_sets("last_set_bytes", "The size of the newest set's items.", [(s, s.size) for s in made])
    of_sets("last_set_quiet_seconds", "How long writers held still for the newest set.", [(s, s.quiet) for s in made])
    of_sets(
        "last_proven_timestamp_seconds",
        "The moment that the newest set shows that a drill has restored.",
        [(s, s.proven) for s in proven],
    )
    of_sets("last_drill_timestamp_seconds", "When that drill was.", [(s, s.drilled) for s in proven])
    of_sets("drill_rto_seconds", "How long that drill took to restore.", [(s, s.rto) for s in proven])
    of_sets("drill_rpo_seconds", "How old the set was when that drill began.", [(s, s.rpo) for s in proven])
    if settings.offsite is not None:
        help_ = "The moment that the newest set off-site shows, 0 where there is none."
        of_sets("offsite_last_set_timestamp_seconds", help_, [(s, s.offsite) for s in seen])
    of_sets("stale", "Whether anything of it is too old.", [(each, bool(said)) for each, said in known])
    after = [(s, settings.of(s.stack)) for s in seen]
    of_sets("stale_after_seconds", "Older sets are too old; 0 for never.", [(s, w.stale_after) for s, w in after])
    of_sets("unproven_after_seconds", "Older proofs are too old.", [(s, w.unproven_after) for s, w in after])
    of_tasks("last_run_timestamp_seconds", "When a task last ended.", [(r, r.at) for r in done])
    of_tasks("last_run_success", "Whether it went well then.", [(r, r.ok) for r in done])
    of_tasks("last_success_timestamp_seconds", "When it last went well.", [(r, r.good) for r in done if r.good])
    of_tasks("last_run_duration_seconds", "How long it took the last time.", [(r, r.seconds) for r in done])
    of_tasks("failures_total", "How often it failed.", [(r, r.failures) for r in done], "counter")
    metric("repository_up", "gauge", "Whether the repository answered the last time.", [({}, reachable)])
    metric("written_timestamp_seconds", "gauge", "When this was written.", [({}, now)])
    return "\n".join(lines) + "\n"


def labels(given: Mapping[str, str]) -> str:
    """Without those that are empty, which are the same as none for Prometheus."""
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in given.items() if value)
    return f"{{{told}}}" if told else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return f"{float(value):.3f}".rstrip("0").rstrip(".")
