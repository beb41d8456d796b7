# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One changing service on its way through a rollout: the facts, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..model import Gate, Order, Service
from .batches import Batch
from .commands import Announce, Command, Create, Drain, Rename, Route, Start, Stop, Withdraw
from .gate import Watch
from .plan import Change


def set_aside(name: str, rollout: str) -> str:
    """The name an old container bears while its successor has the fixed one."""
    return f"{name}-before-{rollout}"


@dataclass(frozen=True, slots=True)
class Track:
    """Facts only; `wanted` and `moved_on` say what follows from them.

    `turn` is the batch that is on, as many as there are when all are over. `trusted` are the old replicas that the
    proxy sent traffic to when the rollout began: nothing else that is old may get some. `served` are the replicas that
    the last confirmed switch sent it to, at `switched_at`.
    """

    change: Change
    service: Service
    gate: Gate
    batches: tuple[Batch, ...]
    urgency: int = 0
    """the length of the longest chain of services that wait for it"""
    trusted: frozenset[str] = frozenset()
    turn: int = 0
    made: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    """old replicas that were renamed, because the name is fixed"""
    lost: frozenset[str] = frozenset()
    """new replicas that failed within the max_failure_ratio: the service does without them"""
    behind: bool = False
    """it failed or was not begun, and stays as it was while the rest goes on (failure_action)"""
    announced: frozenset[str] = frozenset()
    """new replicas that answer to the service's DNS names"""
    withdrawn: frozenset[str] = frozenset()
    """old ones that do not any more"""
    watches: Mapping[str, Watch] = field(default_factory=dict)
    served: frozenset[str] | None = None
    switched_at: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The new replicas, without those that it does without."""
        return tuple(name for name, _number in self.change.new if name not in self.lost)

    @property
    def members(self) -> tuple[str, ...]:
        """The replicas that make up the service after the rollout."""
        return (*(o.name for o in self.change.keep), *self.names)

    def new(self, turn: int) -> tuple[str, ...]:
        return tuple(n for n in self.batches[turn].new if n not in self.lost)

    @property
    def gating(self) -> bool:
        """Its batch has started, so something will be seen of it."""
        return self.turn < len(self.batches) and self.are_started(self.new(self.turn))

    @property
    def undisturbed(self) -> bool:
        """Those that were there before run on, all of them."""
        olds = {o.name for o in (*self.change.keep, *self.change.old) if o.running}
        return bool(olds) and olds.isdisjoint(self.stopped)

    def tolerates(self, replica: str) -> bool:
        """Whether it may lose this new replica too."""
        ratio = self.service.update.max_failure_ratio
        known = replica in self.names and not self.service.one_shot
        return known and (len(self.lost) + 1) / len(self.change.new) <= ratio

    @property
    def started(self) -> bool:
        return self.are_started(self.names)

    @property
    def healthy(self) -> bool:
        return all(n in self.watches and self.watches[n].healthy for n in self.names)

    @property
    def ready(self) -> bool:
        return self.are_ready(self.names)

    @property
    def fit(self) -> bool:
        """Its batch may take over: held where something else serves meanwhile, ready where nothing does."""
        if self.service.one_shot or self.turn == len(self.batches):
            return self.settled
        new = self.new(self.turn)
        return self.are_ready(self.anew) and (self.are_held(new) if self.beside else self.are_ready(new))

    @property
    def anew(self) -> tuple[str, ...]:
        """Kept replicas that the proxy does not send traffic to yet: running is not passing, so they are looked at."""
        return tuple(o.name for o in self.change.keep if self.moves_traffic and o.name not in self.trusted)

    @property
    def settled(self) -> bool:
        """Nothing more is asked of it before the commit."""
        return self.ready if self.service.one_shot else self.turn == len(self.batches)

    def are_started(self, names: Iterable[str]) -> bool:
        return all(n in self.watches for n in names)

    def are_ready(self, names: Iterable[str]) -> bool:
        return all(n in self.watches and self.watches[n].ready for n in names)

    def are_held(self, names: Iterable[str]) -> bool:
        return all(n in self.watches and self.watches[n].held(self.gate) for n in names)

    @property
    def fixed(self) -> bool:
        """The new replica gets the name of the old one."""
        return bool(self.service.container_name and self.change.old)

    @property
    def moves_traffic(self) -> bool:
        """To somebody: what is not routed any more loses its traffic after the commit, where there is no way back."""
        return bool(self.service.routes and self.members)

    @property
    def hurried(self) -> bool:
        """Traffic waits for it, because nothing else serves."""
        return self.moves_traffic and not self.beside

    @property
    def beside(self) -> bool:
        """Something else serves while the batch comes: an older generation, or the batches before it."""
        if self.turn or self.change.keep:
            return True
        stops = set(self.batches[0].leave) if self.stops_first else set()
        return any(o.running and o.name not in stops for o in self.change.old)

    @property
    def quiet(self) -> bool:
        """Who comes answers to the service's DNS names only once it passed: somebody else does meanwhile."""
        return self.beside and bool(self.service.networks) and not self.service.one_shot

    def unnamed(self) -> tuple[str, ...]:
        return tuple(n for n in self.new(self.turn) if n not in self.announced) if self.quiet else ()

    @property
    def stops_first(self) -> bool:
        return self.fixed or self.change.order is Order.STOP_FIRST

    def meanwhile(self) -> tuple[str, ...]:
        """Who takes traffic while the batch comes: what stays, earlier batches, and old replicas that leave later."""
        left = {n for b in self.batches[: self.turn + 1] for n in b.leave}
        return (
            *(o.name for o in self.change.keep if o.name not in self.anew or self.are_ready([o.name])),
            *(n for turn in range(self.turn) for n in self.new(turn)),
            *(o.name for o in self.change.old if o.running and o.name in self.trusted and o.name not in left),
        )

    def after(self) -> tuple[str, ...]:
        """Who takes traffic once the batch took over: with the last one, the service as it will be."""
        if self.turn == len(self.batches) - 1:
            return self.members
        return (*self.meanwhile(), *self.new(self.turn))


def moved_on(track: Track, now: float) -> Track:
    """The next batch is on when the one before is over."""
    while not track.service.one_shot and track.turn < len(track.batches) and _over(track, now):
        track = replace(track, turn=track.turn + 1)
    return track


def _over(track: Track, now: float) -> bool:
    batch, last = track.batches[track.turn], track.turn == len(track.batches) - 1
    new = track.new(track.turn)
    if not track.are_held(new) or track.unnamed() or not track.stopped.issuperset(batch.leave):
        return False
    if not track.moves_traffic:
        held_at = max(((track.watches[n].clean_since or 0.0) + track.gate.hold for n in new), default=now)
        return now - held_at >= batch.watch
    if track.served != frozenset(track.after()):
        return False
    watched = track.gate.hold if last and new and track.beside else batch.watch
    return now - track.switched_at >= watched


def wanted(
    track: Track, rollout: str, may_create: bool, may_start: bool, may_switch: bool = True
) -> tuple[Command, ...]:
    """What can be done now for this service; the caller leaves out what it has asked for already.

    `may_create` and `may_start`: what it depends on is there, as far as that goes. `may_switch`: nothing holds back
    its traffic and its names.
    """
    if track.turn == len(track.batches):
        return ()
    service, batch, new = track.service, track.batches[track.turn], track.new(track.turn)
    if not track.are_started(new):
        numbers = dict(track.change.new)
        create: list[Command] = [Create(service.name, n, numbers[n], track.quiet) for n in new]
        # made while what it waits for gets ready: not all at once, which would slow down those that start now
        early = create if may_create and not track.fixed else []
        if not may_start:
            return tuple(early)
        room = _make_room(track, batch, rollout)
        if room is not None:
            return (*early, *room)
        start = [Start(service.name, n) for n in new if n in track.made]
        return (*early, *(create if track.fixed else ()), *start)
    if not track.fit or not may_switch:
        return ()
    if track.unnamed():
        return tuple(Announce(service.name, n) for n in track.unnamed())
    if track.moves_traffic and track.served != frozenset(track.after()):
        return (Route(service.name, track.after()),)
    return () if track.stops_first else tuple(_let_go(track, batch.leave))


def _make_room(track: Track, batch: Batch, rollout: str) -> list[Command] | None:
    """What has to be done before the batch may start, None when there is nothing (more): its old replicas stop."""
    if not track.stops_first or not batch.leave:
        return None
    if not track.fixed and not track.made.issuperset(track.new(track.turn)):
        return []
    if not track.stopped.issuperset(batch.leave):
        others = track.meanwhile()
        if not track.beside:
            return [Stop(track.service.name, n, track.service.grace) for n in batch.leave]
        if track.moves_traffic and others and track.served != frozenset(others):
            return [Route(track.service.name, others)]
        return _let_go(track, batch.leave)
    if track.fixed and not track.gone.issuperset(batch.leave):
        return [Rename(track.service.name, n, set_aside(n, rollout)) for n in batch.leave]
    return None


def _let_go(track: Track, names: Iterable[str]) -> list[Command]:
    """Old replicas without new traffic end what they have, then stop."""
    drain = max((r.drain for r in track.service.routes), default=0.0)
    commands: list[Command] = []
    for name in names:
        # first what the proxy still waits for: it may need the network that is left for a moment to lose the names
        if drain and name in track.trusted and name not in track.drained:
            commands.append(Drain(track.service.name, name, drain))
        elif track.service.networks and name not in track.withdrawn:
            commands.append(Withdraw(track.service.name, name))
        else:
            commands.append(Stop(track.service.name, name, track.service.grace))
    return commands
