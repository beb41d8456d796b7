# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two thousand lives of a host without a broken promise, and mistakes on purpose that have to break one.

More: `python -m tests.simulation.rollouts --seeds 100000`; the story of one: `--seed N`.
"""

from __future__ import annotations

import os

import pytest

from .faults import Kind
from .lives import simulate
from .planted import PLANTS, Plant
from .promises import Broken
from .rollouts import many, story
from .sweep import sweep

SEEDS = int(os.environ.get("QUAYLOCK_SEEDS", "2000"))
ENOUGH = 800
"""seeds within which a planted mistake has to be found"""
SHOWN = 40
SWEPT = (3, 6, 41)
"""two bad releases of less than a hundred events, and a good one; `make simulate SWEEPS=N` takes N of all sizes"""


def test_no_seed_breaks_a_promise() -> None:
    tally = many(SEEDS, 50, simulate, 2)
    if tally.broken:
        shortest = min((story(seed) for seed, _promise in tally.broken[:10]), key=len)
        each = "\n".join(f"seed {seed}: {why}" for seed, why in tally.broken)
        tail = "\n".join(shortest[-SHOWN:])
        pytest.fail(
            f"{len(tally.broken)} of {SEEDS} seeds broke a promise\n{each}\n\nthe shortest of them ends so:\n{tail}"
        )
    assert tally.events > 100 * SEEDS, "rollouts happened at all"


@pytest.mark.parametrize("seed", SWEPT)
def test_every_fault_at_every_event_of_a_rollout(seed: int) -> None:
    sweep(seed)


@pytest.mark.parametrize("seed", [0, 76, 832])
def test_a_seed_tells_the_same_story_again(seed: int) -> None:
    assert story(seed) == story(seed)


def test_the_stories_have_everything_in_them() -> None:
    """A fault or an outcome that never happens proves nothing."""
    text = "\n".join(line for seed in range(150) for line in story(seed))
    wanted = [*(kind.value for kind in Kind), "ERROR", "ONE-SHOTS ARE CLEARED", "-rival is refused", "deploy r2-rival"]
    wanted += ["(finish)", "(undo)", *(f"Outcome.{o}" for o in ("DEPLOYED", "ROLLED_BACK", "UNCHANGED", "RECOVERED"))]
    wanted += ["Outcome.INCOMPLETE", "Outcome.REMOVED", "Rename(", "Drain(", "Unroute(", "old=True", "no space left"]
    assert [word for word in wanted if word not in text] == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one is not, the promises have become too weak."""
    plant(monkeypatch)
    for seed in range(ENOUGH):
        try:
            simulate(seed)
        except Broken:
            return
    pytest.fail(f"{ENOUGH} seeds, and nobody noticed: {plant.__doc__}")
