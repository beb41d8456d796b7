# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate: may this replica take traffic? A fold over what was seen; it never sleeps and never asks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .gates_of import with_image_check
from .model import Gate, Image, Sample, Service

CHECK_COST = 0.07
"""CPU seconds of one exec in a container, as measured; the cadence stretches when many replicas are gated at once"""


@dataclass(frozen=True, slots=True)
class Watch:
    """What was seen of one replica since its start. `clean_since` is when the current row of passes was complete."""

    since: float
    base: Sample | None = None
    last: Sample | None = None
    passes: int = 0
    failures: int = 0
    ready_at: float | None = None
    clean_since: float | None = None
    changed_at: float = 0.0

    @property
    def ready(self) -> bool:
        """Its checks passed N times in a row once: dependents may start."""
        return self.ready_at is not None

    def held(self, gate: Gate, now: float) -> bool:
        """It stayed good for `hold` seconds: an older generation may leave."""
        return self.clean_since is not None and now - self.clean_since >= gate.hold


def judge(gate: Gate, watch: Watch, sample: Sample) -> tuple[Watch, str]:
    """Take one more sample in; the text says why the replica failed, "" while it did not."""
    base = watch.base or sample
    passed = bool(sample.running and (sample.passed or (gate.opted_out and sample.passed is None)))
    news = watch.last is None or (watch.last.passed, watch.last.output) != (sample.passed, sample.output)
    passes = watch.passes + 1 if passed else 0
    failures = 0 if passed else watch.failures + 1
    complete = passes >= gate.passes
    seen = replace(
        watch,
        base=base,
        last=sample,
        passes=passes,
        failures=failures,
        ready_at=watch.ready_at if watch.ready or not complete else sample.at,
        clean_since=None if not passed else (watch.clean_since or (sample.at if complete else None)),
        changed_at=sample.at if news or not watch.changed_at else watch.changed_at,
    )
    return seen, _fault(gate, seen, base, sample)


def _fault(gate: Gate, watch: Watch, base: Sample, sample: Sample) -> str:
    killed = ", out of memory" if sample.oom else ""
    started_again = base.started_at and sample.started_at and sample.started_at != base.started_at
    if sample.restarts > base.restarts or started_again:
        return f"restarted while it was being gated (exit code {sample.exit_code}{killed})"
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
            return replace(seen, ready_at=sample.at, clean_since=sample.at), ""
        return seen, f"exited with code {sample.exit_code}" + (" (out of memory)" if sample.oom else "")
    if sample.at - watch.since >= deadline:
        return seen, f"was still running after {deadline:g} s"
    return seen, ""


def next_look(gate: Gate, watch: Watch, now: float, crowd: int) -> float:
    """When to look again: `cadence` until it passed (slower in a crowd), sooner to complete the row, calm after."""
    if watch.ready:
        return now + min(1.0, max(gate.cadence, gate.hold / 8))
    crowded = crowd * CHECK_COST / 2
    if watch.passes:
        return now + max(gate.cadence / 2.5, crowded / 2)
    return now + max(gate.cadence, crowded)


def completed(service: Service, image: Image | None) -> Gate:
    """The service's gate, with the image's own HEALTHCHECK where the service relies on it."""
    return with_image_check(service.gate, service.container.get("Healthcheck") or {}, image.check if image else None)
