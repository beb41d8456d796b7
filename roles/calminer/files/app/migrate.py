# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The database's schema: numbered SQL files, each applied once, in order, by one process at a time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from economics import Scenario

HERE = Path(__file__).parent
NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
LOCK = 0x63616C6D696E6572
"""Key of the advisory lock, the same for every release: "calminer" in ASCII."""
PATIENCE = "60s"
"""How long another migration is waited for."""
TABLE_PATIENCE = "10s"
"""How long a statement may wait for a table that the running release uses; it queues behind us as long."""

COLUMNS = tuple(Scenario.model_fields)


class Refused(Exception):
    """The schema is not in a state that can be migrated; the message says why and what to do."""


@dataclass(frozen=True)
class Migration:
    number: str
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number}_{self.name}"


def shipped(folder: Path = HERE / "migrations") -> tuple[Migration, ...]:
    """The migrations of this release in order. Raises Refused on a gap, a number used twice or a stray file name."""
    found: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        match = NAME.fullmatch(file.name)
        if not match:
            raise Refused(f"{file.name}: a migration is called NNNN_what_it_does.sql")
        found.append(Migration(match[1], match[2], file.read_text(encoding="utf-8")))
    for expected, migration in enumerate(found, start=1):
        if int(migration.number) != expected:
            raise Refused(f"{migration}.sql: expected number {expected:04d} here; numbers start at 0001 without a gap")
    return tuple(found)


def pending(migrations: Sequence[Migration], applied: Mapping[str, str]) -> tuple[Migration, ...]:
    """What is left to apply, given number -> checksum of what was. Raises Refused when history was rewritten.

    Numbers that this release does not know are a newer release's, whose schema this one can live with.
    """
    changed = [str(m) for m in migrations if applied.get(m.number, m.checksum) != m.checksum]
    if changed:
        raise Refused(f"{', '.join(changed)}: changed after it was applied; put it back and add a new migration")
    left = tuple(m for m in migrations if m.number not in applied)
    late = [str(m) for m in left if applied and m.number < max(applied)]
    if late:
        raise Refused(f"{', '.join(late)}: older than what the database already has ({max(applied)})")
    return left


def applied(connection: psycopg.Connection) -> dict[str, str]:
    if connection.execute("SELECT to_regclass('schema_migration')").fetchone() == (None,):
        return {}
    return dict(connection.execute("SELECT number, checksum FROM schema_migration").fetchall())


def migrate(connection: psycopg.Connection, schema: str, dry_run: bool, say: Callable[[str], None]) -> int:
    """Apply what is pending and return how much it was; each migration is one transaction.

    A dry run applies everything in one transaction and rolls it back: SQL that fails is found, nothing is kept.
    The advisory lock is the session's: it ends with the connection, whatever happens to this process.
    """
    migrations = shipped()
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (PATIENCE,))
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise Refused(f"another migration has been running for {PATIENCE}; wait for it and try again") from None
    with connection.transaction(force_rollback=dry_run):
        if schema:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        left = pending(migrations, applied(connection))
        for migration in left if dry_run else ():
            _apply(connection, migration)
            say(f"would apply {migration}")
    for migration in () if dry_run else left:
        with connection.transaction():
            _apply(connection, migration)
        say(f"applied {migration}")
    if not left:
        say(f"schema is at {migrations[-1]}, nothing to apply")
    return len(left)


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (TABLE_PATIENCE,))
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (number text PRIMARY KEY, name text NOT NULL,"
        " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    try:
        connection.execute(migration.sql)  # type: ignore[arg-type]  # our own file, without parameters
    except psycopg.errors.LockNotAvailable:
        raise Refused(f"{migration}: a table was in use for {TABLE_PATIENCE}; try again under less load") from None
    except psycopg.Error as error:
        raise Refused(f"{migration}: {str(error).strip()}") from error
    connection.execute(
        "INSERT INTO schema_migration (number, name, checksum) VALUES (%s, %s, %s)",
        (migration.number, migration.name, migration.checksum),
    )


def seed(connection: psycopg.Connection, dry_run: bool, say: Callable[[str], None]) -> int:
    """Add the example scenarios that are not there by name; what users changed stays. Returns how many were added."""
    examples = [Scenario(**one) for one in json.loads((HERE / "seed" / "scenarios.json").read_text(encoding="utf-8"))]
    if dry_run and connection.execute("SELECT to_regclass('scenario')").fetchone() == (None,):
        say(f"would add {len(examples)} scenarios")
        return len(examples)
    names = [example.name for example in examples]
    there = {name for (name,) in connection.execute("SELECT name FROM scenario WHERE name = ANY(%s)", (names,))}
    missing = [example for example in examples if example.name not in there]
    if not dry_run:
        with connection.transaction():
            for example in missing:
                connection.execute(INSERT + sql.SQL(" ON CONFLICT (name) DO NOTHING"), example.model_dump())
    if missing:
        say(f"{'would add' if dry_run else 'added'} {len(missing)} scenarios")
    else:
        say("example scenarios are there")
    return len(missing)


INSERT = sql.SQL("INSERT INTO scenario ({}) VALUES ({})").format(
    sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), sql.SQL(", ").join(map(sql.Placeholder, COLUMNS))
)
