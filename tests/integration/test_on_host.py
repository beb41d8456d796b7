# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's own command, from the archive that the role copies: no Ansible, a real engine, a real repository."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.lookup.engine_archive import packed
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.repositories import prepare
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import settings_in, vault_in
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid

from .conftest import Harbour, web
from .test_backups import frozen, let_go_on

pytestmark = pytest.mark.integration


@dataclass
class Host:
    """One stack with a volume, and a host's settings."""

    harbour: Harbour
    folder: Path

    @property
    def state(self) -> str:
        return str(self.harbour.folder / "state")

    @property
    def settings(self) -> Path:
        return self.folder / "settings.json"

    @property
    def metrics(self) -> str:
        return (self.folder / "quaylock.prom").read_text()

    def configure(self, **about: Any) -> None:
        (self.folder / "password").write_text("correct horse\n")
        given = {
            "repository": str(self.folder / "repository"),
            "password_file": str(self.folder / "password"),
            "host": "web-1",
            "cache": str(self.folder / "cache"),
            "metrics": str(self.folder / "quaylock.prom"),
            **about,
        }
        self.settings.write_text(json.dumps(given))

    def words(self, *words: str) -> list[str]:
        places = [f"--settings={self.settings}", f"--state-dir={self.state}", f"--config-dir={self.harbour.folder}/etc"]
        return [*places, *words]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        archive = self.folder / "engine.zip"
        if not archive.exists():
            archive.write_bytes(packed())
        call = [sys.executable, "-I", str(archive), *self.words(*words)]
        return subprocess.run(call, capture_output=True, text=True, check=False, timeout=120, cwd="/")

    def sets(self) -> list[str]:
        return [m.id for m in vault_in(str(self.settings), self.state).sets(self.harbour.name)]


@pytest.fixture
def host(harbour: Harbour, own_repository: Path, tmp_path: Path) -> Host:
    made = Host(harbour, tmp_path)
    made.configure()
    prepare(settings_in(str(made.settings)))
    deploy(harbour)
    return made


def deploy(harbour: Harbour) -> None:
    """A stack whose volume is backed up."""
    services = {"web": {**web(), "volumes": ["data:/data"]}}
    plan = {"backup": {"items": {"uploads": {"type": "volume", "volume": "data"}}}}
    harbour.deployed(services, volumes={"data": {}}, **{"x-quaylock": plan})
    volume = harbour.client.volumes.get(f"{harbour.name}_data")
    (Path(volume.attrs["Mountpoint"]) / "upload").write_text("precious")


def test_sets_are_made_when_they_are_due_and_their_age_is_told(host: Host) -> None:
    name = host.harbour.name
    host.configure(every="1h", stale_after="2h")
    assert host.call("stacks").stdout == f"{name}\n"
    made = host.call("run")
    assert (made.returncode, made.stderr) == (0, "")
    assert re.search(rf"^{name}: set s-\S+ made, \d+ bytes, writers held still for [\d.]+ s$", made.stdout, re.M)
    assert host.call("run").stdout == "nothing is due\n"
    assert len(host.sets()) == 1
    assert f'quaylock_backup_sets{{stack="{name}"}} 1' in host.metrics
    assert f'quaylock_backup_last_run_success{{task="run",stack="{name}"}} 1' in host.metrics
    assert host.call("run", name).returncode == 0, "who names it gets it"
    assert len(host.sets()) == 2
    status = host.call("status")
    assert re.search(rf"^{name}: newest set s-\S+, \d+s old, \d+ bytes; none is proven; 2 sets$", status.stdout, re.M)
    host.configure(stale_after="1s")
    time.sleep(1)
    stale = host.call("status")
    assert stale.returncode == 1
    assert re.search(
        rf"^{name}: stale: the newest set, s-\S+, is \d+s old, and more than 1s are too many", stale.stderr
    )
    assert f'quaylock_backup_stale{{stack="{name}"}} 1' in host.metrics


@pytest.mark.more
def test_a_lost_repository_is_said_and_what_was_known_is_still_told(host: Host) -> None:
    name = host.harbour.name
    assert host.call("run").returncode == 0
    (host.folder / "repository").rename(host.folder / "gone")
    failed = host.call("run")
    assert failed.returncode == 1
    assert f"{name}: " in failed.stderr
    assert "there is no repository at" in failed.stderr
    assert "Traceback" not in failed.stderr
    for line in (
        f'quaylock_backup_sets{{stack="{name}"}} 1',
        f'quaylock_backup_last_run_success{{task="run",stack="{name}"}} 0',
        f'quaylock_backup_failures_total{{task="run",stack="{name}"}} 1',
        "quaylock_backup_repository_up 0",
    ):
        assert line in host.metrics, line


SLOW = """
import sys, time
from ansible_collections.quaylock.stacks.plugins.module_utils import journal
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.on_host import main
log = journal.SqliteJournal.log
def watched(self, rollout, at, said, details):
    log(self, rollout, at, said, details)
    if said == "done" and details.get("do") == "Quiesce":
        print("still", flush=True)
        time.sleep(60)
journal.SqliteJournal.log = watched
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.more)])
def test_writers_go_on_when_a_run_is_ended(host: Host, number: signal.Signals) -> None:
    call = [sys.executable, "-c", SLOW, *host.words("run")]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    assert process.stdout.readline() == "still\n"
    assert frozen(host.harbour) == [f"{host.harbour.name}-web-1"]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    if number == signal.SIGKILL:
        # as systemd does with all that is left, before it calls what ExecStopPost says
        for child in (process.pid, *map(int, children)):
            os.kill(child, signal.SIGKILL)
        process.wait()
        assert frozen(host.harbour) == [f"{host.harbour.name}-web-1"]
        mended = host.call("mend")
        assert mended.returncode == 0
        assert "held still and went on" in mended.stdout
    else:
        # as systemd does first, with all of them
        for child in (process.pid, *map(int, children)):
            os.kill(child, number)
        process.wait(timeout=30)
        assert process.returncode == -number
    process.stdout.close()
    let_go_on(host.harbour)
    assert host.sets() == []
    assert host.call("run").returncode == 0


def test_a_repository_is_made_once_and_opens_with_two_passwords(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")
    about = {"repository": str(tmp_path / "r"), "password_file": str(tmp_path / "password"), "host": "web-1"}
    (tmp_path / "settings.json").write_text(json.dumps(about))
    settings = settings_in(str(tmp_path / "settings.json"))
    assert prepare(settings, dry=True)["made"] == ["repository"]
    assert not (tmp_path / "r").exists()
    with pytest.raises(Invalid, match="is the host's own password"):
        prepare(settings, "correct horse")
    first = prepare(settings)
    assert (first["made"], first["recovery_lacking"]) == (["repository"], ["repository"])
    second = prepare(settings, "correct recovery")
    assert (second["changed"], second["recovery_added"]) == (True, ["repository"])
    assert prepare(settings, "another recovery") == {
        "changed": False, "made": [], "recovery_added": [], "recovery_lacking": [],
    }  # fmt: skip
    (tmp_path / "password").write_text("wrong\n")
    with pytest.raises(Exception, match="its password is another"):
        prepare(settings)
