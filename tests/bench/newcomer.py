# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A newcomer's first minutes, and releases under load: the end-to-end test, from an engine without our images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
AIM = 15.0
"""seconds for a second make up"""


def make_up(only: str = "") -> list[Figure]:
    """The images that recipes made are removed first, so that `make up` builds them."""
    if only == "peer":
        return []
    form = "{{.Repository}}:{{.Tag}}"
    listed = subprocess.run(["docker", "images", "--format", form], capture_output=True, text=True, check=True).stdout
    ours = [image for image in listed.split() if image.startswith("quaylock.local/")]
    if ours:
        subprocess.run(["docker", "rmi", "--force", *ours], check=True, capture_output=True)
    file = ROOT / "build" / "tests" / "make_up.json"
    file.unlink(missing_ok=True)
    env = {**os.environ, "QUAYLOCK_FIGURES": str(file)}
    call = [sys.executable, "-m", "pytest", "-q", "--no-header", "tests/e2e/test_make_up.py"]
    subprocess.run(call, cwd=ROOT, env=env, check=True)
    seen = json.loads(file.read_text())
    return [
        Figure("make up in a fresh clone, with image builds", seen["make up"], None, None),
        Figure("make up again, beside its aim", seen["second make up"], AIM, 1.0),
        Figure(
            "failed requests through a good release", seen["good"]["failed"], seen["control"]["failed"], 0, "requests"
        ),
        Figure(
            "failed requests through a bad release", seen["bad"]["failed"], seen["control"]["failed"], 0, "requests"
        ),
        Figure(
            "requests through these two releases",
            seen["good"]["requests"] + seen["bad"]["requests"],
            None,
            None,
            "requests",
        ),
    ]
