# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tests that need PostgreSQL take it from DATABASE_*, each in a schema of its own that is gone afterwards."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import sql

from main import application
from migrate import migrate
from settings import Settings


@pytest.fixture
def fresh() -> Iterator[Settings]:
    """A schema without a table in it."""
    if not os.environ.get("DATABASE_HOST"):
        pytest.skip("DATABASE_HOST is not set")
    settings = dataclasses.replace(Settings.of(os.environ), schema=f"test_{uuid.uuid4().hex[:12]}")
    yield settings
    with psycopg.connect(settings.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(settings.schema)))


@pytest.fixture
def migrated(fresh: Settings) -> Settings:
    with psycopg.connect(fresh.conninfo, autocommit=True) as connection:
        migrate(connection, fresh.schema, dry_run=False, say=print)
    return fresh


@pytest.fixture
def client(migrated: Settings) -> Iterator[TestClient]:
    with TestClient(application(migrated)) as client:
        yield client
