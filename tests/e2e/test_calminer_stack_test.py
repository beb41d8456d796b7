# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""make stack-test STACK=calminer: the tests really run, and nothing of the disposable stack stays behind."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PROJECT = "calminer-test"


def stack_test(**variables: object) -> subprocess.CompletedProcess[str]:
    call = ["make", "--no-print-directory", "stack-test", "STACK=calminer"]
    if variables:
        call = [str(ROOT / "scripts" / "stack-test"), "calminer", "-e", json.dumps(variables)]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


def left_behind() -> list[str]:
    """Everything on this machine that belongs to the disposable stack, by label and by name."""
    found = []
    for kind, listing in (
        ("container", ["ps", "--all", "--format", "{{.Names}}"]),
        ("network", ["network", "ls", "--format", "{{.Name}}"]),
        ("volume", ["volume", "ls", "--format", "{{.Name}}"]),
    ):
        call = ["docker", *listing, "--filter", f"label=com.docker.compose.project={PROJECT}"]
        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        found += [f"{kind} {name}" for name in said.split()]
    volumes = subprocess.run(["docker", "volume", "ls", "--quiet"], capture_output=True, text=True, check=True).stdout
    found += [f"volume {name}" for name in volumes.split() if name in ("pg_data_test", "pip_cache_test")]
    found += [str(path) for path in (Path("/etc/quaylock/stacks") / PROJECT,) if path.exists()]
    return found


def test_the_application_is_set_up_tested_and_gone():
    done = stack_test()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    said = re.findall(r"setup_database: (would apply|applied) 0001_\w+", done.stdout)
    assert said[:2] == ["would apply", "applied"], "the dry run comes first"
    assert re.search(r"\d{2} passed", done.stdout), done.stdout[-3000:]
    assert not re.search(r"\d+ (failed|skipped)", done.stdout), "every test has its database"
    assert left_behind() == []


def test_a_failure_is_told_and_nothing_stays_either():
    done = stack_test(calminer_test_arguments=["tests/no_such_test.py"])
    assert done.returncode != 0
    assert "file or directory not found: tests/no_such_test.py" in done.stdout
    assert "tests did not pass its gate" in done.stdout
    assert left_behind() == []
