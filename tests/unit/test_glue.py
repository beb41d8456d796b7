# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What went wrong becomes an answer that helps, never a traceback."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Finding, Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import answering
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

FULL = OSError(errno.ENOSPC, "No space left on device")


class Module:
    """As far as `answering` goes."""

    def __init__(self) -> None:
        self.params = {"name": "shop"}

    def fail_json(self, **answer: Any) -> None:
        self.answer = answer


ODD = Finding("services.web", "is odd", "mend it")
CASES = [
    # name                            error                                                   in the message
    ("the definition is refused",     Invalid((ODD,)),                      "services.web: is odd (mend it)"),
    ("the engine says no",            PortError("create x: the name is taken"),               "shop: create x: the name is taken"),
    ("the lock's disk is full",       FULL,                                                   "No space left on device; free the disk, then run this again"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "told"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_an_error_is_answered(error: Exception, told: str) -> None:
    module = Module()
    with answering(module):
        raise error
    assert told in module.answer["msg"]
    assert not module.answer.get("changed")
