# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One deployment from end to end: lock, recover, look, roll out. Used by the module, by timers and by tests alike."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from . import releases, verify
from .adapters.local import locked, taken
from .answers import TO_BE_FETCHED, answer_of, close, failed, missing_images, preview_answer, returning
from .backup import undoing, writers
from .backup.run import before_rollout
from .core.events import Begun, Done
from .core.model import Image, Invalid, Stack
from .core.rollout.commands import Fetch, RemoveVolume
from .core.rollout.recovery import recovery, teardown
from .core.rollout.rollout import advance
from .core.rollout.state import AT_ONCE, Outcome, Phase, Rollout, milestone
from .core.shown import report
from .core.verify import evidence
from .host import open_for, open_host, ran_before, serving_stack
from .journal import SqliteJournal
from .perform import Host, clear_files, local_image, observe, withdraw
from .ports import PortError
from .request import Model, Request, Wanted, limits, wanted_of
from .runner import run


def preview(host: Host, wanted: Wanted, previous: Stack | None, journal: SqliteJournal) -> Rollout:
    """The state a rollout has once it has looked, without fetching or changing anything."""
    stack = wanted.stack
    state = Rollout("preview", stack, previous, ran=ran_before(journal, wanted))
    state, commands = advance(state, Begun(host.clock.now()))
    for command in commands:
        if isinstance(command, Fetch):
            service = stack.service(command.service)
            value: Any = local_image(host, service) or Image(service.image, TO_BE_FETCHED)
            state, _asked = advance(state, Done(command, host.clock.now(), value))
    seen = observe(host, stack)
    observing = next(c for c in state.pending)
    state, _asked = advance(state, Done(observing, host.clock.now(), seen))
    return state


def new_id(now: float) -> str:
    return time.strftime("r-%Y%m%d-%H%M%S-", time.gmtime(now)) + secrets.token_hex(2)


def recover(host: Host, name: str, journal: SqliteJournal) -> tuple[Rollout, str] | None:
    """Finish or undo what a killed run left, and say which; None where nothing was left."""
    found = journal.unfinished(name)
    if found is None:
        return None
    left, model = found
    _settle(host, left.rollout, journal)
    stays = Model(**model).read(name) if left.committed else serving_stack(name, journal) or Stack(name, ())
    state = run(host, recovery(left.rollout, stays, left, observe(host, stays)))
    done = "finished" if left.committed else "undone"
    return state, done if state.outcome is Outcome.RECOVERED else f"could not be {done} completely"


def _settle(host: Host, rollout: str, journal: SqliteJournal) -> None:
    """A stop goes on in the engine after who asked was killed; what is on its way out must not count as running."""
    asked: dict[str, float] = {}
    for entry in journal.events(rollout):
        if entry.details.get("do") == "Stop":
            asked.pop(entry.details["name"], None)
            if entry.what == "do":
                asked[entry.details["name"]] = entry.details["grace"]
    for name, grace in asked.items():
        host.engine.stop(name, grace)
        journal.log(rollout, host.clock.now(), "done", {"do": "Stop", "name": name})


def begin(request: Request, model: Model, journal: SqliteJournal, kind: str = "deploy") -> str:
    """Write down that a rollout begins. The caller holds the lock, so what planned nothing before is dead."""
    now = time.time()
    journal.abandon(request.name, now)
    rollout = new_id(now)
    journal.begin(rollout, request.name, kind, request.who, now, model.as_json(), request.asked)
    return rollout


def roll_out(request: Request, wanted: Wanted, rollout: str, restored: bool = False) -> dict[str, Any]:
    """Recover, then roll out. The caller holds the lock and has written the rollout's beginning.

    `restored` says that a restore has just exchanged the data: it is not undone, and one-shots run on it again.
    """
    stack = wanted.stack
    host, journal = open_for(request, wanted)
    before = serving_stack(request.name, journal)
    notes = writers.recover(host, before, journal) if before else []
    notes += [] if restored else undoing.recover(host, request.name, journal)
    found = recover(host, request.name, journal)
    notes += returning(wanted)
    if found is not None:
        recovered, what = found
        notes = [f"rollout {recovered.id} was interrupted earlier and {what}", *recovered.notes, *notes]
        if recovered.outcome is Outcome.INCOMPLETE:
            answer = {**report.result(recovered), "failed": True, "changed": True}
            return close(request, journal, rollout, {**answer, **failed(host, request, recovered, journal)})
    if stack.backup.before and (restored or before is None or not before.backup.items):
        notes += [] if restored or before is None else ["no set was taken first: what serves declares no items for one"]
        stack = replace(stack, backup=replace(stack.backup, before=False))
    host = replace(host, take_set=partial(before_rollout, request))
    serving = journal.release(request.name)
    state = Rollout(
        rollout,
        stack,
        previous=serving_stack(request.name, journal),
        previous_release=serving[0] if serving else "",
        ran=frozenset() if restored else ran_before(journal, wanted),
        at_once=max(AT_ONCE, (os.cpu_count() or 1) // 2),
    )

    def say(what: str) -> None:
        journal.log(rollout, host.clock.now(), "note", {"said": what[:500]})

    lacking = () if restored else verify.have_images(host, stack, say)
    if lacking:
        state = replace(state, phase=Phase.DONE, outcome=Outcome.REFUSED, findings=lacking)
    state = state if lacking else run(host, state)
    if state.outcome in (Outcome.REFUSED, Outcome.UNCHANGED):
        # it ended without a plan, so no milestone has said so
        journal.milestone(rollout, "finished", host.clock.now(), milestone(state, "finished"))
    told: dict[str, Any] = {}
    if state.outcome in (Outcome.DEPLOYED, Outcome.UNCHANGED) and verify.due(journal, stack) and not restored:
        told = _verified(host, request, wanted, state, journal)
    notes += keep(host, request, journal)
    answer = answer_of(host, request, state, notes, journal)
    return close(request, journal, rollout, {**answer, **told})


def _verified(host: Host, request: Request, wanted: Wanted, state: Rollout, journal: SqliteJournal) -> dict[str, Any]:
    """The release that serves is verified, and undone where it does not pass: what the answer says of it.

    It is undone by a return to the release before, like one that somebody asks for. One that has passed before is not,
    nor one that was itself returned to: nobody wants to go back and forth.
    """
    name = request.name
    found = verify.verified(host, request, journal, state.stack, state.id)
    if found["outcome"] == evidence.VERIFIED:
        return {"verification": found}
    release = found["release"]
    kept = journal.releases(name, 2)
    passed = journal.verification(name, release, (evidence.VERIFIED,))
    stays = {
        "x-quaylock.verify_failure is report": not state.stack.verify.go_back,
        "there is no release before it to return to": len(kept) < 2,
        "it is itself the one that was returned to": bool(wanted.release or kept[0].returned_to),
        "it has passed before": bool(passed),
    }
    why = next((reason for reason, holds in stays.items() if holds), "")
    if why:
        serving = f"release {release} serves, because {why}"
        text = evidence.failure_text(name, found, "is not verified", serving, request.again)
        journal.milestone(state.id, "finished", host.clock.now(), {"outcome": "not verified"})
        return {"verification": found, "failed": True, "outcome": "not verified", "msg": text}
    before = kept[1].id
    journal.result(found["id"], {**found, "undone": True})
    back = _returned(request, before, state.id)
    failures = [
        {"service": c["name"], "replica": "", "reason": c["said"], "said": c["asked"], "logs": c["output"]}
        for c in found["checks"]
        if c["outcome"] != "passed"
    ]
    answer = {"verification": found, "failed": True, "changed": True, "failures": failures}
    if back["outcome"] not in (Outcome.DEPLOYED.value, "not verified"):
        journal.result(found["id"], found)
        serving = f"the return to release {before} failed too:\n{back.get('msg', back['outcome'])}"
        text = evidence.failure_text(name, found, "could not be undone", serving, request.again)
        ended = back["outcome"] if back["outcome"] == Outcome.INCOMPLETE.value else "not verified"
        journal.milestone(state.id, "finished", host.clock.now(), {"outcome": ended})
        return {**answer, "outcome": ended, "msg": text}
    again = back.get("verification")
    serving = f"what release {before} was serves again, as {back['rollout']}"
    serving += f", {evidence.summary(again)}" if again else ""
    text = evidence.failure_text(name, found, "was rolled back", serving, request.again)
    journal.milestone(state.id, "finished", host.clock.now(), {"outcome": Outcome.ROLLED_BACK.value})
    return {**answer, "outcome": Outcome.ROLLED_BACK.value, "msg": text, "returned_to": back["rollout"]}


def _returned(request: Request, release: str, followed: str) -> dict[str, Any]:
    """Return to a kept release. The caller holds the lock; who follows the rollout `followed` is told of this one."""
    asked = replace(
        request,
        asked={**request.asked, "release": release},
        release=release,
        releases_kept=max(2, request.releases_kept),
        show=None,
    )
    try:
        wanted = wanted_of(asked)
        with contextlib.closing(SqliteJournal(request.journal_path)) as journal:
            rollout = begin(asked, wanted.model, journal)
            about = {"said": f"it is not verified: going back to {release}", "follow": rollout}
            journal.log(followed, time.time(), "note", about)
        return roll_out(asked, wanted, rollout)
    except (Invalid, PortError) as error:
        return {"outcome": Outcome.REFUSED.value, "msg": str(error)}


def keep(host: Host, request: Request, journal: SqliteJournal, removed: bool = False) -> list[str]:
    """After a rollout: what is kept stays on this host, what is not any more goes, and the journal forgets."""
    kept = journal.releases(request.name, request.releases_kept)
    notes = releases.protect(host.images, request.name, kept, removed) if host.images else []
    if kept:
        clear_files(host, set(releases.paths(kept)))
    journal.prune(host.clock.now(), request.journal_days, request.releases_kept)
    return notes


def check(request: Request) -> dict[str, Any]:
    """Check mode: the plan and its diff; nothing is fetched, written or changed."""
    wanted = wanted_of(request)
    host, journal = open_for(request, wanted)
    state = preview(host, wanted, serving_stack(request.name, journal), journal)
    answer = preview_answer(host, request, wanted, state, journal)
    if answer["changed"] or (state.outcome is Outcome.UNCHANGED and verify.due(journal, wanted.stack)):
        answer["to_verify"] = [c.name for c in wanted.stack.verify.checks]
        answer["to_fetch"] = sorted(
            {*answer.get("to_fetch", ()), *(s.image for s in verify.lacking(host.engine, wanted.stack))}
        )
    return answer


def remove(request: Request, remove_volumes: bool, dry: bool) -> dict[str, Any]:
    """Take the stack down. The definition is that of the release which serves, so that the Compose file may be gone."""
    found = limits(request)
    if found:
        raise Invalid(found)
    with locked(request.locks, request.name, request.who, request.wait):
        return _remove(request, remove_volumes, dry)


def _remove(request: Request, remove_volumes: bool, dry: bool) -> dict[str, Any]:
    host, journal = open_host(request)
    release = journal.release(request.name)
    model = Model(**release[1]) if release else Model({}, {})
    stack = (serving_stack(request.name, journal) if release else None) or Stack(request.name, ())
    seen = observe(host, stack)
    state = teardown("teardown", stack, seen, remove_volumes)
    volumes = [c.name for c in state.cleanup if isinstance(c, RemoveVolume)]
    plan = [f"- container {o.name}" for o in seen.replicas] + [f"- volume {v}" for v in volumes]
    changed = bool(seen.replicas or state.cleanup or seen.routed)
    answer: dict[str, Any] = {"changed": changed, "plan": plan, "volumes_removed": volumes}
    if dry or not changed:
        before = "".join(f"{line}\n" for line in plan)
        return {**answer, "outcome": "planned" if changed else "unchanged", "diff": [{"before": before, "after": ""}]}
    verify.clear(host.engine, request.name)
    rollout = begin(request, model, journal, "teardown")
    journal.milestone(rollout, "planned", host.clock.now(), {"members": {}, "incumbents": {}, "running": []})
    state = run(host, replace(state, id=rollout))
    notes = list(state.notes)
    if state.outcome is Outcome.REMOVED:
        withdraw(host)
        notes += keep(host, request, journal, removed=True)
    answer.update({"outcome": state.outcome.value if state.outcome else "", "rollout": rollout, "notes": notes})
    if state.outcome is not Outcome.REMOVED:
        answer.update(failed=True, msg=f"{request.name}: not everything could be removed:\n" + "\n".join(state.notes))
    return close(request, journal, rollout, answer)


def deploy(request: Request, detach: Callable[[Callable[[], None]], None] | None = None) -> dict[str, Any]:
    """Deploy, or find out that nothing has to be done. With `detach` the work goes on in a process of its own.

    Raises Invalid for a definition that is refused, PortError where the host cannot be used.
    """
    wanted = wanted_of(request)
    with locked(request.locks, request.name, request.who, request.wait) as sign:
        if request.release:
            wanted = wanted_of(request)  # somebody else may have deployed while we waited
        host, journal = open_for(request, wanted)
        if wanted.release is not None:
            request = replace(request, asked={**request.asked, "release": wanted.release.id})
        if journal.unfinished(request.name) is None and not any(
            journal.unfinished_of(kind, request.name) for kind in ("backup", "restore")
        ):
            state = preview(host, wanted, serving_stack(request.name, journal), journal)
            idle = state.outcome is Outcome.UNCHANGED and not verify.due(journal, wanted.stack)
            if not missing_images(state) and (idle or state.outcome is Outcome.REFUSED):
                return preview_answer(host, request, wanted, state, journal)
        rollout = begin(request, wanted.model, journal)
        sign(rollout)
        journal.close()
        if detach is None:
            return roll_out(request, wanted, rollout)
        detach(lambda: _guarded(request, wanted, rollout, sign))
        return {"changed": True, "rollout": rollout, "outcome": "running"}


def in_progress(request: Request) -> bool:
    """Whether a process works on this stack: its lock dies with it."""
    return taken(request.locks, request.name)


def _guarded(request: Request, wanted: Wanted, rollout: str, sign: Callable[[str], None]) -> None:
    """The detached half: whatever happens, whoever follows gets an answer. The lock is this process's from now on."""
    try:
        sign(rollout)
        roll_out(request, wanted, rollout)
    except Exception as error:  # the follower has to hear of a surprise too
        text = f"{request.name}: rollout {rollout} broke off: {type(error).__name__}: {error}"
        answer = {"failed": True, "changed": True, "rollout": rollout, "msg": f"{text}\n  next    {request.again}"}
        SqliteJournal(request.journal_path).result(rollout, answer)
        raise
