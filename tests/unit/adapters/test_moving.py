# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restored data takes its place by renaming, and whatever point that came to is undone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import moving
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.places import Move
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError


def filled(folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "file").write_text(text)
    return str(folder)


@pytest.fixture
def wanted(tmp_path: Path) -> Move:
    old, new = filled(tmp_path / "place", "old"), filled(tmp_path / "restored", "new")
    return Move("volume data", old, str(tmp_path / "kept"), new)


def content(path: str) -> str:
    return (Path(path) / "file").read_text()


def test_what_was_there_is_kept_and_comes_back(wanted: Move) -> None:
    assert moving.obstacles([wanted]) == []
    moving.move(wanted)
    assert (content(wanted.target), content(wanted.kept)) == ("new", "old")
    assert not Path(wanted.source).exists()
    moving.back(wanted)
    assert content(wanted.target) == "old"
    assert sorted(p.name for p in Path(wanted.target).parent.iterdir()) == ["place"]
    moving.back(wanted)
    assert content(wanted.target) == "old"


def test_undone_from_any_point(wanted: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    moving.back(wanted)
    assert (content(wanted.target), content(wanted.source)) == ("old", "new")
    plain, calls = os.rename, []

    def once(*words: str) -> None:
        calls.append(words)
        if len(calls) == 2:
            raise OSError("no power")
        plain(*words)

    monkeypatch.setattr(os, "rename", once)
    with pytest.raises(PortError, match="volume data cannot be put in place: no power"):
        moving.move(wanted)
    assert not Path(wanted.target).exists()
    moving.back(wanted)
    assert (content(wanted.target), content(wanted.source)) == ("old", "new")


def test_a_place_that_was_empty_is_empty_again(tmp_path: Path) -> None:
    new = filled(tmp_path / "restored", "new")
    wanted = Move("item results", str(tmp_path / "place"), str(tmp_path / "kept"), new)
    moving.move(wanted)
    assert content(wanted.target) == "new"
    assert moving.kept_nothing(wanted)
    moving.back(wanted)
    assert list(tmp_path.iterdir()) == []


def test_what_the_restored_database_wrote_beside_itself_goes_with_it(tmp_path: Path) -> None:
    wanted = Move("item jobs", str(tmp_path / "jobs.db-wal"), str(tmp_path / "jobs.db-wal.before"))
    moving.move(wanted)
    Path(wanted.target).write_text("of the restored one")
    moving.back(wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_file_beside_is_only_moved_away(tmp_path: Path) -> None:
    (tmp_path / "jobs.db-wal").write_text("of the old one")
    wanted = Move("item jobs", str(tmp_path / "jobs.db-wal"), str(tmp_path / "jobs.db-wal.before"))
    moving.move(wanted)
    assert not Path(wanted.target).exists()
    Path(wanted.target).write_text("of the restored one")
    moving.back(wanted)
    assert Path(wanted.target).read_text() == "of the old one"


def test_nothing_that_is_kept_already_is_overwritten(wanted: Move) -> None:
    Path(wanted.kept).mkdir()
    assert "is there already" in moving.obstacles([wanted])[0]


@pytest.mark.skipif(os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev, reason="one file system")
def test_two_file_systems_are_refused_before_anything_is_stopped(wanted: Move) -> None:
    elsewhere = Move("volume data", "/dev/shm/quaylock-nothing", wanted.kept, wanted.source)
    assert "two file systems" in moving.obstacles([elsewhere])[0]
