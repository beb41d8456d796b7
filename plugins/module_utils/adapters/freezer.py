# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The processes of a container, frozen by this host's kernel and not by the engine.

The engine marks what it pauses as unhealthy until its next health check has passed, which may take half a minute: long
enough for somebody to replace it. It does not see this.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..ports import PortError

PATIENCE = 5.0
"""seconds in which all processes have to stand still; one that waits for a disk does so later"""
OFTEN = 20
"""tries after which it is begun anew"""


@dataclass(frozen=True)
class Switch:
    """The file that freezes and thaws a control group, and where it says that all of it stands still."""

    file: Path
    frozen: str
    thawed: str
    told: Path
    word: str


def freeze(base_url: str, pid: int, container: str, proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> bool:
    """Whether it was done: only where the engine is this host's, and the process is one of that container.

    Raises PortError, and thaws, where the processes do not stand still in time.
    """
    switch = _switch(base_url, pid, container, proc, groups)
    if switch is None:
        return False
    try:
        until = time.monotonic() + PATIENCE
        for turn in itertools.count(1):
            if turn % OFTEN == 0:
                # processes that keep appearing get into the way of version 1, and a moment's thaw out of it
                switch.file.write_text(switch.thawed)
                time.sleep(0.01)
            switch.file.write_text(switch.frozen)
            if switch.word in switch.told.read_text():
                break
            if time.monotonic() > until:
                switch.file.write_text(switch.thawed)
                raise PortError(f"the processes of {container[:12]} did not stand still within {PATIENCE:g} s")
            time.sleep(0.001)
    except OSError as error:
        raise PortError(f"freezing {container[:12]}: {error}") from error
    return True


def thaw(base_url: str, pid: int, container: str, proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> bool:
    """The reverse; done if they run already."""
    switch = _switch(base_url, pid, container, proc, groups)
    if switch is None:
        return False
    try:
        switch.file.write_text(switch.thawed)
    except OSError as error:
        raise PortError(f"thawing {container[:12]}: {error}") from error
    return True


def there(base_url: str, pid: int, container: str, proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> bool:
    """Whether this host's kernel can do it."""
    return _switch(base_url, pid, container, proc, groups) is not None


def _switch(base_url: str, pid: int, container: str, proc: str, groups: str) -> Switch | None:
    if not base_url.startswith("http+docker://") or pid <= 1 or not container:
        return None
    try:
        lines = (Path(proc) / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    return next((s for s in _switches(lines, container, Path(groups)) if s.file.exists()), None)


def _switches(lines: list[str], container: str, groups: Path) -> Iterator[Switch]:
    """Of version 1 and of version 2; a host may have both, and one of them has the freezer."""
    for line in lines:
        _number, kinds, path = line.split(":", 2)
        if container not in path:
            continue
        inside = path.lstrip("/")
        if kinds == "freezer":
            file = groups / "freezer" / inside / "freezer.state"
            yield Switch(file, "FROZEN", "THAWED", file, "FROZEN")
        elif not kinds:
            folder = groups / inside
            yield Switch(folder / "cgroup.freeze", "1", "0", folder / "cgroup.events", "frozen 1")
