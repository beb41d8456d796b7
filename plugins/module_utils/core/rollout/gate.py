# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate: may this replica take traffic? A fold over what was seen; it never sleeps and never asks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..compose.gates_of import QUICK, with_image_check
from ..model import Gate, Image, Sample, Service

CHECK_COST = 0.05
"""CPU seconds of one exec in a container, as measured; the cadence stretches when many replicas are gated at once"""
LATE = 0.05
"""the pause between two checks as a share of the time that was waited: so much later than it could is a pass seen"""
GLANCE = 0.5
"""seconds between two looks at the mere state of a replica that passed: they cost nothing, and see a crash at once"""
ROW = 0.3
"""seconds between the passes of a row that nobody waits for"""
PACE = (1.0, 2.0)
"""seconds between two checks of a replica that passed: while it is held, and after"""
SHARE = 0.2
"""of one CPU, which is what the checks of all replicas that passed may take together"""


@dataclass(frozen=True, slots=True)
class Watch:
    """What was seen of one replica since its start.

    `passed_at` is its first pass ever, `ready_at` the end of its first row of N passes. `row_since` is the first pass
    of the current row, `clean_since` the same once the row is complete; `checked_at` is when the checks were run last.
    """

    since: float
    base: Sample | None = None
    last: Sample | None = None
    passes: int = 0
    failures: int = 0
    passed_at: float | None = None
    ready_at: float | None = None
    row_since: float | None = None
    clean_since: float | None = None
    checked_at: float = 0.0
    changed_at: float = 0.0

    @property
    def healthy(self) -> bool:
        """Its checks passed once: Compose's `service_healthy`, so dependents may start."""
        return self.passed_at is not None

    @property
    def ready(self) -> bool:
        """Its checks passed N times in a row once: it may take traffic where nothing else serves."""
        return self.ready_at is not None

    def held(self, gate: Gate) -> bool:
        """It stayed good for `hold` seconds, and a check at the end of them said so: an older generation may leave."""
        return self.clean_since is not None and self.checked_at - self.clean_since >= gate.hold


def judge(gate: Gate, watch: Watch, sample: Sample) -> tuple[Watch, str]:
    """Take one more sample in; the text says why the replica failed, "" while it did not."""
    base = watch.base or sample
    if sample.running and sample.passed is None and not gate.opted_out:
        seen = replace(watch, base=base, changed_at=watch.changed_at or sample.at)
        return seen, _fault(gate, seen, base, sample)
    passed = sample.running and sample.passed is not False
    news = watch.last is None or (watch.last.passed, watch.last.output) != (sample.passed, sample.output)
    passes = watch.passes + 1 if passed else 0
    complete = passes >= gate.passes
    row_since = (watch.row_since if watch.passes else sample.at) if passed else None
    seen = replace(
        watch,
        base=base,
        last=sample,
        passes=passes,
        failures=0 if passed else watch.failures + 1,
        passed_at=watch.passed_at if watch.healthy or not passed else sample.at,
        ready_at=watch.ready_at if watch.ready or not complete else sample.at,
        row_since=row_since,
        clean_since=row_since if complete else None,
        checked_at=sample.at,
        changed_at=sample.at if news or not watch.changed_at else watch.changed_at,
    )
    return seen, _fault(gate, seen, base, sample)


def _fault(gate: Gate, watch: Watch, base: Sample, sample: Sample) -> str:
    started_again = base.started_at and sample.started_at and sample.started_at != base.started_at
    if sample.restarts > base.restarts or started_again:
        # once it runs again, the engine has forgotten how it ended
        ended = f" (exit code {sample.exit_code}{', out of memory' if sample.oom else ''})" if sample.exit_code else ""
        return f"restarted while it was being gated{ended}"
    if not sample.running:
        return f"exited with code {sample.exit_code}" + (" (out of memory)" if sample.oom else "")
    if watch.ready:
        if watch.failures >= max(1, gate.retries):
            return f"became unhealthy: {watch.failures} failed checks in a row after it had passed"
        return ""
    if sample.at - watch.since >= gate.deadline:
        return f"did not pass within {gate.deadline:g} s ({watch.passes} of {gate.passes} passes in a row)"
    if sample.at - watch.changed_at >= gate.progress:
        return f"made no progress for {gate.progress:g} s"
    return ""


def finished(watch: Watch, sample: Sample, deadline: float) -> tuple[Watch, str]:
    """The same for a one-shot, which has to end with exit code 0: then it is `ready`."""
    seen = replace(watch, base=watch.base or sample, last=sample)
    if not sample.running:
        if sample.exit_code == 0 and not sample.oom:
            return replace(
                seen, passed_at=sample.at, ready_at=sample.at, clean_since=sample.at, checked_at=sample.at
            ), ""
        return seen, f"exited with code {sample.exit_code}" + (" (out of memory)" if sample.oom else "")
    if sample.at - watch.since >= deadline:
        return seen, f"was still running after {deadline:g} s"
    return seen, ""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who else is looked at: replicas that are waited for (a start counts as several of them), and all of them."""

    waiting: int = 1
    watched: int = 1


def next_look(gate: Gate, watch: Watch, now: float, crowd: Crowd, urgent: bool = True) -> tuple[float, bool]:
    """When to look again, and whether to run the checks then.

    Until it passed: soon at first, then more and more calmly up to `cadence`, slower in a crowd. Then the rest of its
    row, at once where it is `urgent` because traffic waits for it. After that glances at its state, and a check now and
    then, one of them exactly when the hold ends.
    """
    if not watch.passes:
        calm = min(gate.cadence, max(QUICK, LATE * (now - watch.since)))
        return now + max(calm, crowd.waiting * CHECK_COST), True
    if watch.clean_since is None:
        return now + min(gate.cadence, QUICK if urgent else ROW), True
    held = watch.held(gate)
    due = watch.checked_at + max(PACE[held], crowd.watched * CHECK_COST / SHARE)
    if not held:
        due = min(due, watch.clean_since + gate.hold)
    return (max(due, now), True) if due <= now + GLANCE else (now + GLANCE, False)


def completed(service: Service, image: Image | None) -> Gate:
    """The service's gate, with the image's own HEALTHCHECK where the service relies on it."""
    return with_image_check(service.gate, service.container.get("Healthcheck") or {}, image.check if image else None)
