# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Scenarios in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from economics import Scenario
from migrate import COLUMNS, INSERT, shipped
from settings import Settings

RETURNED = sql.SQL(", ").join(map(sql.Identifier, ("id", "created_at", *COLUMNS)))


class Stored(Scenario):
    id: int
    created_at: datetime


class NameTaken(Exception):
    """There is a scenario of that name."""


class Unavailable(Exception):
    """The database does not answer, or not with the schema that this release needs."""


def connections(settings: Settings) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """A pool that outlives a restart of the server: every connection is tried before it is lent.

    A short `reconnect_timeout` makes the next request try again, instead of a back-off of minutes.
    """
    return AsyncConnectionPool(
        settings.conninfo,
        min_size=1,
        max_size=8,
        timeout=3,
        reconnect_timeout=2,
        max_idle=300,
        open=False,
        check=AsyncConnectionPool.check_connection,
        kwargs={"autocommit": True},
    )


class Scenarios:
    """What the application asks of the database. Every method raises Unavailable when it cannot be asked."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._pool = pool
        self._needs = shipped()[-1].number

    async def problem(self) -> str:
        """Ask the server itself; "" when it has what this release needs."""
        try:
            async with self._pool.connection() as connection:
                found = await (await connection.execute("SELECT max(number) FROM schema_migration")).fetchone()
        except psycopg.errors.UndefinedTable:
            return "no schema yet: run scripts/setup_database.py --run-migrations"
        except (psycopg.Error, PoolTimeout) as error:
            return _reason(error)
        at = found[0] if found and found[0] else "0000"
        if at < self._needs:
            return (
                f"schema is at {at}, this release needs {self._needs}: run scripts/setup_database.py --run-migrations"
            )
        return ""

    async def newest(self, limit: int = 100) -> list[Stored]:
        query = sql.SQL("SELECT {} FROM scenario ORDER BY created_at DESC, id DESC LIMIT %s").format(RETURNED)
        return await self._rows(query, (limit,))

    async def add(self, scenario: Scenario) -> Stored:
        """Store it; raises NameTaken."""
        try:
            return (await self._rows(INSERT + sql.SQL(" RETURNING ") + RETURNED, scenario.model_dump()))[0]
        except psycopg.errors.UniqueViolation:
            raise NameTaken(scenario.name) from None

    async def _rows(self, query: sql.Composable, values: Any) -> list[Stored]:
        try:
            async with (
                self._pool.connection() as connection,
                connection.cursor(row_factory=class_row(Stored)) as cursor,
            ):
                await cursor.execute(query, values)
                return await cursor.fetchall()
        except psycopg.errors.UniqueViolation:
            raise
        except (psycopg.Error, PoolTimeout) as error:
            raise Unavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    """For /health, which everybody can read: what kind of failure, never an address or a user."""
    if isinstance(error, PoolTimeout | psycopg.OperationalError):
        return "unreachable"
    return type(error).__name__
