# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a stack is verified after a rollout: `x-quaylock.verify` at the top of the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import graph
from ..checks import (
    DEADLINE,
    INTERVAL,
    NOISE,
    RUN_TIMEOUT,
    TIMEOUT,
    Ask,
    Check,
    Equal,
    Exec,
    Http,
    Logs,
    Run,
    Secret,
    VerifyPlan,
)
from ..model import Finding, MountedFile, Service
from .gates_of import path_of, port_of, statuses_of
from .nodes import Node
from .scope import Scope

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ONE_OF = "write exec: {service: db, command: [...]}, run: {...}, http: {...} or logs: {...}"
_ACTIONS = ("rollback", "report")
_REASONS = {
    "retries": "write deadline: until then it is asked again",
    "start_period": "write deadline: until then it is asked again",
    "test": "write exec: {service: db, command: [...]}",
    "status": "write it into http",
    "exit_code": "write it into exec or run",
    "service": "write it into exec, run or http",
    "command": "write it into exec or run",
}


def wanted(extra: Node) -> tuple[str, ...]:
    """The services that checks run by themselves; they may belong to a profile that is off."""
    found = [entry.value.get("run") for _name, entry in _entries(extra) if isinstance(entry.value, Mapping)]
    names = [run.get("service") for run in found if isinstance(run, Mapping)]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _entries(extra: Node) -> list[tuple[str, Node]]:
    return list(extra.at("verify").items()) if extra.has("verify") else []


def read(extra: Node, services: Mapping[str, Service], jobs: Collection[str], scope: Scope) -> VerifyPlan:
    """`extra` is x-quaylock at the top. `services` are the active ones, `jobs` others that a check may run."""
    action = extra.at("verify_failure").one_of(_ACTIONS, _ACTIONS[0])
    made = [(entry, check) for name, entry in _entries(extra) if (check := _check(name, entry, services, jobs, scope))]
    checks = tuple(check for _entry, check in made)
    if extra.has("verify_failure") and not extra.at("verify").value:
        extra.at("verify_failure").refuse("there is nothing to verify", "declare x-quaylock.verify, or drop it")
    _together(extra.at("verify"), made)
    return VerifyPlan(checks, action == _ACTIONS[0])


def keys(plan: VerifyPlan, scope: Scope) -> list[MountedFile]:
    """The secrets that requests carry, as files that only root reads: it may be that no service mounts them."""
    wanted = {key for check in plan.checks if isinstance(check.ask, Http) for key in _secrets(check.ask)}
    found = [scope.secrets.get(key) for key in sorted(wanted)]
    return [f if f.external else replace(f, mode=0o400) for f in found if isinstance(f, MountedFile)]


def _secrets(ask: Http) -> list[str]:
    found = [text.key for _name, text in ask.headers if isinstance(text, Secret)] + secrets_in(ask.data)
    return [*found, ask.password] if ask.password else found


def secrets_in(data: Any) -> list[str]:
    """The keys of secrets that stand anywhere in what is sent."""
    if isinstance(data, Secret):
        return [data.key]
    entries = data.values() if isinstance(data, Mapping) else data if isinstance(data, (list, tuple)) else ()
    return [key for entry in entries for key in secrets_in(entry)]


# -- one check ----------------------------------------------------------------------


def _check(name: str, node: Node, services: Mapping[str, Service], jobs: Collection[str], scope: Scope) -> Check | None:
    if not _NAME.fullmatch(name):
        node.refuse(f"{name!r} is not a check's name", "lower case letters, digits, - and _")
    if not isinstance(node.value, Mapping):
        node.refuse("must be a mapping", _ONE_OF)
        return None
    kinds = [kind for kind in _KINDS if node.has(kind)]
    if len(kinds) != 1:
        node.refuse(f"must have exactly one of {', '.join(_KINDS)}", _ONE_OF)
        return None
    ask = _KINDS[kinds[0]](node.at(kinds[0]), services, jobs, scope)
    if isinstance(node.at(kinds[0]).value, Mapping):
        node.at(kinds[0]).close(extensions=False)
    once = isinstance(ask, (Run, Logs))
    check = Check(
        name,
        ask,
        timeout=node.at("timeout").seconds(RUN_TIMEOUT if isinstance(ask, Run) else TIMEOUT, 0.001),
        interval=node.at("interval").seconds(INTERVAL, 0.01),
        deadline=node.at("deadline").seconds(0.0 if once else DEADLINE),
        matches=_pattern(node.at("matches")),
        json=_json(node.at("json")),
        equals=tuple(e for own, entry in node.at("equals").items() if (e := _equal(own, entry))),
        after=tuple(node.at("after").texts(single=True)),
    )
    if isinstance(ask, Logs):
        for key in ("interval", "deadline", "matches", "json", "equals"):
            if node.has(key):
                node.at(key).refuse("means nothing for logs", "drop it")
    node.close(_REASONS, extensions=False)
    after = dict.fromkeys((*check.after, *(e.check for e in check.equals)))
    return replace(check, after=tuple(after))


def _exec(node: Node, services: Mapping[str, Service], _jobs: Collection[str], _scope: Scope) -> Exec:
    command = tuple(node.at("command").texts())
    if not command:
        node.refuse("has no command", 'write it as a list: ["pg_isready", "-q"]')
    return Exec(_running(node, services), command, node.at("exit_code").integer(0, 0, 255))


def _run(node: Node, services: Mapping[str, Service], jobs: Collection[str], _scope: Scope) -> Run:
    name = node.at("service").text()
    if not name:
        node.refuse("names no service", _there({*services, *jobs}))
    elif name not in services and name not in jobs:
        node.at("service").refuse(f"there is no service {name!r}", _there({*services, *jobs}))
    command = tuple(node.at("command").texts())
    if node.has("command") and not command:
        node.at("command").refuse("is empty", "write it as a list, or drop it for the service's own")
    return Run(name, command, node.at("exit_code").integer(0, 0, 255))


def _http(node: Node, services: Mapping[str, Service], _jobs: Collection[str], scope: Scope) -> Http:
    name = _running(node, services)
    service = services.get(name)
    if service and service.container.get("HostConfig", {}).get("NetworkMode") == "none":
        node.at("service").refuse(f"{name} has no address to ask: network_mode is none", "ask inside it, with exec")
    user, password = node.at("user").text(), ""
    if node.has("password"):
        password = _secret(node.at("password"), node.at("password").text(), scope)
    if bool(user) != node.has("password"):
        node.refuse("needs both user and password", "password is a key of secrets, never the value")
    headers = tuple((key, _header(key, entry, scope)) for key, entry in node.at("headers").items())
    if user and any(key.lower() == "authorization" for key, _text in headers):
        node.at("headers").refuse("has Authorization, and so has user", "keep one of them")
    method = node.at("method").one_of(_METHODS, "GET")
    data = _data(node.at("data"), scope) if node.has("data") else None
    if data is not None and method in ("GET", "HEAD"):
        node.at("data").refuse(f"a {method} sends nothing", "write method: POST")
    return Http(
        name,
        port_of(node),
        path_of(node.at("path"), "/"),
        method,
        headers,
        user,
        password,
        data,
        statuses_of(node.at("status")),
    )


def _header(key: str, node: Node, scope: Scope) -> str | Secret:
    if not _HEADER.fullmatch(key):
        node.refuse(f"{key!r} is not a header's name")
    if isinstance(node.value, Mapping):
        return _placed(node, scope)
    text = node.text(loose=True)
    if any(ord(c) < 32 for c in text):
        node.refuse("is more than one line")
    return text


def _placed(node: Node, scope: Scope) -> Secret:
    found = Secret(_secret(node.at("secret"), node.at("secret").text(), scope), node.at("prefix").text())
    node.close(extensions=False)
    return found


def _data(node: Node, scope: Scope) -> Any:
    """What is sent: texts and numbers as they are, `{secret: key}` where the content of a secret goes."""
    if isinstance(node.value, Mapping):
        if "secret" in node.value and set(node.value) <= {"secret", "prefix"}:
            return _placed(node, scope)
        return {key: _data(entry, scope) for key, entry in node.items()}
    if isinstance(node.value, (list, tuple)):
        return [_data(entry, scope) for entry in node.entries()]
    return node.value


def _logs(node: Node, services: Mapping[str, Service], _jobs: Collection[str], _scope: Scope) -> Logs:
    chosen = tuple(node.at("services").texts(single=True))
    for name in chosen:
        if name not in services:
            node.at("services").refuse(f"there is no active service {name!r}", _there(services))
    if node.has("services") and not chosen:
        node.at("services").refuse("is empty", "name one, or drop it for all of them")
    chosen = chosen or tuple(services)
    patterns = _patterns(node.at("patterns")) if node.has("patterns") else NOISE
    if node.has("patterns") and not node.at("patterns").value:
        node.at("patterns").refuse("is empty", "write one, or drop it for the usual ones")
    allowed = []
    for name, entry in node.at("allowed").items():
        if name not in chosen:
            entry.refuse(f"{name!r} is none of the services that are read", _there(chosen))
        allowed.append((name, _patterns(entry)))
    return Logs(chosen, patterns, tuple(allowed))


_KINDS: Mapping[str, Callable[[Node, Mapping[str, Service], Collection[str], Scope], Ask]] = {
    "exec": _exec,
    "run": _run,
    "http": _http,
    "logs": _logs,
}


def _there(names: Collection[str]) -> str:
    return f"there are: {', '.join(sorted(names)) or 'none'}"


def _running(node: Node, services: Mapping[str, Service]) -> str:
    name, there = node.at("service").text(), _there([n for n, s in services.items() if not s.one_shot])
    if not name:
        node.refuse("names no service", there)
    elif name not in services:
        node.at("service").refuse(f"there is no active service {name!r}", there)
    elif services[name].one_shot:
        node.at("service").refuse(f"{name} is a one-shot and has ended by then", "use run, or a service that runs")
    return name


def _secret(node: Node, name: str, scope: Scope) -> str:
    if name not in scope.secrets:
        node.refuse(
            f"secret {name!r} is not declared", f"a key of secrets, never the value; {_there(list(scope.secrets))}"
        )
    file = scope.secrets.get(name)
    if isinstance(file, Finding) and file not in node.findings:
        node.findings.append(file)
    return name


def _patterns(node: Node) -> tuple[str, ...]:
    single = [node] if isinstance(node.value, str) else node.entries()
    return tuple(text for entry in single if (text := _pattern(entry)))


def _pattern(node: Node) -> str:
    text = node.text()
    if node.given and not text:
        node.refuse("is empty, which everything matches", "write a regular expression")
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        node.refuse(f"is not a regular expression: {error}", "Python's syntax; in single quotes \\ stays as it is")
        return ""
    return text


def _json(node: Node) -> tuple[tuple[str, str | int | float | bool], ...]:
    found = []
    for key, entry in node.items():
        if isinstance(entry.value, (str, int, float, bool)):
            found.append((key, entry.value))
        else:
            entry.refuse("must be a text, a number, true or false", "name the path to one: dag_runs.0.state")
    return tuple(found)


def _equal(own: str, node: Node) -> Equal | None:
    check, dot, other = node.text().partition(".")
    if not (check and dot and other):
        node.refuse(f"{node.text()!r} names no value", "write CHECK.VALUE, as in spark.total")
        return None
    return Equal(own, check, other)


# -- all of them together -----------------------------------------------------------


def _together(node: Node, made: Sequence[tuple[Node, Check]]) -> None:
    """What only shows when checks are seen side by side."""
    checks = {check.name: check for _entry, check in made}
    groups = {name: _groups(check.matches) for name, check in checks.items()}
    for entry, check in made:
        for name in check.after:
            told = any(e.check == name for e in check.equals)
            at = entry.at("equals") if told else entry.at("after")
            if name not in checks:
                at.refuse(f"there is no check {name!r}", _there(list(checks)))
            elif isinstance(checks[name].ask, Logs) and not isinstance(check.ask, Logs):
                at.refuse(f"{name} reads logs, which is done last", "drop it")
        for equal in check.equals:
            for of, value in ((check.name, equal.own), (equal.check, equal.other)):
                if of in checks and value not in groups[of]:
                    problem = f"the check {of} has no value {value!r}"
                    entry.at("equals").at(equal.own).refuse(problem, f"name a group of its matches: (?P<{value}>...)")
    ring = graph.cycle({name: [a for a in check.after if a in checks] for name, check in checks.items()})
    if ring:
        node.at(ring[0]).at("after").refuse(f"checks wait for each other: {' -> '.join(ring)}", "break the circle")


def _groups(pattern: str) -> Collection[str]:
    return re.compile(pattern).groupindex.keys()
