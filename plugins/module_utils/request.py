# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is asked of a stack: a definition of its own or a kept release, read and checked before a host is touched."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import releases
from .adapters.local import LONGEST_WAIT, host_key
from .core.backup import settings as backup_settings
from .core.compose import compose
from .core.compose.scope import Context
from .core.model import Finding, Invalid, Json, Stack
from .core.releases import KEEP, MOST, Release, by_rollback_config, chosen
from .journal import KEEP_DAYS, SqliteJournal


@dataclass(frozen=True)
class IngressSettings:
    """Where the proxy of this host is: its folder, its container, its network and its entrypoints (name -> port)."""

    folder: str
    container: str
    network: str
    entrypoints: Mapping[str, int]
    driver: str = ""
    """the one that the host's proxy was configured for, where it is empty"""


@dataclass(frozen=True)
class Request:
    """What is asked for. `secrets` and `configs` are contents by key; they reach files and nothing else."""

    name: str
    definition: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    configs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    profiles: tuple[str, ...] = ()
    project_directory: str = ""
    ingress: IngressSettings | None = None
    who: str = "unknown"
    asked: Json = field(default_factory=dict)
    """what the audit keeps besides `who`: from where, which commit; never a secret"""
    release: str = ""
    """a kept release to return to, by its id or "previous", instead of a definition"""
    against: str = ""
    """check mode: the kept release that the definition is compared with; the serving one by default"""
    releases_kept: int = KEEP
    journal_days: float = KEEP_DAYS
    show: Callable[[Request], str] | None = None
    """writes the host's page after a rollout: what went wrong with it, "" for nothing"""
    backup_settings: str = backup_settings.PATH
    wait: float = 0.0
    again: str = "correct it and deploy again"
    state_dir: str = "/var/lib/quaylock"
    config_dir: str = "/etc/quaylock"
    docker_host: str = ""

    @property
    def folder(self) -> str:
        return posixpath.join(self.config_dir, "stacks", self.name)

    @property
    def locks(self) -> str:
        return posixpath.join(self.state_dir, "locks")

    @property
    def journal_path(self) -> str:
        return posixpath.join(self.state_dir, "journal.sqlite")


@dataclass(frozen=True)
class Model:
    """A definition with all that was needed to read it, as the journal keeps it: no contents, only fingerprints."""

    definition: Mapping[str, Any]
    context: Mapping[str, Any]

    def read(self, name: str) -> Stack:
        return compose.read(
            name, self.definition, Context(**{**self.context, "profiles": tuple(self.context["profiles"])})
        )

    def as_json(self) -> Json:
        return {"definition": self.definition, "context": self.context}


def model_of(request: Request) -> Model:
    key = host_key(request.state_dir)

    def prints(contents: Mapping[str, bytes]) -> dict[str, str]:
        return {k: hmac.new(key, v, hashlib.sha256).hexdigest()[:12] for k, v in sorted(contents.items())}

    ingress = request.ingress
    context = {
        "project_directory": request.project_directory or request.folder,
        "config_dir": request.folder,
        "secrets": prints(request.secrets),
        "configs": prints(request.configs),
        "ingress_network": ingress.network if ingress else "",
        "entrypoints": dict(ingress.entrypoints) if ingress else {},
        "profiles": list(request.profiles),
    }
    return Model(request.definition, context)


def stack_of(request: Request) -> tuple[Stack, Model]:
    """Read and check the definition. Raises Invalid with every finding."""
    model = model_of(request)
    return model.read(request.name), model


@dataclass(frozen=True)
class Wanted:
    """What a request is about: a definition of its own, or a kept release with what it saw."""

    stack: Stack
    model: Model
    release: Release | None = None
    since: tuple[Release, ...] = ()
    """the kept releases that came after it"""


def wanted_of(request: Request) -> Wanted:
    """Read and check what is asked for. Raises Invalid with every finding."""
    found = limits(request)
    if found:
        raise Invalid(found)
    if not request.release:
        return Wanted(*stack_of(request))
    with contextlib.closing(SqliteJournal(request.journal_path)) as journal:
        kept = journal.releases(request.name, request.releases_kept)
    release = chosen(request.name, request.release, kept)
    since = tuple(r for r in kept if r.at > release.at)
    return Wanted(by_rollback_config(releases.read(release)), Model(**release.model), release, since)


def limits(request: Request) -> tuple[Finding, ...]:
    """What is wrong with the settings of the journal and of the lock."""
    found = []
    if not 0 <= request.wait <= LONGEST_WAIT:
        why = f"{request.wait:g} is not from 0 to {LONGEST_WAIT:g} seconds"
        found.append(Finding("wait", why, "0, the default, does not wait"))
    if not 1 <= request.releases_kept <= MOST:
        found.append(Finding("releases_kept", f"{request.releases_kept} is not from 1 to {MOST}", "the default is 5"))
    if not 1 <= request.journal_days <= 3650:
        found.append(Finding("journal_days", f"{request.journal_days:g} is not from 1 to 3650", "the default is 90"))
    return tuple(found)
