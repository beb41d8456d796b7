# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack wants to have verified (`x-quaylock.verify`): checks, what each asks, and what has to come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

TIMEOUT = 10.0
RUN_TIMEOUT = 600.0
INTERVAL = 2.0
DEADLINE = 30.0
"""seconds until a check that does not pass is given up, where it does not say otherwise; a run is not tried again"""

NOISE = (
    r"\b(ERROR|FATAL|CRITICAL|SEVERE|PANIC)\b",
    r"(?i)\blevel[\"']?\s*[=:]\s*[\"']?(error|fatal|critical|panic)\b",
    r"^Traceback \(most recent call last\)",
    r"^panic: ",
)
"""what a line of a log looks like that somebody should read"""


@dataclass(frozen=True, slots=True)
class Secret:
    """The content of a secret of the stack, by its key, behind a `prefix`."""

    key: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Exec:
    """A command in the first running replica of a service."""

    service: str
    command: tuple[str, ...]
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A container of its own from the definition of a service; no `command` is the service's own."""

    service: str
    command: tuple[str, ...] = ()
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Http:
    """A request from the host to the own address of the first running replica of a service.

    `headers` are pairs of a name and a text or Secret. `password` is the key of a secret, for `user`. `data` is a text,
    or a mapping or list that is sent as JSON, with a Secret in any place.
    """

    service: str
    port: int
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str | Secret], ...] = ()
    user: str = ""
    password: str = ""
    data: Any = None
    statuses: tuple[int, ...] = (200,)


@dataclass(frozen=True, slots=True)
class Logs:
    """No line of these services matches one of `patterns`, unless it matches one that is allowed to its service."""

    services: tuple[str, ...]
    patterns: tuple[str, ...] = NOISE
    allowed: tuple[tuple[str, tuple[str, ...]], ...] = ()


Ask = Union[Exec, Run, Http, Logs]


@dataclass(frozen=True, slots=True)
class Equal:
    """The value `own` of a check has to be what `other` of the check `check` is."""

    own: str
    check: str
    other: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check. Times are seconds: `timeout` of one try, `interval` between two, `deadline` for all of them.

    `matches` is a regular expression that is found in the output, or in the body of the answer; its named groups are
    the values of the check. `json` are pairs of a dotted path into the output and what is there. `after` are checks
    that have to pass before.
    """

    name: str
    ask: Ask
    timeout: float = TIMEOUT
    interval: float = INTERVAL
    deadline: float = DEADLINE
    matches: str = ""
    json: tuple[tuple[str, str | int | float | bool], ...] = ()
    equals: tuple[Equal, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyPlan:
    """`checks` is empty where the stack declares none. With `go_back` a release that fails them is returned from."""

    checks: tuple[Check, ...] = ()
    go_back: bool = True

    def check(self, name: str) -> Check:
        return next(c for c in self.checks if c.name == name)


NOTHING = VerifyPlan()


def service_of(ask: Ask) -> str:
    """The one service that is asked; "" where it is not one."""
    return "" if isinstance(ask, Logs) else ask.service


def asked(ask: Ask) -> str:
    """In words, without any secret that is referred to."""
    if isinstance(ask, Exec):
        return f"in {ask.service}: {' '.join(ask.command)}"
    if isinstance(ask, Run):
        return " ".join(("a run of", ask.service, *ask.command))
    if isinstance(ask, Http):
        return f"{ask.method} {ask.service}:{ask.port}{ask.path}"
    return f"logs of {', '.join(ask.services)}"
