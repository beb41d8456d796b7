# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal: the host's memory of rollouts, releases and who made them, in one SQLite file.

It is the event log: every command is written before it is done and its outcome after, and the milestones (planned,
committed, finished) are on the disk before anything follows from them. Recovery, live progress and the history of
releases are readings of it; nothing else keeps state.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .core.model import Json
from .core.releases import KEEP, Release
from .core.rollout.behind import merged_definition
from .core.rollout.plan import Ran
from .core.rollout.recovery import Unfinished
from .ports import PortError

KEEP_DAYS = 90
ROLLOUTS = ("deploy", "teardown")
"""kinds of records; there are backup, drill, restore and verify besides"""
SCHEMA = 2
WAL_LEFT = 4 * 2**20
"""bytes that the write-ahead log may keep after a checkpoint"""

_FACTS = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
_RELEASES = (
    "CREATE VIEW IF NOT EXISTS releases AS SELECT r.* FROM rollouts AS r WHERE r.committed IS NOT NULL AND r.begun >"
    " COALESCE((SELECT MAX(t.begun) FROM rollouts AS t WHERE t.stack = r.stack AND t.kind = 'teardown'"
    " AND t.outcome = 'removed'), 0)"
)
"""what can be returned to: committed, and not taken down since"""
_STANDS = (
    "(NOT EXISTS (SELECT 1 FROM rollouts AS v WHERE v.stack = releases.stack AND v.kind = 'verify'"
    " AND json_extract(v.asked, '$.release') = releases.id AND json_extract(v.result, '$.undone'))"
    " OR begun = (SELECT MAX(r.begun) FROM releases AS r WHERE r.stack = releases.stack))"
)
"""of those: not one that did not pass its verification, and was returned from"""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS rollouts (
  id TEXT PRIMARY KEY, stack TEXT NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL, begun REAL NOT NULL,
  ended REAL, outcome TEXT, model TEXT NOT NULL, planned TEXT, committed TEXT, committed_at REAL, result TEXT,
  asked TEXT NOT NULL DEFAULT '{{}}'
);
CREATE INDEX IF NOT EXISTS rollouts_by_stack ON rollouts (stack, begun);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, at REAL NOT NULL,
  what TEXT NOT NULL, details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_rollout ON events (rollout, seq);
{_FACTS};
{_RELEASES};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""

_STEPS = {
    1: (
        "ALTER TABLE rollouts ADD COLUMN asked TEXT NOT NULL DEFAULT '{}'",
        _FACTS,
        _RELEASES,
    ),
}
"""what brings a file of that schema to the next one"""


@dataclass(frozen=True)
class Entry:
    """One line of the log. `what` is do, done, failed, note or the name of a milestone."""

    seq: int
    at: float
    what: str
    details: Json


@dataclass(frozen=True)
class Summary:
    """One rollout as the history shows it. Times are seconds since the epoch."""

    id: str
    stack: str
    kind: str
    who: str
    begun: float
    ended: float | None
    outcome: str
    committed_at: float | None
    asked: Json = field(default_factory=dict)


class SqliteJournal:
    """One connection behind one lock: the runner's threads write through it in the order of their calls."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        file = Path(path)
        try:
            file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            if not file.exists() or not file.stat().st_size:
                self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a file that exists it would be a write
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA journal_size_limit = {WAL_LEFT}")
            self._upgrade(path)
            file.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise PortError(
                f"the journal {path} cannot be opened: {error}; free the disk or move the file away"
            ) from error

    def _upgrade(self, path: str) -> None:
        """Make the tables, or bring those of an older version up to date in place; two may try at the same time."""
        have = self._db.execute("PRAGMA user_version").fetchone()[0]
        if have == 0:
            self._db.executescript(_SCHEMA)
        elif have < SCHEMA:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for version in range(self._db.execute("PRAGMA user_version").fetchone()[0], SCHEMA):
                    for statement in _STEPS[version]:
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        elif have > SCHEMA:
            self._db.close()
            raise PortError(
                f"the journal {path} was written by a newer Quaylock (its schema is {have}, this one knows {SCHEMA});"
                " deploy with that version, or upgrade the collection on this controller"
            )

    def close(self) -> None:
        self._db.close()

    def __del__(self) -> None:
        """A connection is part of a cycle, so it would stay open until the garbage is collected.

        One that is open while the process forks is fatal: in the child SQLite believes that it holds locks, which it
        does not, and somebody else removes the log that the child writes.
        """
        if hasattr(self, "_db"):
            self._db.close()

    @contextlib.contextmanager
    def _durably(self) -> Iterator[None]:
        """One write that is on the disk when this ends; other writes reach it with the next checkpoint."""
        with self._lock:
            self._db.execute("PRAGMA synchronous = FULL")
            try:
                yield
            except sqlite3.Error as error:
                raise PortError(
                    f"the journal cannot be written: {error}; free the disk, then run this again"
                ) from error
            finally:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def begin(
        self, rollout: str, stack: str, kind: str, who: str, at: float, model: Json, asked: Json | None = None
    ) -> None:
        """`asked` is what the audit keeps besides: from where, which commit, which release it returns to."""
        with self._durably():
            self._db.execute(
                "INSERT INTO rollouts (id, stack, kind, who, begun, model, asked) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (rollout, stack, kind, who, at, json.dumps(model), json.dumps(asked or {})),
            )

    def milestone(self, rollout: str, kind: str, at: float, details: Json) -> None:
        text = json.dumps(details)
        statements = {
            "planned": ("UPDATE rollouts SET planned = ? WHERE id = ?", (text, rollout)),
            "committed": ("UPDATE rollouts SET committed = ?, committed_at = ? WHERE id = ?", (text, at, rollout)),
            "finished": (
                "UPDATE rollouts SET ended = ?, outcome = ? WHERE id = ?",
                (at, details.get("outcome", ""), rollout),
            ),
        }
        model = self._model_in_part(rollout, details.get("behind") or ())
        with self._durably(), self._db:
            if model is not None:
                self._db.execute("BEGIN IMMEDIATE")  # both or none
                self._db.execute("UPDATE rollouts SET model = ? WHERE id = ?", (json.dumps(model), rollout))
            self._db.execute(*statements[kind])
        self.log(rollout, at, kind, {})

    def _model_in_part(self, rollout: str, behind: Collection[str]) -> Json | None:
        """The model of a release in part: what stayed behind is as the release before has it."""
        row = self._one("SELECT stack, model FROM rollouts WHERE id = ?", (rollout,)) if behind else None
        if row is None:
            return None
        before = self.release(row[0])
        former = before[1] if before else {}
        model = json.loads(row[1])
        definition = merged_definition(model.get("definition", {}), former.get("definition", {}), behind)
        return {**model, "definition": definition}

    def log(self, rollout: str, at: float, what: str, details: Json) -> None:
        with self._lock:
            self._db.execute(
                "INSERT INTO events (rollout, at, what, details) VALUES (?, ?, ?, ?)",
                (rollout, at, what, json.dumps(details)),
            )

    def result(self, rollout: str, result: Json) -> None:
        """What the module answers in the end, for whoever follows the rollout."""
        with self._durably():
            self._db.execute("UPDATE rollouts SET result = ? WHERE id = ?", (json.dumps(result), rollout))

    def result_of(self, rollout: str) -> Json | None:
        row = self._one("SELECT result FROM rollouts WHERE id = ?", (rollout,))
        return json.loads(row[0]) if row and row[0] else None

    def unfinished(self, stack: str) -> tuple[Unfinished, Json] | None:
        """The rollout that was planned and did not reach its end, with the model it was to bring."""
        row = self._one(
            "SELECT id, model, planned, committed FROM rollouts WHERE stack = ? AND kind = 'deploy'"
            " AND planned IS NOT NULL AND ended IS NULL ORDER BY begun DESC LIMIT 1",
            (stack,),
        )
        if row is None:
            return None
        planned, committed = json.loads(row[2]), json.loads(row[3] or "{}")
        left = Unfinished(
            row[0],
            row[3] is not None,
            committed.get("members", planned["members"]),
            planned["incumbents"],
            frozenset(planned["running"]),
            frozenset(committed.get("behind", ())),
        )
        return left, json.loads(row[1])

    def last(self, kind: str, stack: str, outcome: str) -> Json:
        """The answer of the newest backup, drill or restore that ended like that; empty where there is none."""
        row = self._one(
            "SELECT result FROM rollouts WHERE stack = ? AND kind = ? AND outcome = ? AND result IS NOT NULL"
            " ORDER BY begun DESC LIMIT 1",
            (stack, kind, outcome),
        )
        return json.loads(row[0]) if row else {}

    def verification(self, stack: str, release: str, outcomes: Sequence[str] = ("verified", "failed")) -> Json:
        """The newest verification of a release that ended like that; empty where there is none."""
        row = self._one(
            "SELECT result FROM rollouts WHERE stack = ? AND kind = 'verify' AND json_extract(asked, '$.release') = ?"
            " AND outcome IN (SELECT value FROM json_each(?)) AND result IS NOT NULL ORDER BY begun DESC LIMIT 1",
            (stack, release, json.dumps([*outcomes])),
        )
        return json.loads(row[0]) if row else {}

    def begun(self, rollout: str) -> float:
        """When it began, 0.0 where it is not known any more."""
        row = self._one("SELECT begun FROM rollouts WHERE id = ?", (rollout,))
        return float(row[0]) if row else 0.0

    def abandon(self, stack: str, at: float) -> None:
        """Rollouts that were killed before they changed anything, and teardowns: there is nothing to undo."""
        with self._durably():
            self._db.execute(
                "UPDATE rollouts SET ended = ?, outcome = 'interrupted' WHERE stack = ? AND ended IS NULL"
                " AND (planned IS NULL OR kind != 'deploy') AND kind NOT IN ('backup', 'drill', 'restore')",
                (at, stack),
            )

    def unfinished_of(self, kind: str, stack: str) -> list[str]:
        """Backups, drills or restores that were begun and did not reach their end, the oldest first."""
        rows = self._all(
            "SELECT id FROM rollouts WHERE stack = ? AND kind = ? AND ended IS NULL ORDER BY begun", (stack, kind)
        )
        return [row[0] for row in rows]

    def is_committed(self, rollout: str) -> bool:
        row = self._one("SELECT committed IS NOT NULL FROM rollouts WHERE id = ?", (rollout,))
        return bool(row and row[0])

    def release(self, stack: str) -> tuple[str, Json, Json] | None:
        """The release that serves: id, model and what was committed. None before the first, and after a teardown."""
        row = self._one(
            "SELECT id, model, committed, kind FROM rollouts WHERE stack = ?"
            " AND (committed IS NOT NULL OR (kind = 'teardown' AND outcome = 'removed')) ORDER BY begun DESC LIMIT 1",
            (stack,),
        )
        if row is None or row[3] == "teardown":
            return None
        return row[0], json.loads(row[1]), json.loads(row[2])

    def ran(self, stack: str) -> frozenset[Ran]:
        """One-shots that the serving release saw end well."""
        release = self.release(stack)
        return frozenset(Ran(*entry) for entry in release[2].get("ran", [])) if release else frozenset()

    def history(self, stack: str, limit: int = 20, kinds: Sequence[str] = ROLLOUTS) -> list[Summary]:
        """What was done to a stack, the newest first: rollouts, or what else of `kinds` there was."""
        rows = self._all(
            "SELECT id, stack, kind, who, begun, ended, COALESCE(outcome, ''), committed_at, asked FROM rollouts"
            " WHERE stack = ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY begun DESC LIMIT ?",
            (stack, json.dumps([*kinds]), limit),
        )
        return [Summary(*[*row[:-1], json.loads(row[-1])]) for row in rows]

    def releases(self, stack: str, limit: int = KEEP) -> list[Release]:
        """What can be returned to, the serving one first. A teardown lets all of them go.

        What did not pass its verification and was returned from is none of them, and takes nobody's place.
        """
        rows = self._all(
            "SELECT id, stack, who, committed_at, asked, model, committed FROM releases"  # noqa: S608
            f" WHERE {_STANDS} AND stack = ? ORDER BY begun DESC LIMIT ?",
            (stack, limit),
        )
        return [
            Release(name, of, who, at or 0.0, *(json.loads(text) for text in texts))
            for name, of, who, at, *texts in rows
        ]

    def planned(self, rollout: str) -> Json:
        """What a rollout wanted to do: see `milestone`; empty where it made no plan."""
        row = self._one("SELECT planned FROM rollouts WHERE id = ?", (rollout,))
        return json.loads(row[0]) if row and row[0] else {}

    def model_of(self, rollout: str) -> Json | None:
        row = self._one("SELECT model FROM rollouts WHERE id = ?", (rollout,))
        return json.loads(row[0]) if row else None

    def remember(self, name: str, value: Json) -> None:
        """A fact about the host that later runs need."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, json.dumps(value)))

    def recall(self, name: str) -> Json:
        row = self._one("SELECT value FROM facts WHERE name = ?", (name,))
        return json.loads(row[0]) if row else {}

    def stacks(self) -> list[str]:
        return [row[0] for row in self._all("SELECT DISTINCT stack FROM rollouts ORDER BY stack", ())]

    def events(self, rollout: str, since: int = 0) -> list[Entry]:
        rows = self._all(
            "SELECT seq, at, what, details FROM events WHERE rollout = ? AND seq > ? ORDER BY seq", (rollout, since)
        )
        return [Entry(seq, at, what, json.loads(details)) for seq, at, what, details in rows]

    def prune(self, now: float, days: float = KEEP_DAYS, keep: int = KEEP) -> None:
        """Forget what is older than the retention, and give the room back to the disk.

        Kept releases stay whatever their age, and so do what `release` answers from, the newest verification and an
        unfinished rollout.
        """
        with self._lock:
            self._db.execute(
                "DELETE FROM rollouts WHERE ended < ? AND id NOT IN"  # noqa: S608
                " (SELECT id FROM (SELECT id, MAX(begun) FROM rollouts"  # SQLite takes id from the row of the maximum
                " WHERE committed IS NOT NULL OR (kind = 'teardown' AND outcome = 'removed') GROUP BY stack))"
                " AND id NOT IN (SELECT id FROM (SELECT id, MAX(begun) FROM rollouts WHERE kind = 'verify'"
                " AND outcome IN ('verified', 'failed') GROUP BY stack))"
                " AND id NOT IN (SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY stack ORDER BY begun DESC)"
                f" AS place FROM releases WHERE {_STANDS}) WHERE place <= ?)",
                (now - days * 86400, max(1, keep)),
            )
            self._db.execute("DELETE FROM events WHERE rollout NOT IN (SELECT id FROM rollouts)")
            self._shrink()

    def _shrink(self) -> None:
        """Free pages go back to the disk. Somebody who reads meanwhile only postpones it to the next time.

        The write-ahead log is not cut by hand, which would wait for readers and keeps them waiting: SQLite's own
        checkpoints and the last connection's end do it.
        """
        with contextlib.suppress(sqlite3.OperationalError):
            if self._db.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
                self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
                self._db.execute("VACUUM")  # a file of the first schema takes the setting only with a whole one
            self._db.executescript("PRAGMA incremental_vacuum")  # execute would take one page

    def _one(self, query: str, values: tuple[Any, ...]) -> Any:
        with self._lock:
            return self._db.execute(query, values).fetchone()

    def _all(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()
