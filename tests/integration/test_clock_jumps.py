# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's clock jumps, ahead and back: what was made last is restored, and retention and drills are not led astray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import local
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract, keeping, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault, shown
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.proof import Proof
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.retention import Rule
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

from .conftest import Harbour, web
from .test_vault import DAY, NOW, sealed, vault_of

pytestmark = pytest.mark.integration
Jump = Callable[[float], None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Sets the clock to so many days after NOW."""

    def to(days: float) -> None:
        monkeypatch.setattr(time, "time", lambda: NOW + days * DAY)

    return to


@pytest.fixture
def vault(own_repository: Path) -> Vault:
    return vault_of(own_repository.parent, "web-1")


def kept(vault: Vault, tmp_path: Path) -> list[str]:
    keeping.keep(Request(name="shop", state_dir=str(tmp_path / "state")), vault, Rule(days=30))
    return [m.id for m in vault.sets("shop")]


def test_a_clock_that_was_ahead_leaves_nothing_that_counts_for_ever(vault: Vault, tmp_path: Path, jump: Jump) -> None:
    jump(0)
    for name, age in (("s-1", 3), ("s-2", 2)):
        sealed(vault, name, age, proven=True)
    jump(400)
    sealed(vault, "s-wrong", -400)
    vault.prove(Proof("s-wrong", "shop", "web-1", NOW + 400 * DAY, True))
    vault.prove(Proof("s-2", "shop", "web-1", NOW + 400 * DAY, True))
    assert kept(vault, tmp_path) == ["s-wrong", "s-2", "s-1"], "not even while it is ahead"
    jump(1)
    sealed(vault, "s-3", -1)
    assert [m.id for m in vault.sets("shop")] == ["s-3", "s-2", "s-1", "s-wrong"]
    assert extract.found(vault, "shop", "latest").id == "s-3", "what was made last, whatever the other says of itself"
    assert kept(vault, tmp_path) == ["s-3", "s-2", "s-1", "s-wrong"]
    proven = {m.id: shown(m, vault.proofs("shop"))["proven"] for m in vault.sets("shop")}
    assert proven == {"s-3": 0.0, "s-2": NOW - 2 * DAY + 60, "s-1": NOW - 3 * DAY + 60, "s-wrong": 0.0}
    # a drill of today has the last word, also once that day has come
    vault.prove(Proof("s-2", "shop", "web-1", NOW + DAY, False))
    assert next((p.set, p.at) for p in vault.proofs("shop") if p.set == "s-2") == ("s-2", NOW + DAY)
    jump(500)
    assert shown(next(m for m in vault.sets("shop") if m.id == "s-2"), vault.proofs("shop"))["proven"] == 0.0


@pytest.mark.more
def test_a_clock_that_went_back_removes_nothing(vault: Vault, tmp_path: Path, jump: Jump) -> None:
    for name, age in (("s-1", 40), ("s-2", 10), ("s-3", 1)):
        sealed(vault, name, age, proven=True)
    jump(-800)
    sealed(vault, "s-back", 800, proven=True)
    assert kept(vault, tmp_path) == ["s-back", "s-3", "s-2", "s-1"]
    assert extract.found(vault, "shop", "latest").id == "s-back", "it is what was made last"
    jump(0)
    assert extract.found(vault, "shop", "latest").id == "s-3"
    assert kept(vault, tmp_path) == ["s-3", "s-2"], "and then retention goes on"


@pytest.mark.more
def test_a_set_is_made_whatever_the_clock_does_meanwhile(
    harbour: Harbour, tmp_path: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = {"web": {**web(), "volumes": ["data:/data"]}}
    items = {"a": {"type": "volume", "volume": "data"}, "b": {"type": "path", "path": str(tmp_path / "password")}}
    harbour.deployed(services, volumes={"data": {}}, **{"x-quaylock": {"backup": {"items": items, "longest": "20s"}}})
    real, off = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + off[0])
    plain = local.SteadyClock.now
    turns = []

    def jumping(self: local.SteadyClock) -> float:
        turns.append(1)
        off[0] = (-1) ** len(turns) * 3600.0 * len(turns)  # at every look another time
        return plain(self)

    monkeypatch.setattr(local.SteadyClock, "now", jumping)
    answer = run.back_up(harbour.request({}), vault)
    monkeypatch.undo()
    assert answer["outcome"] == "made", answer
    assert len(turns) > 5
    assert 0 <= answer["quiet"] < 20
    assert abs(answer["at"] - time.time()) < 120
    assert [m.id for m in vault.sets(harbour.name)] == [answer["set"]]
