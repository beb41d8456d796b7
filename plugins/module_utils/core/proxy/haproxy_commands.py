# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What HAProxy is told at run time, and what its servers say about a routing table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .haproxy_answers import Row
from .haproxy_config import CHECKED
from .routing import Backend, Member, State, Table, at, owner_of, replica_of


def steps(rows: Sequence[Row], backend: Backend) -> tuple[str, ...]:
    """Commands that bring the running servers to the members of this backend.

    New servers come first, then who gets traffic, then who gets none, then who goes.
    """
    there = {(row.pool, row.name): row for row in rows}
    made: dict[str, list[str]] = {"add": [], "ready": [], "drain": [], "gone": []}
    for pool in backend.pools():
        for member in backend.members:
            server = f"{pool.name}/{member.server}"
            row = there.get((pool.name, member.server))
            if member.state is State.MAINT:
                continue
            if row is None:
                made["add"].append(f"add server {server} {at(member.address, pool.port)} {CHECKED[pool.mode]}")
                made["add"].append(f"enable health {server}")
            elif (row.address, row.port) != (member.address, pool.port):
                made["add"].append(f"set server {server} addr {member.address} port {pool.port}")
                # what the checks found out is of the replica that was at the other address
                made["add"].append(f"set server {server} health up")
            elif not row.up and row.state is not State.READY:
                # or of the time when it was stopped: whom we bring back was gated, and has to be asked to be confirmed
                made["add"].append(f"set server {server} health up")
            if row is None or row.state is not member.state:
                made[member.state.value].append(f"set server {server} state {member.state.value}")
            if member.state is State.READY and row is not None and row.weight == 0:
                made["ready"].append(f"set server {server} weight 1")
    staying = {m.server for m in backend.members if m.state is not State.MAINT}
    for row in rows:
        if row.pool.startswith(backend.prefix) and row.name not in staying:
            if row.state is not State.MAINT:
                made["gone"].append(f"set server {row.pool}/{row.name} state maint")
            made["gone"].append(f"del server {row.pool}/{row.name}")
    return tuple(made["add"] + made["ready"] + made["drain"] + made["gone"])


def refused(command: str, answer: str) -> bool:
    """Whether the answer to one of the commands of `steps` is a no."""
    text = answer.strip()
    wanted = {"add": "New server registered", "del": "Server deleted"}.get(command.split()[0])
    if wanted:
        return wanted not in text
    if " addr " in command:
        return (
            "IP changed" not in text and "port changed" not in text and "no need to change" not in text and bool(text)
        )
    return bool(text)


def merged(table: Table, rows: Sequence[Row], complete: bool) -> Table:
    """The table with the members that the running proxy has.

    `complete` says that the proxy runs this very structure: then members that only the table has are gone. A member
    is ready if any pool sends it traffic. Servers in maintenance are on their way out.
    """
    found: dict[tuple[str, str], dict[str, Member]] = {}
    for row in rows:
        owner = owner_of(row.pool)
        if owner is None:
            continue
        members = found.setdefault(owner, {})
        name, mark = replica_of(row.name)
        before = members.get(name)
        if before is not None and before.mark != mark and row.state is not State.READY:
            continue  # of the same name, and on its way out
        state = State.READY if before is not None and before.state is State.READY else row.state
        if state is State.MAINT and before is not None:
            state = before.state
        members[name] = Member(name, row.address, state, mark)
    backends = []
    for backend in table.backends:
        members = dict(found.get(backend.key, {}))
        if not complete:
            for member in backend.members:
                members.setdefault(member.name, member)
        backends.append(replace(backend, members=tuple(members[name] for name in sorted(members))))
    return replace(table, backends=tuple(backends))
