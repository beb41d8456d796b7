# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One deployment from end to end: lock, recover, look, roll out. Used by the module, by timers and by tests alike."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import posixpath
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import releases
from .adapters import docker_engine
from .adapters.local import LONGEST_WAIT, HostFiles, WallClock, host_key, locked, taken
from .core import compose, report
from .core.commands import Begun, Done, Fetch
from .core.model import Finding, Image, Invalid, Json, Stack
from .core.plan import Ran
from .core.recovery import recovery, teardown
from .core.releases import KEEP, MOST, Release, Version, by_rollback_config, chosen, compare
from .core.rollout import advance
from .core.state import AT_ONCE, Outcome, Rollout, milestone
from .journal import KEEP_DAYS, SqliteJournal
from .perform import Host, clear_files, local_image, observe, rendered, rendered_path, withdraw
from .ports import Ingress, PortError
from .proxy import driver_of, installed
from .runner import run

TO_BE_FETCHED = ""
"""the identity of an image that is not on this host yet"""


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
            name, self.definition, compose.Context(**{**self.context, "profiles": tuple(self.context["profiles"])})
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
    engine = docker_engine.DockerEngine(docker_engine.connect(request.docker_host), network)
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


def ran_before(journal: SqliteJournal, wanted: Wanted) -> frozenset[Ran]:
    """One-shots that are not run (again): those of the serving release, and of the one that is returned to."""
    before = frozenset(Ran(*e) for e in wanted.release.committed.get("ran", [])) if wanted.release else frozenset()
    return journal.ran(wanted.stack.name) | before


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


def missing_images(state: Rollout) -> list[str]:
    return sorted(ref for ref, image in state.images.items() if image.id == TO_BE_FETCHED)


def serving_stack(name: str, journal: SqliteJournal) -> Stack | None:
    release = journal.release(name)
    if release is None:
        return None
    try:
        return Model(**release[1]).read(name)
    except Invalid:
        return None


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


def roll_out(request: Request, wanted: Wanted, rollout: str) -> dict[str, Any]:
    """Recover, then roll out. The caller holds the lock and has written the rollout's beginning."""
    stack = wanted.stack
    host, journal = open_for(request, wanted)
    found = recover(host, request.name, journal)
    notes = returning(wanted)
    if found is not None:
        recovered, what = found
        notes = [f"rollout {recovered.id} was interrupted earlier and {what}", *recovered.notes, *notes]
        if recovered.outcome is Outcome.INCOMPLETE:
            answer = {**report.result(recovered), "failed": True, "changed": True}
            return _close(request, journal, rollout, {**answer, **failed(host, request, recovered, journal)})
    serving = journal.release(request.name)
    state = Rollout(
        rollout,
        stack,
        previous=serving_stack(request.name, journal),
        previous_release=serving[0] if serving else "",
        ran=ran_before(journal, wanted),
        at_once=max(AT_ONCE, (os.cpu_count() or 1) // 2),
    )
    state = run(host, state)
    if state.outcome in (Outcome.REFUSED, Outcome.UNCHANGED):
        # it ended without a plan, so no milestone has said so
        journal.milestone(rollout, "finished", host.clock.now(), milestone(state, "finished"))
    notes += keep(host, request, journal)
    return _close(request, journal, rollout, answer_of(host, request, state, notes, journal))


def returning(wanted: Wanted) -> list[str]:
    """What a return does not do, said before anybody finds out."""
    if wanted.release is None:
        return []
    shots = [s.name for s in wanted.stack.services if s.one_shot]
    again = f"; one-shots that ended well in it are not run again: {', '.join(shots)}" if shots else ""
    at = releases.stamp(wanted.release.at)
    points = [f"{s} before {r.id}: {name}" for r in wanted.since for s, name in r.points.items()]
    since = f"; restore points since: {', '.join(points)}" if points else ""
    return [f"a return to release {wanted.release.id} of {at}: what migrations did to data since is kept{again}{since}"]


def keep(host: Host, request: Request, journal: SqliteJournal, removed: bool = False) -> list[str]:
    """After a rollout: what is kept stays on this host, what is not any more goes, and the journal forgets."""
    kept = journal.releases(request.name, request.releases_kept)
    notes = releases.protect(host.images, request.name, kept, removed) if host.images else []
    if kept:
        clear_files(host, set(releases.paths(kept)))
    journal.prune(host.clock.now(), request.journal_days, request.releases_kept)
    return notes


def _close(request: Request, journal: SqliteJournal, rollout: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Keep the answer for who follows, and show it on the page; a page that cannot be written is a note."""
    journal.result(rollout, answer)
    if request.show:
        wrong = request.show(request)
        if wrong:
            answer = {**answer, "notes": [*answer.get("notes", []), wrong]}
            journal.result(rollout, answer)
    return answer


def answer_of(host: Host, request: Request, state: Rollout, notes: list[str], journal: SqliteJournal) -> dict[str, Any]:
    """The module's answer for a rollout that ended."""
    answer = report.result(state)
    answer["notes"] = [*notes, *answer["notes"]]
    answer["changed"] = state.outcome not in (Outcome.UNCHANGED, Outcome.REFUSED) or bool(notes)
    if state.outcome in (Outcome.DEPLOYED, Outcome.UNCHANGED):
        return answer
    # a release in part is what failure_action: continue asks for, and no failure of the play
    answer["failed"] = state.outcome is not Outcome.PARTIAL
    if state.outcome is Outcome.REFUSED:
        answer["msg"] = report.refusal(request.name, state.findings)
        return answer
    return {**answer, **failed(host, request, state, journal)}


def failed(host: Host, request: Request, state: Rollout, journal: SqliteJournal) -> dict[str, Any]:
    """A failure in words: the evidence, exactly what serves now, and the next command."""
    text, found = serving_now(host, request.name, state, journal)
    again = request.again
    if state.outcome is Outcome.INCOMPLETE:
        again += "\n(mend what the notes say first; that run then finishes this one before it does anything else)"
    return {"serving": found, "msg": report.failure_text(state, text, again)}


def serving_now(host: Host, name: str, state: Rollout, journal: SqliteJournal) -> tuple[str, list[dict[str, Any]]]:
    """What serves after a failure, by the engine's and the proxy's word: a line or more for people, and as values."""
    release = journal.release(name)
    before = f"release {release[0]}" if release else "nothing that was released"
    members = release[2].get("members", {}) if release else {}
    try:
        replicas = list(host.engine.replicas(name))
    except PortError as error:
        return f"unknown: {error}", []
    routed: Mapping[str, frozenset[str]] | None = {}
    try:
        routed = host.ingress.routed(name) if host.ingress else {}
    except PortError:
        routed = None
    of_release = {n: release[0] for names in members.values() for n in names} if release else {}
    found = report.serving(replicas, routed, of_release, state.id)
    if state.outcome is not Outcome.INCOMPLETE and routed is not None:
        counts: dict[str, int] = {}
        for o in replicas:
            if o.running:
                counts[o.service] = counts.get(o.service, 0) + 1
        running = ", ".join(f"{service} x{count}" for service, count in sorted(counts.items()))
        return f"{before}; running: {running or 'nothing'}", found
    return "\n".join([f"{before} is the last release; of it:", *report.serving_lines(found, routed is not None)]), found


def check(request: Request) -> dict[str, Any]:
    """Check mode: the plan and its diff; nothing is fetched, written or changed."""
    wanted = wanted_of(request)
    host, journal = open_for(request, wanted)
    state = preview(host, wanted, serving_stack(request.name, journal), journal)
    return {**preview_answer(host, request, wanted, state, journal)}


def differences(request: Request, wanted: Wanted, state: Rollout, journal: SqliteJournal) -> list[str]:
    """What is asked for beside a kept release: the serving one, or the one that `against` names."""
    kept = journal.releases(request.name, request.releases_kept)
    if not kept and not request.against:
        return []
    before = chosen(request.name, request.against, kept) if request.against else kept[0]
    images = {ref: {"id": i.id, "digest": i.digest} for ref, i in state.images.items()}
    try:
        return [str(d) for d in compare(releases.version(before), Version(wanted.stack, images))]
    except Invalid as refused:  # an older version took what this one refuses
        return [f"release {before.id} cannot be compared with: {finding}" for finding in refused.findings]


def preview_answer(
    host: Host, request: Request, wanted: Wanted, state: Rollout, journal: SqliteJournal
) -> dict[str, Any]:
    stack = wanted.stack
    answer = report.result(state)
    answer["notes"] = [*returning(wanted), *answer["notes"]]
    answer["differences"] = differences(request, wanted, state, journal)
    if state.outcome is Outcome.REFUSED:
        return {**answer, "failed": True, "changed": False, "msg": report.refusal(request.name, state.findings)}
    answer["changed"] = state.outcome is not Outcome.UNCHANGED
    answer["outcome"] = "planned" if answer["changed"] else answer["outcome"]
    answer["to_fetch"] = missing_images(state)
    found = journal.unfinished(request.name)
    if found is not None:
        answer["changed"] = True
        answer["notes"].append(f"rollout {found[0].rollout} was interrupted and would be recovered first")
    before = (host.files.read(rendered_path(host)) or b"").decode()
    images = {ref: image.id for ref, image in state.images.items()}
    answer["diff"] = report.diff(stack, state.plan, state.seen, images, before, rendered(stack).decode())
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
    volumes = [c.name for c in state.cleanup if type(c).__name__ == "RemoveVolume"]
    plan = [f"- container {o.name}" for o in seen.replicas] + [f"- volume {v}" for v in volumes]
    changed = bool(seen.replicas or state.cleanup or seen.routed)
    answer: dict[str, Any] = {"changed": changed, "plan": plan, "volumes_removed": volumes}
    if dry or not changed:
        before = "".join(f"{line}\n" for line in plan)
        return {**answer, "outcome": "planned" if changed else "unchanged", "diff": [{"before": before, "after": ""}]}
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
    return _close(request, journal, rollout, answer)


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
        if journal.unfinished(request.name) is None:
            state = preview(host, wanted, serving_stack(request.name, journal), journal)
            if not missing_images(state) and state.outcome in (Outcome.UNCHANGED, Outcome.REFUSED):
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
