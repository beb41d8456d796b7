# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`make mutants`: plants each mistake, and runs the simulation until it is found. Fails where one is not."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from . import planted, planted_faults
from .lives import simulate
from .promises import Broken

PLANTS = planted.PLANTS
assert planted_faults.plant is planted.plant, "both files plant into one list"

SMALL = 8
"""services at most: mistakes show in small stacks, which are quick"""

Found = tuple[int | None, str, float]
"""the seed that found it (None: nobody did), the promise that broke, seconds"""


def hunt(number: int, most: int) -> Found:
    """Plant one mistake into this process, and look for it."""
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        PLANTS[number](patch)
        for seed in range(most):
            try:
                simulate(seed, most=SMALL)
            except Broken as error:
                return seed, str(error), time.monotonic() - began
            except Exception as error:  # a mistake may break more than a promise
                return seed, f"{type(error).__name__}: {error}", time.monotonic() - began
    return None, "", time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=3000, help="seeds to look in for each")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--only", default="", help="part of a name")
    options = parser.parse_args()
    wanted = [n for n, plant in enumerate(PLANTS) if options.only in plant.__name__]
    missed = 0
    sys.stdout.write("| mistake | found by seed | broken promise |\n| --- | --- | --- |\n")
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        hunts = [(PLANTS[n], pool.submit(hunt, n, options.most)) for n in wanted]
        for plant, running in hunts:
            seed, why, _took = running.result()
            missed += seed is None
            name = plant.__name__.replace("_", " ")
            where = f"**none of {options.most}**" if seed is None else str(seed)
            sys.stdout.write(f"| {name} | {where} | {why[:100]} |\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{len(wanted) - missed} of {len(wanted)} planted mistakes were found\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
