# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of looking at stacks: asks once, or keeps watching and shows a board."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import board
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown.timeline import read
from ansible_collections.quaylock.stacks.plugins.plugin_utils.screen import Screen

MODULE = "quaylock.stacks.stack_info"
TRUE = (True, "true", "True", "yes", "on", 1, "1")

display = Display()


class ActionModule(ActionBase):
    """quaylock.stacks.stack_info"""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        args = dict(self._task.args)
        if args.get("watch") not in TRUE:
            return self._look(args, variables)
        return self._watch(args, variables)

    def _look(self, args: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=dict(args), task_vars=variables)
        return answer

    def _watch(self, args: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Until interrupted, or until `watch_for` is over. A look that fails is shown, and the next one is tried."""
        host = str(variables.get("inventory_hostname", ""))
        until = time.monotonic() + float(args.get("watch_for") or 0)
        screen, shown = Screen(variables), set[str]()
        while True:
            answer = self._look(args, variables)
            refused = answer.get("failed") and answer.get("outcome") == "refused" and not answer.get("stacks")
            if refused and not shown:
                return answer
            lines = self._lines(host, answer, screen.width)
            if screen.there:
                screen.draw(lines)
            else:
                for line in lines:
                    # without a terminal: what is new, and nothing twice in a row
                    if line not in shown:
                        display.display(f"  {line}")
            shown = set(lines)
            if float(args.get("watch_for") or 0) and time.monotonic() >= until:
                return answer
            time.sleep(float(args.get("interval") or 2))

    @staticmethod
    def _lines(host: str, answer: Mapping[str, Any], width: int) -> list[str]:
        if answer.get("failed") or answer.get("unreachable"):
            return [f"▲ {host}  cannot be looked at: {' '.join(str(answer.get('msg', '')).split())}"[:width]]
        lines: list[str] = []
        for stack in answer["stacks"]:
            title = f"{host} {stack['name']}"
            if stack.get("log"):
                told = read((e["at"], e["what"], e["details"]) for e in stack["log"])
                lines += board.rollout(told, title, told.now, width)
            else:
                lines += board.rest(stack, title, width)
        return lines or [f"– {host}  no stack was deployed here"]
