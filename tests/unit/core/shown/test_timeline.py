# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A rollout over time, from the log of the journal."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import timeline
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown.timeline import Timeline, plan_entry, read

PLAN = (0.5, "plan", plan_entry(["~ web"], {"db": ["db-1"], "web": ["web-1", "web-2"]}, {"web": ["db"]}))


def done(do: str, name: str, at: float, **about: Any) -> tuple[float, str, dict[str, Any]]:
    return (at, "done", {"do": do, "service": name.partition("-")[0], "name": name, **about})


def passed(name: str, at: float) -> tuple[float, str, dict[str, Any]]:
    return done("Look", name, at, running=True, passed=True)


REACHED = [
    # name                         entries about web-1                                                        reached
    ("planned",                    [],                                                                        ""),
    ("created",                    [done("Create", "web-1", 1)],                                              "created"),
    ("started",                    [done("Create", "web-1", 1), done("Start", "web-1", 2)],                   "started"),
    ("not ready",                  [done("Start", "web-1", 2), done("Look", "web-1", 3, running=True, passed=False)], "started"),
    ("passed",                     [done("Start", "web-1", 2), passed("web-1", 3)],                           "passed"),
    ("held",                       [passed("web-1", 3), (4.0, "gate", {"service": "web", "name": "web-1", "reached": "held"})], "held"),
    ("switched",                   [passed("web-1", 3), (4.0, "done", {"do": "Route", "service": "web", "servers": ["web-1"]})], "switched"),
    ("routed back is no switch",   [passed("web-1", 3), (4.0, "done", {"do": "Route", "service": "web", "servers": ["web-1"], "old": True})], "passed"),
    ("ended well",                 [done("Look", "web-1", 3, running=False, exit_code=0)],                    "ended"),
    ("exited",                     [done("Look", "web-1", 3, running=False, exit_code=1)],                    "failed"),
    ("explained",                  [passed("web-1", 3), (4.0, "do", {"do": "Explain", "service": "web", "name": "web-1"})], "failed"),
    ("could not be started",       [(4.0, "failed", {"do": "Start", "service": "web", "name": "web-1", "error": "port taken"})], "failed"),
    ("a check that failed to run", [done("Start", "web-1", 2), (4.0, "failed", {"do": "Look", "service": "web", "name": "web-1", "error": "x"})], "started"),
    ("taken away again",           [done("Start", "web-1", 2), done("Remove", "web-1", 5)],                   "gone"),
    ("something unheard of",       [(1.0, "paused", {"x": 1}), (2.0, "do", {}), (3.0, "gate", {})],           ""),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "expected"), [c[1:] for c in REACHED], ids=[c[0] for c in REACHED])
def test_what_a_replica_reached(entries: list, expected: str) -> None:
    assert read([PLAN, *entries]).bars["web-1"].reached == expected


def test_it_can_be_taken_up_anywhere() -> None:
    entries = [PLAN, done("Create", "db-1", 1), done("Start", "db-1", 2), passed("db-1", 3), (9.0, "committed", {})]
    whole = read(entries)
    parts: Timeline | None = None
    for entry in entries:
        parts = read([entry], parts)
    assert parts == whole


def test_who_waited_for_whom() -> None:
    told = read([PLAN, done("Start", "db-1", 1)])
    assert told.waits_for(told.bars["web-1"]) == ("db", None)
    told = read([passed("db-1", 4)], told)
    assert told.waits_for(told.bars["web-1"]) == ("db", 4.0)
    assert told.waits_for(told.bars["db-1"]) == ("", None)
    alone = read([(0.0, "plan", plan_entry([], {"web": ["web-1"]}, {"web": ["db"]}))])
    assert alone.waits_for(alone.bars["web-1"]) == ("", None), "what is not rolled out is there"


def test_what_the_old_ones_do_is_no_row() -> None:
    told = read(
        [
            PLAN,
            done("Stop", "web-0", 1),
            done("Remove", "web-0", 1),
            (2.0, "failed", {"do": "Remove", "service": "web", "name": "web-0"}),
        ]
    )
    assert list(told.bars) == ["db-1", "web-1", "web-2"]


@pytest.mark.parametrize("do", ["Look", "Drain", "Withdraw", "Fetch"])
def test_what_only_leaves_a_note_turns_nothing_round(do: str) -> None:
    told = read([PLAN, (2.0, "failed", {"do": do, "service": "web", "name": "web-1", "error": "no"})])
    assert told.turned is None


def test_the_first_word_of_a_failure_stays() -> None:
    told = read(
        [
            PLAN,
            done("Look", "web-1", 1, running=False, exit_code=3, oom=True),
            done("Look", "web-1", 2, running=False, exit_code=9),
        ]
    )
    assert told.bars["web-1"].said == "exited with code 3 (out of memory)"
    assert told.bars["web-1"].marks["failed"] == 1


def test_what_is_stopped_because_another_failed_has_not_ended_well() -> None:
    told = read([PLAN, passed("web-2", 2), (3.0, "do", {"do": "Explain", "service": "web", "name": "web-1"})])
    for code in (0, 137):
        assert read([done("Look", "web-2", 4, running=False, exit_code=code)], told).bars["web-2"].reached == "gone"


def test_moments() -> None:
    told = read([PLAN, (5.0, "do", {"do": "Explain", "service": "web", "name": "web-1"}), (7.0, "finished", {})])
    assert (told.begun, told.turned, told.committed, told.finished) == (0.5, 5.0, None, 7.0)
    late = read([PLAN, (5.0, "committed", {}), (6.0, "failed", {"do": "Remove", "service": "web", "name": "web-0"})])
    assert (late.turned, late.committed) == (None, 5.0), "past the commit nothing turns back"
    assert timeline.read([]).services == ()
