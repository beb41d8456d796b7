# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the environment says about the database and this release."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import make_conninfo

DRIVERS = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
"""The last one is what older deployments wrote; they reach the same server."""

SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class BadSettings(Exception):
    """The environment is incomplete or contradicts itself; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("settings are refused:\n" + "\n".join(f"  {problem}" for problem in problems))


@dataclass(frozen=True)
class Settings:
    host: str
    port: int
    user: str
    name: str
    password: str = field(repr=False)
    schema: str = ""
    version: str = "dev"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read DATABASE_* and APP_VERSION; the password may be in the file that DATABASE_PASSWORD_FILE names.

        Raises BadSettings.
        """
        problems: list[str] = []

        def required(name: str) -> str:
            value = environment.get(name, "")
            if not value:
                problems.append(f"{name} is not set")
            return value

        driver = environment.get("DATABASE_DRIVER") or DRIVERS[0]
        if driver not in DRIVERS:
            problems.append(f"DATABASE_DRIVER is {driver!r}; this release knows {', '.join(DRIVERS)}")
        port = environment.get("DATABASE_PORT") or "5432"
        if not port.isdecimal() or not 0 < int(port) < 65536:
            problems.append(f"DATABASE_PORT is {port!r}, not a port")
        schema = environment.get("DATABASE_SCHEMA", "")
        if schema and not SCHEMA_NAME.fullmatch(schema):
            problems.append(f"DATABASE_SCHEMA is {schema!r}; a name is lower case letters, digits and _")
        host, user, name = required("DATABASE_HOST"), required("DATABASE_USER"), required("DATABASE_NAME")
        password = _password(environment, problems)
        if problems:
            raise BadSettings(problems)
        version = environment.get("APP_VERSION") or "dev"
        return cls(host=host, port=int(port), user=user, name=name, password=password, schema=schema, version=version)

    @property
    def conninfo(self) -> str:
        """How libpq is told; connecting ends after 3 s, and a server that vanished is noticed within 15 s."""
        return make_conninfo(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.name,
            connect_timeout=3,
            application_name=f"calminer {self.version}",
            tcp_user_timeout=15000,
            **({"options": f"-c search_path={self.schema}"} if self.schema else {}),
        )


def _password(environment: Mapping[str, str], problems: list[str]) -> str:
    value, file = environment.get("DATABASE_PASSWORD", ""), environment.get("DATABASE_PASSWORD_FILE", "")
    if value and file:
        problems.append("DATABASE_PASSWORD and DATABASE_PASSWORD_FILE are both set: keep one")
    elif file:
        try:
            value = Path(file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            problems.append(f"DATABASE_PASSWORD_FILE {file} cannot be read: {error.strerror}")
        else:
            if not value:
                problems.append(f"DATABASE_PASSWORD_FILE {file} is empty")
    elif not value:
        problems.append("neither DATABASE_PASSWORD_FILE nor DATABASE_PASSWORD is set")
    return value
