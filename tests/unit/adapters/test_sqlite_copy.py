# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SQLite databases are copied while they are written, and what is damaged is no copy."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import sqlite_copy
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError


def made(path: Path, mode: str = "WAL", rows: int = 2000) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
    db.execute(f"PRAGMA journal_mode = {mode}")
    db.execute('CREATE TABLE "odd ""name" (id INTEGER PRIMARY KEY, pair INTEGER, text TEXT)')
    db.execute("CREATE TABLE empty (id)")
    db.execute("BEGIN")
    db.executemany('INSERT INTO "odd ""name" (pair, text) VALUES (?, ?)', ((i, "x" * 300) for i in range(rows)))
    db.execute("COMMIT")
    return db


@pytest.mark.parametrize("mode", ["WAL", "DELETE", "TRUNCATE"])
def test_a_database_under_a_storm_of_writes_is_copied_whole(tmp_path: Path, mode: str) -> None:
    db = made(tmp_path / "jobs.db", mode)
    stop = threading.Event()
    number = 0

    def storm() -> None:
        nonlocal number
        while not stop.is_set():
            number += 1
            # both rows of a pair, or none
            db.execute("BEGIN IMMEDIATE")
            db.executemany('INSERT INTO "odd ""name" (pair, text) VALUES (?, ?)', [(-number, "y" * 900)] * 2)
            db.execute("COMMIT")

    writer = threading.Thread(target=storm)
    writer.start()
    try:
        for turn in range(5):
            target = tmp_path / f"copy{turn}" / "copy.sqlite"
            sqlite_copy.copy(str(tmp_path / "jobs.db"), str(target))
            sqlite_copy.check(str(target))
            found = sqlite_copy.rows(str(target))
            assert set(found) == {'odd "name', "empty"}
            assert found['odd "name'] >= 2000
            with sqlite3.connect(target) as copied:
                odd = copied.execute(
                    'SELECT pair FROM "odd ""name" WHERE pair < 0 GROUP BY pair HAVING count(*) <> 2'
                ).fetchall()
            assert odd == [], "a transaction is in the copy, or it is not"
            assert sorted(p.name for p in target.parent.iterdir()) == ["copy.sqlite"]
    finally:
        stop.set()
        writer.join()
        db.close()
    assert number > 10, "it was a storm"


def test_the_applications_files_stay_the_applications(tmp_path: Path) -> None:
    """In WAL mode SQLite makes files beside the database; made by root they would lock the application out."""
    if os.geteuid():
        pytest.skip("only root can make files that others cannot use")
    path = tmp_path / "jobs.db"
    made(path).close()
    os.chown(path, 12345, 12345)
    watched: dict[str, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for file in tmp_path.glob("jobs.db-*"):
                try:
                    watched[file.name] = file.stat().st_uid
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    for turn in range(20):
        sqlite_copy.copy(str(path), str(tmp_path / f"c{turn}" / "copy.sqlite"))
    stop.set()
    watcher.join()
    assert set(watched.values()) <= {12345}, watched
    assert not list(tmp_path.glob("jobs.db-*"))


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database at all")
    with pytest.raises(PortError, match="is no SQLite database"):
        sqlite_copy.copy(str(tmp_path / "notes.txt"), str(tmp_path / "c" / "copy.sqlite"))
    with pytest.raises(PortError, match="No such file"):
        sqlite_copy.copy(str(tmp_path / "gone.db"), str(tmp_path / "c" / "copy.sqlite"))
    assert not (tmp_path / "gone.db").exists()


def test_a_damaged_database_is_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    made(path, "DELETE").close()
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    path.write_bytes(bytes(content))
    sqlite_copy.copy(str(path), str(tmp_path / "copy.sqlite"))
    with pytest.raises(PortError, match=r"is damaged|is malformed"):
        sqlite_copy.check(str(tmp_path / "copy.sqlite"))


def test_a_writer_that_never_ends_is_waited_for_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = made(tmp_path / "jobs.db", "DELETE")
    db.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite_copy, "PATIENCE", 0.3)
    with pytest.raises(PortError, match="locked"):
        sqlite_copy.copy(str(tmp_path / "jobs.db"), str(tmp_path / "copy.sqlite"))
    db.execute("ROLLBACK")
    db.close()


def test_a_file_without_a_byte_is_an_empty_database(tmp_path: Path) -> None:
    (tmp_path / "app.db").write_bytes(b"")
    sqlite_copy.copy(str(tmp_path / "app.db"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").stat().st_size > 0, "an empty stream would be taken for a copy that was not made"
    sqlite_copy.check(str(tmp_path / "copy"))
    assert sqlite_copy.rows(str(tmp_path / "copy")) == {}
    assert (tmp_path / "app.db").stat().st_size == 0
