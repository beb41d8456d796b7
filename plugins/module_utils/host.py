# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host that a request is about: its adapters, the release that serves, and what a return needs of it."""

from __future__ import annotations

from dataclasses import replace

from . import releases
from .adapters import docker_api, docker_engine
from .adapters.local import HostFiles, WallClock
from .core.model import Invalid, Stack
from .core.rollout.plan import Ran
from .journal import SqliteJournal
from .perform import Host
from .ports import Ingress
from .proxy import driver_of, installed
from .request import Model, Request, Wanted


def open_for(request: Request, wanted: Wanted) -> tuple[Host, SqliteJournal]:
    """The host as this rollout needs it. Raises Invalid where a release to return to is not complete any more."""
    host, journal = open_host(request, wanted.stack)
    kept = journal.releases(request.name, request.releases_kept)
    host = replace(host, kept=releases.paths(kept))
    if wanted.release is None or host.images is None:
        return host, journal
    gone = releases.lacking(wanted.release, wanted.stack, host.images, host.files)
    if gone:
        raise Invalid((*gone, releases.others(kept, host.images, host.files)))
    own = releases.contents(wanted.stack, host.files)
    return replace(host, contents=own, pinned=releases.pinned(wanted.release, wanted.stack)), journal


def open_host(request: Request, stack: Stack | None = None) -> tuple[Host, SqliteJournal]:
    """The real adapters of this host."""
    network = request.ingress.network if request.ingress else ""
    engine = docker_engine.DockerEngine(docker_api.connect(request.docker_host), network)
    journal = SqliteJournal(request.journal_path)
    ingress: Ingress | None = None
    if request.ingress is not None:
        of = request.ingress
        ingress = driver_of(of.driver or installed(of.folder), of.folder, engine, of.container)
    given = {"secret": request.secrets, "config": request.configs}
    contents = (
        {f.host_path: given[f.kind][f.key] for f in stack.files if not f.external}
        if stack and not request.release
        else {}
    )
    made = Host(engine, ingress, HostFiles(), journal, WallClock(), request.folder, network, contents, images=engine)
    return made, journal


def serving_stack(name: str, journal: SqliteJournal) -> Stack | None:
    release = journal.release(name)
    if release is None:
        return None
    try:
        return Model(**release[1]).read(name)
    except Invalid:
        return None


def ran_before(journal: SqliteJournal, wanted: Wanted) -> frozenset[Ran]:
    """One-shots that are not run (again): those of the serving release, and of the one that is returned to."""
    before = frozenset(Ran(*e) for e in wanted.release.committed.get("ran", [])) if wanted.release else frozenset()
    return journal.ran(wanted.stack.name) | before
