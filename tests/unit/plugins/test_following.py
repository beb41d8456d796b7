# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who follows a rollout is shown the return that follows from its verification, and gets the first one's answer."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.action import rollout


def said(seq: int, text: str, **about: Any) -> dict[str, Any]:
    return {"seq": seq, "at": float(seq), "what": "note", "details": {"said": text, **about}}


LOGS = {
    "r-2": [said(1, "two begins"), said(2, "going back", follow="r-3"), said(5, "two ends")],
    "r-3": [said(3, "three begins"), said(4, "three ends")],
}
ANSWERS = {"r-2": {"outcome": "rolled back", "rollout": "r-2"}, "r-3": {"outcome": "deployed", "rollout": "r-3"}}


class Watching(rollout.ActionModule):
    """The action with a host that gives so many entries of a log at once, and the answer with the last ones."""

    def __init__(self, at_once: int) -> None:
        self.at_once, self.lines = at_once, []

    def _call(self, args, variables):
        asked = args["follow"]
        left = [e for e in LOGS[asked["rollout"]] if e["seq"] > asked["since"]]
        ended = len(left) <= self.at_once
        return {"events": left[: self.at_once], "answer": ANSWERS[asked["rollout"]] if ended else None}

    def _show(self, host, name, seconds, text):
        self.lines.append(text)


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_the_return_is_shown_between(at_once: int) -> None:
    action = Watching(at_once)
    answer = action._follow("shop", "r-2", {}, {"inventory_hostname": "web-1"}, 0.0)
    assert action.lines == ["two begins", "going back", "three begins", "three ends", "two ends"]
    assert (answer["outcome"], answer["rollout"]) == ("rolled back", "r-2")
