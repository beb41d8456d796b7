# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""More mistakes to plant: about the switch, recovery, the lock, full disks and a second deployer.

They hurt only where something else goes wrong as well: a kill, a restart of the proxy, an answer that was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import Done, Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout import converge, plan, recovery, rollout
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import Record, Rename, Route

from . import host, process
from .planted import Patch, plant, wrapped
from .stacks import STACK


def recovered(patch: Patch, **spoiled: Any) -> None:
    """Every goal of a recovery has these values."""
    wrapped(patch, recovery, "_recovered", lambda real, *args: replace(real(*args), **spoiled))


def outcomes(patch: Patch, spoiled: Callable[[Any], Any]) -> None:
    """What the way back takes for the outcome of a command."""
    wrapped(patch, converge, "learn", lambda real, goals, event, now: real(goals, spoiled(event), now))


# -- two deployers ------------------------------------------------------------------------


@plant
def the_lock_lets_everybody_in(patch: Patch) -> None:
    """Two rollouts of one stack undo each other."""
    patch.setattr(host.SimulatedLock, "take", lambda self, who: True)


@plant
def the_lock_goes_with_the_plan(patch: Patch) -> None:
    """The stack is free again as soon as the plan is written down."""

    def spoiled(real: Any, journal: Any, name: str, kind: str, *more: Any) -> None:
        real(journal, name, kind, *more)
        if kind == "planned":
            journal.world.holder = None

    wrapped(patch, host.SimulatedJournal, "milestone", spoiled)


@plant
def who_waits_has_looked_before(patch: Patch) -> None:
    """The second deployer goes on from what it saw before it waited."""

    def spoiled(real: Any, self: Any, *wait: bool) -> Any:
        left, release = self.journal.unfinished(STACK), self.journal.release(STACK)
        self.journal.unfinished = lambda stack: left
        self.journal.release = lambda stack: release
        yield from real(self, *wait)

    wrapped(patch, process.Process, "deploy", spoiled)


# -- the switch ---------------------------------------------------------------------------


@plant
def a_failed_switch_counts(patch: Patch) -> None:
    """On the way back, what the proxy sends to is removed."""

    def spoiled(event: Any) -> Any:
        failed = isinstance(event, Failed) and isinstance(event.command, Route)
        return Done(event.command, event.at) if failed else event

    outcomes(patch, spoiled)


@plant
def the_proxy_is_told_and_its_file_is_not(patch: Patch) -> None:
    """A restart of the proxy brings back a release that is gone."""
    patch.setattr(host.SimulatedIngress, "_write", lambda self: None)


@plant
def a_route_outlives_its_service(patch: Patch) -> None:
    """Where somebody removed the last container by hand, the proxy goes on sending to it."""

    def spoiled(real: Any, stack: Any, seen: Any, *more: Any) -> Any:
        there = {o.service for o in seen.replicas}
        made = real(stack, seen, *more)
        kept = tuple(c for c in made.changes if c.action is not plan.Action.REMOVE or c.service in there)
        return replace(made, changes=kept)

    wrapped(patch, rollout, "plan", spoiled)


# -- the way back, when answers are lost --------------------------------------------------


@plant
def what_was_not_answered_was_not_made(patch: Patch) -> None:
    """A container whose creation timed out stays for ever."""

    def spoiled(real: Any, state: Any, *more: Any) -> Any:
        made = {n for t in state.tracks.values() for n in t.made}
        goals = real(state, *more)
        return {k: replace(g, surplus=tuple(n for n in g.surplus if n in made)) for k, g in goals.items()}

    wrapped(patch, rollout, "before", spoiled)


@plant
def what_was_not_answered_was_not_renamed(patch: Patch) -> None:
    """An old replica keeps the name that it was set aside under."""

    def spoiled(real: Any, state: Any, *more: Any) -> Any:
        answered = frozenset(c for c in state.issued if not isinstance(c, Rename) or _gone(state, c))
        return real(replace(state, issued=answered), *more)

    wrapped(patch, rollout, "before", spoiled)


def _gone(state: Any, command: Rename) -> bool:
    track = state.tracks.get(command.service)
    return track is not None and command.name in track.gone


@plant
def what_could_not_be_removed_counts_as_gone(patch: Patch) -> None:
    """The journal says that a rollout ended, and nobody ever clears up what it left."""

    def spoiled(real: Any, goals: Any, event: Any, now: float) -> Any:
        after, looks, notes = real(goals, event, now)
        return {k: replace(g, left=False) for k, g in after.items()}, looks, notes

    wrapped(patch, converge, "learn", spoiled)


# -- what is written down -----------------------------------------------------------------


@plant
def a_commit_that_was_not_written_counts(patch: Patch) -> None:
    """On a full disk the old release is removed, and the next run wants it back."""

    def spoiled(real: Any, state: Any, event: Any) -> Any:
        command = event.command
        if isinstance(command, Record) and command.kind == "committed":
            return replace(state, recorded=state.recorded | {"committed"}), ()
        return real(state, event)

    wrapped(patch, rollout, "_learn_failure", spoiled)


@plant
def the_release_is_what_was_tried_last(patch: Patch) -> None:
    """After a rollback the journal names the bad release."""

    def spoiled(real: Any, journal: Any, stack: str) -> Any:
        found = real(journal, stack)
        tried = [r for r in journal.world.rollouts if "planned" in r]
        return (tried[-1]["id"], tried[-1]["model"], found[2]) if found and tried else found

    wrapped(patch, host.SimulatedJournal, "release", spoiled)


@plant
def nothing_is_ever_unfinished(patch: Patch) -> None:
    """What a killed run left is taken for what the operator wanted."""
    patch.setattr(host.SimulatedJournal, "unfinished", lambda self, stack: None)


# -- recovery -----------------------------------------------------------------------------


@plant
def recovery_leaves_what_was_made(patch: Patch) -> None:
    """Half a release stays beside the one that serves."""
    recovered(patch, surplus=())


@plant
def recovery_leaves_the_route(patch: Patch) -> None:
    """The proxy goes on sending to what a killed run had switched to."""
    recovered(patch, route=False)


@plant
def recovery_leaves_names_set_aside(patch: Patch) -> None:
    """container_name stays somebody-before-somewhen after a kill."""
    recovered(patch, rename=())


@plant
def recovery_starts_nothing(patch: Patch) -> None:
    """What a killed run had stopped stays down, and takes the traffic."""
    recovered(patch, start=())


@plant
def stops_under_way_are_forgotten(patch: Patch) -> None:
    """The engine stops what a recovery took for running."""
    patch.setattr(deploy, "_settle", lambda *args: None)
