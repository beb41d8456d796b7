# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who looks at the proxy all the time: how young was the youngest replica that answered, and which versions did."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

PAUSE = 0.015
"""seconds between two looks"""


@dataclass
class Watch:
    """Asks `/version` through the proxy between `__enter__` and `__exit__`."""

    address: str
    port: int
    host: str
    youngest: float = 1e9
    """seconds that the youngest replica had been up when it answered"""
    versions: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._over.wait(PAUSE):
            line = http.client.HTTPConnection(self.address, self.port, timeout=3)
            try:
                line.request("GET", "/version", headers={"Host": self.host})
                answer = line.getresponse()
                told = json.loads(answer.read())
                if answer.status == 200:
                    self.youngest = min(self.youngest, told["up"])
                    self.versions[told["version"]] += 1
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(PAUSE)  # the load counts what is lost
            finally:
                line.close()
