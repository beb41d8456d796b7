# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""make stack-test STACK=lakehouse: data goes through all layers of a real one, and nothing of it stays behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.more,
]  # its images take a quarter of an hour where none of them is there

ROOT = Path(__file__).parents[2]
PROJECT = "lakehouse-test"


def left_behind() -> list[str]:
    """Everything on this machine that belongs to the disposable stack, by label."""
    found = []
    for kind, listing in (
        ("container", ["ps", "--all", "--format", "{{.Names}}"]),
        ("network", ["network", "ls", "--format", "{{.Name}}"]),
        ("volume", ["volume", "ls", "--format", "{{.Name}}"]),
    ):
        call = ["docker", *listing, "--filter", f"label=com.docker.compose.project={PROJECT}"]
        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        found += [f"{kind} {name}" for name in said.split()]
    return found + [str(path) for path in (Path("/etc/quaylock/stacks") / PROJECT,) if path.exists()]


def test_trips_go_through_all_layers_and_the_stack_is_gone_afterwards():
    call = ["make", "--no-print-directory", "stack-test", "STACK=lakehouse"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    for check in ("buckets", "catalog", "daily-run", "trino-reads", "dbt-built", "superset", "quiet"):
        assert re.search(rf"\b{check} passed in [\d.]+ s", done.stdout), check
    rows = re.search(r"trino-reads passed in [\d.]+ s: (\d+)", done.stdout)
    assert rows
    assert 900 < int(rows[1]) < 1000
    assert "a metastore without its locks is unhealthy: show_locks" in done.stdout
    assert "a second run changed nothing" in done.stdout
    assert left_behind() == []
