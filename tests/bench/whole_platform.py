# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real lakehouse: from images present to healthy and verified beside Compose with the same file, nothing to do, and memory."""

from __future__ import annotations

import json
import secrets
import statistics
import subprocess
import threading
import time
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.rollouts import ROOT, timed
from tests.lakehouse.real import NAME, Platform, lake


class Peer:
    """Docker Compose with the same model; secrets and configs are files that everybody may read."""

    def __init__(self, folder: Path, platform: Platform) -> None:
        model = json.loads(json.dumps(platform.model))
        for kind in ("secrets", "configs"):
            for key in model[kind]:
                file = folder / f"peer-{kind}-{key}"
                file.write_bytes(platform.contents[kind][key])
                file.chmod(0o444)
                model[kind][key] = {"file": str(file)}
        folder.chmod(0o755)
        command = subprocess.run([str(ROOT / "scripts" / "compose-peer")], check=True, capture_output=True, text=True)
        (folder / "compose.json").write_text(json.dumps(model))
        profiles = [word for profile in platform.request.profiles for word in ("--profile", profile)]
        self._call = [
            command.stdout.strip(),
            "--project-name",
            f"{NAME}-peer",
            "--file",
            str(folder / "compose.json"),
            *profiles,
        ]

    def run(self, *words: str) -> None:
        done = subprocess.run([*self._call, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"docker compose {' '.join(words)}: {done.stderr[-3000:]}")


def platform(only: str = "") -> list[Figure]:
    """`only` is "ours" or "peer" to measure one half."""
    healthy = whole = again = peer = idle = busy = None
    with lake() as (ours, folder):
        if only != "peer":
            began = time.monotonic()
            answer = ours.up()
            whole = time.monotonic() - began
            healthy, layers = ours.healthy(answer)
            print("healthy after: " + ", ".join(f"{layer} {seconds:.1f} s" for layer, seconds in layers.items()))
            for check in answer["verification"]["checks"]:
                print(f"  {check['name']}: {check['outcome']} in {check['seconds']:.1f} s")
            before = {name: body["Id"] for name, body in ours.containers().items()}
            again = statistics.median(timed(ours.up) for _turn in range(3))
            assert {name: body["Id"] for name, body in ours.containers().items()} == before
            idle = ours.memory()
            thread = threading.Thread(target=ours.daily_run, args=(f"memory-{secrets.token_hex(3)}",))
            thread.start()
            busy = idle
            while thread.is_alive():
                busy = max(busy, ours.memory())
                time.sleep(1)
            ours.down()
        if only != "ours":
            compose = Peer(folder, ours)
            try:
                peer = timed(lambda: compose.run("up", "--detach", "--wait", "--wait-timeout", "1200"))
            finally:
                compose.run("down", "--volumes", "--timeout", "1")
    return [
        Figure("lakehouse from images present to healthy, beside Compose", healthy, peer, 0.25),
        Figure(
            "lakehouse from images present to healthy, watched and verified, beside Compose's healthy",
            whole,
            peer,
            None,
        ),
        Figure("lakehouse, nothing to do", again, 3.0, 1.0),
        Figure("lakehouse, memory idle", idle, None, None, "MiB"),
        Figure("lakehouse, most memory during a daily run", busy, None, None, "MiB"),
    ]
