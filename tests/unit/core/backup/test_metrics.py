# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The text that Prometheus reads, line by line, and the alert rules that read it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.metrics import labels, text
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.records import Record
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.settings import Schedule, Settings
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.staleness import Seen

ROOT = Path(__file__).parents[4]
SHOP = Seen("shop", 5, 3, "s-3", 1_800_000_000.25, 2048, 0.5, "s-2", 1_799_900_000, 1_799_950_000, 12.5, 3600, 1.0)
NEW = Seen("new", 5)
RECORDS = [
    Record("run", "shop", at=1_800_000_100, seconds=12.345, good=1_800_000_100, failures=2),
    Record("check", "", at=1_800_000_200, seconds=3, why="damaged"),
    Record("copy", "shop"),
]
SETTINGS = Settings(
    Repository("/r", "/p"), "web-1", schedule=Schedule(unproven_after=8 * 86400.0), offsite=Repository("/o", "/q")
)
ALL = text([(SHOP, ()), (NEW, ("no set was made",))], RECORDS, SETTINGS, 1_800_000_300.5, reachable=False)
LINE = re.compile(r'quaylock_backup_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?\d+(\.\d+)?')


def names(lines: str) -> set[str]:
    return {re.split(r"[{ ]", line)[0] for line in lines.splitlines() if not line.startswith("#")}


def test_every_line_is_one_that_prometheus_reads() -> None:
    assert ALL.endswith("\n")
    told = set()
    for line in ALL.splitlines():
        if line.startswith("# "):
            told.add(line.split()[2])
        else:
            assert LINE.fullmatch(line), line
    assert told == names(ALL)


def test_what_is_told() -> None:
    lines = ALL.splitlines()
    for line in (
        'quaylock_backup_last_set_timestamp_seconds{stack="shop"} 1800000000.25',
        'quaylock_backup_last_proven_timestamp_seconds{stack="shop"} 1799900000',
        'quaylock_backup_last_set_bytes{stack="shop"} 2048',
        'quaylock_backup_drill_rto_seconds{stack="shop"} 12.5',
        'quaylock_backup_sets{stack="new"} 0',
        'quaylock_backup_stale{stack="shop"} 0',
        'quaylock_backup_stale{stack="new"} 1',
        'quaylock_backup_stale_after_seconds{stack="shop"} 93600',
        'quaylock_backup_offsite_last_set_timestamp_seconds{stack="new"} 0',
        'quaylock_backup_last_run_success{task="run",stack="shop"} 1',
        'quaylock_backup_last_run_success{task="check"} 0',
        'quaylock_backup_failures_total{task="run",stack="shop"} 2',
        'quaylock_backup_last_run_duration_seconds{task="run",stack="shop"} 12.345',
        "quaylock_backup_repository_up 0",
        "quaylock_backup_written_timestamp_seconds 1800000300.5",
    ):
        assert line in lines, line
    assert not [line for line in lines if 'timestamp_seconds{stack="new"}' in line and "offsite" not in line]
    assert "copy" not in ALL, "what was never done has no time"


def test_labels_are_quoted() -> None:
    assert labels({"stack": 'a"b\\c\nd', "task": ""}) == '{stack="a\\"b\\\\c\\nd"}'


def test_alerts_ask_for_what_there_is() -> None:
    rules = yaml.safe_load((ROOT / "roles/backup/files/quaylock-backup.rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) >= 5
    for rule in alerts:
        asked = set(re.findall(r"quaylock_backup_[a-z_]+", rule["expr"]))
        assert asked, rule["alert"]
        assert asked <= names(ALL), rule["alert"]
        assert {"summary", "description"} <= set(rule["annotations"])
        assert rule["labels"]["severity"] in ("warning", "critical")
