# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A set back into its stack: proven beside it first, then the stack stops, its data is exchanged, and it is rolled out.

What is replaced is kept. Whatever goes wrong, the stack serves with the data that it had.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import deploy
from ..adapters.local import locked
from ..core.backup import scratch
from ..core.backup.manifest import Manifest
from ..core.backup.proof import Check
from ..core.compose.restore_points import SET
from ..core.items import CONFIG
from ..core.model import Finding, Invalid
from ..core.releases import chosen as returned_to
from ..host import open_host, serving_stack
from ..journal import SqliteJournal
from ..perform import Host
from ..ports import PortError
from ..request import Request, Wanted, wanted_of
from . import undoing, writers
from .drill import tried_out
from .exchanging import Exchange
from .extract import LATEST, found
from .scratch import GRACE, Scratch
from .vault import Vault

POINT = "restore-point"
"""instead of a set's id: the one that was taken before anything changed what the release left"""


@dataclass(frozen=True)
class Choice:
    """What of a set is restored, and how. No `items` means all; `stop` says that a running stack may be stopped."""

    set: str = LATEST
    items: tuple[str, ...] = ()
    stop: bool = False


def new_id(now: float) -> str:
    return time.strftime("b-%Y%m%d-%H%M%S-", time.gmtime(now)) + secrets.token_hex(2)


def restore(request: Request, vault: Vault, choice: Choice, dry: bool = False) -> dict[str, Any]:
    """Restore a set into its stack, which is rolled out as `request.release` (the serving one where it is empty), or as
    the set knows it on a host that has no release of it.

    Raises Invalid with all that stands against it, PortError where the host or the repository cannot be used.
    """
    name = request.name
    with (
        locked(request.locks, scratch.name_of(name), request.who, request.wait),
        locked(request.locks, name, request.who, request.wait),
    ):
        host, journal = open_host(request)
        notes = []
        if not dry:
            notes = undoing.recover(host, name, journal)
            serving = serving_stack(name, journal)
            notes += writers.recover(host, serving, journal) if serving else []
        wanted = _point(request, journal) if choice.set == POINT else choice.set
        manifest = _part_of(found(vault, name, wanted), choice.items)
        running = [seen.name for seen in host.engine.replicas(name) if seen.running]
        if running and not choice.stop:
            problem = f"{name} runs ({', '.join(running)}), and a restore stops it"
            raise Invalid((Finding("stop", problem, "say stop: true"),))
        engine: Any = host.engine
        folder = posixpath.join(request.state_dir, "backup", "drill", name)
        began = host.clock.now()
        id_ = new_id(began)
        if dry:
            plan = [f"{taken.name}: restored from {manifest.id}" for taken in manifest.items if taken.name != CONFIG]
            return {"changed": True, "outcome": "planned", "set": manifest.id, "plan": plan, "notes": notes}

        def say(what: str) -> None:
            journal.log(id_, host.clock.now(), "note", {"said": what})

        journal.begin(id_, name, "restore", request.who, began, {}, {"set": manifest.id, **request.asked})
        tried = Scratch(host, engine, vault, manifest, folder, say)
        work = _Restore(request, host, journal, tried, Exchange(host, journal, vault, tried, id_), id_)
        try:
            tried.clear()
            answer = work.done()
        except BaseException as error:
            work.given_up(error)
            if isinstance(error, OSError):
                raise PortError(f"{name}: restoring {manifest.id}: {error}") from error
            raise
        finally:
            with contextlib.suppress(PortError):
                tried.clear()
        answer["notes"] = [*notes, *answer.get("notes", [])]
        journal.milestone(id_, "finished", host.clock.now(), {"outcome": answer["outcome"]})
        journal.result(id_, answer)
        return answer


def _point(request: Request, journal: SqliteJournal) -> str:
    """The set that the first rollout after a release took before it began. Raises Invalid where it took none."""
    kept = journal.releases(request.name, request.releases_kept)
    release = returned_to(request.name, request.release, kept)
    since = [later for later in kept if later.at > release.at]  # the newest first
    point = since[-1].points.get(SET) if since else None
    if not point:
        fix = "set x-quaylock.backup_before: true, which takes one before each rollout from then on; or name a set"
        raise Invalid((Finding("set", f"no set was taken between {release.id} and the release after it", fix),))
    return point


def _part_of(manifest: Manifest, items: Collection[str]) -> Manifest:
    """The set with these items alone, and its configuration in any case. Raises Invalid for what it does not have."""
    names = [taken.name for taken in manifest.items]
    wrong = [
        Finding(f"items.{name}", f"set {manifest.id} has no such item", f"it has: {', '.join(names)}")
        for name in items
        if name not in names
    ]
    if wrong:
        raise Invalid(tuple(wrong))
    return replace(manifest, items=tuple(t for t in manifest.items if not items or t.name in {CONFIG, *items}))


class _Restore:
    """One restore under way."""

    def __init__(
        self, request: Request, host: Host, journal: SqliteJournal, tried: Scratch, exchange: Exchange, id_: str
    ) -> None:
        self._request, self._host, self._journal = request, host, journal
        self._tried, self._exchange, self._id = tried, exchange, id_
        self._set = tried.manifest.id

    def done(self) -> dict[str, Any]:
        began = time.monotonic()
        checks = tried_out(self._tried)
        if not all(check.ok for check in checks):
            return self._refused(checks)
        self._tried.end(GRACE)
        request = self._wanted_request()
        wanted = wanted_of(request)
        self._exchange.prepare(wanted.stack)
        stopped = time.monotonic()
        try:
            self._exchange.perform()
            answer = self._rolled_out(request, wanted)
        except Exception as error:
            # whatever it is: the stack stands still, and has to serve again before anything else
            known = isinstance(error, (PortError, Invalid, OSError))
            answer = {"failed": True, "msg": str(error) if known else f"{type(error).__name__}: {error}"}
        answer["seconds"] = round(time.monotonic() - began, 1)
        answer["stopped"] = round(time.monotonic() - stopped, 1)
        if answer.get("failed"):
            return self._undone(answer)
        return {
            **answer,
            "outcome": "restored",
            "set": self._set,
            "restore": self._id,
            "checks": [asdict(check) for check in checks],
            "kept": self._exchange.finish(),
        }

    def given_up(self, error: BaseException) -> None:
        """Something went wrong that is no answer: all data is put back. What cannot be is left to the next rollout."""
        try:
            self._exchange.undo()
        except (PortError, OSError) as left:
            again = f"the next rollout of {self._request.name} tries again to put it back"
            raise PortError(f"{error}; {left}; {again}") from error
        self._journal.milestone(self._id, "finished", self._host.clock.now(), {"outcome": "failed"})

    # -- which release ------------------------------------------------------------------

    def _wanted_request(self) -> Request:
        """What the stack is rolled out as."""
        request = self._request
        serving = self._journal.release(request.name)
        if request.release or serving:
            return replace(request, release=request.release or (serving[0] if serving else ""))
        model = self._tried.release.model
        contents: dict[str, dict[str, bytes]] = {"secret": {}, "config": {}}
        for file in self._tried.whole.files:
            if not file.external:
                path = posixpath.join(self._tried.files, f"{file.kind}s", posixpath.basename(file.host_path))
                contents[file.kind][file.key] = Path(path).read_bytes()
        self._tried.hand_over(request.folder)
        return replace(
            request,
            definition=model["definition"],
            secrets=contents["secret"],
            configs=contents["config"],
            profiles=tuple(model["context"]["profiles"]),
            project_directory=str(model["context"]["project_directory"]),
        )

    # -- the end ------------------------------------------------------------------------

    def _rolled_out(self, request: Request, wanted: Wanted) -> dict[str, Any]:
        returned = {"release": wanted.release.id} if self._request.release and wanted.release else {}
        request = replace(request, asked={**request.asked, "set": self._set, **returned})
        self._forget_one_shots(wanted)
        rollout = deploy.begin(request, wanted.model, self._journal)
        self._journal.log(self._id, self._host.clock.now(), "note", {"rollout": rollout})
        return deploy.roll_out(request, wanted, rollout, restored=True)

    def _forget_one_shots(self, wanted: Wanted) -> None:
        """What they have done is in data that are others by now: one that ended well would be left as it is."""
        names = {service.name for service in wanted.stack.services if service.one_shot}
        for seen in self._host.engine.replicas(self._request.name):
            if seen.service in names and not seen.running:
                self._host.engine.remove(seen.name)

    def _undone(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The stack did not become healthy with the restored data: it gets its own back."""
        name = self._request.name
        self._exchange.undo()
        lines = [f"{name}: with the data of {self._set} it did not become healthy", str(answer.get("msg", ""))]
        serving = self._journal.release(name)
        if serving is not None:
            request = replace(self._request, release=serving[0])
            wanted = wanted_of(request)
            self._forget_one_shots(wanted)
            again = deploy.roll_out(request, wanted, deploy.begin(request, wanted.model, self._journal), restored=True)
            went = "and could not be started with its own data either" if again.get("failed") else "with its own data"
            lines.append(f"  now     {serving[0]} {'serves ' if not again.get('failed') else ''}{went}")
        return {"failed": True, "changed": True, "outcome": "rolled back", "set": self._set, "msg": "\n".join(lines)}

    def _refused(self, checks: Collection[Check]) -> dict[str, Any]:
        lines = [f"{self._request.name}: set {self._set} could not be restored beside the stack, which was not touched"]
        lines += [f"  why     {check.what}: {check.said}" for check in checks if not check.ok]
        lines.append(f"  next    {self._request.again}")
        return {"failed": True, "changed": False, "outcome": "refused", "set": self._set, "msg": "\n".join(lines)}
