# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The board of a terminal, as it is printed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import board
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown.timeline import plan_entry, read

PLAN = (1.0, "plan", plan_entry(["~ web"], {"db": ["db-1"], "web": ["web-1", "web-2"]}, {"web": ["db"]}))


def done(do: str, name: str, at: float, **about: Any) -> tuple[float, str, dict[str, Any]]:
    return (at, "done", {"do": do, "service": name.partition("-")[0], "name": name, **about})


def passed(name: str, at: float) -> tuple[float, str, dict[str, Any]]:
    return done("Look", name, at, running=True, passed=True)


def asked(name: str, outcome: str) -> tuple[float, str, dict[str, Any]]:
    return (9.0, "check", {"name": name, "outcome": outcome, "count": 3})


UP = [done("Start", "db-1", 2), passed("db-1", 3)]
BOTH = [*UP, done("Start", "web-1", 3), done("Start", "web-2", 3), passed("web-1", 4), passed("web-2", 5)]
SERVE = (6.0, "done", {"do": "Route", "service": "web", "servers": ["web-1", "web-2"]})
BOARDS = [
    # name, entries, lines
    ("a pull", [(1.0, "note", {"said": "web:1: pulling 40 %"})], ["● shop  looks and fetches images  4 s", "  web:1: pulling 40 %"]),
    ("planned", [PLAN], ["● shop  rolls out  4 s  0 of 2 through",
     "○   db   0/1            is next", "○   web  0/2            waits for db"]),
    ("a restore point", [PLAN, (2.0, "do", {"do": "TakePoint", "service": "db", "name": "db-0"})],
     ["● shop  takes the restore point of db  4 s  0 of 2 through",
      "○   db   0/1            is next", "○   web  0/2            waits for db"]),
    ("a restore point is taken", [PLAN, *[(2.0, w, {"do": "TakePoint", "service": "db", "name": "db-0"}) for w in ("do", "done")]],
     ["● shop  rolls out  4 s  0 of 2 through",
      "○   db   0/1            is next", "○   web  0/2            waits for db"]),
    ("under way", [PLAN, *UP, done("Start", "web-1", 4), done("Look", "web-1", 4.5, running=True, passed=False, output="GET :80 -> 503\nmore")],
     ["● shop  rolls out  4 s  0 of 2 through",
      "●   db   1/1       1 s  passes its checks", "○   web  0/2            is next"]),
    ("not ready", [PLAN, *UP, done("Start", "web-1", 4), done("Start", "web-2", 4),
                   done("Look", "web-1", 4.5, running=True, passed=False, output="GET :80 -> 503\nmore")],
     ["● shop  rolls out  4 s  0 of 2 through",
      "●   db   1/1       1 s  passes its checks", "●   web  0/2       1 s  not ready: GET :80 -> 503"]),
    ("released", [PLAN, *BOTH, SERVE, (7.0, "committed", {})],
     ["✔ shop  is released, what was before leaves  6 s  2 of 2 through",
      "✔   db   1/1       1 s  passed", "✔   web  2/2       1 s  serves"]),
    ("failed", [PLAN, *UP, done("Start", "web-1", 3), done("Look", "web-1", 4, running=False, exit_code=3),
                (4.0, "do", {"do": "Explain", "service": "web", "name": "web-1"})],
     ["✖ shop  turns back  4 s  0 of 2 through",
      "●   db   1/1       1 s  passes its checks", "✖   web  0/2       1 s  failed: exited with code 3"]),
    ("is verified", [PLAN, *BOTH, SERVE, (7.0, "committed", {}), (8.0, "finished", {}), asked("a", ""), asked("b", "passed")],
     ["✔ shop  is released, and is verified: 1 of 3 checks passed  8 s  2 of 2 through",
      "✔   db   1/1       1 s  passed", "✔   web  2/2       1 s  serves"]),
    ("verified", [PLAN, *BOTH, SERVE, (7.0, "committed", {}), asked("a", "passed"), asked("b", "passed"), asked("c", "passed")],
     ["✔ shop  is released and verified: 3 checks  8 s  2 of 2 through",
      "✔   db   1/1       1 s  passed", "✔   web  2/2       1 s  serves"]),
    ("not verified", [PLAN, *BOTH, SERVE, (7.0, "committed", {}), asked("a", "failed"), asked("b", "not asked")],
     ["✖ shop  is released, NOT verified: 2 of 3 checks failed  8 s  2 of 2 through",
      "✔   db   1/1       1 s  passed", "✔   web  2/2       1 s  serves"]),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "expected"), [c[1:] for c in BOARDS], ids=[c[0] for c in BOARDS])
def test_a_rollout(entries: list, expected: list[str]) -> None:
    told = read(entries)
    assert board.rollout(told, "shop", max(5.0, told.now)) == expected


def test_lines_are_one_line_each_whatever_was_said() -> None:
    said = "\x1b[2J\x07 evil\n" + "x" * 300
    told = read([PLAN, done("Start", "db-1", 2), done("Look", "db-1", 3, running=True, passed=False, output=said)])
    for line in board.rollout(told, "shop", 5.0, width=60):
        assert len(line) <= 60
        assert line.isprintable(), "no escape sequence of a container reaches the terminal"


def test_of_many_services_those_that_matter_are_shown() -> None:
    names = [f"s{n:03}" for n in range(200)]
    plan = (1.0, "plan", plan_entry([], {n: [f"{n}-1"] for n in names}, {}))
    told = read([plan, done("Look", "s150-1", 2, running=False, exit_code=1), passed("s120-1", 2)])
    lines = board.rollout(told, "shop", 5.0, height=12)
    assert len(lines) == 12
    assert [line for line in lines if "s150" in line or "s120" in line] != []
    assert lines[-1] == "    and 190 more"


def test_it_is_drawn_over_itself() -> None:
    assert board.painted(["✔ a", "  b"], 0) == "\x1b[32m✔\x1b[0m a\n  b"
    assert board.painted(["✖ a"], 3).startswith("\x1b[3A\x1b[J")


def test_a_stack_at_rest() -> None:
    known = {"image": "web:1", "one_shot": False, "replicas": 1, "wanted": 2}
    services = [
        {"name": "web", "health": "degraded", **known},
        {"name": "job", "health": "done", **known, "one_shot": True},
    ]
    stack = {"services": services, "healthy": False, "present": True, "release": "r1", "released_at": "today"}
    assert board.rest(stack, "shop") == [
        "✖ shop  NOT HEALTHY  release r1 since today",
        "▲   web  degraded  1/2    web:1",
        "✔   job  done      once   web:1",
    ]
    many = [{"name": f"s{n}", "health": "down" if n == 77 else "healthy", **known} for n in range(100)]
    lines = board.rest({**stack, "services": many}, "shop", height=10)
    assert len(lines) == 10
    assert any("s77" in line for line in lines)
