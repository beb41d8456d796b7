# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The runner of rollouts: what the loop asks before and after each command, and what the journal is told of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

from .core.events import Begun, Done, Event, Failed, as_json
from .core.model import Sample
from .core.rollout.commands import Command, Fetch, Look, Observe
from .core.rollout.rollout import advance
from .core.rollout.state import Rollout
from .loop import drive
from .perform import Host, perform


def run(host: Host, rollout: Rollout, perform: Callable[..., Any] = perform) -> Rollout:
    """Drive a rollout to its end."""
    return drive(host.clock, rollout, advance, _Crew(host, perform))


class _Crew:
    """Performs a rollout's commands on a host; its journal is told before and after."""

    def __init__(self, host: Host, perform: Callable[..., Any]) -> None:
        self._host, self._perform = host, perform
        self._seen: dict[str, tuple[bool, bool | None, str]] = {}

    def intend(self, rollout: Rollout, command: Command) -> str:
        return "" if isinstance(command, Look) else _intend(self._host, rollout, command)

    def perform(self, rollout: Rollout, command: Command) -> Any:
        return self._perform(self._host, rollout, command, _teller(self._host, rollout, command))

    def heard(self, rollout: Rollout, event: Event) -> None:
        _remember(self._host, rollout, event, self._seen)

    def decided(self, before: Rollout, after: Rollout, event: Event) -> None:
        _tell_gate(self._host, before, after, event)


def _intend(host: Host, rollout: Rollout, command: Command) -> str:
    """Write down what is about to be done. A full disk stops a rollout on its way forward, never on its way back."""
    if isinstance(command, Observe):
        return ""
    try:
        host.journal.log(rollout.id, host.clock.now(), "do", as_json(command))
    except (sqlite3.Error, OSError) as error:
        if rollout.goals or isinstance(command, Fetch):
            return ""
        return f"the journal cannot be written: {error}"
    return ""


def _remember(host: Host, rollout: Rollout, event: Event, seen: dict[str, tuple[bool, bool | None, str]]) -> None:
    """Write an outcome down; looks only when they show something new."""
    if isinstance(event, Begun) or isinstance(event.command, Observe):
        return
    details = dict(as_json(event.command))
    if isinstance(event, Failed):
        details["error"] = event.error
    if isinstance(event.command, Look) and isinstance(event, Done):
        sample: Sample = event.value
        shown = (sample.running, sample.passed, sample.output)
        glance = not event.command.check and sample.running and event.command.name in seen  # says nothing of health
        if glance or seen.get(event.command.name) == shown:
            return
        seen[event.command.name] = shown
        details |= {"running": sample.running, "passed": sample.passed, "output": sample.output[:500]}
        if not sample.running:
            details |= {"exit_code": sample.exit_code, "oom": sample.oom}
    try:
        host.journal.log(rollout.id, event.at, "failed" if isinstance(event, Failed) else "done", details)
    except (sqlite3.Error, OSError):
        return


def _tell_gate(host: Host, before: Rollout, after: Rollout, event: Event) -> None:
    """Write down when a replica's row of passes was complete, and when it was held: the log has looks only."""
    if isinstance(event, Begun) or not isinstance(event.command, Look):
        return
    service, name = event.command.service, event.command.name
    track, was = after.tracks.get(service), before.tracks.get(service)
    if track is None or was is None or name not in track.watches or name not in was.watches:
        return
    old, new = was.watches[name], track.watches[name]
    reached = [
        ("row", new.ready and not old.ready),
        ("held", new.held(track.gate) and not old.held(track.gate)),
    ]
    for mark, now in reached:
        if now and not track.service.one_shot:
            with contextlib.suppress(sqlite3.Error, OSError):
                details = {"service": service, "name": name, "reached": mark}
                host.journal.log(after.id, event.at, "gate", details)


def _teller(host: Host, rollout: Rollout, command: Command) -> Callable[[str], None]:
    """Progress of a pull or build, as notes of the journal."""

    def say(message: str) -> None:
        try:
            host.journal.log(rollout.id, host.clock.now(), "note", {**as_json(command), "said": message[:500]})
        except (sqlite3.Error, OSError):
            return

    return say
