# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL's own programs in its container, as its superuser through the local socket."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ..ports import PortError

SEPARATOR = "\x1f"
"""between two values of a row"""
APPLICATION = "quaylock"
TRIES = 3


class Stream(Protocol):
    """See adapters/exec_streams.py."""

    def write(self, data: bytes | memoryview) -> None: ...
    def finish(self) -> None: ...
    def frames(self) -> Iterable[memoryview]: ...
    def line(self) -> Callable[[], str]: ...
    def exit_code(self) -> int: ...
    def said(self) -> str: ...
    def end(self) -> None: ...


class Container(Protocol):
    """Something that runs commands in containers."""

    def stream(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Stream: ...


class Postgres:
    """The programs of one container. `user` "" is the one that the image made; `application` names our sessions."""

    def __init__(self, engine: Container, container: str, user: str, application: str) -> None:
        self._engine, self.container, self._user, self.application = engine, container, user, application

    def run(self, program: str, *words: str) -> Stream:
        """The shell in the container knows which user the image made."""
        script = 'program=$1; user=${2:-${POSTGRES_USER:-postgres}}; shift 2; exec "$program" -U "$user" "$@"'
        command = ["/bin/sh", "-c", script, "quaylock", program, self._user, *words]
        return self._engine.stream(self.container, command, {"PGAPPNAME": self.application, "PGCONNECT_TIMEOUT": "10"})

    def output(self, program: str, *words: str) -> bytes:
        """All that a program says, which has to be something, and to end well.

        An engine may lose what a short command has written (github.com/moby/moby/issues/27289): it is asked again then.
        """
        for _try in range(TRIES):
            stream = self.run(program, *words)
            try:
                stream.finish()
                found = b"".join(bytes(piece) for piece in stream.frames())
                ended_well(stream, program, self.container)
            finally:
                stream.end()
            if found:
                return found
        raise PortError(f"{program} in {self.container} said nothing, although it ended with exit code 0")


def ended_well(stream: Stream, program: str, container: str) -> None:
    code = stream.exit_code()
    if code:
        raise PortError(f"{program} in {container} ended with exit code {code}: {stream.said()}")


class Session:
    """A connection that stays: psql in the container, which ends when we do, because its stdin ends then."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self.database = database
        self._where = f"database {database} in {postgres.container}"
        self._stream = postgres.run(
            "psql", "-X", "-q", "-A", "-t", "-F", SEPARATOR, "-v", "ON_ERROR_STOP=1", "-d", database
        )
        self._line = self._stream.line()
        self._marks = itertools.count(1)
        try:
            # an idle session must not be ended while a dump uses its snapshot
            self.ask("SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = 0;")
        except BaseException:
            self.end()
            raise

    def ask(self, sql: str) -> list[list[str]]:
        """Rows of texts. Raises PortError with what the server said."""
        mark = f"quaylock-{next(self._marks)}"
        self._stream.write(f"{sql}\n\\echo {mark}\n".encode())
        rows: list[list[str]] = []
        while True:
            line = self._line()
            if line == f"{mark}\n":
                return rows
            if not line:
                raise PortError(f"{self._where}: {self._stream.said()}")
            rows.append(line.rstrip("\n").split(SEPARATOR))

    def one(self, sql: str) -> str:
        rows = self.ask(sql)
        return rows[0][0] if rows else ""

    def end(self) -> None:
        self._stream.end()
