# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kept releases and retention under a moved clock, and a journal file that was written by another version."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SCHEMA, SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request, model_of, wanted_of

DAY = 86400.0
FIRST_SCHEMA = """
CREATE TABLE rollouts (
  id TEXT PRIMARY KEY, stack TEXT NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL, begun REAL NOT NULL,
  ended REAL, outcome TEXT, model TEXT NOT NULL, planned TEXT, committed TEXT, committed_at REAL, result TEXT
);
CREATE INDEX rollouts_by_stack ON rollouts (stack, begun);
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, at REAL NOT NULL,
  what TEXT NOT NULL, details TEXT NOT NULL
);
CREATE INDEX events_by_rollout ON events (rollout, seq);
INSERT INTO rollouts VALUES ('r1', 'shop', 'deploy', 'jane', 1000, 1001, 'deployed', '{"model": 1}', '{}',
  '{"members": {"web": ["shop-web-1"]}, "images": {}, "ran": []}', 1001, NULL);
INSERT INTO events (rollout, at, what, details) VALUES ('r1', 1000, 'note', '{}');
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.sqlite")


def rollout(journal: SqliteJournal, name: str, at: float, outcome: str = "deployed", **about: Any) -> None:
    kind = "teardown" if outcome == "removed" else "deploy"
    journal.begin(name, about.get("stack", "shop"), kind, "jane", at, {"model": name}, about.get("asked"))
    journal.milestone(name, "planned", at, {"members": {}, "incumbents": {}, "running": []})
    if outcome == "deployed":
        journal.milestone(name, "committed", at + 1, {"members": {}, "images": {}, "ran": []})
    for _turn in range(about.get("events", 0)):
        journal.log(name, at, "note", {"said": "x" * 400})
    journal.milestone(name, "finished", at + 2, {"outcome": outcome, "notes": []})


KEPT = [
    # name                           outcomes of r1, r2, ...                                  keep  releases
    ("none",                         [],                                                      5,    []),
    ("the newest first",             ["deployed", "deployed"],                                5,    ["r2", "r1"]),
    ("not more than asked",          ["deployed"] * 4,                                        2,    ["r4", "r3"]),
    ("failed ones are none",         ["deployed", "rolled back", "deployed", "incomplete"],   5,    ["r3", "r1"]),
    ("a teardown lets them go",      ["deployed", "deployed", "removed"],                     5,    []),
    ("those after a teardown",       ["deployed", "removed", "deployed", "deployed"],         5,    ["r4", "r3"]),
    ("a teardown that failed",       ["deployed", "incomplete"],                              5,    ["r1"]),
]  # fmt: skip


@pytest.mark.parametrize(("outcomes", "keep", "expected"), [c[1:] for c in KEPT], ids=[c[0] for c in KEPT])
@pytest.mark.parametrize("days", [0, 400], ids=["today", "long after"])
def test_kept_releases(path: str, outcomes: list[str], keep: int, expected: list[str], days: int) -> None:
    """The retention forgets nothing of them, however old they are."""
    journal = SqliteJournal(path)
    for number, outcome in enumerate(outcomes, 1):
        rollout(journal, f"r{number}", number * 100, outcome)
        rollout(journal, f"o{number}", number * 100, stack="other")
    journal.prune(1000 + days * DAY, keep=keep)
    assert [r.id for r in journal.releases("shop", keep)] == expected


def test_what_was_returned_from_takes_nobodys_place(path: str) -> None:
    journal = SqliteJournal(path)
    for number in range(1, 5):
        rollout(journal, f"r{number}", number * 1000)
    for release in ("r2", "r4"):
        journal.begin(f"v-{release}", "shop", "verify", "jane", 9000, {}, {"release": release})
        journal.result(f"v-{release}", {"outcome": "failed", "undone": True})
    assert [r.id for r in journal.releases("shop")] == ["r4", "r3", "r1"], "the one that serves is there in any case"
    rollout(journal, "r5", 10000)
    assert [r.id for r in journal.releases("shop", 3)] == ["r5", "r3", "r1"]
    journal.prune(1000 * DAY, keep=3)
    assert [r.id for r in journal.releases("shop")] == ["r5", "r3", "r1"]


def test_the_retention_is_a_setting(path: str) -> None:
    journal = SqliteJournal(path)
    for day in range(20):
        rollout(journal, f"r{day}", day * DAY, "rolled back")
    for days, left in ((15, 15), (3, 3), (1, 1)):
        journal.prune(20 * DAY - 1, days)
        assert len(journal.history("shop", 1000)) == left


def test_the_file_does_not_grow_without_bound(path: str) -> None:
    """Daily rollouts under a clock that moves: the file stays as large as with the first whole retention."""
    journal = SqliteJournal(path)
    sizes = []
    for day in range(60):
        rollout(journal, f"r{day}", day * DAY, "rolled back" if day % 3 else "deployed", events=8)
        journal.prune(day * DAY + 3, days=10)
        journal.close()
        sizes.append(os.path.getsize(path))
        journal = SqliteJournal(path)
    assert max(sizes[20:]) < 1.3 * max(sizes[:13])
    assert len(journal.history("shop", 1000)) <= 11 + 5
    journal.prune(1000 * DAY)
    journal.close()
    assert os.path.getsize(path) < sizes[8], "room that is free goes back to the disk"
    assert not os.path.exists(f"{path}-wal")


def test_a_file_of_the_first_schema_is_brought_up_to_date_in_place(path: str) -> None:
    old = sqlite3.connect(path)
    old.executescript(FIRST_SCHEMA)
    old.close()
    journal = SqliteJournal(path)
    assert [r.id for r in journal.releases("shop")] == ["r1"]
    assert (journal.history("shop")[0].who, journal.history("shop")[0].asked) == ("jane", {})
    assert len(journal.events("r1")) == 1
    rollout(journal, "r2", 2000, asked={"commit": "abc"})
    assert journal.releases("shop")[0].asked == {"commit": "abc"}
    journal.prune(3000)
    again = SqliteJournal(path)
    assert again._db.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    assert again._db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA


def test_two_bring_it_up_to_date_at_the_same_time(path: str) -> None:
    old = sqlite3.connect(path)
    old.executescript(FIRST_SCHEMA)
    old.close()
    broken: list[BaseException] = []

    def open_it() -> None:
        try:
            assert SqliteJournal(path).releases("shop")
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=open_it) for _turn in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []


def test_who_only_reads_writes_nothing(path: str) -> None:
    """Followers open it all the time while a rollout writes and SQLite cuts its log: they must not be writers too."""
    journal = SqliteJournal(path)
    rollout(journal, "r1", 1000)
    before = journal._db.execute("PRAGMA data_version").fetchone()
    for _turn in range(3):
        other = SqliteJournal(path)
        assert other.releases("shop")
        other.close()
    assert journal._db.execute("PRAGMA data_version").fetchone() == before


def open_files(path: str) -> list[str]:
    """Descriptors of this process on a file."""
    there = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            there.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in there if name.startswith(path)]


def test_what_goes_out_of_sight_is_closed_at_once(path: str) -> None:
    """A connection that is open while a rollout forks would make the child write without locks."""
    gc.disable()
    try:
        SqliteJournal(path).history("shop")
        assert open_files(path) == []
    finally:
        gc.enable()


def test_a_return_forks_with_no_journal_open(tmp_path: Path) -> None:
    request = Request("shop", release="r1", state_dir=str(tmp_path))
    model = {"definition": {"services": {"web": {"image": "web:1"}}}, "context": {**model_of(request).context}}
    journal = SqliteJournal(request.journal_path)
    journal.begin("r1", "shop", "deploy", "jane", 1, model)
    journal.milestone("r1", "committed", 2, {"members": {}, "images": {}, "ran": []})
    journal.close()
    gc.disable()
    try:
        assert wanted_of(request).release is not None
        assert open_files(request.journal_path) == []
    finally:
        gc.enable()


def test_a_file_of_a_newer_version_is_refused_in_words(path: str) -> None:
    SqliteJournal(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    newer.close()
    with pytest.raises(
        PortError, match=r"written by a newer Quaylock \(its schema is 3, this one knows 2\); deploy with"
    ):
        SqliteJournal(path)


def test_facts_are_remembered(path: str) -> None:
    journal = SqliteJournal(path)
    assert journal.recall("page") == {}
    journal.remember("page", {"host": "a"})
    journal.remember("page", {"host": "b"})
    assert SqliteJournal(path).recall("page") == {"host": "b"}
