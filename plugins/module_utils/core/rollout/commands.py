# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the rollout can ask for, and what can happen: plain values, journaled as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True, slots=True)
class Fetch:
    """Have the image of a service on this host: pull or build it."""

    service: str


@dataclass(frozen=True, slots=True)
class Observe:
    """Look at the engine and the proxy."""


@dataclass(frozen=True, slots=True)
class Record:
    """Write a milestone (planned, committed, finished) durably; nothing that follows is done before it is written."""

    kind: str


@dataclass(frozen=True, slots=True)
class TakePoint:
    """Take the restore point of a service, in one of its replicas that run."""

    service: str
    name: str


@dataclass(frozen=True, slots=True)
class WriteFiles:
    """Write secrets and configs under the names of their content."""


@dataclass(frozen=True, slots=True)
class EnsureNetwork:
    key: str


@dataclass(frozen=True, slots=True)
class EnsureVolume:
    key: str


@dataclass(frozen=True, slots=True)
class Create:
    """`quiet`: it does not answer to its service's DNS names before it is announced."""

    service: str
    name: str
    number: int
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    service: str
    name: str


@dataclass(frozen=True, slots=True)
class Announce:
    """The replica answers to its service's DNS names from now on."""

    service: str
    name: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The replica does not answer to its service's DNS names any more; open connections live on."""

    service: str
    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """Sample a replica, not before `at`; with its checks or only its state."""

    service: str
    name: str
    at: float
    check: bool = True


@dataclass(frozen=True, slots=True)
class Explain:
    """Collect the last log lines of a replica before it goes."""

    service: str
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """Traffic of a service to exactly these replicas, confirmed. `old`: by the previous release's routes."""

    service: str
    servers: tuple[str, ...]
    old: bool = False


@dataclass(frozen=True, slots=True)
class Unroute:
    service: str


@dataclass(frozen=True, slots=True)
class Drain:
    """No new traffic to a replica; wait until the proxy has no session on it, at most `timeout` seconds (0: do not)."""

    service: str
    name: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Stop:
    service: str
    name: str
    grace: float


@dataclass(frozen=True, slots=True)
class Remove:
    service: str
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    service: str
    name: str
    new: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Write the rendered compose.yaml, and clear away files that no replica uses any more."""


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    name: str


@dataclass(frozen=True, slots=True)
class RemoveVolume:
    name: str


Command = Union[
    Fetch,
    Observe,
    Record,
    TakePoint,
    WriteFiles,
    EnsureNetwork,
    EnsureVolume,
    Create,
    Start,
    Announce,
    Withdraw,
    Look,
    Explain,
    Route,
    Unroute,
    Drain,
    Stop,
    Remove,
    Rename,
    Publish,
    RemoveNetwork,
    RemoveVolume,
]

# the `value` of their Done: an Image (Fetch), an Observation, a Sample (Look) or text (Explain, TakePoint)

READS = (Fetch, Observe, Look, Explain)
"""Commands that change nothing a user relies on."""


def replica_of(command: Command) -> str:
    """The container a command works on, "" where it is none."""
    works = isinstance(command, (TakePoint, Create, Start, Announce, Withdraw, Drain, Stop, Remove, Rename, Explain))
    return getattr(command, "name", "") if works else ""
