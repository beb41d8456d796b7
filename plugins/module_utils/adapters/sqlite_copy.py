# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of a SQLite database that is in use, by SQLite's own online backup."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..ports import PortError

PATIENCE = 20.0
"""seconds that a writer may hold the database while we ask for it"""
HEAD = b"SQLite format 3\0"

_BUSY = (5, 6)
"""SQLITE_BUSY and SQLITE_LOCKED"""
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " AND sql NOT LIKE 'CREATE VIRTUAL %' ORDER BY name"
)


@contextlib.contextmanager
def _asking(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise PortError(f"{what}: {error}") from error


def copy(source: str, target: str) -> None:
    """A consistent copy in one step, so that no writer can make it begin anew. Raises PortError.

    As root SQLite gives the files that it makes beside the database to the database's owner, so that none of them locks
    the application out.
    """
    with _asking(f"copying {source}"):
        Path(target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(source, "rb") as file:
            head = file.read(len(HEAD))
        if head not in (HEAD, b""):
            raise PortError(f"{source} is no SQLite database")
        theirs = sqlite3.connect(f"{Path(source).absolute().as_uri()}?mode=rw", uri=True, timeout=0.2)
        ours = sqlite3.connect(target, isolation_level=None)
        with contextlib.closing(theirs), contextlib.closing(ours):
            until = time.monotonic() + PATIENCE
            theirs.backup(ours, pages=-1, progress=lambda rc, _left, _all: _patient(rc, until), sleep=0.05)
            ours.execute("PRAGMA journal_mode = DELETE")  # one file, whatever the mode of the original
            if not Path(target).stat().st_size:
                # a file without a byte is an empty database; as a page it is told from a copy that was not made
                ours.execute("PRAGMA user_version = 0")


def _patient(rc: int, until: float) -> None:
    """Python tries a busy database again for ever."""
    if rc in _BUSY and time.monotonic() > until:
        raise sqlite3.OperationalError(f"database is locked by a writer for more than {PATIENCE:g} s")


def check(path: str) -> None:
    """Raises PortError with what SQLite finds wrong in a database that nobody uses."""
    with _asking(f"checking {path}"), contextlib.closing(sqlite3.connect(path)) as db:
        found = [row[0] for row in db.execute("PRAGMA integrity_check(5)")]
        if found != ["ok"]:
            raise PortError(f"{path} is damaged: {'; '.join(found)}")


def rows(path: str) -> Mapping[str, int]:
    """Rows by table; what a module of SQLite's keeps virtually is counted in its own tables."""
    with _asking(f"counting the rows of {path}"), contextlib.closing(sqlite3.connect(path)) as db:
        names = [row[0] for row in db.execute(_TABLES)]
        quoted = {name: name.replace('"', '""') for name in names}
        return {n: db.execute(f'SELECT count(*) FROM "{q}"').fetchone()[0] for n, q in quoted.items()}  # noqa: S608
