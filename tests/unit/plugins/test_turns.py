# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Of two deployers, what the second one does: ask again for as long as it may, and say for whom it waits."""

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.action import rollout
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request, limits

ALICE, CAROL = (
    {
        "failed": True,
        "msg": f"shop: shop is being deployed by {who}@ci (pid 1, rollout r-1) since 2026; wait",
        "holder": {"who": who},
    }
    for who in ("alice", "carol")
)
FREE = {"outcome": "running", "rollout": "r-2"}
ELSE = {"failed": True, "msg": "shop: no engine"}


class Patient(rollout.ActionModule):
    """The action with a host that gives the answers in turn; each call takes as long as it is allowed to."""

    def __init__(self, answers, monkeypatch):
        self.answers, self.asked, self.said, self.now = list(answers), [], [], 100.0
        monkeypatch.setattr(rollout.time, "monotonic", lambda: self.now)

    def _call(self, args, variables):
        wait = args["wait"]
        self.asked.append(wait)
        self.now += 1 + (wait if isinstance(wait, (int, float)) else 0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _show(self, host, name, seconds, text):
        self.said.append(f"{host} {name} {text}")


CASES = [
    # name                 wait   answers                     asked with         answer   names said
    ("not asked to", 0, [ALICE], [0], ALICE, []),
    ("free at once", 30, [FREE], [0.0], FREE, []),
    ("free later", 30, [ALICE, ALICE, FREE], [0.0, 5, 5], FREE, ["alice"]),
    ("never free", 12, [ALICE], [0.0, 5, 5], ALICE, ["alice"]),
    ("the last slice is short", 9, [ALICE], [0.0, 5, 2.0], ALICE, ["alice"]),
    ("another one came first", 30, [ALICE, CAROL, FREE], [0.0, 5, 5], FREE, ["alice", "carol"]),
    ("another error", 30, [ALICE, ELSE], [0.0, 5], ELSE, ["alice"]),
    ("no list", [1], [ELSE], [[1]], ELSE, []),
    ("no number", "soon", [ELSE], ["soon"], ELSE, []),
    ("more than a day", 86401, [ELSE], [86401], ELSE, []),
]


@pytest.mark.parametrize(
    ("wait", "answers", "asked", "answer", "names"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_who_is_second(wait, answers, asked, answer, names, monkeypatch):
    action = Patient(answers, monkeypatch)
    assert action._in_turn("shop", {"wait": wait}, {"inventory_hostname": "web-1"}) is answer
    assert action.asked == asked
    assert action.said == [
        f"web-1 shop shop is being deployed by {name}@ci (pid 1, rollout r-1) since 2026;"
        f" waiting up to {wait} s for the end of it"
        for name in names
    ]


@pytest.mark.parametrize("wait", [-1.0, 86401.0, float("inf"), float("nan")])
def test_a_wait_that_makes_no_sense_is_refused(wait):
    found = limits(Request("shop", {}, wait=wait))
    assert [(f.path, f.fix) for f in found] == [("wait", "0, the default, does not wait")]


@pytest.mark.parametrize("wait", [0.0, 0.5, 86400.0])
def test_a_wait_up_to_a_day_is_taken(wait):
    assert limits(Request("shop", {}, wait=wait)) == ()
