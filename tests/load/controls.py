# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What users do today, for comparison: `docker compose up -d`, and scaling up and down by hand."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .releases import Release, compose

PORTS = {"web": 26810, "live": 26811}
HEALTHY = 30.0
"""seconds for new replicas to become healthy, by Docker's own word"""


class Project:
    """One Compose project, its file rewritten for each release."""

    def __init__(self, program: str, name: str, folder: Path, network: str, published: Mapping[str, str]) -> None:
        self._program, self.name, self._network, self._published = program, name, network, published
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "compose.json"

    def run(self, *words: str, must: bool = True) -> str:
        call = [self._program, "--project-name", self.name, "--file", str(self._file), *words]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if must and done.returncode:
            raise RuntimeError(f"docker compose {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout

    def describe(self, release: Release) -> None:
        self._file.write_text(json.dumps(compose(release, self._network, self._published)))

    def up(self, release: Release) -> None:
        """docker compose up -d: the old one is stopped and removed, then the new one is started."""
        self.describe(release)
        self.run("up", "--detach", "--timeout", "3")

    def scale(self, release: Release) -> None:
        """Twice as many, wait until they are healthy, stop and remove the old ones: what docker-rollout does."""
        self.describe(release)
        for service in ("web", "live"):
            old = self.run("ps", "--quiet", service).split()
            twice = f"{service}={2 * len(old)}"
            self.run("up", "--detach", "--no-deps", "--no-recreate", "--scale", twice, service)
            new = [c for c in self.run("ps", "--quiet", service).split() if c not in old]
            healthy = _wait(new)
            leaving = old if healthy else new
            subprocess.run(["docker", "stop", "--time", "3", *leaving], capture_output=True, check=True)
            subprocess.run(["docker", "rm", *leaving], capture_output=True, check=True)
            if not healthy:
                return

    def down(self) -> None:
        self.run("down", "--volumes", "--timeout", "1", must=False)


def _wait(containers: Sequence[str]) -> bool:
    until = time.monotonic() + HEALTHY
    asked = ["docker", "inspect", "--format", "{{.State.Health.Status}}", *containers]
    while time.monotonic() < until:
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
        if said == ["healthy"] * len(containers):
            return True
        time.sleep(0.5)
    return False
