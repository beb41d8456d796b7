# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The runner: performs commands in threads, tells the journal before and after, and feeds the outcome back."""

from __future__ import annotations

import contextlib
import heapq
import queue
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from .core.model import Sample
from .core.rollout.commands import Begun, Command, Done, Event, Failed, Fetch, Look, Observe, as_json
from .core.rollout.rollout import advance
from .core.rollout.state import Rollout
from .perform import Host, perform
from .ports import PortError

THREADS = 12


def run(host: Host, rollout: Rollout, perform: Callable[..., Any] = perform) -> Rollout:
    """Drive a rollout to its end. Everything that decides is in `advance`; this waits, performs and writes down."""
    outcomes: queue.Queue[Event] = queue.Queue()
    later: list[tuple[float, int, Look]] = []
    ticket = count()
    seen: dict[str, tuple[bool, bool | None, str]] = {}

    def work(command: Command, state: Rollout) -> None:
        try:
            value = perform(host, state, command, _teller(host, state, command))
        except PortError as error:
            outcomes.put(Failed(command, host.clock.now(), str(error)))
        except Exception as error:
            outcomes.put(Failed(command, host.clock.now(), f"{type(error).__name__}: {error}"))
        else:
            outcomes.put(Done(command, host.clock.now(), value))

    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="quaylock") as pool:
        event: Event = Begun(host.clock.now())
        while True:
            before = rollout
            rollout, commands = advance(rollout, event)
            _tell_gate(host, before, rollout, event)
            for command in commands:
                if isinstance(command, Look):
                    heapq.heappush(later, (command.at, next(ticket), command))
                elif _intend(host, rollout, command, outcomes):
                    pool.submit(work, command, rollout)
            if rollout.finished:
                return rollout
            event = _await(host, rollout, later, outcomes, lambda c, r: pool.submit(work, c, r))
            _remember(host, rollout, event, seen)


def _await(
    host: Host,
    rollout: Rollout,
    later: list[tuple[float, int, Look]],
    outcomes: queue.Queue[Event],
    submit: Callable[[Command, Rollout], Any],
) -> Event:
    """The next outcome; looks that became due meanwhile are sent off."""
    while True:
        while later and later[0][0] <= host.clock.now():
            submit(heapq.heappop(later)[2], rollout)
        pause = max(0.0, later[0][0] - host.clock.now()) if later else None
        try:
            return outcomes.get(timeout=pause)
        except queue.Empty:
            continue


def _intend(host: Host, rollout: Rollout, command: Command, outcomes: queue.Queue[Event]) -> bool:
    """Write down what is about to be done. A full disk stops a rollout on its way forward, never on its way back."""
    if isinstance(command, Observe):
        return True
    try:
        host.journal.log(rollout.id, host.clock.now(), "do", as_json(command))
    except (sqlite3.Error, OSError) as error:
        if rollout.goals or isinstance(command, Fetch):
            return True
        outcomes.put(Failed(command, host.clock.now(), f"the journal cannot be written: {error}"))
        return False
    return True


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
