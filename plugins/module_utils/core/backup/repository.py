# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where sets lie, and a snapshot in it: restic's own unit, which a part of a set points to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANSWERS_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class Repository:
    """`location` as restic writes it: /srv/backup, sftp:user@host:/path, s3:http://host:9000/bucket.

    The password is in a file and nowhere else. `environment` is for what a backend wants to know, as
    AWS_SHARED_CREDENTIALS_FILE, and never comes into arguments or errors; `options` are restic's -o (sftp.command=...).
    """

    location: str
    password_file: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    cache: str = ""
    """a folder for restic's cache, where it is not to be in the home of whoever runs it"""
    answers_within: float = ANSWERS_WITHIN
    """seconds of silence after which it is given up while it is opened, listed or cleared"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`at` is in seconds since the epoch, when it was begun; `id` has all of its 64 characters.

    `original` is the id that it had where it was made, "" where that is here: a copy in another repository has
    a new one.
    """

    id: str
    at: float
    tags: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    host: str = ""
    original: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """A password that opens a repository; `host` and `user` say whose it is."""

    id: str
    host: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """A folder that was stored: `path` is where it lies in the snapshot, `warnings` what was odd all the same."""

    snapshot: str
    path: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """Somebody's hand on the repository. An exclusive one (prune, check, forget) shuts out everybody else."""

    id: str
    host: str
    pid: int
    since: float
    exclusive: bool = False
    who: str = ""
