# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Databases of a set into a PostgreSQL that runs, by the container's own psql and pg_restore; counted afterwards."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ..core.backup.manifest import Part, Taken, differences
from ..ports import PortError, Repository
from .measured import pieces
from .postgres import GLOBALS, counted
from .psql import Postgres, Session, ended_well

PATIENCE = 120.0
"""seconds for a server to take connections: a new one makes its cluster first"""
SETTLED = 15.0
"""seconds after which a server that listens nowhere is taken for one that never will"""
_CREATE = re.compile(rb"CREATE ROLE (.+);\s*")
TIMESCALE = "timescaledb"


def ready(postgres: Postgres, patience: float = PATIENCE) -> None:
    """Wait until the server is the one that stays: while an image makes its cluster, another one runs for a moment."""
    until = time.monotonic() + patience
    since, began = time.monotonic(), ""
    while True:
        try:
            session = Session(postgres, "template1")
            try:
                listens, start = session.ask("SELECT current_setting('listen_addresses'), pg_postmaster_start_time();")[
                    0
                ]
            finally:
                session.end()
        except PortError:
            if time.monotonic() > until:
                raise
        else:
            if start != began:
                since, began = time.monotonic(), start
            if listens or time.monotonic() - since > SETTLED:
                return
        time.sleep(0.2)


def misfits(postgres: Postgres, taken: Taken) -> list[str]:
    """Why this server cannot take the item: of an older major version, or without an extension."""
    session = Session(postgres, "template1")
    try:
        have = int(session.one("SHOW server_version_num;")) // 10000
        there = {row[0] for row in session.ask("SELECT name FROM pg_available_extensions;")}
    finally:
        session.end()
    wanted = int(taken.about["version_number"]) // 10000
    found = []
    if have < wanted:
        found.append(
            f"it was dumped by PostgreSQL {wanted}, and {postgres.container} is {have}: take an image of {wanted}"
        )
    for name, about in taken.about["databases"].items():
        found += [
            f"database {name} needs the extension {extension}, and the image of {postgres.container} lacks it"
            for extension in sorted(about["extensions"].keys() - there)
        ]
    return found


def put(postgres: Postgres, repository: Repository, taken: Taken) -> tuple[str, ...]:
    """Roles first, then each database, in place of one of that name. Says what differs from the manifest afterwards.

    Raises PortError with what a program said that did not end well.
    """
    dumps = {name: part for part in taken.parts if (name := _of(part)) is not None}
    for part in taken.parts:
        if _of(part) is None:
            _roles(postgres, repository, part)
    found: list[str] = []
    for name, part in dumps.items():
        _database(postgres, repository, part, name, taken.about["databases"][name])
        session = Session(postgres, name)
        try:
            rows = counted(session)
            session.ask("ANALYZE;")
        finally:
            session.end()
        found += differences([part], [Part(part.path, part.size, part.sha256, rows=rows)])
    return tuple(found)


def _of(part: Part) -> str | None:
    """The database of a dump; None for the roles. Neither a stack's nor an item's name has a dot."""
    file = part.path.split(".", 2)[2]
    return None if file == GLOBALS else unquote(file.removesuffix(".dump"))


def _roles(postgres: Postgres, repository: Repository, part: Part) -> None:
    """Those that the image made already are changed and not made."""
    content = b"".join(pieces(repository, part))
    session = Session(postgres, "template1")
    try:
        there = {row[0].encode() for row in session.ask("SELECT quote_ident(rolname) FROM pg_roles;")}
    finally:
        session.end()

    def wanted(line: bytes) -> bool:
        match = _CREATE.fullmatch(line)
        return match is None or match.group(1) not in there

    script = b"".join(line for line in content.splitlines(keepends=True) if wanted(line))
    _fed(postgres, iter([script]), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "template1", "-f", "-")


def _database(postgres: Postgres, repository: Repository, part: Part, name: str, about: Any) -> None:
    quoted = _ident(name)
    own = TIMESCALE in about["extensions"]
    session = Session(postgres, "template1")
    try:
        session.ask(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE);")
        if own:
            session.ask(_made(name, about))
    finally:
        session.end()
    if not own:
        _fed(postgres, pieces(repository, part), "pg_restore", "-C", "--exit-on-error", "-d", "template1")
        return
    # its catalog is an extension's, and is restored in a mode of its own: docs of TimescaleDB, logical backup
    version = about["extensions"][TIMESCALE]
    _told(postgres, name, f"CREATE EXTENSION {TIMESCALE} VERSION '{version}'; SELECT timescaledb_pre_restore();")
    _fed(postgres, pieces(repository, part), "pg_restore", "--exit-on-error", "-d", name)
    _told(postgres, name, "SELECT timescaledb_post_restore();")


def _made(name: str, about: Any) -> str:
    words = [f"CREATE DATABASE {_ident(name)} TEMPLATE template0 OWNER {_ident(about['owner'])}"]
    words += [f"ENCODING '{about['encoding']}' LC_COLLATE '{about['collate']}' LC_CTYPE '{about['ctype']}'"]
    return " ".join(words) + ";"


def _told(postgres: Postgres, database: str, sql: str) -> None:
    session = Session(postgres, database)
    try:
        session.ask(sql)
    finally:
        session.end()


def _ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _fed(postgres: Postgres, content: Iterator[bytes], program: str, *words: str) -> None:
    """A program that reads all of it and ends well; what it says is of interest only where it does not."""
    stream = postgres.run(program, *words)
    try:
        broken: PortError | None = None
        try:
            for piece in content:
                stream.write(piece)
        except PortError as error:
            broken = error  # it may have ended by itself, and then says why
        stream.finish()
        for _piece in stream.frames():
            pass
        ended_well(stream, program, postgres.container)
        if broken is not None:
            raise broken
    finally:
        stream.end()
