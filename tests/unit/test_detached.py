# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Work in a process of its own: what follows it follows, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

GUARDED = """
import os, signal, sys, time
from ansible_collections.quaylock.stacks.plugins.module_utils.detached import guarded
def work():
    print("at work", os.getpid(), flush=True)
    if sys.argv[1] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "waits":
        time.sleep(60)
    return int(sys.argv[1])
sys.exit(guarded(work, lambda: print("mended", flush=True)))
"""


def started(how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", GUARDED, how], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("how", "code", "mended"), [("0", 0, False), ("1", 1, False), ("dies", 1, True)])
def test_what_it_came_to(how: str, code: int, mended: bool) -> None:
    process = started(how)
    said, _nothing = process.communicate(timeout=30)
    assert process.returncode == code
    assert ("mended" in said) is mended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_is_told_to_end_ends_the_work_first(number: signal.Signals) -> None:
    process = started("waits")
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[-1])
    time.sleep(0.2)
    process.send_signal(number)
    said, _nothing = process.communicate(timeout=10)
    assert (process.returncode, said) == (1, "mended\n")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
