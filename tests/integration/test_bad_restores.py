# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bad days of a database that comes back: no room for it, and nobody who owns what is in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import scratch as scratches
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Manifest

from .test_backups import Shop, shop
from .test_drills import drilled, left_over, reforged
from .test_restoring import restored

pytestmark = [pytest.mark.integration, pytest.mark.more]
__all__ = ["shop"]


def without_roles(shop: Shop, manifest: Manifest, role: str) -> None:
    """The same set, whose roles are all but one: as where it was made after the snapshot of the database."""
    part = manifest.item("db").parts[0]
    with shop.vault.repository.reading(part.snapshot, part.path) as content:
        lines = [line for line in content.read().splitlines(keepends=True) if role.encode() not in line]
    tags = {f"stack={manifest.stack}", f"set={manifest.id}", "item=db"}
    stored = shop.vault.repository.stream(part.path.lstrip("/"), tags, lambda write: write(b"".join(lines)))

    def change(taken: Any) -> Any:
        return replace(taken, parts=(stored, *taken.parts[1:]))

    reforged(shop, manifest, change)


def test_a_database_has_no_room_or_no_owner(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.sql("CREATE ROLE clerk; CREATE TABLE bills (n int); ALTER TABLE bills OWNER TO clerk")
    manifest = shop.made()
    before = shop.harbour.identities()
    monkeypatch.setattr(scratches, "DATABASE_ROOM", 1e9)
    answer = drilled(shop)
    assert answer["outcome"] == "failed", answer
    assert "item db: db needs " in answer["msg"]
    assert " are free; next: make room there" in answer["msg"]
    monkeypatch.undo()
    without_roles(shop, manifest, "clerk")
    answer = drilled(shop)
    assert answer["outcome"] == "failed", answer
    assert 'role "clerk" does not exist' in answer["msg"]
    refused = restored(shop)
    assert refused["outcome"] == "refused", refused
    assert 'role "clerk" does not exist' in refused["msg"]
    assert "which was not touched" in refused["msg"]
    assert shop.harbour.identities() == before
    assert left_over(shop) == []
    assert shop.goes_on()
    second = shop.made()
    assert drilled(shop)["set"] == second.id
    assert [p.set for p in shop.vault.proofs(shop.harbour.name) if p.ok] == [second.id]
