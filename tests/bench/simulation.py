# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Simulated rollouts with faults: how many there are in a second, and how many promises break."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]


def simulation(only: str = "") -> list[Figure]:
    """SEEDS of them (100,000), two processes. There is nobody to compare with."""
    if only == "peer":
        return []
    seeds = os.environ.get("SEEDS", "100000")
    call = [sys.executable, "-m", "tests.simulation.rollouts", "--seeds", seeds]
    said = subprocess.run(call, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout
    found = re.search(r"(\d+) seeds, (\d+) events, (\d+) broken promises, ([\d.]+) s", said)
    if found is None:
        raise RuntimeError(f"the simulation did not end: {said[-2000:]}")
    count, events, broken, seconds = (float(part) for part in found.groups())
    return [
        Figure(f"broken promises in {count:.0f} simulated lives of a host", broken, None, None, "promises"),
        Figure("simulated lives a second (two to six rollouts each)", count / seconds, None, None, "1/s"),
        Figure("simulated events a second", events / seconds, None, None, "1/s"),
    ]
