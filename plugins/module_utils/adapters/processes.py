# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A command in a container that did not end in time: the engine has no call to end it, this host's kernel has."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from ..core.model import Json


def end(base_url: str, details: Json, proc: str = "/proc") -> bool:
    """Kill the process of an exec (its inspect body), so that late checks do not pile up in the replica.

    Only where the engine is this host's, and the process is by the kernel's word one of that container: a process id
    of another machine, or of another process namespace, means nothing here. Returns whether it was killed.
    """
    pid, container = details.get("Pid") or 0, details.get("ContainerID") or ""
    if not base_url.startswith("http+docker://") or not details.get("Running") or pid <= 1 or not container:
        return False
    try:
        mine = container in (Path(proc) / str(pid) / "cgroup").read_text()
    except OSError:
        return False
    if not mine:
        return False
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
