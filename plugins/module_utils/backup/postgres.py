# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Databases of a PostgreSQL in a container: one exported snapshot each, dumped by the container's own pg_dump."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from ..core.backup.manifest import Part, Taken
from ..core.items import PostgresItem
from ..ports import PortError, Pump, Repository, Write
from .measured import pieces
from .psql import Container, Postgres, Session, Stream, ended_well

MAGIC = b"PGDMP"
"""what a dump in the custom format begins with"""
GLOBALS = "globals.sql"

_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname;"
_ABOUT = (
    "SELECT pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba) FROM pg_database"
    " WHERE datname = current_database();"
)
_EXTENSIONS = "SELECT extname, extversion FROM pg_extension ORDER BY extname;"
_TABLESPACES = (
    "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY 1;"
)
_ROWS = (
    "SELECT format('SELECT %L, count(*) FROM ONLY %I.%I', n.nspname || '.' || c.relname, n.nspname, c.relname)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"
    " AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_depend d"
    " WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1 \\gexec"
)
"""a row for each table that is no extension's own: schema.table, rows"""


class PostgresSource:
    """One item while a set is made. `tags` mark every snapshot of it; `label` begins their names."""

    def __init__(
        self,
        engine: Container,
        repository: Repository,
        item: PostgresItem,
        container: str,
        label: str,
        tags: Collection[str],
        application: str,
    ) -> None:
        self._repository, self._item, self._label, self._tags = repository, item, label, tags
        self._postgres = Postgres(engine, container, item.user, application)
        self._sessions: dict[str, Session] = {}
        self._snapshots: dict[str, str] = {}
        self._about: dict[str, Any] = {}
        self._globals = b""
        self._at = 0.0
        self._streams: set[Stream] = set()
        self._closed = threading.Event()

    def open(self) -> None:
        """Connect to every database, so that the moment itself takes a statement each."""
        first = self._session(self._item.databases[0] if self._item.databases else "postgres")
        names = self._item.databases or tuple(row[0] for row in first.ask(_DATABASES))
        self._about = {"version": first.one("SHOW server_version;"), "databases": {}}
        self._about["version_number"] = int(first.one("SHOW server_version_num;"))
        for name in names:
            session = self._session(name)
            encoding, collate, ctype, owner = session.ask(_ABOUT)[0]
            self._about["databases"][name] = {
                "encoding": encoding,
                "collate": collate,
                "ctype": ctype,
                "owner": owner,
                "extensions": {row[0]: row[1] for row in session.ask(_EXTENSIONS)},
            }
        self._about["directories"] = [first.one("SHOW data_directory;"), *(row[0] for row in first.ask(_TABLESPACES))]
        if first.database not in names:
            self._sessions.pop(first.database).end()

    def freeze(self) -> None:
        for name, session in self._sessions.items():
            session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
            self._snapshots[name] = session.one("SELECT pg_export_snapshot();")
        self._at = time.time()
        self._globals = self._postgres.output("pg_dumpall", "--globals-only")

    def store(self) -> Taken:
        with ThreadPoolExecutor(1) as aside:  # for its few bytes restic opens the repository, which takes it a second
            roles = aside.submit(self._stored, GLOBALS, lambda write: write(self._globals))
            parts = []
            for name in self._snapshots:
                part = self._stored(f"{quote(name, safe='')}.dump", self._dump(name))
                parts.append(self._counted(part, name))
            return Taken(self._item.name, "postgres", (roles.result(), *parts), self._at, about=self._about)

    def _stored(self, name: str, pump: Pump) -> Part:
        return self._repository.stream(f"{self._label}.{name}", self._tags, pump)

    def read_back(self, taken: Taken) -> tuple[str, ...]:
        """Every part as it is in the repository, and each dump through pg_restore to its end."""
        found = []
        for part in taken.parts:
            if part.path.endswith(f".{GLOBALS}"):
                there = self._repository.read_back(part)
                same = (there.size, there.sha256) == (part.size, part.sha256)
                found += [] if same else [f"{part.path} is not what was written"]
            else:
                self._restorable(part)
        return tuple(found)

    def close(self) -> None:
        """End what is open, and by the server's word as well: a dump may go on in the container after who asked."""
        self._closed.set()
        for stream in tuple(self._streams):
            stream.end()
        for session in self._sessions.values():
            session.end()
        self._sessions = {}
        terminate(self._postgres)

    def _session(self, database: str) -> Session:
        if self._closed.is_set():
            raise PortError(f"{self._item.name} was broken off")
        if database not in self._sessions:
            self._sessions[database] = Session(self._postgres, database)
        return self._sessions[database]

    def _dump(self, name: str) -> Pump:
        def pump(write: Write) -> None:
            words = ("-Fc", "-Z0", f"--snapshot={self._snapshots[name]}", "-d", name)
            with self._running("pg_dump", *words) as stream:
                stream.finish()
                begins = b""
                for piece in stream.frames():
                    if len(begins) < len(MAGIC):
                        begins = (begins + bytes(piece[: len(MAGIC)]))[: len(MAGIC)]
                    write(piece)
                ended_well(stream, "pg_dump", self._postgres.container)
                if begins != MAGIC:
                    said = f"what pg_dump of {name} wrote is no dump, although it ended with exit code 0"
                    raise PortError(f"{said}: {stream.said()}")

        return pump

    def _counted(self, part: Part, name: str) -> Part:
        """The rows of every table, by the session whose snapshot was dumped."""
        return Part(part.path, part.size, part.sha256, part.snapshot, rows=counted(self._session(name)))

    def _restorable(self, part: Part) -> None:
        with self._running("pg_restore", "-f", "/dev/null") as stream:
            for piece in pieces(self._repository, part):
                stream.write(piece)
            stream.finish()
            for _piece in stream.frames():
                pass
            ended_well(stream, "pg_restore", self._postgres.container)

    @contextlib.contextmanager
    def _running(self, program: str, *words: str) -> Iterator[Stream]:
        """A program that `close` breaks off."""
        if self._closed.is_set():
            raise PortError(f"{self._item.name} was broken off")
        stream = self._postgres.run(program, *words)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            stream.end()


def counted(session: Session) -> dict[str, int]:
    """Rows by table, as the session sees them."""
    return {table: int(count) for table, count in session.ask(_ROWS)}


def terminate(postgres: Postgres) -> None:
    """End the sessions of this application at the server: those of a process that was killed, too."""
    sql = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid();"
    )
    with contextlib.suppress(PortError):
        session = Session(postgres, "template1")
        try:
            session.ask(sql)
        finally:
            session.end()
