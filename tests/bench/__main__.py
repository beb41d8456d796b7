# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python -m tests.bench [NAME...] [--only ours|peer]: figures as a table, and in build/bench/NAME.json"""

from __future__ import annotations

import argparse
import sys

from tests.bench.backups import backups
from tests.bench.figures import table, write
from tests.bench.newcomer import make_up
from tests.bench.rollouts import ROOT, rollouts
from tests.bench.scale import scale
from tests.bench.simulation import simulation
from tests.bench.verdict import verdict
from tests.bench.whole_platform import platform

BENCHES = {
    "rollouts": rollouts,
    "scale": scale,
    "make_up": make_up,
    "backups": backups,
    "platform": platform,
    "simulation": simulation,
    "verdict": verdict,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all without one")
    parser.add_argument("--only", choices=["ours", "peer"], default="", help="measure one half; nothing is written")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    missed = False
    for name in given.names or BENCHES:
        figures = BENCHES[name](given.only)
        print(table(figures), flush=True)
        if not given.only:
            write(figures, ROOT / "build" / "bench" / f"{name}.json")
            missed |= not all(figure.reached for figure in figures)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
