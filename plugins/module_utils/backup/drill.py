# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A drill: the newest set is restored beside the stack, compared, and has to be healthy. Only then it is proven."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..adapters.local import locked
from ..core.backup import scratch
from ..core.backup.manifest import Manifest
from ..core.backup.proof import Check, Proof
from ..core.model import Finding, Invalid
from ..host import open_host
from ..journal import SqliteJournal
from ..ports import PortError
from ..request import Request
from .extract import LATEST, found
from .scratch import Scratch
from .vault import Vault


def new_id(now: float) -> str:
    return time.strftime("d-%Y%m%d-%H%M%S-", time.gmtime(now)) + secrets.token_hex(2)


def drill(request: Request, vault: Vault, wanted: str = LATEST, dry: bool = False) -> dict[str, Any]:
    """Restore a set into a scratch stack and tell whether it is what it says. The stack itself is not touched.

    Raises Invalid where there is no such set, PortError where the host or the repository cannot be used at all.
    """
    with locked(request.locks, scratch.name_of(request.name), request.who, request.wait):
        host, journal = open_host(request)
        manifest = found(vault, request.name, wanted)
        if journal.release(scratch.name_of(request.name)) is not None:
            problem = f"{scratch.name_of(request.name)} is a stack of this host, and drills need that name"
            raise Invalid((Finding("name", problem, "rename that stack"),))
        if dry:
            plan = [f"{taken.name}: restored and compared" for taken in manifest.items]
            return {"changed": True, "outcome": "planned", "set": manifest.id, "plan": plan, "notes": []}
        name, began = new_id(host.clock.now()), host.clock.now()
        journal.begin(name, request.name, "drill", request.who, began, {}, {"set": manifest.id, **request.asked})

        def say(what: str) -> None:
            journal.log(name, host.clock.now(), "note", {"said": what})

        engine: Any = host.engine
        folder = posixpath.join(request.state_dir, "backup", "drill", request.name)
        notes = []
        with vault.anew(f"{folder}.cache") as anew:
            tried = Scratch(host, engine, anew, manifest, folder, say)
            try:
                tried.clear()
                begun = time.monotonic()
                checks = _read_again(anew, manifest) or tried_out(tried, drilled=True)
                took = time.monotonic() - begun
            finally:
                with contextlib.suppress(PortError):
                    tried.clear()
        proof = Proof(
            set=manifest.id,
            stack=request.name,
            host=vault.repository.host,
            at=host.clock.now(),
            ok=all(check.ok for check in checks),
            rto=round(took, 3),
            rpo=round(max(0.0, began - manifest.at), 3),
            checks=tuple(checks),
            who=request.who,
        )
        try:
            vault.prove(proof)
        except PortError as error:
            notes.append(
                f"the proof could not be written into the repository, so the set does not count as proven: {error}"
            )
        answer = {**told(request, manifest, proof), "notes": notes}
        _remember(journal, name, host.clock.now(), answer)
        return answer


def _read_again(vault: Vault, manifest: Manifest) -> list[Check]:
    """What is wrong with the manifest as it lies in the repository."""
    try:
        vault.reread(manifest)
    except PortError as error:
        return [Check("manifest", False, str(error))]
    return []


def tried_out(tried: Scratch, drilled: bool = False) -> list[Check]:
    """Every check there is, up to the first kind that fails: what needs it would only fail as well.

    With `drilled` the services of `x-quaylock.backup.drill` have to be healthy, too.
    """
    try:
        tried.unfold()
        checks = tried.images_in()
        tried.choose(tried.whole.backup.drill if drilled else ())
        checks += tried.files_in()
        everybody = [s.name for s in tried.stack.services]
        steps: list[Callable[[], list[Check]]] = [
            partial(tried.start, _stores(tried)),
            tried.stores_in,
            partial(tried.start, everybody),
            partial(tried.healthy, everybody),
        ]
        for step in steps:
            if not all(check.ok for check in checks):
                break
            checks = [*checks, *step()]
    except PortError as error:
        return [Check("set", False, str(error))]
    except Invalid as error:
        return [Check("set", False, f"its model is refused by this version: {error}")]
    return list({check.what: check for check in checks}.values())  # of each the last word


def _stores(tried: Scratch) -> tuple[str, ...]:
    return scratch.stores(tried.whole.backup, [taken.name for taken in tried.manifest.items])


def told(request: Request, manifest: Manifest, proof: Proof) -> dict[str, Any]:
    """The answer for whoever asked."""
    answer: dict[str, Any] = {
        "changed": True,
        "outcome": "proven" if proof.ok else "failed",
        "set": proof.set,
        "at": proof.at,
        "rto": proof.rto,
        "rpo": proof.rpo,
        "checks": [{"what": check.what, "ok": check.ok, "said": check.said} for check in proof.checks],
    }
    if proof.ok:
        return answer
    lines = [f"{request.name}: set {manifest.id} could not be restored, and does not count as a backup"]
    lines += [f"  why     {failure}" for failure in proof.failures]
    lines.append(f"  next    {request.again}")
    return {**answer, "failed": True, "msg": "\n".join(lines)}


def _remember(journal: SqliteJournal, name: str, at: float, answer: dict[str, Any]) -> None:
    journal.milestone(name, "finished", at, {"outcome": answer["outcome"]})
    journal.result(name, answer)
