# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who lets writers go on when the process that holds them still dies: for every backup, whoever asked for it."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager

from ..adapters.afterwards import Waiting, afterwards
from ..adapters.local import Busy, locked
from ..host import open_host, serving_stack
from ..journal import SqliteJournal
from ..ports import PortError
from ..request import Request
from .writers import recover

PATIENCE = 600.0
"""seconds to wait for an engine that is away; and for the lock of who died, which the kernel frees at once"""
AGAIN = 1.0


def watched(request: Request) -> AbstractContextManager[Waiting]:
    """While inside, our end is waited for."""
    words = {
        "name": request.name,
        "state_dir": request.state_dir,
        "config_dir": request.config_dir,
        "docker_host": request.docker_host,
        "wait": PATIENCE,
    }
    return afterwards(__name__, "mend", words)


def mend(name: str, state_dir: str, config_dir: str, docker_host: str, wait: float = 0.0) -> list[str]:
    """Let go on what a killed backup of this stack left holding still, by the journal's word and by nothing else.

    Under the stack's lock: where somebody else has it, who comes next does the same before anything else.
    """
    request = Request(
        name=name, who="quaylock-backup mend", state_dir=state_dir, config_dir=config_dir, docker_host=docker_host
    )
    with contextlib.closing(SqliteJournal(request.journal_path)) as journal:
        if not journal.unfinished_of("backup", name):
            return []
    until = time.monotonic() + wait
    with contextlib.suppress(Busy), locked(request.locks, name, request.who, wait):
        while True:
            try:
                host, journal = open_host(request)
                stack = serving_stack(name, journal)
                return recover(host, stack, journal) if stack else []
            except PortError:
                if time.monotonic() >= until:
                    raise
            time.sleep(AGAIN)  # the engine is away, which may be what killed the backup
    return []
