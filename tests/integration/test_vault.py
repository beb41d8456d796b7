# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts that share a repository: each has its own sets, and nobody loses one to another's retention."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract, keeping
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault, tags_of
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Manifest, Taken
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.proof import Proof
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.retention import Rule
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

pytestmark = pytest.mark.integration
DAY = 86400.0
NOW = 1_795_000_000.0


def vault_of(folder: Path, host: str) -> Vault:
    where = Repository(str(folder / "repository"), str(folder / "password"), cache=str(folder / "cache"))
    return Vault(Restic(where, host, wait=20), str(folder / f"state-{host}"))


def sealed(vault: Vault, name: str, age: float, proven: bool = False) -> str:
    """A set with one stream, so many days old."""
    tags = tags_of("shop", name, "db")
    part = vault.repository.stream(f"shop.db.{name}", tags, lambda write: write(f"rows of {name}".encode()))
    at = NOW - age * DAY
    vault.seal(Manifest(name, "shop", vault.repository.host, at, (Taken("db", "postgres", (part,), at),)))
    if proven:
        vault.prove(Proof(name, "shop", vault.repository.host, at + 60, True))
    return part.snapshot


@pytest.mark.usefixtures("own_repository")
def test_each_host_keeps_and_restores_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, new = (vault_of(tmp_path, host) for host in ("web-1", "web-2", "web-3"))
    for name, age in (("s-1", 40), ("s-2", 2), ("s-3", 1)):
        sealed(one, name, age, proven=True)
    old = sealed(two, "s-9", 50)
    assert [m.id for m in one.sets("shop")] == ["s-3", "s-2", "s-1"]
    assert [m.id for m in two.sets("shop")] == ["s-9"]
    assert extract.found(two, "shop", "latest").id == "s-9", "its own, although another host has a newer one"
    assert extract.found(two, "shop", "s-2").id == "s-2", "another host's where it is named"
    assert extract.found(new, "shop", "latest").id == "s-3", "everybody's where it has none"
    with pytest.raises(Invalid, match="no set 's-77'"):
        extract.found(two, "shop", "s-77")
    assert one.leftovers("shop") == two.leftovers("shop") == []

    monkeypatch.setattr(keeping.time, "time", lambda: NOW)
    request = Request(name="shop", state_dir=str(tmp_path / "state"))
    answer = keeping.keep(request, one, Rule(days=30))
    assert answer["changed"]
    assert [m.id for m in one.sets("shop")] == ["s-3", "s-2"]
    assert [p.set for p in one.proofs("shop")] == ["s-3", "s-2"]
    assert [m.id for m in two.sets("shop")] == ["s-9"], "no newer one of that host is proven"
    with two.repository.reading(old, "/shop.db.s-9") as content:
        assert content.read() == b"rows of s-9"
    assert not keeping.keep(request, one, Rule(days=30))["changed"]
