# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets restored beside the stack they are of: whole ones are proven, and whatever is wrong with one makes it fail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import status
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill, keeping, verifying
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Manifest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.retention import Rule
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .test_backups import Shop, shop

pytestmark = pytest.mark.integration
__all__ = ["shop"]
MORE = pytest.mark.more


def drilled(shop: Shop, wanted: str = "latest") -> dict[str, Any]:
    return drill.drill(shop.harbour.request({}), shop.vault, wanted)


def left_over(shop: Shop) -> list[str]:
    """Whatever a drill may have left on the host."""
    client, name = shop.harbour.client, f"{shop.harbour.name}-drill"
    label = {"label": f"com.docker.compose.project={name}"}
    found = [c.name for c in client.containers.list(all=True, filters=label)]
    found += [n.name for n in client.networks.list(filters=label)]
    found += [v.name for v in client.volumes.list(filters=label)]
    folder = shop.harbour.folder / "state/backup/drill"
    return found + ([p.name for p in folder.iterdir()] if folder.exists() else [])


def test_a_whole_set_is_proven_and_nothing_of_it_stays(shop: Shop) -> None:
    manifest = shop.made()
    before = shop.harbour.identities()
    answer = drilled(shop)
    assert answer["outcome"] == "proven", answer
    assert {c["what"] for c in answer["checks"]} == {"item db", "item uploads", "item jobs", "service db"}
    rows = manifest.item("db").parts[1].rows["public.log"]
    said = {c["what"]: c["said"] for c in answer["checks"]}
    assert f"{rows} rows" in said["item db"]
    assert "50 rows" in said["item jobs"]
    assert said["service db"] == "healthy with the restored data"
    assert 0 < answer["rto"] < 120
    assert answer["rpo"] >= 0
    assert left_over(shop) == []
    assert shop.harbour.identities() == before
    proofs = shop.vault.proofs(shop.harbour.name)
    assert [(p.set, p.ok) for p in proofs] == [(manifest.id, True)]
    [entry] = shop.harbour.journal.history(shop.harbour.name, kinds=["drill"])
    assert entry.outcome == "proven"
    seen = status.status(shop.harbour.request({}), {}, "host")["backup"]
    assert (seen["set"], seen["proven"], seen["rto"]) == (manifest.id, manifest.id, answer["rto"])
    # the next backup takes it for no leftover
    second = shop.made()
    assert [p.set for p in shop.vault.proofs(shop.harbour.name)] == [manifest.id]
    # and retention counts it
    fates = {f.set.id: f for f in keeping.fates(shop.vault, shop.harbour.name, Rule(days=1), second.at + 10 * 86400)}
    assert "proven" in fates[manifest.id].why
    assert fates[second.id].stays


# -- sets that are not what they say ---------------------------------------------------


def packs(shop: Shop) -> list[Path]:
    """The repository's content, the largest file first."""
    found = [p for p in (shop.repository / "data").rglob("*") if p.is_file()]
    return sorted(found, key=lambda path: -path.stat().st_size)


def flipped(shop: Shop, _manifest: Manifest) -> None:
    pack = packs(shop)[0]
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[len(content) // 3] ^= 1
    pack.write_bytes(content)


def missing(shop: Shop, _manifest: Manifest) -> None:
    packs(shop)[0].unlink()


def reforged(shop: Shop, manifest: Manifest, change: Callable[[Any], Any]) -> None:
    """The same set with another manifest: what was changed is its database."""
    items = tuple(change(t) if t.name == "db" else t for t in manifest.items)
    repository = shop.vault.repository
    there = repository.snapshots({"manifest", f"stack={manifest.stack}"})
    repository.forget([s.id for s in there])
    shop.vault.seal(replace(manifest, items=items))


def truncated(shop: Shop, manifest: Manifest) -> None:
    """restic itself finds nothing wrong with it."""
    part = manifest.item("db").parts[1]
    with shop.vault.repository.reading(part.snapshot, part.path) as content:
        half = content.read()[: part.size // 2]
    tags = {f"stack={manifest.stack}", f"set={manifest.id}", "item=db"}
    stored = shop.vault.repository.stream(part.path.lstrip("/"), tags, lambda write: write(half))

    def change(taken: Any) -> Any:
        return replace(taken, parts=(taken.parts[0], replace(part, snapshot=stored.snapshot)))

    reforged(shop, manifest, change)


def fewer_rows(shop: Shop, manifest: Manifest) -> None:
    part = manifest.item("db").parts[1]
    wrong = replace(part, rows={**part.rows, "public.log": part.rows["public.log"] + 1})
    reforged(shop, manifest, lambda taken: replace(taken, parts=(taken.parts[0], wrong)))


def newer_server(shop: Shop, manifest: Manifest) -> None:
    reforged(shop, manifest, lambda taken: replace(taken, about={**taken.about, "version_number": 990000}))


BAD = [
    # what was done to it   what is said of it
    (flipped, "set|item|manifest", ""),
    (fewer_rows, "item db", "public.log has"),
    (missing, "set|item|manifest", ""),
    (truncated, "item db", "end of file"),
    (newer_server, "item db", "PostgreSQL 99"),
]


@pytest.mark.parametrize("bad", [pytest.param(BAD[:2], id="some"), pytest.param(BAD[2:], id="rest", marks=MORE)])
def test_a_set_that_is_not_whole_fails_its_drill(shop: Shop, bad: list[Any]) -> None:
    """One set, damaged in one way after another from a copy of the repository."""
    manifest = shop.made()
    assert verifying.verify(shop.vault, shop.harbour.name)["outcome"] == "whole"
    before = shop.harbour.identities()
    safe = shop.repository.with_name("safe")
    shutil.copytree(shop.repository, safe)
    for damage, what, said in bad:
        shutil.rmtree(shop.repository)  # and not what this host remembers of it: it hides nothing
        shutil.copytree(safe, shop.repository)
        damage(shop, manifest)
        if damage in (flipped, missing):
            seen = verifying.verify(shop.vault, shop.harbour.name)
            assert (seen["outcome"], seen["failed"]) == ("damaged", True), damage.__name__
        answer = drilled(shop, manifest.id)
        assert answer["outcome"] == "failed", damage.__name__
        failed = [c for c in answer["checks"] if not c["ok"]]
        assert failed, damage.__name__
        assert any(c["what"].startswith(tuple(what.split("|"))) and said in c["said"] for c in failed), failed
        assert "does not count as a backup" in answer["msg"]
        assert left_over(shop) == []
        assert [p.ok for p in shop.vault.proofs(shop.harbour.name)] in ([False], []), damage.__name__
        assert shop.harbour.identities() == before


# -- bad days ------------------------------------------------------------------------------


@pytest.mark.more
@pytest.mark.parametrize("moment", ["unfold", "files_in", "start", "stores_in", "healthy"])
def test_a_drill_that_is_killed_is_cleared_away_by_the_next(shop: Shop, moment: str) -> None:
    shop.made()
    child = os.fork()
    if not child:
        plain = getattr(drill.Scratch, moment)

        def struck(self: Any, *words: Any) -> Any:
            answer = plain(self, *words)
            os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(drill.Scratch, moment, struck)
        drilled(shop)
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert left_over(shop) != []
    assert shop.goes_on()
    answer = drilled(shop)
    assert answer["outcome"] == "proven", answer
    assert left_over(shop) == []


@pytest.mark.more
def test_a_drill_and_a_rollout_do_not_wait_for_each_other(shop: Shop) -> None:
    shop.made()
    child = os.fork()
    if not child:
        os._exit(0 if drilled(shop)["outcome"] == "proven" else 1)
    until(lambda: left_over(shop))
    assert shop.harbour.deploy(shop.services(), **shop.around())["outcome"] == "unchanged"
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture(autouse=True)
def nothing_stays(shop: Shop) -> Iterator[None]:
    yield
    for name in left_over(shop):
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)
        subprocess.run(["docker", "network", "rm", name], capture_output=True, check=False)
        subprocess.run(["docker", "volume", "rm", name], capture_output=True, check=False)
