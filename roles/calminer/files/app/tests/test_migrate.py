# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

import migrate
from migrate import LOCK, Migration, Refused, pending, shipped
from settings import Settings

SETUP = Path(__file__).parents[1] / "scripts" / "setup_database.py"
ONE, TWO, THREE = (Migration(f"000{n}", f"step_{n}", f"SELECT {n}") for n in (1, 2, 3))

ORDER = [
    # name              applied          left
    ("a new database", {}, "0001 0002 0003"),
    ("half way", {"0001": ONE.checksum}, "0002 0003"),
    ("nothing to do", {m.number: m.checksum for m in (ONE, TWO, THREE)}, ""),
    ("an older release", {m.number: m.checksum for m in (ONE, TWO, THREE)} | {"0004": "?"}, ""),
]


@pytest.mark.parametrize(("there", "expected"), [case[1:] for case in ORDER], ids=[case[0] for case in ORDER])
def test_what_is_left_to_apply(there: dict[str, str], expected: str) -> None:
    assert " ".join(m.number for m in pending((ONE, TWO, THREE), there)) == expected


REFUSED = [
    # name                 applied                                                said
    ("history rewritten", {"0001": "another"}, "0001_step_1: changed after it was applied"),
    ("slipped in later", {"0001": ONE.checksum, "0003": THREE.checksum}, "0002_step_2: older than"),
]


@pytest.mark.parametrize(("there", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_history_that_does_not_fit_is_refused(there: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        pending((ONE, TWO, THREE), there)


FOLDERS = [
    # name              files                                said
    ("a gap", ["0001_a.sql", "0003_c.sql"], "expected number 0002"),
    ("a number twice", ["0001_a.sql", "0001_b.sql"], "expected number 0002"),
    ("a stray name", ["0001_a.sql", "fix.sql"], "fix.sql: a migration is called"),
]


@pytest.mark.parametrize(("files", "said"), [case[1:] for case in FOLDERS], ids=[case[0] for case in FOLDERS])
def test_a_folder_in_disorder_is_refused(tmp_path: Path, files: list[str], said: str) -> None:
    for file in files:
        (tmp_path / file).write_text("SELECT 1")
    with pytest.raises(Refused, match=said):
        shipped(tmp_path)


def setup(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_SCHEMA": settings.schema}
    command = [sys.executable, str(SETUP), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def tables(settings: Settings) -> set[str]:
    with psycopg.connect(settings.conninfo) as connection:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        return {name for (name,) in connection.execute(query, (settings.schema,))}


def test_dry_run_tries_everything_and_keeps_nothing(fresh: Settings) -> None:
    done = setup(fresh, "--run-migrations", "--seed-data", "--dry-run")
    assert done.returncode == 0, done.stderr
    for migration in shipped():
        assert f"would apply {migration}" in done.stdout
    assert "would add 3 scenarios" in done.stdout
    assert tables(fresh) == set()


def test_setup_twice_changes_nothing_the_second_time(fresh: Settings) -> None:
    first = setup(fresh, "--run-migrations", "--seed-data")
    assert (first.returncode, "added 3 scenarios" in first.stdout) == (0, True), first.stderr
    second = setup(fresh, "--run-migrations", "--seed-data")
    assert second.returncode == 0, second.stderr
    assert "nothing to apply" in second.stdout
    assert "example scenarios are there" in second.stdout


def test_a_migration_that_fails_is_not_half_applied(fresh: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Migration("0002", "broken", "CREATE TABLE half (); SELECT no_such_column FROM half")
    whole = Migration("0001", "whole", "CREATE TABLE whole ()")
    monkeypatch.setattr(migrate, "shipped", lambda: (whole, broken))
    with (
        psycopg.connect(fresh.conninfo, autocommit=True) as connection,
        pytest.raises(Refused, match="0002_broken: "),
    ):
        migrate.migrate(connection, fresh.schema, dry_run=False, say=print)
    assert tables(fresh) == {"whole", "schema_migration"}


def test_two_at_once_apply_everything_once(fresh: Settings) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: done.append(setup(fresh, "--run-migrations", "--seed-data"))) for _turn in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert sum(one.stdout.count(": applied") for one in done) == len(shipped())


def test_a_migration_that_hangs_elsewhere_is_not_waited_for_without_end(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE", "200ms")
    with psycopg.connect(fresh.conninfo) as other, psycopg.connect(fresh.conninfo, autocommit=True) as connection:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        with pytest.raises(Refused, match="another migration has been running"):
            migrate.migrate(connection, fresh.schema, dry_run=False, say=print)


def test_nothing_asked_for_is_an_error() -> None:
    done = subprocess.run([sys.executable, str(SETUP)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--run-migrations" in done.stderr


def test_a_server_that_is_not_there_is_named(fresh: Settings) -> None:
    environment = os.environ | {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": "1"}
    command = [sys.executable, str(SETUP), "--run-migrations", "--wait", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert fresh.password not in done.stderr
