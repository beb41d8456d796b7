# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bad days of a backup, each on the real engine: a clear error, nothing in part, no lock left, services running."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.docker_engine import DockerEngine
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.local import Busy
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import files, postgres, run
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .test_backups import ITEMS, Shop, shop

pytestmark = pytest.mark.integration

__all__ = ["shop"]


def nothing_happened(shop: Shop, before: dict[str, tuple[str, str]]) -> None:
    """As before: no set, no snapshot, no lock, nobody who holds still, no session, and the next backup works."""
    assert shop.harbour.identities() == before, "nobody was restarted"
    assert shop.paused() == []
    assert shop.goes_on()
    assert shop.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'quaylock%'") == "0"
    assert shop.vault.repository.snapshots() == []
    assert shop.vault.repository.locks() == []
    assert not list((shop.harbour.folder / "state/backup").rglob("*.sqlite"))


def in_db(shop: Shop, script: str) -> str:
    db = shop.harbour.client.containers.get(f"{shop.harbour.name}-db-1")
    code, output = db.exec_run(["sh", "-c", script], user="root")
    assert code == 0, output
    return str(output.decode().strip())


def stand_in(shop: Shop, program: str, script: str) -> None:
    """Another program in its place, which is then "$0.real"."""
    real = 'case "$1" in -V | --version) exec "$0.real" "$@" ;; esac'  # pg_dumpall asks
    where = f'p=$(command -v {program}); mv "$p" "$p.real"; cat > "$p"; chmod 755 "$p"'
    call = ["docker", "exec", "-i", "-u", "root", f"{shop.harbour.name}-db-1", "sh", "-c", where]
    subprocess.run(call, input=f"#!/bin/sh\n{real}\n{script}\n".encode(), check=True, capture_output=True)


DUMPS = [
    ("dies at the start", "echo no room in hell >&2; exit 1", "no room in hell"),
    ("dies midway", "printf PGDMP; head -c 3000000 /dev/urandom; echo server closed the connection >&2; exit 1", "server closed the connection"),
    ("is killed midway", "printf PGDMP; head -c 3000000 /dev/urandom; kill -9 $$", "exit code 137"),
    ("dies after the last byte", '"$0.real" "$@"; exit 3', "exit code 3"),
    ("is empty with exit code 0", "exit 0", "is no dump"),
    ("writes something else with exit code 0", "echo hello; exit 0", "is no dump"),
    ("is truncated with exit code 0", '"$0.real" "$@" | head -c 2000; exit 0', "pg_restore"),
]  # fmt: skip


SAME = (
    "dies at the start",
    "is empty with exit code 0",
    "is killed midway",
    "dies after the last byte",
    "writes something else with exit code 0",
)


@pytest.mark.parametrize(
    ("script", "says"),
    [pytest.param(*d[1:], id=d[0], marks=[pytest.mark.more] if d[0] in SAME else []) for d in DUMPS],
)
def test_a_dump_that(shop: Shop, script: str, says: str) -> None:
    before = shop.harbour.identities()
    stand_in(shop, "pg_dump", script)
    answer = shop.back_up()
    assert answer["outcome"] == "failed", answer
    assert "db: " in answer["msg"]
    assert says in answer["msg"]
    nothing_happened(shop, before)
    in_db(shop, 'p=$(command -v pg_dump); mv "$p.real" "$p"')
    again = shop.back_up()
    assert again["outcome"] == "made", again["msg"]


def during(shop: Shop, moment: str, act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A backup in which something happens at a moment of the item db."""
    plain = getattr(postgres.PostgresSource, moment)

    def spoiled(self: postgres.PostgresSource, *args: Any) -> Any:
        act()
        return plain(self, *args)

    monkeypatch.setattr(postgres.PostgresSource, moment, spoiled)
    try:
        return shop.back_up()
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize(
    "moment",
    [pytest.param(moment, marks=pytest.mark.more) for moment in ("freeze", "store", "read_back")],
)
def test_the_database_is_killed(shop: Shop, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    db = shop.harbour.client.containers.get(f"{shop.harbour.name}-db-1")
    answer = during(shop, moment, db.kill, monkeypatch)
    assert answer["outcome"] in ("failed", "incomplete"), answer
    assert shop.paused() == []
    assert shop.vault.sets() == []
    db.start()
    shop.harbour.client.containers.get(f"{shop.harbour.name}-writer-1").restart(timeout=1)
    until(lambda: "accepting" in in_db(shop, "pg_isready || true"))
    assert shop.back_up()["outcome"] == "made"
    assert shop.vault.leftovers(shop.harbour.name) == []


@pytest.mark.more
def test_somebody_ends_our_sessions(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.harbour.identities()
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'quaylock%'"
    answer = during(shop, "store", lambda: shop.sql(end), monkeypatch)
    assert answer["outcome"] == "failed", answer
    nothing_happened(shop, before)


@pytest.mark.more
def test_a_writer_is_removed_while_it_holds_still(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = shop.harbour.client.containers.get(f"{shop.harbour.name}-writer-1")
    answer = during(shop, "freeze", lambda: writer.remove(force=True), monkeypatch)
    assert answer["outcome"] == "made", answer
    assert shop.paused() == []


@pytest.mark.more
def test_who_holds_still_for_too_long_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.deploy(longest="1s")
    before = shop.harbour.identities()
    seen: list[list[str]] = []

    def slow() -> None:
        time.sleep(2.5)
        seen.append(shop.paused())

    answer = during(shop, "freeze", slow, monkeypatch)
    assert seen == [[]], "they went on while it was still freezing"
    assert answer["outcome"] == "failed", answer
    assert "writers held still for 1 s, which is the longest they may" in answer["msg"]
    nothing_happened(shop, before)


@pytest.mark.more
def test_a_file_vanishes_while_it_is_stored(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.harbour.identities()
    plain = files.TreeSource.open

    def gone(self: files.TreeSource) -> None:
        self._folder = str(Path(self._folder) / "nowhere")
        plain(self)

    monkeypatch.setattr(files.TreeSource, "open", gone)
    answer = shop.back_up()
    monkeypatch.undo()
    assert answer["outcome"] == "failed"
    assert "does not exist" in answer["msg"]
    nothing_happened(shop, before)


@pytest.mark.more
def test_a_damaged_sqlite_file_is_said(shop: Shop) -> None:
    before = shop.harbour.identities()
    whole = (shop.uploads / "jobs.db").read_bytes()
    (shop.uploads / "jobs.db").write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    answer = shop.back_up()
    assert answer["outcome"] == "failed"
    assert "jobs: " in answer["msg"]
    nothing_happened(shop, before)


def test_the_password_is_wrong(shop: Shop) -> None:
    shop.made()
    before = shop.harbour.identities()
    shop.password.write_text("battery staple\n")
    with pytest.raises(PortError, match="password"):
        shop.back_up()
    assert shop.harbour.identities() == before
    assert shop.paused() == []
    shop.password.write_text("correct horse\n")
    assert len(shop.vault.sets()) == 1


def test_the_repository_is_gone(shop: Shop) -> None:
    before = shop.harbour.identities()
    shop.repository.rename(shop.repository.parent / "elsewhere")
    with pytest.raises(PortError, match=r"no repository|does not exist"):
        shop.back_up()
    (shop.repository.parent / "elsewhere").rename(shop.repository)
    nothing_happened(shop, before)


@pytest.mark.more
def test_two_backups_at_once(shop: Shop) -> None:
    answers: list[dict[str, Any]] = []
    first = threading.Thread(target=lambda: answers.append(shop.back_up()))
    first.start()
    until(lambda: shop.harbour.journal.unfinished_of("backup", shop.harbour.name), rest=0.02)
    with pytest.raises(Busy, match="tester"):
        shop.back_up()
    first.join()
    assert [a["outcome"] for a in answers] == ["made"]


def test_a_rollout_lets_go_on_what_a_killed_backup_left(shop: Shop) -> None:
    journal = shop.harbour.journal
    journal.begin("s-1", shop.harbour.name, "backup", "tester", time.time(), {})
    name = f"{shop.harbour.name}-writer-1"
    journal.log("s-1", time.time(), "do", {"do": "Quiesce", "service": "writer", "name": name})
    journal.close()
    DockerEngine(shop.harbour.client).pause(name)
    assert shop.paused() == [name]
    extra = {"backup": {"items": ITEMS}}
    request = shop.harbour.request(shop.services(), volumes={"data": {}, "uploads": {}}, **{"x-quaylock": extra})
    checked = deploy.check(request)
    assert checked["changed"]
    assert any("backup s-1 was interrupted" in note for note in checked["notes"])
    answer = deploy.deploy(request)
    assert answer["outcome"] == "unchanged", answer
    assert any(f"{name} held still and went on" in note for note in answer["notes"])
    assert shop.paused() == []
    assert shop.goes_on()


@pytest.mark.parametrize(
    ("name", "says"), [("nobody", "has no release on this host"), ("", "declares nothing to back up")]
)
def test_there_is_nothing_to_back_up(shop: Shop, name: str, says: str) -> None:
    if name:
        request = shop.harbour.request({})
        object.__setattr__(request, "name", name)
        with pytest.raises(Invalid, match=says):
            run.back_up(request, shop.vault)
        return
    shop.harbour.deployed(shop.services(), volumes={"data": {}, "uploads": {}})
    with pytest.raises(Invalid, match=says):
        shop.back_up()
