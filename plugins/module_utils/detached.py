# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Work that goes on when whoever asked for it is gone."""

from __future__ import annotations

import os
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
