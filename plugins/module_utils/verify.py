# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A verification of what serves, from end to end: the stack's own checks are asked, and the evidence is kept."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .adapters.local import locked
from .core.checks import Check, Exec, Http, Logs, Run, Secret, asked
from .core.events import Begun, Event
from .core.model import Finding, Image, Invalid, Json, Service, Stack
from .core.verify import evidence, runs
from .core.verify.judging import Answer, noise
from .core.verify.verifying import Ask, Verification, advance
from .host import open_host, serving_stack
from .journal import SqliteJournal
from .loop import drive
from .perform import Host
from .ports import Engine, PortError
from .request import Request, limits

KIND = "verify"
BODY = 2**20
"""bytes of an answer that are looked at"""
LINES = 20
"""lines of logs that are kept of those that should not be there"""
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Verifiable(Engine, Protocol):
    """An engine whose containers can be asked from this host, and that runs some to their end."""

    def logs_since(self, name: str, since: float) -> Iterator[str]: ...
    def left_over(self, stack: str, label: str) -> list[str]: ...
    def ended(self, name: str, timeout: float) -> int | None: ...

    def request(
        self,
        name: str,
        port: int,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
        most: int,
    ) -> tuple[int, str]: ...


def due(journal: SqliteJournal, stack: Stack) -> bool:
    """Whether the release that serves has checks which were not asked yet, were broken off, or did not pass."""
    release = journal.release(stack.name)
    if not stack.verify.checks or release is None:
        return False
    return journal.verification(stack.name, release[0]).get("outcome") != evidence.VERIFIED


def lacking(engine: Engine, stack: Stack) -> list[Service]:
    """What checks run and this host has no image of. Services of the stack have theirs by the rollout."""
    return [job for job in stack.jobs if engine.image(job.image) is None]


def have_images(host: Host, stack: Stack, say: Callable[[str], None]) -> tuple[Finding, ...]:
    """Before a rollout changes anything: what its verification needs is here, or is told."""
    found = []
    for job in lacking(host.engine, stack):
        try:
            host.engine.fetch(job, say)
        except PortError as error:
            problem = f"{job.image} cannot be had: {error}"
            found.append(Finding(f"services.{job.name}.image", problem, "x-quaylock.verify runs it"))
    return tuple(found)


def verified(host: Host, request: Request, journal: SqliteJournal, stack: Stack, log_as: str = "") -> dict[str, Any]:
    """Ask all checks of the release that serves. The caller holds the stack's lock.

    Progress is written to the log of `log_as`, a rollout that somebody follows, or to the verification's own.
    """
    release = journal.release(stack.name)
    if release is None:
        raise PortError(f"{stack.name} has no release on this host")
    engine: Any = host.engine
    clear(engine, stack.name)
    began = host.clock.now()
    id_ = time.strftime("v-%Y%m%d-%H%M%S-", time.gmtime(began)) + secrets.token_hex(2)
    journal.begin(id_, stack.name, KIND, request.who, began, {}, {**request.asked, "release": release[0]})
    # what was logged before it passed the last time has been looked at
    passed = journal.verification(stack.name, release[0], (evidence.VERIFIED,))
    since = float(passed.get("began") or journal.begun(release[0]))
    contents = _contents(host, stack)
    redacted = evidence.redacting(contents.values())

    def tell(about: Json) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            journal.log(log_as or id_, host.clock.now(), "check", about)

    crew = _Crew(host, engine, stack, release[0], release[2], id_, since, contents, redacted, tell)
    try:
        state = drive(host.clock, Verification(stack.verify), advance, crew)
    finally:
        clear(engine, stack.name)
    ended = host.clock.now()
    answer = evidence.record(id_, release[0], state, redacted, began, ended)
    journal.result(id_, answer)
    journal.milestone(id_, "finished", ended, {"outcome": answer["outcome"]})
    return answer


def _contents(host: Host, stack: Stack) -> dict[str, bytes]:
    """The stack's secrets, by key."""
    found = {file.key: host.files.read(file.host_path) for file in stack.files if file.kind == "secret"}
    return {key: content for key, content in found.items() if content is not None}


def clear(host_engine: Engine, stack: str) -> None:
    """Take away what a verification has run, also what one that was killed left."""
    engine: Any = host_engine
    with contextlib.suppress(PortError):
        for name in engine.left_over(stack, runs.LABEL):
            engine.remove(name)


@dataclass(frozen=True)
class _Crew:
    """Asks the checks of one verification."""

    host: Host
    engine: Verifiable
    stack: Stack
    release: str
    committed: Json
    id: str
    since: float
    secrets: Mapping[str, bytes] = field(repr=False)
    redacted: Callable[[str], str] = field(repr=False)
    tell: Callable[[Json], None]

    def intend(self, state: Verification, command: Ask) -> str:
        if command.turn == 1:
            self.tell({"name": command.check, "outcome": "", "count": len(state.plan.checks)})
        return ""

    def perform(self, state: Verification, command: Ask) -> Answer:
        check = state.plan.check(command.check)
        ask = check.ask
        if isinstance(ask, Run):
            return self._run(check, ask)
        if isinstance(ask, Logs):
            return self._logs(check, ask)
        name = self._replica(ask.service)
        if not name:
            return Answer(None, problem=f"no replica of {ask.service} runs")
        if isinstance(ask, Exec):
            return Answer(*self.engine.exec(name, ask.command, check.timeout, self._environment))
        headers, sent = self._sent(ask)
        return Answer(*self.engine.request(name, ask.port, ask.method, ask.path, headers, sent, check.timeout, BODY))

    def heard(self, state: Verification, event: Event) -> None:
        """What came back may hold a secret, so only what was judged is written down."""

    def decided(self, before: Verification, after: Verification, event: Event) -> None:
        if isinstance(event, Begun):
            return
        for name in after.results.keys() - before.results.keys():
            told = evidence.shown(after.results[name], self.redacted)
            left = {key: told[key] for key in ("name", "outcome", "asked", "said", "seconds")}
            self.tell({**left, "count": len(after.plan.checks)})

    # -- kinds ------------------------------------------------------------------------

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "QUAYLOCK_STACK": self.stack.name,
            "QUAYLOCK_ROLLOUT": self.release,
            "QUAYLOCK_VERIFICATION": self.id,
        }

    def _replica(self, service: str) -> str:
        found = [o for o in self.engine.replicas(self.stack.name) if o.service == service and o.running]
        return min(found, key=lambda o: o.number).name if found else ""

    def _run(self, check: Check, ask: Run) -> Answer:
        service = next(s for s in (*self.stack.services, *self.stack.jobs) if s.name == ask.service)
        name = runs.name(self.stack.name, service.name, check.name, self.id)
        image = self._image(service)
        body = runs.body(self.stack, service, ask.command, self._environment, image, self.host.folder, self.release)
        try:
            self.engine.create(name, body)
            self.engine.start(name)
            code = self.engine.ended(name, check.timeout)
            said = self.engine.logs(name, 1000)
        finally:
            self.engine.remove(name)
        late = "" if code is not None else f"did not end within {check.timeout:g} s"
        return Answer(code, said, late)

    def _image(self, service: Service) -> Image:
        """The very image of the release where it has that reference, whatever the tag means by now."""
        known = (self.committed.get("images") or {}).get(service.image) or {}
        there = self.engine.image(str(known.get("id") or service.image)) or self.engine.image(service.image)
        return there or self.engine.fetch(service, _nobody)

    def _sent(self, ask: Http) -> tuple[dict[str, str], bytes | None]:
        """Headers and body of a request, with the contents of the secrets in them."""
        headers = {"User-Agent": "quaylock-verify", "Accept": "*/*"}
        body: bytes | None = None
        if isinstance(ask.data, (Mapping, list)):
            headers["Content-Type"] = "application/json"
            body = json.dumps(self._filled(ask.data)).encode()
        elif ask.data is not None:
            body = str(self._filled(ask.data)).encode()
        if ask.user:
            pair = f"{ask.user}:{self._secret(ask.password)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return {**headers, **{name: str(self._filled(text)) for name, text in ask.headers}}, body

    def _filled(self, data: Any) -> Any:
        if isinstance(data, Secret):
            return data.prefix + self._secret(data.key)
        if isinstance(data, Mapping):
            return {key: self._filled(value) for key, value in data.items()}
        return [self._filled(value) for value in data] if isinstance(data, list) else data

    def _secret(self, key: str) -> str:
        if key not in self.secrets:
            raise PortError(f"the secret {key} is not on this host any more; deploy the stack again")
        return self.secrets[key].decode(errors="replace").strip()

    def _logs(self, check: Check, ask: Logs) -> Answer:
        found, count = noise(ask), 0
        kept: list[str] = []
        until = time.monotonic() + check.timeout
        for seen in sorted(self.engine.replicas(self.stack.name), key=lambda o: (o.service, o.number)):
            if seen.service not in ask.services:
                continue
            for line in self.engine.logs_since(seen.name, self.since):
                if found(seen.service, plain := _COLOURS.sub("", line)):
                    count += 1
                    kept += [f"{seen.name}: {plain[:500]}"] if len(kept) < LINES else []
                if time.monotonic() > until:
                    problem = f"they could not all be read within {check.timeout:g} s"
                    return Answer(count, "\n".join(kept), problem)
        return Answer(count, "\n".join(kept))


def _nobody(message: str) -> None:
    """Nobody listens: the image was had before the rollout."""


def verify(request: Request, dry: bool) -> dict[str, Any]:
    """Verify the release that serves, at any time.

    Raises Invalid where there is nothing to verify, PortError where the host cannot be used or somebody works on it.
    """
    found = limits(request)
    if found:
        raise Invalid(found)
    with locked(request.locks, request.name, request.who, request.wait) as sign:
        host, journal = open_host(request)
        stack = serving_stack(request.name, journal)
        if stack is None:
            problem = f"no release of {request.name} serves on this host"
            raise Invalid((Finding("name", problem, "deploy it"),))
        if not stack.verify.checks:
            fix = "write name: {http: {service: api, port: 8000}}, and deploy"
            raise Invalid((Finding("x-quaylock.verify", f"{request.name} declares no checks", fix),))
        broken = journal.unfinished(request.name)
        if broken is not None:
            problem = f"rollout {broken[0].rollout} was interrupted"
            raise Invalid((Finding("name", problem, "deploy again, which finishes or undoes it"),))
        if dry:
            plan = [{"name": c.name, "asked": asked(c.ask)} for c in stack.verify.checks]
            return {"changed": False, "outcome": "planned", "checks": plan}
        journal.abandon(request.name, host.clock.now())
        sign("verification")
        answer = {**verified(host, request, journal, stack), "changed": False}
        if answer["outcome"] == evidence.FAILED:
            serving = f"release {answer['release']} serves, as it did before"
            answer |= {"failed": True, "msg": evidence.failure_text(request.name, answer, "", serving, request.again)}
        return answer
