# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Work that goes on when whoever asked for it is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable


def in_background(work: Callable[[], None]) -> None:
    """Run it in a process that neither the module's end nor a lost connection takes along."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def guarded(work: Callable[[], int], afterwards: Callable[[], None]) -> int:
    """The exit code of work that is done in a child, with `afterwards` done here where the child did not end by itself.

    A signal to us ends the child at once, whatever it holds: nothing in it would be waited for.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def end(_number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        _pid, status = os.waitpid(child, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        afterwards()
    return 1 if code < 0 else code
