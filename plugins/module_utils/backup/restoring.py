# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A set back into its stack: proven beside it first, then the stack stops, its data is exchanged, and it is rolled out.

What is replaced is kept. Whatever goes wrong, the stack serves with the data that it had.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import deploy
from ..adapters import moving
from ..adapters.local import locked
from ..core.backup import places, scratch
from ..core.backup.manifest import Manifest
from ..core.backup.places import Move
from ..core.backup.proof import Check
from ..core.compose.restore_points import SET
from ..core.items import CONFIG, PathItem, SqliteItem
from ..core.model import Finding, Invalid, Stack, Volume
from ..core.releases import chosen as returned_to
from ..host import open_host, serving_stack
from ..journal import SqliteJournal
from ..perform import Host
from ..ports import PortError
from ..request import Request, Wanted, wanted_of
from . import extract, undoing, writers
from .drill import tried_out
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
        work = _Restore(request, host, journal, vault, tried, id_)
        try:
            tried.clear()
            answer = work.done()
        except BaseException as error:
            with contextlib.suppress(PortError):
                undoing.put_back(host, name, work.moves) if work.moves else None
            journal.milestone(id_, "finished", host.clock.now(), {"outcome": "failed"})
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
    since = [r for r in kept if r.at > release.at]
    first = since[-1] if since else release
    if since and first.points.get(SET):
        return first.points[SET]
    fix = "set x-quaylock.backup_before: true, which takes one before each rollout from then on; or name a set"
    raise Invalid((Finding("set", f"no set was taken between {release.id} and the release after it", fix),))


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
    """One restore under way. `moves` are what it has begun to exchange, which has to be put back if it fails."""

    def __init__(
        self, request: Request, host: Host, journal: SqliteJournal, vault: Vault, tried: Scratch, id_: str
    ) -> None:
        self._request, self._host, self._journal, self._vault = request, host, journal, vault
        self._tried, self._id = tried, id_
        self._set = tried.manifest.id
        self.moves: tuple[Move, ...] = ()
        self._new: set[str] = set()
        """volumes that would keep nothing: there was none to be replaced"""

    def done(self) -> dict[str, Any]:
        began = time.monotonic()
        checks = tried_out(self._tried)
        if not all(check.ok for check in checks):
            return self._refused(checks)
        self._tried.end(GRACE)
        request = self._wanted_request()
        wanted = wanted_of(request)
        moves, made = self._arranged(wanted.stack)
        stopped = time.monotonic()
        try:
            self._exchange(moves)
            answer = self._rolled_out(request, wanted)
        except PortError as error:
            answer = {"failed": True, "msg": str(error)}
        answer["seconds"] = round(time.monotonic() - began, 1)
        answer["stopped"] = round(time.monotonic() - stopped, 1)
        if answer.get("failed"):
            return self._undone(answer, made)
        self._forget({name for name in made.values() if name in self._new})
        names = {name for name in made.values() if name not in self._new}
        for empty in [move.kept for move in self.moves if moving.kept_nothing(move)]:
            moving.remove(empty)
        files = [move.kept for move in self.moves if move.what.startswith("item ") and os.path.lexists(move.kept)]
        return {
            **answer,
            "outcome": "restored",
            "set": self._set,
            "restore": self._id,
            "checks": [asdict(check) for check in checks],
            "kept": [f"volume {name}" for name in sorted(names)] + files,
        }

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

    # -- what goes where ------------------------------------------------------------------

    def _arranged(self, stack: Stack) -> tuple[tuple[Move, ...], dict[str, str]]:
        """Everything beside its place, so that renaming is all that is left; and the volumes that keep the old data."""
        items, whole = self._tried.items, self._tried.whole
        if homeless := places.problems(items, whole, stack):
            raise Invalid(tuple(homeless))
        engine = self._host.engine
        real = {volume.key: volume for volume in stack.volumes}
        restored = {v.key: engine.volume_folder(v.name) for v in self._tried.stack.volumes}
        folders: dict[str, str] = {}
        for key in {*places.whole_volumes(items, whole), *_volumes_of(items)}:
            if not engine.volumes([real[key].name]):
                self._new.add(places.kept_name(real[key].name, self._id))
            engine.create_volume(real[key])
            folders[key] = engine.volume_folder(real[key].name)
        made = {key: places.kept_name(real[key].name, self._id) for key in places.whole_volumes(items, whole)}
        staged = [places.staged(places.place_of(item, folders), self._id) for item in places.files(items, whole)]
        prepared = {"staged": staged, "volumes": list(made.values())}
        self._journal.log(self._id, self._host.clock.now(), "do", prepared)
        kept: dict[str, str] = {}
        for key, name in made.items():
            labels = {"com.docker.compose.volume": key, "quaylock.kept-of": self._request.name}
            engine.create_volume(Volume(key, name, body={"Driver": "local", "DriverOpts": {}, "Labels": labels}))
            kept[key] = engine.volume_folder(name)
            with contextlib.suppress(OSError):
                os.rmdir(kept[key])  # that it is there will say that something was moved into it
        self._stage(folders)
        moves = places.moves(items, whole, self._id, folders, kept, restored)
        if wrong := moving.obstacles(moves):
            raise Invalid(tuple(Finding("set", text, "restore it into a folder, with to") for text in wrong))
        return moves, made

    def _stage(self, folders: Mapping[str, str]) -> None:
        for item in places.files(self._tried.items, self._tried.whole):
            taken = self._tried.manifest.item(item.name)
            place = places.staged(places.place_of(item, folders), self._id)
            moving.remove(place)
            if isinstance(item, SqliteItem):
                self._tried.sqlite_in(taken, Path(place))
            elif isinstance(item, PathItem):
                aside = f"{place}.folder"
                moving.remove(aside)
                extract.tree(self._vault, taken.parts[0], Path(aside))
                alone = os.path.join(aside, posixpath.basename(item.path))
                if taken.parts[0].files == 1 and os.path.isfile(alone):
                    os.rename(alone, place)
                    os.rmdir(aside)
                else:
                    os.rename(aside, place)

    def _exchange(self, moves: tuple[Move, ...]) -> None:
        self._journal.log(self._id, self._host.clock.now(), "do", {"moves": [asdict(move) for move in moves]})
        undoing.stop(self._host, self._request.name)
        self.moves = moves
        for move in moves:
            moving.move(move)

    # -- the end ------------------------------------------------------------------------

    def _rolled_out(self, request: Request, wanted: Wanted) -> dict[str, Any]:
        returned = {"release": wanted.release.id} if self._request.release and wanted.release else {}
        request = replace(request, asked={**request.asked, "set": self._set, **returned})
        rollout = deploy.begin(request, wanted.model, self._journal)
        self._journal.log(self._id, self._host.clock.now(), "note", {"rollout": rollout})
        return deploy.roll_out(request, wanted, rollout, restored=True)

    def _undone(self, answer: dict[str, Any], made: Mapping[str, str]) -> dict[str, Any]:
        """The stack did not become healthy with the restored data: it gets its own back."""
        name = self._request.name
        undoing.put_back(self._host, name, self.moves)
        self.moves = ()
        self._forget(made.values())
        lines = [f"{name}: with the data of {self._set} it did not become healthy", str(answer.get("msg", ""))]
        serving = self._journal.release(name)
        if serving is not None:
            request = replace(self._request, release=serving[0])
            wanted = wanted_of(request)
            again = deploy.roll_out(request, wanted, deploy.begin(request, wanted.model, self._journal), restored=True)
            went = "and could not be started with its own data either" if again.get("failed") else "with its own data"
            lines.append(f"  now     {serving[0]} {'serves ' if not again.get('failed') else ''}{went}")
        return {"failed": True, "changed": True, "outcome": "rolled back", "set": self._set, "msg": "\n".join(lines)}

    def _refused(self, checks: Collection[Check]) -> dict[str, Any]:
        lines = [f"{self._request.name}: set {self._set} could not be restored beside the stack, which was not touched"]
        lines += [f"  why     {check.what}: {check.said}" for check in checks if not check.ok]
        lines.append(f"  next    {self._request.again}")
        return {"failed": True, "changed": False, "outcome": "refused", "set": self._set, "msg": "\n".join(lines)}

    def _forget(self, names: Collection[str]) -> None:
        """The volumes that keep nothing (any more)."""
        for name in names:
            with contextlib.suppress(PortError):
                self._host.engine.remove_volume(name)


def _volumes_of(items: Collection[Any]) -> set[str]:
    return {item.volume for item in items if getattr(item, "volume", "")}
