# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack wants to have backed up (`x-quaylock.backup`): its items, and who holds still for their sake."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Union

CONFIG = "config"
"""the item that every set has: the rendered stack, its release and its image lock"""


@dataclass(frozen=True, slots=True)
class PostgresItem:
    """Databases of the PostgreSQL in a service, by its own pg_dump, with the roles of the cluster.

    No `databases` means all but the templates; `user` "" is the container's own POSTGRES_USER.
    """

    name: str
    service: str
    databases: tuple[str, ...] = ()
    user: str = ""
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class SqliteItem:
    """A SQLite file by its online backup: `path` in a volume (its key), or on the host where `volume` is ""."""

    name: str
    path: str
    volume: str = ""
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class VolumeItem:
    """A volume (its key) of the local driver, file by file."""

    name: str
    volume: str
    exclude: tuple[str, ...] = ()
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class PathItem:
    """A file or folder of the host."""

    name: str
    path: str
    exclude: tuple[str, ...] = ()
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class BucketItem:
    """A bucket of an S3 API, object by object: at an `endpoint`, or in a `service` that listens on `port`.

    `access_key` and `secret_key` are keys of the stack's secrets; the contents never come here.
    """

    name: str
    bucket: str
    endpoint: str = ""
    service: str = ""
    port: int = 0
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    prefix: str = ""
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageItem:
    """The images of services as `docker save` writes them, for where no registry has them."""

    name: str
    services: tuple[str, ...]
    every: float = 0.0


Item = Union[PostgresItem, SqliteItem, VolumeItem, PathItem, BucketItem, ImageItem]
"""`every` is the least age in seconds of what a set takes over from an earlier one; 0 takes it anew in each set"""


class Quiet(str, Enum):
    """How a service holds still at the consistency point."""

    PAUSE = "pause"
    """its processes are frozen; what they wrote is as after a power cut, and their clients wait"""
    STOP = "stop"
    """it is stopped and started again; what it wrote is complete, and its clients are refused meanwhile"""
    COMMANDS = "commands"
    """it is told to hold still, and to go on, by commands of its own"""


@dataclass(frozen=True, slots=True)
class Writer:
    """A service that writes to items of the stack. `hold` and `go_on` are its commands where `how` is COMMANDS."""

    service: str
    how: Quiet = Quiet.PAUSE
    hold: tuple[str, ...] = ()
    go_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """`items` is empty where the stack declares no backup. `longest` bounds the quiet in seconds.

    `drill` are services that have to be healthy in a drill besides those that keep the data; with `before` a set is
    taken before a rollout changes anything (`x-quaylock.backup_before`).
    """

    items: tuple[Item, ...] = ()
    writers: tuple[Writer, ...] = ()
    longest: float = 30.0
    drill: tuple[str, ...] = ()
    before: bool = False

    def item(self, name: str) -> Item:
        return next(i for i in self.items if i.name == name)


NO_BACKUP = BackupPlan()
