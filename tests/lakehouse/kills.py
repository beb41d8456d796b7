# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Each container of a real lakehouse killed once, in the middle of a daily run: python -m tests.lakehouse.kills [SERVICE...]"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass

from tests.lakehouse.real import LAYERS, Beside, lake

MOMENT = {"trino": 45, "dbt": 42}
"""seconds after a run's begin at which they are at work; the others are from its begin"""


@dataclass(frozen=True)
class Killed:
    service: str
    run: str
    seconds: float
    healed: float
    right: bool

    def __str__(self) -> str:
        return f"| `{self.service}` | {self.run} | {self.seconds:.0f} s | {self.healed:.0f} s | {'yes' if self.right else 'NO'} |"


def kills(services: list[str]) -> int:
    """Each container once, in the middle of a daily run, as a crash: its first process gets SIGKILL."""
    wrong = 0
    with lake() as (ours, _folder):
        print("healthy after: ", ours.healthy(ours.up()), flush=True)
        names = len(ours.containers())
        wanted = ours.sums()
        print(
            "| killed | daily run | took | all healthy again after | counts are right |\n| --- | --- | --- | --- | --- |",
            flush=True,
        )
        for service in services or [name for layer in LAYERS.values() for name in layer if not name.endswith("-init")]:
            run = Beside(ours, f"kill-{service}-{secrets.token_hex(3)}")
            began = time.monotonic()
            time.sleep(MOMENT.get(service, 15))
            os.kill(ours.containers()[ours.of(service)]["State"]["Pid"], signal.SIGKILL)
            time.sleep(1)
            healed = 1 + ours.healed(names)
            run.join()
            took = time.monotonic() - began
            ours.healed(names)
            killed = Killed(service, run.state, took, healed, ours.sums() == wanted)
            wrong += not killed.right
            print(killed, flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(kills(sys.argv[1:]))
