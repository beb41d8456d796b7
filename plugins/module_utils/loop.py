# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The loop around every `advance`: commands are performed in threads, and their outcomes come back as events."""

from __future__ import annotations

import heapq
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, Protocol, TypeVar

from .core.events import Begun, Done, Event, Failed
from .ports import Clock, PortError

THREADS = 12


class State(Protocol):
    @property
    def finished(self) -> bool: ...


S = TypeVar("S", bound=State)
K_contra = TypeVar("K_contra", contravariant=True)


class Crew(Protocol[K_contra]):
    """Who does the work, and writes it down.

    `intend` is asked before a command is begun and says why it must not be, "" where it may; `heard` gets each outcome
    before anything is decided about it, and `decided` what became of it.
    """

    def intend(self, state: K_contra, command: Any) -> str: ...
    def perform(self, state: K_contra, command: Any) -> Any: ...
    def heard(self, state: K_contra, event: Event) -> None: ...
    def decided(self, before: K_contra, after: K_contra, event: Event) -> None: ...


def drive(clock: Clock, state: S, advance: Callable[[S, Event], tuple[S, Sequence[Any]]], crew: Crew[S]) -> S:
    """Bring a state to its end. Everything that decides is in `advance`; this waits and performs.

    A command with an `at` (seconds since the epoch) is begun no sooner than then.
    """
    outcomes: queue.Queue[Event] = queue.Queue()
    later: list[tuple[float, int, Any]] = []
    ticket = count()

    def work(command: Any, state: S) -> None:
        try:
            value = crew.perform(state, command)
        except PortError as error:
            outcomes.put(Failed(command, clock.now(), str(error)))
        except Exception as error:
            outcomes.put(Failed(command, clock.now(), f"{type(error).__name__}: {error}"))
        else:
            outcomes.put(Done(command, clock.now(), value))

    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="quaylock") as pool:

        def begin(command: Any) -> None:
            refused = crew.intend(state, command)
            if refused:
                outcomes.put(Failed(command, clock.now(), refused))
            else:
                pool.submit(work, command, state)

        event: Event = Begun(clock.now())
        while True:
            before = state
            state, commands = advance(state, event)
            crew.decided(before, state, event)
            for command in commands:
                if getattr(command, "at", None) is None:
                    begin(command)
                else:
                    heapq.heappush(later, (command.at, next(ticket), command))
            if state.finished:
                return state
            event = _next(clock, later, outcomes, begin)
            crew.heard(state, event)


def _next(
    clock: Clock, later: list[tuple[float, int, Any]], outcomes: queue.Queue[Event], begin: Callable[[Any], None]
) -> Event:
    """The next outcome; what became due meanwhile is begun."""
    while True:
        while later and later[0][0] <= clock.now():
            begin(heapq.heappop(later)[2])
        pause = max(0.0, later[0][0] - clock.now()) if later else None
        try:
            return outcomes.get(timeout=pause)
        except queue.Empty:
            continue
