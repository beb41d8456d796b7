# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A terminal that a board can be drawn on again and again, where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible import constants
from ansible.utils import color
from ansible.utils.display import Display
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import board

display = Display()


class Screen:
    """Tasks run in processes without a terminal of their own, so Ansible's main process is asked by what it found.

    It is drawn on for one host only: two boards would paint over each other.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        alone = len(variables.get("ansible_play_hosts") or []) == 1
        terminal = bool(color.ANSIBLE_COLOR) and not constants.config.get_config_value("ANSIBLE_FORCE_COLOR")
        self.there = alone and terminal
        self.width = int(display.columns or 79)
        self._lines: list[str] = []

    def draw(self, lines: Sequence[str]) -> None:
        """Paint over what was drawn before; nothing where it is the same."""
        if list(lines) != self._lines:
            display.display(board.painted(lines, len(self._lines)), screen_only=True)
            self._lines = list(lines)
