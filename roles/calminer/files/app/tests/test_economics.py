# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import random

import pytest

from economics import Scenario, present_value, spread, trials

VALUES = [
    # name               scenario                                                                        value
    ("no discount", {"tonnes_a_year": 10, "price": 5, "unit_cost": 3, "years": 4, "discount_rate": 0}, 80.0),
    ("one year at 10 %", {"tonnes_a_year": 1, "price": 110, "years": 1, "discount_rate": 0.1}, 100.0),
    ("two years at 10 %", {"tonnes_a_year": 1, "price": 121, "years": 2, "discount_rate": 0.1}, 210.0),
    ("investment only", {"investment": 7, "years": 3}, -7.0),
]


@pytest.mark.parametrize(("given", "value"), [case[1:] for case in VALUES], ids=[case[0] for case in VALUES])
def test_present_value(given: dict[str, float], value: float) -> None:
    assert present_value(Scenario(name="x", **given)) == pytest.approx(value)


def test_a_spread_surrounds_the_present_value() -> None:
    scenario = Scenario(name="x", tonnes_a_year=1000, price=100, unit_cost=60, investment=1000)
    found = spread(trials(scenario, 4000, random.Random(1)))
    assert found.trials == 4000
    assert found.p10 < found.p50 < found.p90
    assert found.p50 == pytest.approx(present_value(scenario), rel=0.1)
