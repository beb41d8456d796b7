# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replicas that hold still for a set, and that go on again whatever became of who asked them to."""

from __future__ import annotations

from dataclasses import asdict

from ..core.backup.leftovers import left
from ..core.backup.making import Still
from ..core.items import Quiet, Writer
from ..core.model import Stack
from ..journal import SqliteJournal
from ..perform import Host
from ..ports import PortError

COMMAND_PATIENCE = 60.0
"""seconds that a command of the user's may take to hold a service still, or to let it go on"""


def hold_still(host: Host, stack: str, writer: Writer, still: Still) -> None:
    name = _named(host, stack, still)
    if not name:
        raise PortError(f"{still.name} has gone")
    if writer.how is Quiet.COMMANDS:
        _command(host, name, writer.hold)
    elif writer.how is Quiet.STOP:
        host.engine.stop(name, 30.0)
    else:
        host.engine.pause(name)


def go_on(host: Host, stack: str, writer: Writer, still: Still) -> None:
    """It may have gone on already, and one that is gone has nothing to go on with."""
    if still.id and writer.how is Quiet.PAUSE:
        host.engine.unpause(still.id)  # and asks no engine first, which may be starting again
        return
    name = _named(host, stack, still)
    if not name:
        return
    if writer.how is Quiet.COMMANDS:
        _command(host, name, writer.go_on)
    elif writer.how is Quiet.STOP:
        host.engine.start(name)
    else:
        host.engine.unpause(name)


def _named(host: Host, stack: str, still: Still) -> str:
    """What it is called by now, "" where it is gone: it is the same container under another name, and another one may
    have its name."""
    seen = host.engine.replicas(stack)
    if still.id:
        return next((replica.name for replica in seen if replica.id == still.id), "")
    return still.name if still.name in {replica.name for replica in seen} else ""


def _command(host: Host, name: str, command: tuple[str, ...]) -> None:
    code, said = host.engine.exec(name, command, COMMAND_PATIENCE)
    if code:
        raise PortError(f"{command[0]} in {name} ended with exit code {code}: {said or 'it said nothing'}")


def recover(host: Host, stack: Stack, journal: SqliteJournal) -> list[str]:
    """Let go on what a killed backup left holding still. Says what it did; the caller holds the stack's lock."""
    notes = []
    writers = {w.service: w for w in stack.backup.writers}
    for backup in journal.unfinished_of("backup", stack.name):
        found = left((e.what, e.details) for e in journal.events(backup))
        for still in found.still:
            go_on(host, stack.name, writers.get(still.service, Writer(still.service)), still)
            journal.log(backup, host.clock.now(), "done", {"do": "Resume", **asdict(still)})
        journal.milestone(backup, "finished", host.clock.now(), {"outcome": "interrupted"})
        names = ", ".join(still.name for still in found.still)
        notes.append(f"backup {backup} was interrupted" + (f"; {names} held still and went on" if names else ""))
    return notes
