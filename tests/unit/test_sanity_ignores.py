# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ansible-test sanity may pass over: the same on every ansible-core that we support, with a reason, never a plugin."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
IGNORES = sorted(ROOT.glob("tests/sanity/ignore-*.txt"))
SHIPPED = ("plugins/", "roles/", "playbooks/", "meta/")


def test_every_supported_ansible_core_has_its_file() -> None:
    asked = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"]
    first, end = (int(minor) for minor in re.findall(r"2\.(\d+)", asked))
    assert {path.stem for path in IGNORES} == {f"ignore-2.{minor}" for minor in range(first, end)}


def test_all_say_the_same() -> None:
    assert len({path.read_text() for path in IGNORES}) == 1


def test_every_line_has_a_reason_and_none_is_about_what_is_shipped() -> None:
    lines = IGNORES[0].read_text().splitlines()
    assert [line for line in lines if " # " not in line or line.startswith(SHIPPED)] == []
