# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One deployment from end to end: lock, recover, look, roll out. Used by the module, by timers and by tests alike."""

from __future__ import annotations

import hashlib
import hmac
import os
import posixpath
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .adapters import docker_engine
from .adapters.local import HostFiles, WallClock, host_key, locked, taken
from .core import compose, report
from .core.commands import Begun, Done, Fetch
from .core.model import Image, Invalid, Json, Stack
from .core.recovery import recovery, teardown
from .core.rollout import AT_ONCE, Outcome, Rollout, advance, milestone
from .journal import SqliteJournal
from .perform import Host, observe, rendered, rendered_path, withdraw
from .ports import Ingress, PortError
from .proxy import ProxyContainer, driver_of
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
    driver: str = "haproxy"


@dataclass(frozen=True)
class Request:
    """What is asked for. `secrets` and `configs` are contents by key; they reach files and nothing else."""

    name: str
    definition: Mapping[str, Any]
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    configs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    profiles: tuple[str, ...] = ()
    project_directory: str = ""
    ingress: IngressSettings | None = None
    who: str = "unknown"
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


def open_host(request: Request, stack: Stack | None = None) -> tuple[Host, SqliteJournal]:
    """The real adapters of this host."""
    network = request.ingress.network if request.ingress else ""
    engine = docker_engine.DockerEngine(docker_engine.connect(request.docker_host), network)
    journal = SqliteJournal(request.journal_path)
    ingress: Ingress | None = None
    if request.ingress is not None:
        of = request.ingress
        ingress = driver_of(of.driver, of.folder, ProxyContainer(engine, of.container))
    given = {"secret": request.secrets, "config": request.configs}
    contents = {f.host_path: given[f.kind][f.key] for f in stack.files if not f.external} if stack else {}
    return Host(engine, ingress, HostFiles(), journal, WallClock(), request.folder, network, contents), journal


def preview(host: Host, stack: Stack, previous: Stack | None, journal: SqliteJournal) -> Rollout:
    """The state a rollout has once it has looked, without fetching or changing anything."""
    state = Rollout("preview", stack, previous, ran=journal.ran(stack.name))
    state, commands = advance(state, Begun(host.clock.now()))
    for command in commands:
        if isinstance(command, Fetch):
            service = stack.service(command.service)
            image = host.engine.image(service.image) if service.pull_policy not in ("always", "build") else None
            value: Any = image or Image(service.image, TO_BE_FETCHED)
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
    journal.begin(rollout, request.name, kind, request.who, now, model.as_json())
    return rollout


def roll_out(request: Request, stack: Stack, rollout: str) -> dict[str, Any]:
    """Recover, then roll out. The caller holds the lock and has written the rollout's beginning."""
    host, journal = open_host(request, stack)
    found = recover(host, request.name, journal)
    notes = []
    if found is not None:
        recovered, what = found
        notes = [f"rollout {recovered.id} was interrupted earlier and {what}", *recovered.notes]
        if recovered.outcome is Outcome.INCOMPLETE:
            answer = {**report.result(recovered), "failed": True, "changed": True}
            return _close(
                journal, rollout, {**answer, "msg": report.failure_text(recovered, "see the notes", request.again)}
            )
    serving = journal.release(request.name)
    state = Rollout(
        rollout,
        stack,
        previous=serving_stack(request.name, journal),
        previous_release=serving[0] if serving else "",
        ran=journal.ran(request.name),
        at_once=max(AT_ONCE, (os.cpu_count() or 1) // 2),
    )
    state = run(host, state)
    if state.outcome in (Outcome.REFUSED, Outcome.UNCHANGED):
        # it ended without a plan, so no milestone has said so
        journal.milestone(rollout, "finished", host.clock.now(), milestone(state, "finished"))
    journal.prune(host.clock.now())
    return _close(journal, rollout, answer_of(host, request, state, notes))


def _close(journal: SqliteJournal, rollout: str, answer: dict[str, Any]) -> dict[str, Any]:
    journal.result(rollout, answer)
    return answer


def answer_of(host: Host, request: Request, state: Rollout, notes: list[str]) -> dict[str, Any]:
    """The module's answer for a rollout that ended."""
    answer = report.result(state)
    answer["notes"] = [*notes, *answer["notes"]]
    answer["changed"] = state.outcome in (Outcome.DEPLOYED, Outcome.ROLLED_BACK, Outcome.INCOMPLETE) or bool(notes)
    if state.outcome in (Outcome.DEPLOYED, Outcome.UNCHANGED):
        return answer
    answer["failed"] = True
    if state.outcome is Outcome.REFUSED:
        answer["msg"] = report.refusal(request.name, state.findings)
        return answer
    answer["msg"] = report.failure_text(state, serving_now(host, request.name, state), request.again)
    return answer


def serving_now(host: Host, name: str, state: Rollout) -> str:
    """What serves after a failure, by the engine's word."""
    before = f"release {state.previous_release}" if state.previous_release else "nothing that was released"
    try:
        counts: dict[str, int] = {}
        for o in host.engine.replicas(name):
            if o.running:
                counts[o.service] = counts.get(o.service, 0) + 1
    except PortError as error:
        return f"unknown: {error}"
    running = ", ".join(f"{service} x{count}" for service, count in sorted(counts.items()))
    return f"{before}; running: {running or 'nothing'}"


def check(request: Request) -> dict[str, Any]:
    """Check mode: the plan and its diff; nothing is fetched, written or changed."""
    stack, _model = stack_of(request)
    host, journal = open_host(request, stack)
    state = preview(host, stack, serving_stack(request.name, journal), journal)
    return {**preview_answer(host, request, stack, state, journal)}


def preview_answer(
    host: Host, request: Request, stack: Stack, state: Rollout, journal: SqliteJournal
) -> dict[str, Any]:
    answer = report.result(state)
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
    if state.outcome is Outcome.REMOVED:
        withdraw(host)
    answer.update(
        {"outcome": state.outcome.value if state.outcome else "", "rollout": rollout, "notes": list(state.notes)}
    )
    if state.outcome is not Outcome.REMOVED:
        answer.update(failed=True, msg=f"{request.name}: not everything could be removed:\n" + "\n".join(state.notes))
    return _close(journal, rollout, answer)


def deploy(request: Request, detach: Callable[[Callable[[], None]], None] | None = None) -> dict[str, Any]:
    """Deploy, or find out that nothing has to be done. With `detach` the work goes on in a process of its own.

    Raises Invalid for a definition that is refused, PortError where the host cannot be used.
    """
    stack, model = stack_of(request)
    with locked(request.locks, request.name, request.who, request.wait) as sign:
        host, journal = open_host(request, stack)
        if journal.unfinished(request.name) is None:
            state = preview(host, stack, serving_stack(request.name, journal), journal)
            if not missing_images(state) and state.outcome in (Outcome.UNCHANGED, Outcome.REFUSED):
                return preview_answer(host, request, stack, state, journal)
        rollout = begin(request, model, journal)
        journal.close()
        if detach is None:
            return roll_out(request, stack, rollout)
        detach(lambda: _guarded(request, stack, rollout, sign))
        return {"changed": True, "rollout": rollout, "outcome": "running"}


def in_progress(request: Request) -> bool:
    """Whether a process works on this stack: its lock dies with it."""
    return taken(request.locks, request.name)


def _guarded(request: Request, stack: Stack, rollout: str, sign: Callable[[], None]) -> None:
    """The detached half: whatever happens, whoever follows gets an answer. The lock is this process's from now on."""
    try:
        sign()
        roll_out(request, stack, rollout)
    except Exception as error:  # the follower has to hear of a surprise too
        text = f"{request.name}: rollout {rollout} broke off: {type(error).__name__}: {error}"
        answer = {"failed": True, "changed": True, "rollout": rollout, "msg": f"{text}\n  next    {request.again}"}
        SqliteJournal(request.journal_path).result(rollout, answer)
        raise
