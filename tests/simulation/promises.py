# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a rollout promises, as functions over the simulated host.

They look at the world alone: what was released is remembered here at the moment of the commit, so that a rollout that
mistakes the new for the old, or a recovery that does, is seen. `hurt` names services that the world itself hit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Condition, Order, Service, Stack
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import (
    Announce,
    Command,
    Create,
    Record,
    Remove,
    Rename,
    Route,
    Start,
    Stop,
    Unroute,
    WriteFiles,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.plan import Action
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Outcome, Phase, Rollout

from .world import Container, World

EPSILON = 1e-6
ON_THE_WAY = (Phase.ROLLING, Phase.TURNING)
"""what was asked for before a failure still happens after it"""
FORWARD = (Phase.PREPARING, Phase.ROLLING)
Hurt = set[str]


class Broken(AssertionError):
    """A promise was broken. The message says which, and when."""


@dataclass(frozen=True)
class Known:
    """What is asked of a stack at every event."""

    stack: Stack
    services: Mapping[str, Service]
    interrupted: frozenset[str]
    """services that are replaced stop-first"""


_KNOWN: dict[int, Known] = {}
"""of the stacks of late, by identity"""


def _known(stack: Stack) -> Known:
    known = _KNOWN.get(id(stack))
    if known is None or known.stack is not stack:
        if len(_KNOWN) > 100:
            _KNOWN.clear()
        names = frozenset(s.name for s in stack.services if s.bound or s.order is Order.STOP_FIRST)
        known = _KNOWN[id(stack)] = Known(stack, {s.name: s for s in stack.services}, names)
    return known


def definition(rollout: Rollout, service: str) -> Service | None:
    """Of a service as the rollout wants it, or as it was."""
    found = _known(rollout.stack).services.get(service)
    if found is None and rollout.previous:
        found = _known(rollout.previous).services.get(service)
    return found


def stops_first(rollout: Rollout, service: str) -> bool:
    """Whether either version of it may be interrupted."""
    before = rollout.previous
    return service in _known(rollout.stack).interrupted or (
        before is not None and service in _known(before).interrupted
    )


def steps(rollout: Rollout, service: str) -> int:
    """How many of its replicas may be away at a time, because they are replaced in steps; 0 = none may."""
    stacks = [rollout.stack, *([rollout.previous] if rollout.previous else [])]
    known = [s for stack in stacks for s in stack.services if s.name == service and not s.bound]
    return max((max(s.update.parallelism, s.update.canary) for s in known), default=0)


# -- before a command is performed --------------------------------------------------------


def before(world: World, rollout: Rollout, command: Command, hurt: Hurt, drains_fail: bool) -> None:
    """What must hold when a command is given. `drains_fail`: proxy or engine may refuse to let go of one."""
    service = getattr(command, "service", "")
    if rollout.phase in FORWARD:
        if isinstance(command, (WriteFiles, Create, Start, Stop)):
            _data_can_be_put_back(world, rollout)
        if rollout.stack.blue_green and isinstance(command, (Route, Announce)):
            _all_have_passed(world, rollout, hurt)
    if isinstance(command, Unroute) and service not in hurt:
        _only_what_leaves_loses_its_route(world, rollout, command)
    elif isinstance(command, Start):
        _nothing_starts_too_early(world, rollout, command)
        _no_one_shot_runs_twice(world, rollout, command)
    elif isinstance(command, (Stop, Remove, Rename)):
        container = world.containers.get(command.name)
        if container is not None and service not in hurt:
            _what_serves_stays(world, rollout, command, container)
            _nobody_is_cut_off(world, rollout, command, drains_fail)
            _nobody_is_asked_while_it_stops(world, rollout, command, container, names_stay=drains_fail)
    elif isinstance(command, Record) and command.kind == "committed":
        _a_release_is_whole(world, rollout, hurt)


def _data_can_be_put_back(world: World, rollout: Rollout) -> None:
    """Of every service that has a restore point and that ran: nothing changes before it was taken."""
    if all(c.action in (Action.KEEP, Action.SCALE, Action.ROUTE) for c in rollout.plan.changes):
        return  # the same code goes on
    for service in rollout.stack.services:
        ran = any(o.running and o.service == service.name for o in rollout.seen.replicas)
        if service.restore_point and ran and (rollout.id, service.name) not in world.points:
            raise Broken(f"something changes before the restore point of {service.name} was taken")


def _all_have_passed(world: World, rollout: Rollout, hurt: Hurt) -> None:
    """Blue-green: nobody gets traffic or names while anybody has not passed."""
    for service in rollout.stack.services:
        if service.name in hurt:
            continue
        for name, _number in rollout.plan.change(service.name).new:
            container = world.containers.get(name)
            if container is None:
                continue  # somebody removed it; its gate will say so
            if service.one_shot and (world.runs(container) or container.exit_code):
                raise Broken(f"the stack is switched before {name} ended well")
            if not service.one_shot and container.best_row < service.gate.passes:
                raise Broken(f"the stack is switched before {name} passed")


def unfit(world: World, rollout: Rollout, command: Command, hurt: Hurt) -> str:
    """Why traffic must not go to where a switch sends it, "" where it may; it counts if the proxy does it."""
    if not isinstance(command, Route) or command.service in hurt:
        return ""
    serving = world.backends.get(command.service, frozenset())
    known = definition(rollout, command.service)
    incumbent = not stops_first(rollout, command.service) and any(
        world.runs(c) for c in world.serving if c.service == command.service
    )
    for name in set(command.servers) - serving:
        container = world.containers.get(name)
        if container is None or known is None:
            continue
        if container.row < known.gate.passes:
            return f"{name} takes traffic after {container.row} passes since its start"
        track = rollout.tracks.get(command.service) if rollout.phase is Phase.ROLLING else None
        before = rollout.seen.routed.get(command.service, frozenset())
        if track is not None and name not in before and name not in track.watches:
            return f"{name} takes traffic for the first time, and nobody looked at it"
        released = any(c is container for c in world.serving)
        if incumbent and not released and not _held(world, container, known):
            return f"{name} takes the traffic of a generation that serves before it was held"
    return ""


def _held(world: World, container: Container, service: Service) -> bool:
    return container.clean_since is not None and world.now - container.clean_since >= service.gate.hold - EPSILON


def _only_what_leaves_loses_its_route(world: World, rollout: Rollout, command: Unroute) -> None:
    if rollout.outcome is Outcome.REMOVED or command.service not in world.backends:
        return
    released = world.released
    wanted = rollout.stack if rollout.phase is not Phase.CONVERGING or rollout.committed else released
    service = next((s for s in wanted.services if s.name == command.service), None) if wanted else None
    if service is not None and service.routes:
        raise Broken(f"{command.service} was to lose its route, and has one")


def _nothing_starts_too_early(world: World, rollout: Rollout, command: Start) -> None:
    if rollout.phase is not Phase.ROLLING:
        return
    for dependency in rollout.stack.service(command.service).depends_on:
        track = rollout.tracks.get(dependency.service)
        former = any(c.service == dependency.service for c in world.serving)
        if track is not None and track.behind and former and dependency.condition is not Condition.COMPLETED:
            continue  # its former replicas go on; without them it had passed when this was asked for
        for name, _spec in track.change.new if track else ():
            container = world.containers.get(name)
            if container is None:
                continue  # somebody removed it; its gate will say so
            if not container.starts:
                raise Broken(f"{command.name} was to start before {name}")
            if dependency.condition is Condition.HEALTHY and not container.best_row:
                raise Broken(f"{command.name} was to start before {name} passed")
            completed = not world.runs(container) and container.exit_code == 0
            if dependency.condition is Condition.COMPLETED and not completed:
                raise Broken(f"{command.name} was to start before {name} ended well")


def _no_one_shot_runs_twice(world: World, rollout: Rollout, command: Start) -> None:
    container = world.containers.get(command.name)
    if container is None:
        return
    ran = {tuple(entry) for entry in world.ran}
    if (container.service, container.spec, container.image) in ran:
        raise Broken(f"{command.name} was to run, and ended well in the release that serves")


def _what_serves_stays(world: World, rollout: Rollout, command: Command, container: Container) -> None:
    if rollout.outcome is Outcome.REMOVED or not any(c is container for c in world.serving):
        return
    name = container.name
    if isinstance(command, Remove):
        raise Broken(f"{name} of the release that serves was to be removed")
    if isinstance(command, Stop) and steps(rollout, container.service) and rollout.phase in ON_THE_WAY:
        _enough_serve(world, rollout, container)
    elif isinstance(command, Stop) and not stops_first(rollout, container.service) and world.runs(container):
        raise Broken(f"{name} of the release that serves was to be stopped, and can run beside a new one")
    if rollout.phase is Phase.CONVERGING and isinstance(command, Stop) and world.runs(container):
        raise Broken(f"{name} of the release that serves was to be stopped on the way back")


def _nobody_is_asked_while_it_stops(
    world: World, rollout: Rollout, command: Command, container: Container, names_stay: bool
) -> None:
    """What others can do is taken out of the service's DNS names before it is stopped.

    `names_stay`: the engine may have refused that, which is noted and keeps nothing up.
    """
    if names_stay or not isinstance(command, Stop) or rollout.outcome is Outcome.REMOVED or not world.runs(container):
        return
    others = [c for c in world.serving if c.service == command.service and c is not container]
    able = [c for c in others if c.named and world.runs(c)]
    known = definition(rollout, command.service)
    if container.named and container.best_row and able and known is not None and not stops_first(rollout, known.name):
        raise Broken(f"{command.name} was to be stopped while it answers to its service's names")


def _others_serve(world: World, rollout: Rollout, service: str) -> bool:
    """Whether somebody else can take the traffic of the old replicas that leave in this step."""
    track = rollout.tracks.get(service)
    if rollout.phase not in ON_THE_WAY or track is None or track.turn == len(track.batches):
        return False
    return bool(world.backends.get(service, frozenset()) - set(track.batches[track.turn].leave))


def _enough_serve(world: World, rollout: Rollout, leaves: Container) -> None:
    """A replacement in steps never has fewer good replicas than before, or than wanted; stop-first less one step."""
    change = rollout.plan.change(leaves.service)
    known = definition(rollout, leaves.service)
    if known is None or known.bound or (stops_first(rollout, leaves.service) and not known.update.parallelism):
        return
    if not known.routes and leaves.service in world.backends:
        return  # what loses its route goes in one step
    there = [c for c in world.containers.values() if c.service == leaves.service and c is not leaves and world.runs(c)]
    good = [c for c in there if any(c is s for s in world.serving) or c.row >= known.gate.passes]
    ran = [o for o in (*change.keep, *change.old) if o.running]
    away = steps(rollout, leaves.service) if stops_first(rollout, leaves.service) else 0
    if len(good) < min(len(ran), len(change.members)) - away:
        raise Broken(f"{leaves.name} was to be stopped with {len(good)} good replicas beside it")


def _nobody_is_cut_off(world: World, rollout: Rollout, command: Command, drains_fail: bool) -> None:
    if not isinstance(command, (Stop, Remove)):
        return
    if stops_first(rollout, command.service) and not _others_serve(world, rollout, command.service):
        return
    if command.name in world.backends.get(command.service, frozenset()):
        raise Broken(f"{command.name} was to go while it takes traffic")
    if command.name in world.draining.get(command.service, set()) and not drains_fail:
        raise Broken(f"{command.name} was to go before the proxy let it go")


def _a_release_is_whole(world: World, rollout: Rollout, hurt: Hurt) -> None:
    for service in rollout.stack.services:
        track = rollout.tracks.get(service.name)
        if service.name in hurt or (track is not None and track.behind):
            continue
        change = rollout.plan.change(service.name)
        new = {name for name, _spec in change.new}
        for name in change.members:
            container = world.containers.get(name)
            if container is None:
                raise Broken(f"commit without {name}")
            if service.one_shot:
                if world.runs(container) or container.exit_code:
                    raise Broken(f"commit, and {name} did not end well")
            elif not world.runs(container):
                raise Broken(f"commit, and {name} does not run")
            elif name in new and not _held(world, container, service):
                raise Broken(f"commit before {name} was held")
        members = frozenset(change.members)
        if service.routes and world.backends.get(service.name) != members:
            raise Broken(f"commit, and {service.name} is routed to {set(world.backends.get(service.name, ()))}")


# -- after it --------------------------------------------------------------------------------


def remember(world: World, rollout: Rollout, command: Command) -> None:
    """At the commit, what serves from now on; the release's own words are not asked."""
    if isinstance(command, Stop) and rollout.phase in ON_THE_WAY and steps(rollout, command.service):
        world.away.add(command.name)
    if isinstance(command, Record) and command.kind == "committed":
        behind = {name for name, track in rollout.tracks.items() if track.behind}
        names = {name for change in rollout.plan.changes for name in change.members}
        # of what stayed behind the old ones serve, which may stand aside under another name
        kept = [c for c in world.serving if c.service in behind and c.name.partition("-before-")[0] in names]
        world.serving = [*kept, *(c for c in world.containers.values() if c.name in names and c.service not in behind)]
        world.released = rollout.stack
        shots = [s for s in rollout.stack.services if s.one_shot and s.name not in behind]
        world.ran = {(s.name, s.spec, f"sha256:{s.image}") for s in shots}


def always(world: World, rollout: Rollout, hurt: Hurt) -> None:
    """At every moment, whatever happened."""
    removed = rollout.outcome is Outcome.REMOVED
    if not removed:
        _what_is_released_is_there(world, rollout, hurt)
        _nobody_answers_too_early(world, rollout, hurt)
    for service, servers in world.backends.items():
        if service in hurt or stops_first(rollout, service):
            continue
        missing = [n for n in servers if n not in world.containers]
        if missing:
            raise Broken(f"{service}: traffic goes to {missing}, which are gone")
        if not servers:
            raise Broken(f"{service} is routed to nothing")
        if not any(world.runs(world.containers[n]) for n in servers):
            crashed = [n for n in servers if world.behaviours[world.containers[n].image].crash_after is not None]
            if not crashed:
                raise Broken(f"{service}: nothing that serves is running")
    if world.released is not None and not removed:
        for known in world.released.services:
            lost = known.routes and known.name not in world.backends and known.name not in hurt
            if lost and any(s.name == known.name and s.routes for s in rollout.stack.services):
                raise Broken(f"{known.name} has lost its route")
    if "shop_kept" not in world.volumes and world.released is not None:
        raise Broken("a volume was removed")


def _what_is_released_is_there(world: World, rollout: Rollout, hurt: Hurt) -> None:
    there = {id(c) for c in world.containers.values()}
    one_shots = {name for name, _spec, _image in world.ran}
    for container in world.serving:
        service = container.service
        if service in hurt:
            continue
        if id(container) not in there:
            raise Broken(f"{container.name} of the release that serves is gone")
        may_stop = service in one_shots or stops_first(rollout, service) or container.name in world.away
        if not may_stop and not world.runs(container):
            raise Broken(f"{container.name} of the release that serves does not run")


def _nobody_answers_too_early(world: World, rollout: Rollout, hurt: Hurt) -> None:
    """Where a generation serves, a new replica has its service's DNS names only once it passed its gate."""
    for container in world.containers.values():
        if not container.named or container.service in hurt or any(c is container for c in world.serving):
            continue
        known = definition(rollout, container.service)
        if known is None or container.best_row >= known.gate.passes or known.one_shot or not world.runs(container):
            continue
        if stops_first(rollout, known.name):
            continue  # made when nothing else was to serve
        others = [c for c in world.serving if c.service == container.service and world.runs(c) and c.named]
        if others:
            raise Broken(f"{container.name} answers to the names of {container.service} before it passed")


# -- at the end of a run that ended by itself, without faults --------------------------------


Shape = tuple[dict[int, tuple[str, bool, int]], dict[str, frozenset[str]], dict[str, tuple[object, ...]]]


def shape(world: World) -> Shape:
    """What is there, in which state and with which traffic."""
    containers = {id(c): (c.name, world.runs(c), c.starts) for c in world.containers.values()}
    return containers, dict(world.backends), dict(world.routes)


def as_it_was(world: World, rollout: Rollout, was: Shape, hurt: Hurt) -> None:
    """After a rollback: the same containers under the same names, what may not be interrupted never was."""
    containers, backends, routes = was
    now = {id(c): c for c in world.containers.values()}
    for identity, (name, running, starts) in containers.items():
        container = now.pop(identity, None)
        if container is None:
            raise Broken(f"rolled back, and {name} is gone")
        if container.service in hurt:
            continue
        if container.name != name:
            raise Broken(f"rolled back, and {name} is called {container.name}")
        known = definition(rollout, container.service)
        if known is not None and known.one_shot:
            continue
        if running and not world.runs(container):
            raise Broken(f"rolled back, and {name} does not run again")
        if running and not container.named:
            raise Broken(f"rolled back, and {name} does not answer to its service's names")
        may_stop = stops_first(rollout, container.service) or name in world.away
        if container.starts != starts and not may_stop:
            raise Broken(f"rolled back, and {name} was interrupted")
    if now:
        raise Broken(f"rolled back, but {[c.name for c in now.values()]} are left")
    for service in {*backends, *world.backends} - hurt:
        if world.backends.get(service) != backends.get(service):
            raise Broken(f"rolled back, and {service} is routed to {set(world.backends.get(service, ()))}")
        if world.routes.get(service) != routes.get(service):
            raise Broken(f"rolled back, and {service} has other routes")


def recovered(world: World, rollout: Rollout, hurt: Hurt) -> None:
    """After a recovery: what was released last runs under its names and takes the traffic, and nothing else does."""
    serving = {id(c) for c in world.serving}
    for service in world.released.services if world.released else ():
        if service.name in hurt:
            continue
        members = [c for c in world.serving if c.service == service.name]
        if not service.one_shot:
            down = [c.name for c in members if not world.runs(c)]
            if down:
                raise Broken(f"recovered, and {down} of the release do not run")
            if not all(c.named for c in members):
                raise Broken(f"recovered, and not all of {service.name} answers to its names")
        if any("-before-" in c.name for c in members):
            raise Broken(f"recovered, and {service.name} has not got its name back")
        expected = frozenset(c.name for c in members) if service.routes else None
        if world.backends.get(service.name) != expected:
            raise Broken(f"recovered, and {service.name} is routed to {world.backends.get(service.name)}")
    left = [c.name for c in world.containers.values() if c.rollout == rollout.id and id(c) not in serving]
    if left:
        raise Broken(f"recovered, and {left} are left")


def nothing_left(world: World, rollout: Rollout) -> None:
    """A rollout that says it ended left nothing behind, whatever failed and whose answers were lost on the way."""
    if rollout.outcome not in (Outcome.ROLLED_BACK, Outcome.DEPLOYED):
        return
    there = world.containers.values()
    if aside := [c.name for c in there if c.name.endswith(f"-before-{rollout.id}")]:
        raise Broken(f"{rollout.outcome.value}, and {aside} stand aside")
    if rollout.outcome is Outcome.ROLLED_BACK:
        left = [c.name for c in there if c.rollout == rollout.id]
    else:
        old = {o.name for change in rollout.plan.changes for o in change.old}
        left = [c.name for c in there if c.rollout != rollout.id and c.name in old]
    if left:
        raise Broken(f"{rollout.outcome.value}, and {left} are left")


def deployed(world: World, stack: Stack) -> None:
    """After a release: exactly what was asked for, and nothing else."""
    for service in stack.services:
        there = [c for c in world.containers.values() if c.service == service.name]
        if service.one_shot:
            if any(world.runs(c) for c in there) or len(there) > 1:
                raise Broken(f"{service.name}: a one-shot left {there}")
            continue
        good = [c for c in there if world.runs(c) and (c.spec, c.image) == (service.spec, f"sha256:{service.image}")]
        if len(good) != service.replicas or len(there) != service.replicas:
            raise Broken(f"{service.name}: {len(good)} of {service.replicas} good replicas, {len(there)} containers")
        if any("-before-" in c.name for c in there):
            raise Broken(f"{service.name}: a name was not given back")
        if not all(c.named for c in good):
            raise Broken(f"{service.name}: not all of it answers to its names")
        routed = world.backends.get(service.name, frozenset())
        if routed != (frozenset(c.name for c in good) if service.routes else frozenset()):
            raise Broken(f"{service.name}: routed to {set(routed)}")
        if service.routes and world.routes.get(service.name) != service.routes:
            raise Broken(f"{service.name}: routed by other rules")
        draining = world.draining.get(service.name, set()) & set(world.containers)
        if draining:
            raise Broken(f"{service.name}: {draining} still drain")
    wanted = {s.name for s in stack.services}
    orphans = [c.name for c in world.containers.values() if c.service not in wanted]
    if orphans or set(world.backends) - wanted:
        raise Broken(f"orphans are left: {orphans} {set(world.backends) - wanted}")


def taken_down(world: World) -> None:
    """After a teardown: nothing but the volumes."""
    left = [*world.containers, *world.backends, *world.networks]
    if left:
        raise Broken(f"taken down, but {left} are left")
    if "shop_kept" not in world.volumes:
        raise Broken("taken down, and the volume with it")
