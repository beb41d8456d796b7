# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `ansible-galaxy collection build` packs: all that is shipped, and nothing of a checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("plugins", "roles", "playbooks", "meta", "docs", "changelogs")
BESIDE = {
    "CHANGELOG.rst",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "requirements.txt",
    "requirements.yml",
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Path -> bytes of every file in the artifact."""
    folder = tmp_path_factory.mktemp("build")
    build = [str(Path(sys.executable).parent / "ansible-galaxy"), "collection", "build", "--output-path", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [artifact] = folder.iterdir()
    with tarfile.open(artifact) as tar:
        return {member.name: member.size for member in tar if not member.isdir()}


def test_all_that_is_tracked_there_is_shipped(packed: dict[str, int]) -> None:
    names = subprocess.run(["git", "ls-files", "-z", *SHIPPED], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = {name for name in names.stdout.split("\0") if name and (ROOT / name).exists()}
    assert tracked - set(packed) == set()


def test_nothing_of_the_checkout_is_shipped(packed: dict[str, int]) -> None:
    assert {name for name in packed if not name.startswith(tuple(f"{folder}/" for folder in SHIPPED))} == BESIDE
    assert [name for name in packed if "cache/" in name or name.endswith(".pyc")] == []


def test_it_stays_small(packed: dict[str, int]) -> None:
    assert sum(packed.values()) < 2_500_000
