# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets back into their stack: all of the data at once, kept before, and undone where the stack does not like it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import moving
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import keeping, restoring
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.restoring import Choice
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.retention import Rule
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid

from .conftest import one_shot
from .test_backups import Shop, shop
from .test_drills import left_over

pytestmark = pytest.mark.integration
__all__ = ["shop"]


def restored(shop: Shop, *, stop: bool = True, **about: Any) -> dict[str, Any]:
    choice = Choice(about.pop("set", "latest"), about.pop("items", ()), stop)
    return restoring.restore(shop.harbour.request({}, **about), shop.vault, choice)


def kept(shop: Shop) -> list[str]:
    found = shop.harbour.client.volumes.list(filters={"label": f"quaylock.kept-of={shop.harbour.name}"})
    return sorted(volume.name for volume in found)


@pytest.fixture(autouse=True)
def nothing_stays(shop: Shop) -> Iterator[None]:
    yield
    shop.harbour.clear()
    for name in kept(shop):
        shop.harbour.client.volumes.get(name).remove(force=True)


def spoil(shop: Shop) -> None:
    """What happened after the set: rows are gone, a file is new, and another database was made."""
    shop.sql("DELETE FROM log WHERE n > 1")
    shop.sql("CREATE TABLE later (n int)")
    (shop.uploads / "later").write_text("later\n")
    with closing(sqlite3.connect(shop.uploads / "jobs.db")) as db:
        db.execute("DELETE FROM jobs")
        db.commit()


def as_in_the_set(shop: Shop, rows: int) -> None:
    assert shop.number("SELECT count(*) FROM log") >= rows
    assert shop.sql("SELECT to_regclass('later') IS NULL") == "t"
    assert not (shop.uploads / "later").exists()
    with closing(sqlite3.connect(shop.uploads / "jobs.db")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (50,)


def as_it_was(shop: Shop) -> None:
    assert shop.sql("SELECT to_regclass('later') IS NOT NULL") == "t"
    assert (shop.uploads / "later").read_text() == "later\n"
    with closing(sqlite3.connect(shop.uploads / "jobs.db")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def test_a_stack_gets_all_of_its_data_back_and_what_it_replaces_is_kept(shop: Shop) -> None:
    services = {**shop.services(), "migrate": one_shot()}
    shop.harbour.deployed(services, **shop.around())
    manifest = shop.made()
    migrated = shop.harbour.identities("migrate")
    rows = manifest.item("db").parts[1].rows["public.log"]
    spoil(shop)
    with pytest.raises(Invalid, match="a restore stops it"):
        restored(shop, stop=False)
    as_it_was(shop)
    answer = restored(shop)
    assert answer["outcome"] == "restored", answer.get("msg", answer)
    as_in_the_set(shop, rows)
    # what it has done was in the data that were replaced
    again = shop.harbour.identities("migrate")
    assert len(again) == 1
    assert again != migrated
    assert shop.goes_on()
    assert 0 < answer["stopped"] < answer["seconds"]
    name = shop.harbour.name
    assert answer["kept"] == [f"volume {name}_{key}.before-{answer['restore']}" for key in ("data", "uploads")]
    assert [f"volume {volume}" for volume in kept(shop)] == answer["kept"]
    old = Path(shop.harbour.client.volumes.get(f"{name}_uploads.before-{answer['restore']}").attrs["Mountpoint"])
    assert (old / "later").read_text() == "later\n"
    assert left_over(shop) == []
    assert shop.harbour.deploy(services, **shop.around())["outcome"] == "unchanged"
    assert shop.goes_on()


@pytest.mark.more
def test_a_stack_that_is_ill_with_the_restored_data_gets_its_own_back(shop: Shop) -> None:
    shop.made()
    spoil(shop)
    plain = shop.services()
    plain["writer"]["healthcheck"] = {"test": ["CMD", "test", "-s", "/uploads/later"], "timeout": "2s"}
    plain["writer"]["x-quaylock"] = {"gate": {"deadline": "6s"}}
    shop.harbour.deployed(plain, **shop.around())
    answer = restored(shop)
    assert (answer["outcome"], answer["failed"]) == ("rolled back", True)
    assert "did not become healthy" in answer["msg"]
    assert "serves with its own data" in answer["msg"]
    as_it_was(shop)
    assert shop.goes_on()
    assert kept(shop) == []
    assert left_over(shop) == []


@pytest.mark.more
def test_one_item_alone(shop: Shop) -> None:
    shop.made()
    spoil(shop)
    answer = restored(shop, items=("jobs",))
    assert answer["outcome"] == "restored", answer.get("msg", answer)
    with closing(sqlite3.connect(shop.uploads / "jobs.db")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (50,)
    assert (shop.uploads / "later").exists(), "the rest of its volume stays"
    assert shop.sql("SELECT to_regclass('later') IS NOT NULL") == "t"
    assert [Path(path).name for path in answer["kept"]] == [f"jobs.db.before-{answer['restore']}"]
    assert shop.goes_on()


@pytest.mark.more
def test_an_empty_host_gets_the_stack_back_from_its_repository(shop: Shop, tmp_path: Path) -> None:
    """Everything of the old host is gone: containers, volumes, journal, configuration. Its images are there."""
    manifest = shop.made()
    rows = manifest.item("db").parts[1].rows["public.log"]
    shop.harbour.clear()
    shop.harbour.folder = tmp_path / "new"
    vault_cache_is_gone = not Path(shop.cache).exists()
    assert vault_cache_is_gone
    answer = restored(shop, stop=False)
    assert answer["outcome"] == "restored", answer.get("msg", answer)
    as_in_the_set(shop, rows)
    assert shop.goes_on()
    assert kept(shop) == []
    assert answer["kept"] == []
    # it is a stack of this host now, like any other
    release = shop.harbour.journal.release(shop.harbour.name)
    assert release is not None
    assert shop.rendered()
    assert shop.made().release == release[0]


# -- restore points of rollouts --------------------------------------------------------------


def released(shop: Shop, version: str, settings: Path, **about: Any) -> dict[str, Any]:
    services = shop.services()
    services["writer"]["environment"] = {"VERSION": version}
    around = shop.around()
    around["x-quaylock"]["backup_before"] = True
    return shop.harbour.deploy(services, **around, backup_settings=str(settings), **about)


@pytest.mark.more
def test_a_return_brings_back_the_data_that_the_release_had_left(shop: Shop, tmp_path: Path) -> None:
    where = shop.where
    said = {"repository": where.location, "password_file": where.password_file, "host": "web-1", "cache": where.cache}
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(said))
    # what serves declares a set, but nowhere to put it: nothing is changed without one
    refused = released(shop, "v2", tmp_path / "absent.json")
    assert refused["failed"]
    assert "backup set failed, its restore point could not be taken, so nothing was changed" in refused["msg"]
    assert "absent.json: does not exist" in refused["msg"]
    answer = released(shop, "v2", settings)
    assert answer["outcome"] == "deployed", answer
    point = answer["restore_points"]["backup set"]
    manifest = next(m for m in shop.vault.sets(shop.harbour.name) if m.id == point)
    assert manifest.pinned == answer["rollout"]
    assert released(shop, "v2", settings)["outcome"] == "unchanged"
    assert len(shop.vault.sets(shop.harbour.name)) == 1, "nothing to do needs no set"
    first = shop.harbour.journal.releases(shop.harbour.name, 5)[1]
    spoil(shop)
    back = restored(shop, set=restoring.POINT, release="previous", backup_settings=str(settings))
    assert back["outcome"] == "restored", back.get("msg", back)
    assert back["set"] == point
    as_in_the_set(shop, manifest.item("db").parts[1].rows["public.log"])
    assert shop.goes_on()
    assert shop.harbour.journal.releases(shop.harbour.name, 5)[0].returned_to in ("previous", first.id)
    body = next(iter(shop.harbour.containers("writer").values()))
    assert not any(entry.startswith("VERSION=") for entry in body["Config"]["Env"]), "the first release serves"
    # it is let go with the release that it belongs to
    fates = {f.set.id: f for f in keeping.fates(shop.vault, shop.harbour.name, Rule(), manifest.at, [manifest.pinned])}
    assert fates[point].why == f"pinned by {manifest.pinned}"
    fates = {f.set.id: f for f in keeping.fates(shop.vault, shop.harbour.name, Rule(), manifest.at)}
    assert "pinned" not in fates[point].why


# -- killed on the way ---------------------------------------------------------------------


def killed(shop: Shop, holder: Any, name: str, times: int) -> None:
    """Restore in a process that dies after the call of that name has been made so many times."""
    child = os.fork()
    if not child:
        plain, count = getattr(holder, name), [times]

        def struck(*words: Any, **more: Any) -> Any:
            answer = plain(*words, **more)
            count[0] -= 1
            if not count[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(holder, name, struck)
        restored(shop)
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


MOMENTS = [
    # what had just been done           in          times
    ("the databases were restored",      (restoring.Scratch, "stores_in", 1)),
    ("the stack was stopped",            (restoring.undoing, "stop", 1)),
    ("one volume was exchanged",         (moving, "move", 1)),
    ("everything was exchanged",         (moving, "move", 2)),
    ("the rollout was written down",     (deploy, "begin", 1)),
    ("the old volume was moved away",    (os, "rename", 3)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("when", "where"),
    [pytest.param(*m, id=m[0], marks=[] if m[0] == "one volume was exchanged" else pytest.mark.more) for m in MOMENTS],
)
def test_a_restore_that_is_killed_is_undone_by_the_next_deployment(shop: Shop, when: str, where: Any) -> None:
    manifest = shop.made()
    spoil(shop)
    killed(shop, *where)
    answer = shop.harbour.deploy(shop.services(), **shop.around())
    assert answer["outcome"] in ("deployed", "unchanged"), answer
    as_it_was(shop)
    assert shop.goes_on()
    # and the same restore goes through then
    again = restored(shop)
    assert again["outcome"] == "restored", again.get("msg", again)
    as_in_the_set(shop, manifest.item("db").parts[1].rows["public.log"])


@pytest.mark.more
def test_a_restore_that_is_killed_after_its_commit_stays(shop: Shop) -> None:
    manifest = shop.made()
    spoil(shop)
    killed(shop, deploy, "roll_out", 1)
    answer = shop.harbour.deploy(shop.services(), **shop.around())
    assert answer["outcome"] in ("deployed", "unchanged"), answer
    as_in_the_set(shop, manifest.item("db").parts[1].rows["public.log"])


@pytest.mark.more
def test_a_newer_database_is_refused_before_the_stack_is_touched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = shop.made()
    spoil(shop)
    before = shop.harbour.identities()
    newer = tuple(
        replace(t, about={**t.about, "version_number": 990000}) if t.name == "db" else t for t in manifest.items
    )
    monkeypatch.setattr(restoring, "found", lambda *_words: replace(manifest, items=newer))
    answer = restored(shop)
    assert answer["outcome"] == "refused"
    assert "PostgreSQL 99" in answer["msg"]
    assert shop.harbour.identities() == before
    as_it_was(shop)
