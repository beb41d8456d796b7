# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Making a set on a host: what was left is mended first, then the release that serves says what is backed up."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import shutil
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..adapters.afterwards import Waiting
from ..adapters.local import SteadyClock, locked
from ..core.backup.commands import Alarm, Close, Command, Discard, Freeze, Open, Quiesce, ReadBack, Resume, Seal, Store
from ..core.backup.making import Making, Outcome, Still, advance
from ..core.backup.manifest import Manifest, Taken
from ..core.backup.retention import due
from ..core.events import Begun, Event, Failed, as_json
from ..core.items import CONFIG, BucketItem, Writer
from ..core.model import Finding, Invalid, Observed, Stack
from ..host import open_host, serving_stack
from ..journal import SqliteJournal
from ..loop import drive
from ..perform import Host
from ..ports import PortError
from ..request import Request
from . import undoing
from .guardian import watched
from .sources import Source, Sources
from .vault import Vault, shown, vault_in
from .writers import go_on, hold_still, recover


@dataclass(frozen=True)
class Wish:
    """What of a stack is backed up now: `replicas` by service, and who holds still."""

    stack: Stack
    release: str
    record: Mapping[str, Any]
    replicas: Mapping[str, tuple[Observed, ...]]
    taken_over: tuple[Taken, ...] = ()

    @property
    def items(self) -> tuple[str, ...]:
        over = {taken.name for taken in self.taken_over}
        return (CONFIG, *(i.name for i in self.stack.backup.items if i.name not in over))

    @property
    def writers(self) -> tuple[Still, ...]:
        plan = self.stack.backup
        if not set(self.items) - {CONFIG}:
            return ()
        seen = ((w, o) for w in plan.writers for o in self.replicas.get(w.service, ()))
        return tuple(Still(w.service, o.name, o.id) for w, o in seen if not o.paused)

    @property
    def paused(self) -> tuple[Observed, ...]:
        """Writers that somebody has paused: they hold still already, and are not ours to let go on."""
        services = [w.service for w in self.stack.backup.writers]
        return tuple(o for service in services for o in self.replicas.get(service, ()) if o.paused)


def new_id(now: float) -> str:
    return time.strftime("s-%Y%m%d-%H%M%S-", time.gmtime(now)) + secrets.token_hex(2)


# -- performing -----------------------------------------------------------------------


class Crew:
    """Performs the commands of one set; the journal is told before and after."""

    def __init__(self, host: Host, wish: Wish, vault: Vault, sources: Mapping[str, Source], who: str, pin: str) -> None:
        self._host, self._wish, self._vault, self._sources = host, wish, vault, sources
        self._who, self._pin = who, pin
        self.guardian: Waiting | None = None
        self.manifest: Manifest | None = None

    def intend(self, making: Making, command: Command) -> str:
        """What cannot be written down is not begun, unless it lets somebody go on or clears away."""
        if isinstance(command, Alarm):
            return ""
        try:
            self._host.journal.log(making.id, self._host.clock.now(), "do", as_json(command))
        except (sqlite3.Error, OSError) as error:
            if isinstance(command, (Resume, Close, Discard)):
                return ""
            return f"the journal cannot be written: {error}"
        return ""

    def heard(self, making: Making, event: Event) -> None:
        if isinstance(event, Begun) or isinstance(event.command, Alarm):
            return
        details = dict(as_json(event.command))
        if isinstance(event, Failed):
            details["error"] = event.error
        elif isinstance(event.value, Taken):
            details["size"] = event.value.size
        with contextlib.suppress(sqlite3.Error, OSError):
            what = "failed" if isinstance(event, Failed) else "done"
            self._host.journal.log(making.id, event.at, what, details)

    def decided(self, before: Making, after: Making, event: Event) -> None:
        """Everything that was decided is in the next commands."""

    def perform(self, making: Making, command: Command) -> Any:
        if isinstance(command, Quiesce):
            hold_still(self._host, self._wish.stack.name, self._writer(command.service), _still(command))
        elif isinstance(command, Resume):
            go_on(self._host, self._wish.stack.name, self._writer(command.service), _still(command))
        elif isinstance(command, Open):
            self._sources[command.item].open()
            if self.guardian:
                self.guardian.ready()
        elif isinstance(command, Freeze):
            self._sources[command.item].freeze()
        elif isinstance(command, Store):
            return self._sources[command.item].store()
        elif isinstance(command, ReadBack):
            return self._sources[command.item].read_back(making.stored[command.item])
        elif isinstance(command, Close):
            self._sources[command.item].close()
        elif isinstance(command, Seal):
            self._still_paused()
            self.manifest = self._written(making)
            self._vault.seal(self.manifest)
        elif isinstance(command, Discard):
            self._vault.discard(self._wish.stack.name, making.id)
        return None

    def _still_paused(self) -> None:
        """Who was paused by somebody else held still at the moment only where nobody let it go on."""
        there = {seen.id for seen in self._host.engine.replicas(self._wish.stack.name) if seen.paused}
        if gone := [seen.name for seen in self._wish.paused if seen.id not in there]:
            text = "was paused when the set was begun and is not any more, so it may have written at its moment"
            raise PortError(f"{', '.join(gone)} {text}")

    def _writer(self, service: str) -> Writer:
        return next(w for w in self._wish.stack.backup.writers if w.service == service)

    def _written(self, making: Making) -> Manifest:
        wish = self._wish
        images = {ref: str(entry["id"]) for ref, entry in wish.record["committed"].get("images", {}).items()}
        return Manifest(
            id=making.id,
            stack=wish.stack.name,
            host=self._vault.repository.host,
            at=making.moment,
            items=making.taken,
            release=wish.release,
            images=images,
            quiet=round(making.quiet, 3),
            still=tuple(sorted({w.service for w in making.writers})),
            pinned=self._pin,
            who=self._who,
            warnings=tuple(f"{t.name}: {said}" for t in making.taken for said in t.warnings),
        )


def _still(command: Quiesce | Resume) -> Still:
    return Still(command.service, command.name, command.id)


# -- a backup from beginning to end ------------------------------------------------------


def collect(stack: str, vault: Vault) -> list[str]:
    """Drop what is in the repository and belongs to no set. The caller holds the stack's lock.

    Somebody else may be using the repository, and then it is the next backup's to do.
    """
    found = vault.leftovers(stack)
    try:
        vault.repository.forget(found)
    except PortError as error:
        return [f"{len(found)} snapshots that belong to no set are left to the next backup: {error}"]
    return [f"{len(found)} snapshots that belong to no set were collected"] if found else []


def wish_for(host: Host, request: Request, journal: SqliteJournal, vault: Vault, now: float) -> Wish:
    """What is to be backed up now. Raises Invalid with everything that stands against it."""
    release = journal.release(request.name)
    stack = serving_stack(request.name, journal)
    if release is None or stack is None:
        raise Invalid((Finding("name", f"{request.name} has no release on this host", "deploy it first"),))
    if not stack.backup.items:
        fix = "declare x-quaylock.backup.items in its Compose file, and deploy it"
        raise Invalid((Finding("x-quaylock.backup", f"{request.name} declares nothing to back up", fix),))
    replicas: dict[str, tuple[Observed, ...]] = {}
    for seen in host.engine.replicas(request.name):
        if seen.running:
            replicas[seen.service] = (*replicas.get(seen.service, ()), seen)
    record = {"id": release[0], "model": release[1], "committed": release[2]}
    return Wish(stack, release[0], record, replicas, taken_over(stack, vault, now))


def taken_over(stack: Stack, vault: Vault, now: float) -> tuple[Taken, ...]:
    """Items that are not due: the newest set that has them says what they are."""
    if not any(item.every for item in stack.backup.items):
        return ()
    known: dict[str, Taken] = {}
    for manifest in vault.sets(stack.name):
        for taken in manifest.items:
            own = taken if taken.set else _of(taken, manifest.id)
            known.setdefault(taken.name, own)
    return tuple(
        known[item.name]
        for item in stack.backup.items
        if item.name in known and not due(item.every, known[item.name].at, now)
    )


def last_set(stack: Stack, vault: Vault) -> Manifest | None:
    """Where a bucket is among the items: one that is empty by now is told from one that always was."""
    if not any(isinstance(item, BucketItem) for item in stack.backup.items):
        return None
    return next(iter(vault.sets(stack.name)), None)


def _of(taken: Taken, set_: str) -> Taken:
    return Taken(taken.name, taken.kind, taken.parts, taken.at, set_, taken.about, taken.warnings)


def back_up(request: Request, vault: Vault, pin: str = "", dry: bool = False) -> dict[str, Any]:
    """Make a set of the stack. Raises Invalid, or PortError where the host or its repository cannot be used."""
    with locked(request.locks, request.name, request.who, request.wait):
        return made(request, vault, pin, dry)


def before_rollout(request: Request, rollout: str) -> str:
    """Make a set that is pinned to a rollout, which holds the stack's lock. Names it; raises PortError."""
    try:
        answer = made(request, vault_in(request.backup_settings, request.state_dir), rollout)
    except Invalid as error:
        raise PortError(str(error)) from error
    if answer.get("failed"):
        raise PortError(str(answer["msg"]))
    return str(answer["set"])


def made(request: Request, vault: Vault, pin: str, dry: bool = False) -> dict[str, Any]:
    """The same, for who holds the stack's lock."""
    host, journal = open_host(request)
    host = replace(host, clock=SteadyClock())
    now = host.clock.now()
    notes: list[str] = []
    stack = serving_stack(request.name, journal)
    if stack is not None and not dry:
        notes = recover(host, stack, journal)  # first of all, whatever the repository says
        notes += undoing.recover(host, request.name, journal)
        vault.repository.unlock()
        notes += collect(request.name, vault)
    wish = wish_for(host, request, journal, vault, now)
    name = new_id(now)
    staging = posixpath.join(request.state_dir, "backup", "copies", request.name)
    sources = Sources(host, vault.repository, wish, name, staging, last_set(wish.stack, vault))
    if found := sources.findings():
        raise Invalid(tuple(found))
    plan = [f"+ {item}" for item in wish.items] + [f"= {t.name} of set {t.set}" for t in wish.taken_over]
    if dry:
        return {"changed": True, "outcome": "planned", "plan": plan, "notes": notes}
    shutil.rmtree(staging, ignore_errors=True)  # copies of one that was killed
    journal.begin(name, request.name, "backup", request.who, now, {}, request.asked)
    crew = Crew(host, wish, vault, sources.made(), request.who, pin)
    making = Making(
        name,
        wish.items,
        wish.writers,
        wish.taken_over,
        longest=wish.stack.backup.longest,
        at_once=max(1, (os.cpu_count() or 1) // 2),
    )
    with watched(request) if making.writers else contextlib.nullcontext() as crew.guardian:
        making = drive(host.clock, making, advance, crew)
    shutil.rmtree(staging, ignore_errors=True)
    journal.milestone(name, "finished", host.clock.now(), {"outcome": making.outcome.value if making.outcome else ""})
    answer = {**told(making, crew.manifest, request), "plan": plan}
    warm = collect(request.name, vault) if making.outcome is Outcome.MADE else []
    notes += [f"{seen.name} was paused before, and was left so" for seen in wish.paused]
    answer["notes"] = [*notes, *answer["notes"], *(note for note in warm if "were collected" not in note)]
    journal.result(name, answer)
    return answer


def told(making: Making, manifest: Manifest | None, request: Request) -> dict[str, Any]:
    """The answer for whoever asked."""
    answer: dict[str, Any] = {
        "changed": True,
        "set": making.id,
        "outcome": making.outcome.value if making.outcome else "",
    }
    answer["notes"] = list(making.left)
    if making.outcome is Outcome.MADE and manifest is not None:
        about = shown(manifest)
        return {**answer, **{key: about[key] for key in ("items", "size", "quiet", "at", "warnings")}}
    lines = [f"{request.name}: set {making.id} was not made; nothing of it can be restored, and nothing is left of it"]
    if making.left:
        lines[0] = f"{request.name}: set {making.id} was not made, and not everything could be put back"
    lines += [f"  why     {failure}" for failure in making.failures]
    lines += [f"  left    {said}" for said in making.left]
    lines.append(f"  next    {request.again}")
    return {**answer, "failed": True, "msg": "\n".join(lines)}
