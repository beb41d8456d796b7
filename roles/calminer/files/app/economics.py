# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a scenario is worth: values and arithmetic, no I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class Scenario(BaseModel):
    """A mine as it could be built. Money is in one currency; `price` and `unit_cost` are per tonne of metal."""

    name: Annotated[str, Field(min_length=1, max_length=120)]
    description: Annotated[str, Field(max_length=4000)] = ""
    commodity: Annotated[str, Field(min_length=1, max_length=40)] = "copper"
    tonnes_a_year: Amount = 0
    price: Amount = 0
    unit_cost: Amount = 0
    investment: Amount = 0
    years: Annotated[int, Field(ge=1, le=100)] = 10
    discount_rate: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.08


def present_value(scenario: Scenario, price: float | None = None, unit_cost: float | None = None) -> float:
    """Net present value: the investment now, the margin at the end of every year."""
    margin = (scenario.price if price is None else price) - (scenario.unit_cost if unit_cost is None else unit_cost)
    rate, years = scenario.discount_rate, scenario.years
    annuity = years if rate == 0 else (1 - (1 + rate) ** -years) / rate
    return scenario.tonnes_a_year * margin * annuity - scenario.investment


@dataclass(frozen=True)
class Spread:
    trials: int
    p10: float
    p50: float
    p90: float


def trials(scenario: Scenario, count: int, dice: random.Random) -> list[float]:
    """Present values under a price (20 %) and a cost (10 %, relative standard deviations) that nobody knows yet."""
    return [
        present_value(
            scenario,
            price=max(0.0, dice.gauss(scenario.price, 0.2 * scenario.price)),
            unit_cost=max(0.0, dice.gauss(scenario.unit_cost, 0.1 * scenario.unit_cost)),
        )
        for _turn in range(count)
    ]


def spread(values: list[float]) -> Spread:
    ranked = sorted(values)
    at = {share: ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.1, 0.5, 0.9)}
    return Spread(len(ranked), at[0.1], at[0.5], at[0.9])
