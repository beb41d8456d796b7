# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mistakes to plant into the engine, to see that the simulation finds each of them.

Each function takes pytest's monkeypatch and spoils one decision; its first line says what a user would suffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils import perform
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout import (
    converge,
    gate,
    plan,
    recovery,
    rollout,
    track,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import Remove, Stop, TakePoint

from . import host, process

Patch = Any
Plant = Callable[[Patch], None]
PLANTS: list[Plant] = []


def plant(spoil: Plant) -> Plant:
    PLANTS.append(spoil)
    return spoil


def wrapped(patch: Patch, where: Any, name: str, spoiled: Callable[..., Any]) -> None:
    """`spoiled` gets the real function first."""
    real = getattr(where, name)
    patch.setattr(where, name, lambda *args, **about: spoiled(real, *args, **about))


def goals(patch: Patch, name: str, **spoiled: Any) -> None:
    """Every goal that `name` of the rollout makes has these values."""
    wrapped(patch, rollout, name, lambda real, *args: {k: replace(g, **spoiled) for k, g in real(*args).items()})


# -- the gate ---------------------------------------------------------------------------


@plant
def one_pass_is_enough(patch: Patch) -> None:
    """A replica that answered once takes traffic."""
    wrapped(patch, rollout, "judge", lambda real, g, watch, sample: real(replace(g, passes=1), watch, sample))


@plant
def the_hold_is_forgotten(patch: Patch) -> None:
    """A release is committed before it was watched."""
    patch.setattr(gate.Watch, "held", lambda self, *about: self.ready)


@plant
def a_crash_is_ignored(patch: Patch) -> None:
    """What died while it was watched is released."""

    def spoiled(real: Any, g: Any, watch: Any, sample: Any) -> Any:
        seen, fault = real(g, watch, sample)
        return (seen, fault) if sample.running else (watch, "")

    wrapped(patch, rollout, "judge", spoiled)


@plant
def a_failed_one_shot_counts_as_done(patch: Patch) -> None:
    """The new release runs against a database that was not migrated."""
    wrapped(patch, rollout, "finished", lambda real, watch, s, *more: real(watch, replace(s, exit_code=0), *more))


@plant
def blue_green_goes_service_by_service(patch: Patch) -> None:
    """Part of the new stack takes traffic, and the rest of it fails."""
    wrapped(patch, rollout, "wanted", lambda real, *args: real(*args[:-1], True))


@plant
def restore_points_are_forgotten(patch: Patch) -> None:
    """A migration runs, and there is nothing to put back."""
    wrapped(patch, rollout, "plan", lambda real, *args: replace(real(*args), points=()))


@plant
def nobody_waits_for_restore_points(patch: Patch) -> None:
    """The dump has half of what the migration did."""

    def spoiled(real: Any, state: Any, commands: Any) -> Any:
        state, fresh = real(state, commands)
        points = frozenset(c for c in fresh if isinstance(c, TakePoint))
        return replace(state, pending=state.pending - points), fresh

    wrapped(patch, rollout, "issue", spoiled)


# -- the plan ---------------------------------------------------------------------------


@plant
def orphans_stay(patch: Patch) -> None:
    """What left the file goes on running."""

    def spoiled(real: Any, *args: Any) -> Any:
        made = real(*args)
        return replace(made, changes=tuple(c for c in made.changes if c.action is not plan.Action.REMOVE))

    wrapped(patch, rollout, "plan", spoiled)


@plant
def a_one_shot_runs_at_every_deploy(patch: Patch) -> None:
    """A migration that ended well runs again."""
    wrapped(patch, plan, "_good", lambda real, s, o, image: not s.one_shot and real(s, o, image))
    patch.setattr(host.SimulatedJournal, "ran", lambda self, stack: frozenset())


@plant
def a_cleared_one_shot_is_forgotten(patch: Patch) -> None:
    """A migration runs again because somebody removed its container."""
    patch.setattr(host.SimulatedJournal, "ran", lambda self, stack: frozenset())


@plant
def an_image_alone_is_no_change(patch: Patch) -> None:
    """The old image goes on serving."""
    wrapped(patch, plan, "_good", lambda real, s, o, image: real(s, o, replace(image, id=o.image)))


# -- the way forward --------------------------------------------------------------------


@plant
def dependencies_are_not_waited_for(patch: Patch) -> None:
    """Everything starts at once."""
    patch.setattr(rollout, "_satisfied", lambda *args: True)


@plant
def traffic_moves_before_the_checks(patch: Patch) -> None:
    """A replica takes traffic as soon as it was started."""
    patch.setattr(track.Track, "are_ready", track.Track.are_started)


@plant
def traffic_moves_before_the_hold(patch: Patch) -> None:
    """A generation that serves is replaced by one that nobody watched."""
    patch.setattr(track.Track, "are_held", track.Track.are_ready)


@plant
def what_is_kept_takes_traffic_unseen(patch: Patch) -> None:
    """A service gets its first route while its replica is just starting again."""
    patch.setattr(track.Track, "anew", ())


@plant
def the_commit_does_not_wait_for_the_switch(patch: Patch) -> None:
    """The release is written down while the proxy still sends everything to the old one."""

    def spoiled(real: Any, way: Any, now: float) -> Any:
        return real(replace(way, served=frozenset(way.after()), switched_at=now - 60), now)

    wrapped(patch, track, "_over", spoiled)


@plant
def the_old_is_removed_before_the_commit(patch: Patch) -> None:
    """There is nothing to go back to."""

    def spoiled(real: Any, state: Any, track: Any, *more: Any) -> Any:
        olds = track.change.old if track.started and track.ready else ()
        return (*real(state, track, *more), *(Remove(track.service.name, o.name) for o in olds))

    wrapped(patch, rollout, "_next", spoiled)


@plant
def the_old_is_stopped_before_the_new_one_is_ready(patch: Patch) -> None:
    """Start-first is not."""

    def spoiled(real: Any, state: Any, track: Any, *more: Any) -> Any:
        return (*real(state, track, *more), *(Stop(track.service.name, o.name, 1.0) for o in track.change.old))

    wrapped(patch, rollout, "_next", spoiled)


@plant
def the_old_is_kept_after_the_commit(patch: Patch) -> None:
    """Two generations run for ever."""
    goals(patch, "after_commit", surplus=())


@plant
def the_published_file_is_forgotten(patch: Patch) -> None:
    """compose.yaml on the host is of another release."""
    patch.setattr(perform, "publish", lambda *args: None)


# -- replacing in steps, and names in DNS ---------------------------------------------------


@plant
def a_step_takes_too_many(patch: Patch) -> None:
    """All old replicas leave with the first new one."""

    def spoiled(real: Any, change: Any, *about: Any) -> Any:
        made = real(change, *about)
        leave = tuple(o.name for o in change.old) if len(made) > 1 else made[0].leave
        return (replace(made[0], leave=leave), *(replace(b, leave=()) for b in made[1:]))

    wrapped(patch, rollout, "batches", spoiled)


@plant
def a_step_does_not_wait_for_the_one_before(patch: Patch) -> None:
    """Old replicas leave before anything took over from them."""
    wrapped(patch, track, "_over", lambda real, way, now: way.are_started(way.batches[way.turn].new) or real(way, now))


@plant
def what_leaves_in_a_step_is_not_unrouted(patch: Patch) -> None:
    """A replica is stopped while the proxy sends traffic to it."""
    wrapped(patch, track, "_let_go", lambda real, way, names: [Stop(way.service.name, n, 1.0) for n in names])
    patch.setattr(track.Track, "moves_traffic", property(lambda self: False))


@plant
def names_are_given_with_the_creation(patch: Patch) -> None:
    """Clients inside the stack ask a replica that did not pass."""
    patch.setattr(track.Track, "quiet", property(lambda self: False))


@plant
def names_are_not_waited_for(patch: Patch) -> None:
    """A release that nobody finds by its name."""
    patch.setattr(track.Track, "unnamed", lambda self: ())


@plant
def names_are_never_taken(patch: Patch) -> None:
    """Clients inside the stack ask a replica that is being stopped."""
    goals(patch, "after_commit", withdraw=False)


@plant
def recovery_forgets_the_names(patch: Patch) -> None:
    """An old replica runs again, and nobody finds it."""
    wrapped(patch, recovery, "_recovered", lambda real, *args: replace(real(*args), announce=()))


@plant
def a_rollback_forgets_the_names(patch: Patch) -> None:
    """What was stopped in a step runs again, and nobody finds it."""
    goals(patch, "before", announce=())


# -- the way back -----------------------------------------------------------------------


@plant
def what_was_stopped_is_not_started_again(patch: Patch) -> None:
    """A rollback ends with the service down."""
    goals(patch, "before", start=())


@plant
def traffic_is_not_given_back(patch: Patch) -> None:
    """A rollback removes what the proxy sends to."""
    goals(patch, "before", route=False)


@plant
def traffic_is_given_back_by_the_new_rules(patch: Patch) -> None:
    """The old release is behind the new one's host names."""
    goals(patch, "before", old_routes=False)


@plant
def the_new_stays_after_a_rollback(patch: Patch) -> None:
    """A bad release goes on running beside the old one."""
    goals(patch, "before", surplus=())


@plant
def names_are_not_given_back(patch: Patch) -> None:
    """container_name is somebody-before-somewhen after a rollback."""
    goals(patch, "before", rename=())


@plant
def the_way_back_does_not_wait(patch: Patch) -> None:
    """What was under way when it failed is done after it was undone."""

    def spoiled(real: Any, *args: Any) -> Any:
        state, commands = real(*args)
        return replace(state, pending=frozenset()), commands

    wrapped(patch, rollout, "_undo", spoiled)


@plant
def drains_are_skipped(patch: Patch) -> None:
    """Open connections are cut."""
    wrapped(patch, converge, "_clear", lambda real, goal, *args, **more: real(replace(goal, drain=0.0), *args, **more))


@plant
def removal_does_not_wait_for_the_switch(patch: Patch) -> None:
    """The replica that takes the traffic is removed."""

    def spoiled(real: Any, made: Any, pending: Any) -> Any:
        return (*real(made, pending), *(Remove(g.service, n) for g in made.values() for n in g.surplus if g.up))

    wrapped(patch, converge, "step", spoiled)


@plant
def an_old_one_takes_traffic_unseen(patch: Patch) -> None:
    """After a rollback the proxy sends to what has just been started."""
    wrapped(patch, converge, "judge", lambda real, g, w, s: (replace(real(g, w, s)[0], ready_at=s.at), ""))


# -- recovery ---------------------------------------------------------------------------


def remembered(patch: Patch, spoiled: Callable[..., Any]) -> None:
    """What the journal says of a killed rollout, as the spoiled recovery takes it."""
    wrapped(patch, process, "recovery", lambda real, name, s, left, seen: real(name, s, spoiled(left, seen), seen))


@plant
def a_killed_rollout_counts_as_committed(patch: Patch) -> None:
    """What did not pass becomes the release."""
    remembered(patch, lambda left, seen: replace(left, committed=True))


@plant
def a_committed_rollout_counts_as_killed(patch: Patch) -> None:
    """What was released is taken back."""
    remembered(patch, lambda left, seen: replace(left, committed=False))


@plant
def old_is_what_runs(patch: Patch) -> None:
    """Recovery keeps what happens to run."""

    def running(left: Any, seen: Any) -> Any:
        found: dict[str, list[str]] = {}
        for o in seen.replicas:
            if o.running:
                found.setdefault(o.service, []).append(o.name)
        return replace(left, incumbents=found, rollout="r0")

    remembered(patch, running)


@plant
def what_ran_is_forgotten(patch: Patch) -> None:
    """Recovery leaves down what a killed rollout had stopped."""
    remembered(patch, lambda left, seen: replace(left, running=frozenset()))


@plant
def running_is_passing(patch: Patch) -> None:
    """Recovery sends traffic to what a killed recovery had just started."""

    def spoiled(real: Any, goal: Any, service: Any, wanted: Any, there: Any, *more: Any) -> Any:
        made = real(goal, service, wanted, there, *more)
        return replace(made, start=tuple(n for n in made.start if n not in there or not there[n].running))

    wrapped(patch, recovery, "_recovered", spoiled)


@plant
def the_plan_is_not_written_down(patch: Patch) -> None:
    """Nothing is known of a rollout that was killed."""

    def spoiled(real: Any, journal: Any, name: str, kind: str, *more: Any) -> None:
        if kind != "planned":
            real(journal, name, kind, *more)

    wrapped(patch, host.SimulatedJournal, "milestone", spoiled)


@plant
def a_teardown_takes_the_volumes(patch: Patch) -> None:
    """The data is gone."""
    wrapped(patch, process, "teardown", lambda real, *args: real(*args, remove_volumes=True))
