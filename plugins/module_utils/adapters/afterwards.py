# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A process that waits for ours to end, and does one thing where we did not say that all went well.

The kernel tells it: the pipe between us breaks, whatever we died of. It is a Python of its own and no fork: it has no
thread, no lock and no open database of ours.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..ports import PortError

PATIENCE = 60.0
"""seconds for it to load what it needs, on a host that is busy"""
PARTING = 5.0

# All is loaded while we live: an archive that Ansible has brought is gone with us. It outlives the end of a session and
# of a service, which are told first to those who then have to clear up.
WAITS = """
import importlib, json, signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
given = json.loads(sys.stdin.readline())
sys.path[:] = given["path"]
work = getattr(importlib.import_module(given["module"]), given["function"])
print("ready", flush=True)
if not sys.stdin.read():
    work(**given["words"])
"""


class Waiting:
    """One that was started. `ready` returns once it can do its work, from any thread."""

    def __init__(self, module: str, function: str, words: Mapping[str, Any]) -> None:
        self._lock, self._is_ready = threading.Lock(), False
        self._until = time.monotonic() + PATIENCE
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", WAITS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # nobody who ends our session ends it with us
                start_new_session=True,
            )
        except OSError as error:
            raise PortError(f"starting {sys.executable}: {error.strerror or error}") from error
        given = {"path": sys.path, "module": module, "function": function, "words": words}
        self._tell(json.dumps(given).encode() + b"\n")

    def ready(self) -> None:
        """Raises PortError where it will not be."""
        with self._lock:
            if self._is_ready:
                return
            answers = self._process.stdout
            patience = max(0.0, self._until - time.monotonic())
            if answers is None or not select.select([answers], [], [], patience)[0] or not answers.readline():
                raise PortError("the process that lets writers go on if this one dies did not start")
            self._is_ready = True

    def dismiss(self) -> None:
        """All went well."""
        self._tell(b"well")
        self.part()
        try:
            self._process.wait(PARTING)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def part(self) -> None:
        """Close the pipe, as our death would."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _tell(self, content: bytes) -> None:
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.write(content)
                self._process.stdin.flush()


@contextmanager
def afterwards(module: str, function: str, words: Mapping[str, Any]) -> Iterator[Waiting]:
    """While inside, a process waits that calls this function of this module where we die, or leave by an exception."""
    waiting = Waiting(module, function, words)
    try:
        yield waiting
    except BaseException:
        waiting.part()
        raise
    waiting.dismiss()
