# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine is restarted while a set is made: an engine of its own, beside this machine's, that may be killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import files, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository

from .conftest import WEB, Harbour, web
from .test_backups import frozen

pytestmark = [pytest.mark.integration, pytest.mark.more]


class OwnEngine:
    """A dockerd in a network of its own: in this machine's, even one without a bridge takes docker0 away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("dockerd")
        if not program:
            pytest.skip("dockerd is not on this machine")
        places = [f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid"]
        (self.folder / "daemon.json").write_text("{}")  # not the machine's
        quiet = [f"--config-file={self.folder}/daemon.json", "--bridge=none", "--iptables=false"]
        with (self.folder / "log").open("ab") as log:
            call = ["unshare", "--net", program, "-H", self.url, *places, *quiet]
            self.process = subprocess.Popen(call, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 120
        while subprocess.run(["docker", "-H", self.url, "version"], capture_output=True, check=False).returncode:
            assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.2)

    def end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        if number == signal.SIGKILL:
            time.sleep(1)  # its containerd goes with it
            (self.folder / "pid").unlink(missing_ok=True)


@pytest.fixture
def engine(web_built: str) -> Iterator[OwnEngine]:
    folder = Path(tempfile.mkdtemp(prefix="qe-"))
    made = OwnEngine(folder)
    try:
        made.start()
        load = f"docker save {WEB} | docker -H {made.url} load -q"
        subprocess.run(["bash", "-o", "pipefail", "-c", load], check=True, stdout=subprocess.DEVNULL)
        yield made
    finally:
        if made.process:
            if made.process.poll() is not None:
                made.start()  # what runs in it ends with it in order only
            made.end(signal.SIGTERM)
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed([m for m in mounted if m.startswith(f"{folder}/")]):
            subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_engine_is_restarted_while_writers_hold_still(
    engine: OwnEngine,
    harbours: Callable[..., Harbour],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    harbour = harbours(docker_host=engine.url)
    harbour.client = docker.DockerClient(engine.url)
    (tmp_path / "password").write_text("correct horse\n")
    where = Repository(str(tmp_path / "r"), str(tmp_path / "password"), cache=str(tmp_path / "c"))
    vault = Vault(Restic(where, "web-1"), str(tmp_path / "sets"))
    vault.repository.init()
    items = {"data": {"type": "volume", "volume": "data"}, "word": {"type": "path", "path": str(tmp_path / "password")}}
    services = {"web": {**web(), "volumes": ["data:/data"], "restart": "always"}}
    harbour.deployed(services, volumes={"data": {}}, **{"x-quaylock": {"backup": {"items": items}}})
    plain, once = files.TreeSource.freeze, threading.Lock()
    struck: list[list[str]] = []

    def restarted(self: Any) -> None:
        if once.acquire(blocking=False):
            struck.append(frozen(harbour))
            engine.end(number)
        plain(self)

    monkeypatch.setattr(files.TreeSource, "freeze", restarted)
    answer = run.back_up(harbour.request({}), vault)
    monkeypatch.undo()
    assert struck == [[f"{harbour.name}-web-1"]]
    assert answer["outcome"] in ("made", "failed"), answer
    engine.start()
    harbour.client = docker.DockerClient(engine.url)
    assert frozen(harbour) == []
    assert vault.repository.locks() == []
    assert [m.id for m in vault.sets(harbour.name)] == ([answer["set"]] if answer["outcome"] == "made" else [])
    until = time.monotonic() + 30
    while not harbour.running("web"):
        assert time.monotonic() < until
        time.sleep(0.2)
    again = run.back_up(harbour.request({}), vault)
    assert again["outcome"] == "made", again
    assert frozen(harbour) == []
