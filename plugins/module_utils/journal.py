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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core.model import Json
from .core.plan import Ran
from .core.recovery import Unfinished
from .ports import PortError

KEEP_DAYS = 90

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rollouts (
  id TEXT PRIMARY KEY, stack TEXT NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL, begun REAL NOT NULL,
  ended REAL, outcome TEXT, model TEXT NOT NULL, planned TEXT, committed TEXT, committed_at REAL, result TEXT
);
CREATE INDEX IF NOT EXISTS rollouts_by_stack ON rollouts (stack, begun);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, at REAL NOT NULL,
  what TEXT NOT NULL, details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_rollout ON events (rollout, seq);
PRAGMA user_version = 1;
"""


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


class SqliteJournal:
    """One connection behind one lock: the runner's threads write through it in the order of their calls."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        file = Path(path)
        try:
            file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                self._db.executescript(_SCHEMA)
            file.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise PortError(
                f"the journal {path} cannot be opened: {error}; free the disk or move the file away"
            ) from error

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _durably(self) -> Iterator[None]:
        """One write that is on the disk when this ends; other writes reach it with the next checkpoint."""
        with self._lock:
            self._db.execute("PRAGMA synchronous = FULL")
            try:
                yield
            finally:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def begin(self, rollout: str, stack: str, kind: str, who: str, at: float, model: Json) -> None:
        with self._durably():
            self._db.execute(
                "INSERT INTO rollouts (id, stack, kind, who, begun, model) VALUES (?, ?, ?, ?, ?, ?)",
                (rollout, stack, kind, who, at, json.dumps(model)),
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
        with self._durably():
            self._db.execute(*statements[kind])
        self.log(rollout, at, kind, {})

    def log(self, rollout: str, at: float, what: str, details: Json) -> None:
        with self._lock:
            self._db.execute(
                "INSERT INTO events (rollout, at, what, details) VALUES (?, ?, ?, ?)",
                (rollout, at, what, json.dumps(details)),
            )

    def result(self, rollout: str, result: Json) -> None:
        """What the module answers in the end, for whoever follows the rollout."""
        with self._lock:
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
        planned = json.loads(row[2])
        left = Unfinished(
            row[0], row[3] is not None, planned["members"], planned["incumbents"], frozenset(planned["running"])
        )
        return left, json.loads(row[1])

    def abandon(self, stack: str, at: float) -> None:
        """Rollouts that were killed before they changed anything, and teardowns: there is nothing to undo."""
        with self._lock:
            self._db.execute(
                "UPDATE rollouts SET ended = ?, outcome = 'interrupted' WHERE stack = ? AND ended IS NULL"
                " AND (planned IS NULL OR kind != 'deploy')",
                (at, stack),
            )

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

    def history(self, stack: str, limit: int = 20) -> list[Summary]:
        rows = self._all(
            "SELECT id, stack, kind, who, begun, ended, COALESCE(outcome, ''), committed_at FROM rollouts"
            " WHERE stack = ? ORDER BY begun DESC LIMIT ?",
            (stack, limit),
        )
        return [Summary(*row) for row in rows]

    def stacks(self) -> list[str]:
        return [row[0] for row in self._all("SELECT DISTINCT stack FROM rollouts ORDER BY stack", ())]

    def events(self, rollout: str, since: int = 0) -> list[Entry]:
        rows = self._all(
            "SELECT seq, at, what, details FROM events WHERE rollout = ? AND seq > ? ORDER BY seq", (rollout, since)
        )
        return [Entry(seq, at, what, json.loads(details)) for seq, at, what, details in rows]

    def prune(self, now: float) -> None:
        """Forget what is older than the retention, but never what `release` answers from, nor an unfinished rollout."""
        oldest = now - KEEP_DAYS * 86400
        with self._lock:
            self._db.execute(
                "DELETE FROM rollouts WHERE ended < ? AND id NOT IN"
                " (SELECT id FROM (SELECT id, MAX(begun) FROM rollouts"  # SQLite takes id from the row of the maximum
                " WHERE committed IS NOT NULL OR (kind = 'teardown' AND outcome = 'removed') GROUP BY stack))",
                (oldest,),
            )
            self._db.execute("DELETE FROM events WHERE rollout NOT IN (SELECT id FROM rollouts)")

    def _one(self, query: str, values: tuple[Any, ...]) -> Any:
        with self._lock:
            return self._db.execute(query, values).fetchone()

    def _all(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()
