# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A machine of its own in a container, with systemd and an engine that may be restarted, and so may the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

ROOT = Path(__file__).resolve().parents[2]
SITE = "/opt/site/ansible_collections/quaylock/stacks"
WEB = "local/q-web:dev"
INSIDE = "ansible_collections.quaylock.stacks.tests.faults.inside"
PREFIX = os.environ.get("QUAYLOCK_FAULTS_PREFIX", "qf5")


class Machine:
    """Up between `start` and `stop`; `order` runs something inside."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}-faults-{os.getpid()}"
        self.address = ""
        self.snapshot = tempfile.TemporaryDirectory(prefix="quaylock-faults.")
        """the collection as it is when the matrix begins: an hour is long, and somebody may go on working"""

    def start(self) -> None:
        for part in ("plugins", "tests"):
            shutil.copytree(ROOT / part, f"{self.snapshot.name}/{part}", ignore=shutil.ignore_patterns("__pycache__"))
        images = [web_image(WEB), recipe_image(docker.from_env(), "haproxy")]
        names = json.loads(
            subprocess.run(
                [sys.executable, str(ROOT / "scripts/test_hosts.py")], stdout=subprocess.PIPE, check=True
            ).stdout
        )
        rights = [
            "--cap-add=SYS_ADMIN",
            "--cap-add=NET_ADMIN",
            "--cap-add=SYS_PTRACE",
            "--security-opt=seccomp=unconfined",
            "--security-opt=apparmor=unconfined",
            "--cgroupns=private",
        ]
        places = [
            "--tmpfs=/run",
            "--tmpfs=/run/lock",
            "--tmpfs=/tmp:exec",
            "--tmpfs=/small:size=4m",
            "-v/var/lib/docker",
        ]
        self._docker(
            "run", "-d", f"--name={self.name}", *rights, *places, f"-v{self.snapshot.name}:{SITE}:ro", names["engine"]
        )
        self.wait()
        # systemd would take engine restarts in one cell after the other for a crash loop
        for unit in ("docker.service", "docker.socket"):
            folder = f"/etc/systemd/system/{unit}.d"
            self._docker("exec", self.name, "mkdir", "-p", folder)
            limit = f"printf '[Unit]\\nStartLimitIntervalSec=0\\n' >{folder}/limit.conf; systemctl daemon-reload"
            self._docker("exec", self.name, "sh", "-c", limit)
        for image in images:
            load = f"docker save {image} | docker exec -i {self.name} docker load -q"
            subprocess.run(["bash", "-o", "pipefail", "-c", load], check=True, stdout=subprocess.DEVNULL)
        [answer] = self.order({"do": "setup", "image": images[1]})
        assert answer == {"ready": True}

    def stop(self) -> None:
        self.snapshot.cleanup()
        subprocess.run(["docker", "rm", "-fv", self.name], check=False, stdout=subprocess.DEVNULL)

    def reboot(self) -> None:
        """As by a power cut: nobody is asked to end."""
        self._docker("kill", self.name)
        self._docker("start", self.name)
        self.wait()

    def wait(self) -> None:
        """Until its engine answers and its address is known."""
        until = time.monotonic() + 60
        while subprocess.run(
            ["docker", "exec", self.name, "docker", "version"], capture_output=True, check=False
        ).returncode:
            if time.monotonic() > until:
                raise TimeoutError(f"the engine of {self.name} does not answer")
            time.sleep(0.2)
        shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        self.address = self._docker("inspect", "-f", shown, self.name).strip()

    def order(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """Run it to its end, whatever that is; a reboot that is asked for is given."""
        return list(self._answers(order))

    def _answers(self, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
        # setsid: what starts it is a session, as that of an SSH login is
        words = ["docker", "exec", "-i", "-e", "PYTHONPATH=/opt/site", "-e", "PYTHONDONTWRITEBYTECODE=1", self.name]
        process = subprocess.Popen(
            [*words, "setsid", "-w", "python3", "-m", INSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            answer = json.loads(line)
            if "reboot" in answer:
                self.reboot()
            yield answer
        said = process.stderr.read()
        code = process.wait()
        yield from [{"code": code, "said": said[-3000:]}] if code else []

    def _docker(self, *words: str) -> str:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr}")
        return done.stdout


def answer_of(answers: Sequence[dict[str, Any]], key: str) -> dict[str, Any]:
    """The line that has `key`; {} where the process died before."""
    return next((a for a in answers if key in a), {})
