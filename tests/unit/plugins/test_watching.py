# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is shown to whoever watches: a board where there is a terminal, lines where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.action import stack_info
from ansible_collections.quaylock.stacks.plugins.plugin_utils import screen

SERVICE = {"name": "web", "health": "healthy", "replicas": 1, "wanted": 1, "one_shot": False, "image": "web:1"}
STACK = {
    "name": "shop",
    "healthy": True,
    "present": True,
    "release": "r1",
    "released_at": "today",
    "services": [SERVICE],
}
LOG = [{"at": 1.0, "what": "plan", "details": {"new": {"web": ["shop-web-1"]}, "depends": {}}}]
LINES = [
    # name                 answer of the module                                      lines
    ("at rest",            {"stacks": [{**STACK, "log": []}]},
     ["✔ host shop  healthy  release r1 since today", "✔   web  healthy  1/1    web:1"]),
    ("under way",          {"stacks": [{**STACK, "log": LOG}]},
     ["● host shop  rolls out  0 s  0 of 1 through", "○   web  0/1            is next"]),
    ("nothing",            {"stacks": []},                                           ["– host  no stack was deployed here"]),
    ("a look that failed", {"failed": True, "msg": "the engine\ndoes not answer"},   ["▲ host  cannot be looked at: the engine does not answer"]),
    ("out of reach",       {"unreachable": True, "msg": "timed out"},                ["▲ host  cannot be looked at: timed out"]),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), [c[1:] for c in LINES], ids=[c[0] for c in LINES])
def test_lines(answer: dict[str, Any], expected: list[str]) -> None:
    assert stack_info.ActionModule._lines("host", answer, 80) == expected


TERMINALS = [
    # colours of the main process, forced, hosts of the play, a board
    (True,                         None,   ["a"],             True),
    (True,                         None,   ["a", "b"],        False),
    (False,                        None,   ["a"],             False),
    (True,                         True,   ["a"],             False),
    (True,                         None,   [],                False),
]  # fmt: skip


@pytest.mark.parametrize(("colour", "forced", "hosts", "expected"), TERMINALS)
def test_a_board_needs_a_terminal_and_one_host(
    monkeypatch: pytest.MonkeyPatch, colour: bool, forced: bool | None, hosts: list[str], expected: bool
) -> None:
    monkeypatch.setattr(screen.color, "ANSIBLE_COLOR", colour)
    monkeypatch.setattr(screen.constants.config, "get_config_value", lambda name: forced)
    assert screen.Screen({"ansible_play_hosts": hosts}).there is expected


def test_a_board_is_drawn_over_the_one_before_and_not_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(screen.display, "display", lambda text, **about: drawn.append(text))
    board = screen.Screen({"ansible_play_hosts": ["a"]})
    board.draw(["✔ a", "  b"])
    board.draw(["✔ a", "  b"])
    board.draw(["✔ c"])
    assert drawn == ["\x1b[32m✔\x1b[0m a\n  b", "\x1b[2A\x1b[J\x1b[32m✔\x1b[0m c"]
