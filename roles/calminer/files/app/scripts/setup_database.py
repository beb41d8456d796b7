# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring CalMiner's database to what this release needs. Safe to run again and by several at once."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psycopg

from migrate import Refused, migrate, seed
from settings import BadSettings, Settings


def say(line: str) -> None:
    print(f"setup_database: {line}", flush=True)


def connect(settings: Settings, patience: float) -> psycopg.Connection:
    """Connect, trying again for `patience` seconds while the server does not answer."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return psycopg.connect(settings.conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            if time.monotonic() >= deadline:
                raise Refused(f"{settings.user}@{settings.host}:{settings.port}/{settings.name}: {error}") from error
            time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-migrations", action="store_true", help="apply what is pending, in order")
    parser.add_argument("--seed-data", action="store_true", help="add the example scenarios that are missing")
    parser.add_argument("--dry-run", action="store_true", help="try it in a transaction that is rolled back")
    parser.add_argument("--wait", type=float, default=30, metavar="SECONDS", help="for the server to answer (30)")
    wanted = parser.parse_args()
    if not (wanted.run_migrations or wanted.seed_data):
        parser.error("nothing asked for: --run-migrations, --seed-data or both")
    try:
        settings = Settings.of(os.environ)
        with connect(settings, wanted.wait) as connection:
            if wanted.run_migrations:
                migrate(connection, settings.schema, wanted.dry_run, say)
            if wanted.seed_data:
                seed(connection, wanted.dry_run, say)
    except (BadSettings, Refused, psycopg.Error) as error:
        print(f"setup_database: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
