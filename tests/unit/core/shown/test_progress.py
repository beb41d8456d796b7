# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What somebody who waits reads, entry by entry."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import as_json
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout import commands
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown.progress import line

WEB = {"service": "web", "name": "shop-web-2"}
LOOK = {"do": "Look", **WEB, "running": True}

CASES = [
    # what, details, line
    ("plan",      {"lines": ["+ web: create", "- old: remove"]},           "+ web: create\n- old: remove"),
    ("plan",      {"lines": []},                                           ""),
    ("note",      {"do": "Fetch", "said": "pulling web:2, 40 %"},          "pulling web:2, 40 %"),
    ("committed", {},                                                      "every service passed: this is the release now"),
    ("planned",   {},                                                      ""),
    ("finished",  {},                                                      ""),
    ("do",        {"do": "Create", **WEB, "number": 2},                    ""),
    ("do",        {"do": "Start", **WEB},                                  "shop-web-2: starting"),
    ("do",        {"do": "Drain", **WEB, "timeout": 7},                    "shop-web-2: draining"),
    ("do",        {"do": "Route", "service": "web", "servers": ["a", "b"]}, "web: switching traffic to a, b"),
    ("do",        {"do": "Explain", **WEB},                                "shop-web-2: failed, everything goes back"),
    ("do",        {"do": "TakePoint", **WEB},                              "web: taking its restore point, in shop-web-2"),
    ("done",      {"do": "TakePoint", **WEB},                              "web: its restore point is taken"),
    ("done",      {"do": "Route", "service": "web", "servers": ["a"]},     "web: the proxy confirmed the switch"),
    ("done",      {"do": "Unroute", "service": "web"},                     "web: is not routed any more"),
    ("done",      {"do": "Remove", **WEB},                                 "shop-web-2: removed"),
    ("done",      {"do": "Start", **WEB},                                  ""),
    ("done",      {**LOOK, "passed": True},                                "shop-web-2: passes its checks"),
    ("done",      {**LOOK, "passed": False, "output": "exec x -> 1: no\nmore"}, "shop-web-2: not ready, exec x -> 1: no"),
    ("done",      {**LOOK, "passed": False, "output": "x" * 500},          "shop-web-2: not ready, " + "x" * 160),
    ("done",      {**LOOK, "passed": False},                               "shop-web-2: not ready"),
    ("done",      {**LOOK, "passed": None},                                "shop-web-2: running"),
    ("done",      {**LOOK, "running": False, "exit_code": 3},              "shop-web-2: exited with code 3"),
    ("done",      {**LOOK, "running": False, "exit_code": 0},              "shop-web-2: ended well"),
    ("failed",    {"do": "Start", **WEB, "error": "port taken"},           "shop-web-2: port taken"),
    ("failed",    {"do": "Route", "service": "web", "error": "503"},       "web: 503"),
    ("failed",    {"do": "Look", **WEB, "error": "timeout"},               ""),
    ("failed",    {"do": "WriteFiles", "error": "no space"},               "WriteFiles: no space"),
    ("check",     {"name": "page", "outcome": "", "count": 2},             "verifying: page"),
    ("check",     {"name": "page", "outcome": "passed", "seconds": 1.5},   "verifying: page passed in 1.5 s"),
    ("check",     {"name": "page", "outcome": "failed", "said": "status 500\nmore"}, "verifying: page failed: status 500"),
    ("check",     {"name": "page", "outcome": "not asked", "said": "db did not pass"}, "verifying: page not asked: db did not pass"),
    ("else",      {},                                                      ""),
]  # fmt: skip


@pytest.mark.parametrize(("what", "details", "expected"), CASES)
def test_line(what: str, details: dict[str, Any], expected: str) -> None:
    assert line(what, details) == expected


@pytest.mark.parametrize("kind", commands.Command.__args__, ids=lambda kind: kind.__name__)
def test_every_command_can_be_told(kind: type) -> None:
    """Whatever a newer journal holds, a line is a line."""
    samples: dict[str, Any] = {"number": 1, "at": 0.0, "check": True, "servers": ("a",), "old": False, "timeout": 1.0}
    command = kind(**{f.name: samples.get(f.name, "x") for f in fields(kind)})
    for what in ("do", "done", "failed"):
        assert isinstance(line(what, dict(as_json(command))), str)
