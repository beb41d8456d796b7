# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`make mutants`: plants each mistake, and runs the simulation until it is found. Fails where one is not."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from . import planted, planted_faults
from .lives import simulate
from .promises import Broken
from .sweep import sweep

PLANTS = planted.PLANTS
assert planted_faults.plant is planted.plant, "both files plant into one list"

SMALL = 8
"""services at most: mistakes show in small stacks, which are quick"""

FIRST, SWEPT = 300, (7, 6, 5, 2)

Found = tuple[str, str]
"""what found it ("": nothing did), and the promise that broke"""


def tries(most: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """Where to look: some lives, then every fault at every event of a few rollouts, then more lives."""
    for seed in range(FIRST):
        yield f"life {seed}", lambda seed=seed: simulate(seed, most=SMALL)
    for seed in SWEPT:
        yield f"sweep {seed}", lambda seed=seed: sweep(seed)
    for seed in range(FIRST, most):
        yield f"life {seed}", lambda seed=seed: simulate(seed, most=SMALL)


def hunt(number: int, most: int) -> Found:
    """Plant one mistake into this process, and look for it."""
    with pytest.MonkeyPatch.context() as patch:
        PLANTS[number](patch)
        for where, run in tries(most):
            try:
                run()
            except Broken as error:
                return where, str(error)
            except (TypeError, AttributeError, NameError):
                raise  # it does not fit the engine any more, and proves nothing
            except Exception as error:  # a mistake may break more than a promise
                return where, f"{type(error).__name__}: {error}"
    return "", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1500, help="seeds to look in for each")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--only", default="", help="part of a name")
    options = parser.parse_args()
    wanted = [n for n, plant in enumerate(PLANTS) if options.only in plant.__name__]
    missed = 0
    sys.stdout.write("| mistake | found by | broken promise |\n| --- | --- | --- |\n")
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        hunts = [(PLANTS[n], pool.submit(hunt, n, options.most)) for n in wanted]
        for plant, running in hunts:
            where, why = running.result()
            missed += not where
            name = plant.__name__.replace("_", " ")
            sys.stdout.write(f"| {name} | {where or '**nothing**'} | {why[:100]} |\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{len(wanted) - missed} of {len(wanted)} planted mistakes were found\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
