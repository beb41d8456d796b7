# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which backups are too old, and what a stack's sets and drills come to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import records, staleness
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Manifest, Part, Taken
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.proof import Proof
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.records import Record, noted
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.settings import Schedule
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.staleness import Seen, seen, stale

HOUR, DAY = 3600.0, 86400.0
NOW = 100 * DAY
USUAL = Schedule(stale_after=26 * HOUR, unproven_after=8 * DAY)
GOOD = Seen("shop", since=0, sets=3, set="s-3", at=NOW - HOUR, proven_set="s-2", proven=NOW - DAY, offsite=NOW - DAY)

CASES = [
    # name                        what is otherwise                             off-site  said
    ("as it should be",           {},                                           True,  ()),
    ("just in time",              {"at": NOW - 26 * HOUR},                      False, ()),
    ("too old",                   {"at": NOW - 27 * HOUR},                      False, ("the newest set, s-3, is 27h old",)),
    ("never, and new here",       {"since": NOW - HOUR, "at": 0, "proven": 0},  False, ()),
    ("never",                     {"since": NOW - 30 * HOUR, "at": 0, "proven": 0}, False, ("no set was made within 30h",)),
    ("never proven",              {"proven": 0.0},                              False, ("no set was proven within 100d",)),
    ("proven too long ago",       {"proven": NOW - 9 * DAY},                    False, ("the newest proven set, s-2, is 9d old",)),
    ("not off-site",              {"offsite": NOW - 3 * DAY},                   True,  ("the newest set off-site is 3d old",)),
    ("nobody wants it off-site",  {"offsite": 0.0},                             False, ()),
    ("never off-site",            {"offsite": 0.0},                             True,  ("no set came off-site within 100d",)),
    ("from the future",           {"at": NOW + DAY},                            False, ("the newest set, s-3, is from the future",)),
    ("everything",                {"at": 0.0, "proven": 0.0, "offsite": 0.0},   True,  ("no set was made", "no set was proven", "no set came")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "offsite", "said"), CASES, ids=[case[0] for case in CASES])
def test_what_is_too_old(name: str, change: dict[str, float], offsite: bool, said: tuple[str, ...]) -> None:
    found = stale(replace(GOOD, **change), USUAL, NOW, offsite)
    assert len(found) == len(said), found
    assert all(text.startswith(begin) for text, begin in zip(found, said, strict=True)), found


def test_what_is_not_expected_is_never_too_old() -> None:
    assert stale(Seen("shop", 0), Schedule(stale_after=0, unproven_after=0), NOW, True) == ()


def made(set_: str, at: float) -> Manifest:
    return Manifest(set_, "shop", "web-1", at, (Taken("files", "path", (Part("/a", 10, "aa"),), at),), quiet=0.5)


def drilled(set_: str, at: float, ok: bool = True) -> Proof:
    return Proof(set_, "shop", "web-1", at, ok, rto=at / 10, rpo=at / 100)


DRILLS = [
    # name                       drills                                              proven  drilled
    ("none",                     [],                                                 "",     0),
    ("the newest",               [drilled("s-3", 400)],                              "s-3",  400),
    ("an older one",             [drilled("s-1", 400)],                              "s-1",  400),
    ("failed",                   [drilled("s-3", 400, False), drilled("s-2", 350)],  "s-2",  350),
    ("failed the second time",   [drilled("s-3", 400), drilled("s-3", 500, False)],  "",     0),
    ("passed the second time",   [drilled("s-3", 500), drilled("s-3", 400, False)],  "s-3",  500),
    ("of a set that is gone",    [drilled("s-0", 400)],                              "",     0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "proofs", "proven", "at"), DRILLS, ids=[row[0] for row in DRILLS])
def test_what_is_proven(name: str, proofs: list[Proof], proven: str, at: float) -> None:
    found = seen("shop", 5, [made("s-2", 200), made("s-3", 300), made("s-1", 100)], proofs, 1000)
    assert (found.set, found.at, found.sets, found.size, found.quiet) == ("s-3", 300, 3, 10, 0.5)
    assert (found.proven_set, found.drilled, found.rto) == (proven, at, at / 10)
    assert staleness.read(staleness.written(found)) == found


def test_what_a_clock_that_was_ahead_has_written_is_not_the_newest_and_proves_nothing() -> None:
    ahead = [made("s-9", NOW + 300 * DAY), made("s-3", 300), made("s-2", 200)]
    late = [drilled("s-9", NOW + 301 * DAY), drilled("s-3", NOW + 300 * DAY)]
    found = seen("shop", 5, ahead, [*late, drilled("s-3", 400, False), drilled("s-2", 250)], NOW)
    assert (found.set, found.proven_set, found.sets) == ("s-3", "s-2", 3)
    alone = seen("shop", 5, ahead[:1], late, NOW)
    assert (alone.set, alone.proven_set) == ("s-9", ""), "where there is no other, it is better than none"


def test_what_another_version_wrote_is_read_again() -> None:
    assert staleness.read({}) is None
    assert staleness.read({**staleness.written(GOOD), "surprise": 1}) == GOOD


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(40, "40s"), (61, "1m"), (7200, "2h"), (27 * HOUR, "27h"), (3 * DAY, "3d"), (8.5 * DAY, "8.5d")],
)
def test_ages_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert staleness.age(seconds) == said


def test_a_record_counts_failures_and_knows_when_it_went_well() -> None:
    first = noted(Record("run", "shop"), 100, 2.5, "")
    second = noted(first, 200, 1, "no space left")
    third = noted(noted(second, 300, 1, "no space left"), 400, 3, "")
    assert (first.ok, first.good, first.failures) == (True, 100, 0)
    assert (second.ok, second.good, second.failures, second.why) == (False, 100, 1, "no space left")
    assert (third.ok, third.good, third.failures, third.seconds) == (True, 400, 2, 3)
    assert records.read(records.written(second), "run", "shop") == second
    assert records.read({}, "run", "shop") == Record("run", "shop")


def test_what_is_told_of_it() -> None:
    told = staleness.shown(replace(GOOD, at=NOW - 27 * HOUR), replace(USUAL, every=DAY), NOW)
    assert (told["stack"], told["set"], told["proven_set"]) == ("shop", "s-3", "s-2")
    assert told["due"] == NOW - 3 * HOUR, "a day after the newest one"
    assert [text.partition(" is ")[0] for text in told["stale"]] == ["the newest set, s-3,"]
    assert staleness.shown(GOOD, USUAL, NOW)["due"] == 0, "whenever a timer calls"
    assert staleness.shown(Seen("shop", NOW), replace(USUAL, every=DAY), NOW)["due"] == 0, "none was made yet: now"
