# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bad days of the place where sets lie, through whole backups, drills and restores: full, read-only, locked, lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic_calls import Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill, restoring, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import scratch as scratches
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.restoring import Choice
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.restic_keys import open_at_once

from .conftest import Harbour, web
from .restics import held, put_down
from .test_backups import frozen

pytestmark = pytest.mark.integration
MIB = 1 << 20
ITEMS = {
    "uploads": {"type": "volume", "volume": "data", "exclude": ["/jobs.db*"]},
    "jobs": {"type": "sqlite", "volume": "data", "path": "jobs.db"},
}


@dataclass
class Yard:
    """A small stack that writes, and a repository on a file system of its own."""

    harbour: Harbour
    disk: Path

    @property
    def vault(self) -> Vault:
        where = Repository(str(self.disk / "r"), str(self.disk.parent / "password"), cache=str(self.disk.parent / "c"))
        return Vault(Restic(where, "web-1"), str(self.harbour.folder / "state/manifests"))

    @property
    def data(self) -> Path:
        return Path(self.harbour.client.volumes.get(f"{self.harbour.name}_data").attrs["Mountpoint"])

    def back_up(self) -> dict[str, Any]:
        return run.back_up(self.harbour.request({}), self.vault)

    def made(self) -> str:
        answer = self.back_up()
        assert answer["outcome"] == "made", answer
        return str(answer["set"])

    def drilled(self) -> dict[str, Any]:
        return drill.drill(self.harbour.request({}), self.vault)

    def restored(self) -> dict[str, Any]:
        return restoring.restore(self.harbour.request({}), self.vault, Choice("latest", (), True))

    def serves(self, before: dict[str, tuple[str, str]]) -> None:
        """As it did: nobody was restarted, nobody holds still, and nothing is left of a drill."""
        assert self.harbour.identities() == before
        assert frozen(self.harbour) == []
        label = {"label": f"com.docker.compose.project={self.harbour.name}-drill"}
        assert self.harbour.client.containers.list(all=True, filters=label) == []
        assert self.harbour.client.volumes.list(filters=label) == []

    def in_no_part(self, sets: list[str]) -> None:
        """These sets, whole, and nothing else; nobody locks the repository."""
        assert [m.id for m in self.vault.sets(self.harbour.name)] == sets
        assert self.vault.repository.locks() == []
        for manifest in self.vault.sets(self.harbour.name):
            for taken in manifest.items:
                for part in taken.parts:
                    there = self.vault.repository.read_back(part)
                    assert (there.size, there.sha256) == (part.size, part.sha256)


@pytest.fixture
def yard(harbour: Harbour, tmp_path: Path) -> Iterator[Yard]:
    disk = tmp_path / "disk"
    disk.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if subprocess.run(call, check=False, capture_output=True).returncode:
        pytest.skip("mounting takes root")
    (tmp_path / "password").write_text("correct horse\n")
    made = Yard(harbour, disk)
    try:
        made.vault.repository.init()
        open_at_once(disk / "r", "correct horse")
        services = {"web": {**web(), "volumes": ["data:/data"]}}
        harbour.deployed(services, volumes={"data": {}}, **{"x-quaylock": {"backup": {"items": ITEMS}}})
        (made.data / "upload").write_bytes(os.urandom(MIB))
        with contextlib.closing(sqlite3.connect(made.data / "jobs.db")) as db:
            db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY)")
            db.execute("INSERT INTO jobs VALUES (1)")
            db.commit()
        yield made
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        harbour.clear()
        for volume in harbour.client.volumes.list(filters={"label": f"quaylock.kept-of={harbour.name}"}):
            volume.remove(force=True)


@pytest.mark.more
def test_it_is_full(yard: Yard) -> None:
    first, before = yard.made(), yard.harbour.identities()
    (yard.data / "large").write_bytes(os.urandom(40 * MIB))
    answer = yard.back_up()
    assert answer["outcome"] in ("failed", "incomplete"), answer
    assert "there is no space left at" in answer["msg"]
    assert "next: make room" in answer["msg"]
    yard.serves(before)
    (yard.data / "large").unlink()
    yard.vault.repository.unlock()
    yard.vault.repository.prune()
    yard.in_no_part([first])
    second = yard.made()
    yard.in_no_part([second, first])
    assert yard.vault.leftovers(yard.harbour.name) == []


def test_it_is_read_only(yard: Yard) -> None:
    first, before = yard.made(), yard.harbour.identities()
    subprocess.run(["mount", "-o", "remount,ro", yard.disk], check=True)
    try:
        answer = yard.back_up()
        assert (answer["outcome"], "cannot be written to; next: look at its mount" in answer["msg"]) == ("failed", True)
    except PortError as error:
        assert "cannot be written to; next: look at its mount" in str(error)  # noqa: PT017 - before anything began
    yard.serves(before)
    # it can be restored from all the same
    assert yard.restored()["outcome"] == "restored"
    subprocess.run(["mount", "-o", "remount,rw", yard.disk], check=True)
    second = yard.made()
    yard.in_no_part([second, first])


@pytest.mark.more
def test_it_is_locked(yard: Yard) -> None:
    """By the living, who are named and left alone; by the dead, whose lock is taken away without being asked for."""
    first, before = yard.made(), yard.harbour.identities()
    repository = yard.vault.repository
    assert isinstance(repository, Restic)
    with held(repository) as pid:
        with pytest.raises(Failed, match=rf"is locked exclusively by process {pid} on .*; next: wait for its end"):
            yard.back_up()
        assert Path(f"/proc/{pid}").exists()
    yard.serves(before)
    put_down(repository, exclusive=True)
    second = yard.made()
    yard.in_no_part([second, first])


@pytest.mark.more
@pytest.mark.parametrize("who", ["drill", "restore"])
def test_it_is_lost_midway(yard: Yard, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, before = yard.made(), yard.harbour.identities()
    away = yard.disk / "away"
    plain = scratches.Scratch.choose

    def lost(self: Any, services: Any) -> None:
        plain(self, services)
        (yard.disk / "r").rename(away)

    monkeypatch.setattr(scratches.Scratch, "choose", lost)
    upload = (yard.data / "upload").read_bytes()
    answer = yard.drilled() if who == "drill" else yard.restored()
    monkeypatch.undo()
    assert answer["outcome"] == ("failed" if who == "drill" else "refused"), answer
    assert "there is no repository at" in answer["msg"]
    yard.serves(before)
    assert (yard.data / "upload").read_bytes() == upload
    away.rename(yard.disk / "r")
    # what could not be read was not proven, and a repository that is back has all of it
    assert yard.vault.proofs(yard.harbour.name) == []
    yard.in_no_part([made])
    again = yard.drilled() if who == "drill" else yard.restored()
    assert again["outcome"] == ("proven" if who == "drill" else "restored"), again


@pytest.mark.more
def test_a_file_of_a_volume_cannot_be_read(yard: Yard) -> None:
    """A disk that answers with an error, as the memory of a process does at its first page."""
    before = yard.harbour.identities()
    target = yard.data / "sick"
    target.touch()
    subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", target], check=True)
    try:
        answer = yard.back_up()
    finally:
        subprocess.run(["umount", target], check=True)
    assert answer["outcome"] == "failed", answer
    assert f"uploads: saving {yard.data}: not all of it could be read: {target}" in answer["msg"]
    yard.serves(before)
    yard.in_no_part([])
    assert yard.vault.repository.snapshots() == []
    target.unlink()
    yard.in_no_part([yard.made()])


@pytest.mark.more
def test_a_database_without_a_byte_goes_there_and_comes_back(yard: Yard) -> None:
    (yard.data / "jobs.db").write_bytes(b"")
    yard.made()
    answer = yard.drilled()
    assert answer["outcome"] == "proven", answer
    with contextlib.closing(sqlite3.connect(yard.data / "jobs.db")) as db:
        db.execute("CREATE TABLE later (id INTEGER)")
        db.commit()
    assert yard.restored()["outcome"] == "restored"
    with contextlib.closing(sqlite3.connect(yard.data / "jobs.db")) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@pytest.mark.more
def test_the_disk_has_no_room_for_a_drill(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    made, before = yard.made(), yard.harbour.identities()
    monkeypatch.setattr(scratches, "ROOM", 1e9)
    answer = yard.drilled()
    assert answer["outcome"] == "failed"
    assert "uploads needs " in answer["msg"]
    assert " are free; next: make room there" in answer["msg"]
    refused = yard.restored()
    assert (refused["outcome"], refused["changed"]) == ("refused", False)
    monkeypatch.undo()
    yard.serves(before)
    yard.in_no_part([made])
    assert yard.drilled()["outcome"] == "proven"
