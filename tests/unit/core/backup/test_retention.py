# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which sets stay. A set is written as AGE in days, then p: proven, !: pinned, >AGE: needs that one."""

from __future__ import annotations

import random
import re

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.retention import (
    DAY,
    PROVEN,
    Kept,
    Rule,
    due,
    retention,
)

NOW = 1_800_000_000.0


def one(text: str, stack: str = "shop") -> Kept:
    match = re.fullmatch(r"(-?\d+)(p?)(!?)(?:>(\d+))?", text)
    assert match, text
    age, proven, pinned, needs = match.groups()
    at = NOW - int(age) * DAY
    return Kept(
        age, stack, at, at + 60 if proven else 0.0, "r-1" if pinned else "", frozenset({needs} if needs else ())
    )


CASES = [
    # name                                     rule               sets, newest first          those that go
    ("old ones go once newer ones are proven", Rule(7), "0p 1p 6 7 8", "7 8"),
    ("nothing goes before a newer is proven",  Rule(7), "0 1 8 9", ""),
    ("what is older than the proven one goes", Rule(7), "0 2 8p 9 10p 11", "9 11"),
    ("the last two proven stay, however old",  Rule(7), "0 50p 60p 70p", "70"),
    ("a pinned one stays",                     Rule(7), "0p 1p 40! 50", "50"),
    ("what a set takes over stays with it",    Rule(7), "0p 1p>10 10 11", "11"),
    ("what a set that goes needs, goes too",   Rule(7), "0p 1p 9>12 12", "9 12"),
    ("by hand means by hand",                  Rule(0), "0p 1p 300 400", ""),
    ("the last ones in any case",              Rule(7, 3), "0p 1p 22 23 24", "23 24"),
    ("a set from the future is not trusted",   Rule(7), "-3 0p 1p 9", "9"),
    ("nor is its proof",                       Rule(7), "-3p 0p 1p 9", "9"),
    ("a clock that went back lets nothing go", Rule(7), "-30p -29p -20 -9 0", ""),
    ("nor does one that went ahead",           Rule(7), "99p 100p 101 102 103", ""),
    ("nor with one set that it has made",      Rule(7), "0p 99p 100p 101 102 103", ""),
    ("nothing goes while no set is made",      Rule(7), "50p 51p 52 58", "58"),
    ("one set alone",                          Rule(7), "100", ""),
    ("none",                                   Rule(7), "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "sets", "gone"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_which_sets_go(rule: Rule, sets: str, gone: str) -> None:
    fates = retention([one(text) for text in sets.split()], rule, NOW)
    assert [f.set.id for f in fates if not f.stays] == gone.split()
    assert all(f.why for f in fates)


def test_stacks_do_not_decide_over_each_other() -> None:
    fates = retention([one("0p"), one("1p"), one("9"), one("9", "other")], Rule(7), NOW)
    assert [(f.set.stack, f.stays) for f in fates if f.set.id == "9"] == [("shop", False), ("other", True)]


@pytest.mark.parametrize("seed", range(300))
def test_what_can_be_restored_never_gets_less_than_it_has_to_be(seed: int) -> None:
    chance = random.Random(seed)
    sets = []
    for place in range(chance.randrange(12)):
        age = chance.randrange(60)
        needs = frozenset(k.id for k in sets if k.at < NOW - age * DAY and chance.random() < 0.2)
        proven = NOW if chance.random() < 0.4 else 0.0
        sets.append(Kept(f"s{place}", "shop", NOW - age * DAY, proven, chance.choice(["", "", "r-1"]), needs))
    fates = retention(sets, Rule(chance.choice([1, 7, 30]), chance.randrange(3)), NOW)
    stay = {f.set.id for f in fates if f.stays}
    proven = sorted((k for k in sets if k.proven), key=lambda k: (-k.at, k.id))
    assert {k.id for k in proven[:PROVEN]} <= stay
    assert {k.id for k in sets if k.pinned} <= stay
    assert all(k.needs <= stay for k in sets if k.id in stay), "a set stays whole"
    newest = max((k.at for k in sets), default=0.0)
    assert not sets or any(k.at == newest for k in sets if k.id in stay)
    for fate in fates:
        if not fate.stays:
            assert any(k.proven and k.at > fate.set.at for k in sets), "nothing goes before a newer one is proven"


@pytest.mark.parametrize(
    ("every", "last", "expected"),
    [(0, NOW, True), (DAY, None, True), (DAY, NOW - DAY + 1, False), (DAY, NOW - DAY, True), (DAY, NOW + 5, True)],
)
def test_when_an_item_is_taken_anew(every: float, last: float | None, expected: bool) -> None:
    assert due(every, last, NOW) is expected
