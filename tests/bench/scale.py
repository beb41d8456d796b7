# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stacks of 16, 64 and 200 services in the lakehouse's shape: times and memory beside Docker Compose, in the same run."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.bench import lakehouse
from tests.bench.figures import Figure, table
from tests.bench.rollouts import Compose, Ours, timed
from tests.fixtures.stacks.web_image import web_image

SIZES = (16, 64, 200)


def scale(only: str = "") -> list[Figure]:
    """Each size once: a cold start, then three runs with nothing to do; the most memory that a process had."""
    image, found = web_image(), []
    for size in SIZES:
        model = lakehouse.model(image, size=size)
        with tempfile.TemporaryDirectory(prefix="quaylock-bench.") as folder:
            ours = _measured(Ours(Path(folder), model)) if only != "peer" else (None,) * 4
            peer = _measured(Compose(Path(folder), model)) if only != "ours" else (None,) * 4
        names = ("from nothing to healthy", "until the process ends", "nothing to do", "memory of the process")
        units = ("s", "s", "s", "MiB")
        part = [
            Figure(f"{size} services, {name}", mine, theirs, None, unit)
            for name, mine, theirs, unit in zip(names, ours, peer, units, strict=True)
        ]
        print(table(part), flush=True)
        found += part
    return found


def _measured(side: Compose | Ours) -> tuple[float, float, float, float]:
    """Seconds until all are healthy, until the process ends, and with nothing to do; MiB."""
    try:
        side.down()
        cold = timed(side.cold)
        most = side.memory
        healthy = side.healthy if isinstance(side, Ours) else cold
        again = statistics.median(timed(side.again) for _turn in range(3))
        return healthy, cold, again, most
    finally:
        side.down()
