# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host knows about its backups: where they go, and under which password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..model import Finding, Invalid
from .repository import Repository

PATH = "/etc/quaylock/backup/settings.json"
"""written by the role, root's alone; the modules and the host's own timers read it"""
_KNOWN = ("repository", "password_file", "environment", "options", "cache", "host", "restic")


@dataclass(frozen=True, slots=True)
class Settings:
    """`host` is what snapshots are of, `restic` the program."""

    repository: Repository
    host: str
    restic: str = "restic"


def read(found: Any, path: str = PATH) -> Settings:
    """Raises Invalid with everything that is wrong with it."""
    wrong: list[Finding] = []
    if not isinstance(found, Mapping):
        raise Invalid((Finding(path, "is not a mapping", "let the role quaylock.stacks.backup write it"),))

    def refuse(key: str, problem: str, fix: str = "") -> None:
        wrong.append(Finding(f"{path}: {key}", problem, fix))

    for key in found.keys() - set(_KNOWN):
        refuse(str(key), "is not a known key", f"known: {', '.join(_KNOWN)}")
    texts = {key: found.get(key, "") for key in ("repository", "password_file", "host", "cache")}
    for key, text in texts.items():
        if not isinstance(text, str):
            refuse(key, "must be text")
        elif key != "cache" and not text:
            refuse(key, "is missing", "let the role quaylock.stacks.backup write it")
    password_file = str(texts["password_file"])
    if password_file and not password_file.startswith("/"):
        refuse("password_file", f"{password_file!r} is not an absolute path")
    environment, options = found.get("environment", {}), found.get("options", [])
    if not isinstance(environment, Mapping) or not all(isinstance(v, str) for v in environment.values()):
        refuse("environment", "must map names to texts")
    if not isinstance(options, list) or not all(isinstance(o, str) and "=" in o for o in options):
        refuse("options", "must be a list of KEY=VALUE", "as for restic's -o")
    if wrong:
        raise Invalid(tuple(wrong))
    repository = Repository(
        str(texts["repository"]), password_file, dict(environment), tuple(options), str(texts["cache"])
    )
    return Settings(repository, str(texts["host"]), str(found.get("restic") or "restic"))
