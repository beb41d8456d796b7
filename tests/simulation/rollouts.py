# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Seeded rollouts with faults on the simulated host; the promises are looked at after every event.

`python -m tests.simulation.rollouts --seeds 100000` runs many; `--seed N` tells the story of one; `--sweeps N` tries
every fault at every event of N rollouts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from .lives import simulate
from .process import Story
from .promises import Broken
from .sweep import sweep

Found = tuple[int, list[tuple[int, str]]]
"""events seen, and the seeds that broke a promise"""


def story(seed: int) -> list[str]:
    """What happened in the life of one seed."""
    told = Story()
    try:
        simulate(seed, told)
    except Broken as error:
        told.lines.append(f"BROKEN: {error}")
    return told.lines


def broken_seeds(first: int, last: int, run: Callable[[int], int] = simulate) -> Found:
    events, broken = 0, []
    for seed in range(first, last):
        try:
            events += run(seed)
        except Broken as error:
            broken.append((seed, str(error)))
    return events, broken


def slices(seeds: int, width: int) -> Iterator[tuple[int, int]]:
    for first in range(0, seeds, width):
        yield first, min(first + width, seeds)


@dataclass
class Tally:
    """What many of them came to."""

    events: int = 0
    broken: list[tuple[int, str]] = field(default_factory=list)


def many(count: int, width: int, run: Callable[[int], int], jobs: int, what: str = "") -> Tally:
    """On several processes; where `what` is given, the way there is said."""
    tally, done = Tally(), 0
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        parts = [(last - first, pool.submit(broken_seeds, first, last, run)) for first, last in slices(count, width)]
        for size, part in parts:
            more, found = part.result()
            tally.events, done = tally.events + more, done + size
            tally.broken += found
            if what and (sys.stderr.isatty() or done % 10_000 == 0):
                sys.stderr.write(f"{done} of {count} {what}, {tally.events} events, {len(tally.broken)} broken\n")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulated rollouts with faults")
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--sweeps", type=int, default=0, help="rollouts of which every event gets every fault")
    parser.add_argument("--seed", type=int, help="tell the story of one seed")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1))
    options = parser.parse_args()
    if options.seed is not None:
        sys.stdout.write("\n".join(story(options.seed)) + "\n")
        return 0
    failed = 0
    for count, width, run, what in (
        (options.seeds, 100, simulate, "seeds"),
        (options.sweeps, 1, sweep, "sweeps"),
    ):
        if not count:
            continue
        began = time.monotonic()
        tally = many(count, width, run, options.jobs, what)
        took = time.monotonic() - began
        for seed, why in tally.broken[:20]:
            sys.stdout.write(f"{what[:-1]} {seed}: {why}\n")
        sys.stdout.write(
            f"{count} {what}, {tally.events} events, {len(tally.broken)} broken promises, {took:.1f} s, "
            f"{count / took:.1f} {what}/s\n"
        )
        failed += len(tally.broken)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
