# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bad days of the containers that are backed up: paused by somebody, renamed, killed with whoever holds them still."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import journal
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from docker.errors import APIError

from .test_backup_bad_days import during, nothing_happened
from .test_backups import KILLED, Shop, let_go_on, shop

pytestmark = [pytest.mark.integration, pytest.mark.more]
__all__ = ["shop"]


def writer_of(shop: Shop) -> Any:
    return shop.harbour.client.containers.get(f"{shop.harbour.name}-writer-1")


def test_who_was_paused_by_hand_before_stays_so(shop: Shop) -> None:
    """It holds still already, so that the set is of one moment; and it is not ours to let go on."""
    writer = writer_of(shop)
    writer.pause()
    try:
        answer = shop.back_up()
        assert answer["outcome"] == "made", answer
        assert f"{writer.name} was paused before, and was left so" in answer["notes"]
        writer.reload()
        assert writer.status == "paused"
        # one that is let go on meanwhile may have written at the moment
        refused = during_seal(shop, writer.unpause)
        assert refused["outcome"] == "failed", refused
        assert f"{writer.name} was paused when the set was begun and is not any more" in refused["msg"]
    finally:
        writer.reload()
        if writer.status == "paused":
            writer.unpause()
    assert shop.goes_on()
    assert shop.made().still == ("writer",)
    # a server that is paused answers nobody: that is said before anything is touched
    db = shop.harbour.client.containers.get(f"{shop.harbour.name}-db-1")
    db.pause()
    try:
        with pytest.raises(Invalid, match=rf"items.db: {db.name} is paused, and answers nobody \(docker unpause"):
            shop.back_up()
    finally:
        db.unpause()
    assert shop.paused() == []


def during_seal(shop: Shop, act: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        return during(shop, "read_back", act, patch)


def test_who_holds_still_cannot_be_paused_by_hand(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine says so to whoever tries, and they try again a moment later."""
    writer, said = writer_of(shop), []

    def pause() -> None:
        with pytest.raises(APIError) as refused:
            writer.pause()
        said.append(str(refused.value))

    answer = during(shop, "freeze", pause, monkeypatch)
    assert answer["outcome"] == "made", answer
    assert len(said) == 1
    assert shop.paused() == []
    assert shop.goes_on()


def test_who_is_renamed_is_still_known(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(shop)
    name = writer.name
    writer.rename(f"{name}-before")
    answer = during(shop, "freeze", lambda: writer.rename(f"{name}-during"), monkeypatch)
    assert answer["outcome"] == "made", answer
    assert shop.paused() == [], "whatever it is called by now"
    assert shop.goes_on()
    db = shop.harbour.client.containers.get(f"{shop.harbour.name}-db-1")
    answer = during(shop, "store", lambda: db.rename(f"{name}-server"), monkeypatch)
    db.rename(f"{shop.harbour.name}-db-1")
    writer.rename(name)
    assert answer["outcome"] in ("made", "failed"), answer
    assert shop.paused() == []
    made = shop.made()
    assert made.id in [m.id for m in shop.vault.sets(shop.harbour.name)]
    assert shop.vault.leftovers(shop.harbour.name) == []


def test_another_container_of_the_same_name_is_let_alone(shop: Shop) -> None:
    """A killed backup held one still; whoever has its name by now was paused by somebody else."""
    writer = writer_of(shop)
    name, kept = writer.name, shop.harbour.journal
    kept.begin("s-1", shop.harbour.name, "backup", "tester", time.time(), {})
    asked = {"do": "Quiesce", "service": "writer", "name": name, "id": "0" * 64}
    kept.log("s-1", time.time(), "do", asked)
    kept.close()
    writer.pause()
    try:
        assert shop.back_up()["outcome"] == "made"
        writer.reload()
        assert writer.status == "paused"
    finally:
        writer.unpause()


def killed(shop: Shop, what: str, do: str) -> None:
    """A backup dies there, and soon everybody goes on."""
    asked = pickle.dumps((shop.harbour.request({}), shop.where, shop.cache, what, do, 0.0))
    call = [sys.executable, "-c", KILLED]
    done = subprocess.run(call, input=asked, timeout=90, env={**os.environ}, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    let_go_on(shop.harbour)


def test_nobody_waits_for_a_hand_when_a_backup_is_killed(shop: Shop) -> None:
    before = shop.harbour.identities()
    killed(shop, "done", "Quiesce")
    assert shop.goes_on()
    assert shop.harbour.identities() == before
    assert shop.vault.sets() == []
    entry = next(e for e in shop.harbour.journal.history(shop.harbour.name, kinds=["backup"]))
    assert entry.outcome == "interrupted"
    assert shop.back_up()["outcome"] == "made"
    assert shop.vault.repository.locks() == []


def test_who_cannot_write_its_journal_any_more_still_lets_go_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.harbour.identities()
    log = journal.SqliteJournal.log

    def broken(self: Any, rollout: str, at: float, said: str, details: Any) -> None:
        if said == "do" and details.get("do") in ("Freeze", "Resume"):
            raise OSError(28, "No space left on device")
        log(self, rollout, at, said, details)

    monkeypatch.setattr(journal.SqliteJournal, "log", broken)
    answer = shop.back_up()
    monkeypatch.undo()
    assert answer["outcome"] == "failed", answer
    assert "the journal cannot be written" in answer["msg"]
    nothing_happened(shop, before)
    assert shop.back_up()["outcome"] == "made"
