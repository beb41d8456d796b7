# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets of a stack with a real PostgreSQL, a volume and a SQLite database, under a writer that never rests."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.docker_engine import DockerEngine
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Manifest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import Harbour
from .inside import asked

pytestmark = pytest.mark.integration

WRITER = """
until psql -h db -U shop -qc 'CREATE TABLE IF NOT EXISTS log (n int)'; do sleep 0.1; done
i=0
while :; do
  i=$((i + 1))
  echo "INSERT INTO log VALUES ($i);"
  echo "\\\\! echo $i >> /uploads/log"
  sleep 0.01
done | psql -h db -U shop -q
"""
"""the same number into the database and into a file, fifty times a second: without the sleep it takes a core"""
ITEMS = {
    "db": {"type": "postgres", "service": "db", "databases": ["shop"]},
    "uploads": {"type": "volume", "volume": "uploads", "exclude": ["/jobs.db*"]},
    "jobs": {"type": "sqlite", "volume": "uploads", "path": "jobs.db"},
}


def frozen(harbour: Harbour) -> list[str]:
    """Who holds still, by the engine's or by the kernel's word."""
    found = []
    for name, body in harbour.containers().items():
        group = next(Path("/sys/fs/cgroup").glob(f"freezer/**/{body['Id']}/freezer.state"), None)
        still = bool(group) and group.read_text().strip() != "THAWED"
        found += [name] if body["State"]["Paused"] or still else []
    return found


SOON = 25.0
"""seconds; a backup that lives lets nobody hold still for longer than 30"""


def let_go_on(harbour: Harbour) -> None:
    """A backup was killed: within seconds nobody holds still any more, and the journal knows it."""
    until(
        lambda: not (frozen(harbour) or harbour.journal.unfinished_of("backup", harbour.name)),
        lambda: f"{frozen(harbour)} hold still",
        seconds=SOON,
    )


@dataclass
class Shop:
    """A stack that writes all the time, and a repository."""

    harbour: Harbour
    postgres: str
    repository: Path
    password: Path

    @property
    def where(self) -> Repository:
        return Repository(str(self.repository), str(self.password), cache=str(self.repository.parent / "cache"))

    @property
    def cache(self) -> str:
        return str(self.harbour.folder / "state/manifests")

    @property
    def vault(self) -> Vault:
        return Vault(Restic(self.where, "web-1", wait=20), self.cache)

    def services(self) -> dict[str, Any]:
        check = {"test": ["CMD", "pg_isready", "-q", "-h", "127.0.0.1"], "timeout": "5s"}
        quick = {"update_config": {"monitor": "0.3s"}}
        return {
            "db": {
                "image": self.postgres,
                "environment": {"POSTGRES_USER": "shop", "POSTGRES_HOST_AUTH_METHOD": "trust"},
                "volumes": ["data:/var/lib/postgresql/data"],
                "healthcheck": check,
                "deploy": quick,
            },
            "writer": {
                "image": self.postgres,
                "user": "0:0",
                "entrypoint": ["/bin/sh", "-c", WRITER],
                "init": True,
                # the image's is SIGINT, which a shell ignores as long as its pipeline runs
                "stop_signal": "SIGTERM",
                "stop_grace_period": "1s",
                "volumes": ["uploads:/uploads"],
                "depends_on": {"db": {"condition": "service_healthy"}},
                "healthcheck": {"test": ["CMD", "test", "-s", "/uploads/log"]},
                "deploy": quick,
            },
        }

    def deploy(self, items: Mapping[str, Any] | None = None, **plan: Any) -> dict[str, Any]:
        return self.harbour.deployed(self.services(), **self.around(items, **plan))

    @staticmethod
    def around(items: Mapping[str, Any] | None = None, **plan: Any) -> dict[str, Any]:
        """What the model has besides its services."""
        extra = {"backup": {"items": dict(items or ITEMS), **plan}}
        return {"volumes": {"data": {}, "uploads": {}}, "x-quaylock": extra}

    def back_up(self, **about: Any) -> dict[str, Any]:
        return run.back_up(self.harbour.request({}), self.vault, **about)

    def made(self) -> Manifest:
        answer = self.back_up()
        assert answer["outcome"] == "made", answer.get("msg", answer)
        return next(m for m in self.vault.sets(self.harbour.name) if m.id == answer["set"])

    def rendered(self) -> bytes:
        return (self.harbour.folder / "etc/stacks" / self.harbour.name / "compose.yaml").read_bytes()

    @property
    def uploads(self) -> Path:
        volume = self.harbour.client.volumes.get(f"{self.harbour.name}_uploads")
        return Path(volume.attrs["Mountpoint"])

    def sql(self, text: str, database: str = "shop") -> str:
        db = self.harbour.client.containers.get(self.harbour.running("db")[0])
        code, output = db.exec_run(["psql", "-U", "shop", "-d", database, "-qAtc", text])
        assert code == 0, output
        return str(output.decode().strip())

    def number(self, query: str, database: str = "shop") -> int:
        db = self.harbour.client.containers.get(self.harbour.running("db")[0])
        code, text = asked(db, ["psql", "-U", "shop", "-d", database, "-qAtc", query])
        assert code == 0, text
        return int(text)

    def goes_on(self) -> bool:
        """The writer writes."""
        before = self.number("SELECT count(*) FROM log")
        return until(lambda: self.number("SELECT count(*) FROM log") > before, lambda: "nothing more is written")

    def paused(self) -> list[str]:
        return frozen(self.harbour)

    def restored(self, manifest: Manifest, into: Path) -> tuple[int, int]:
        """The last number in the database of a set, and in its file."""
        answer = extract.extract(self.vault, self.harbour.name, manifest.id, [], str(into / "set"))
        assert answer["outcome"] == "restored"
        assert sorted(p.name for p in (into / "set").iterdir()) == sorted(t.name for t in manifest.items)
        db = f"{self.harbour.name}-db-1"
        self.sql("DROP DATABASE IF EXISTS scratch")
        self.sql("CREATE DATABASE scratch")
        command = ["docker", "exec", "-i", db, "pg_restore", "-U", "shop", "-d", "scratch"]
        with (into / "set/db/shop.dump").open("rb") as dump:
            subprocess.run(command, stdin=dump, check=True, capture_output=True)
        assert not list((into / "set/uploads").glob("jobs.db*")), "excluded"
        last = (into / "set/uploads/log").read_text().splitlines()[-1]
        rows = manifest.item("db").parts[1].rows["public.log"]
        assert self.number("SELECT count(*) FROM log", "scratch") == rows
        return self.number("SELECT max(n) FROM log", "scratch"), int(last)


@pytest.fixture
def shop(harbour: Harbour, client: Any, own_repository: Path, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(harbour, recipe_image(client, "postgres"), own_repository, tmp_path / "password")
    made.deploy()
    with contextlib.closing(sqlite3.connect(made.uploads / "jobs.db")) as db:
        db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO jobs VALUES (?)", ((n,) for n in range(50)))
        db.commit()
    yield made
    for name in made.paused():
        DockerEngine(harbour.client).unpause(name)


def test_all_items_show_one_moment(shop: Shop, tmp_path: Path) -> None:
    manifest = shop.made()
    assert {t.name for t in manifest.items} == {"config", "db", "uploads", "jobs"}
    assert manifest.still == ("writer",)
    assert 0 < manifest.quiet < SOON
    assert shop.paused() == []
    assert shop.goes_on()
    health = {name: body["State"]["Health"]["Status"] for name, body in shop.harbour.containers("writer").items()}
    assert set(health.values()) <= {"healthy", "starting"}, "nobody takes it for ill"
    database, file = shop.restored(manifest, tmp_path)
    assert database - file in (0, 1), "frozen between the two writes at most"
    assert manifest.item("jobs").parts[0].rows == {"jobs": 50}
    assert manifest.item("db").about["databases"]["shop"]["encoding"] == "UTF8"
    assert shop.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'quaylock%'") == "0"
    assert not list((shop.harbour.folder / "state/backup").rglob("*.sqlite"))


@pytest.mark.more
def test_a_second_set_adds_little_and_both_can_be_restored(shop: Shop, tmp_path: Path) -> None:
    first, second = shop.made(), shop.made()
    assert [m.id for m in shop.vault.sets(shop.harbour.name)] == [second.id, first.id]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    before, after = shop.restored(first, tmp_path / "one"), shop.restored(second, tmp_path / "two")
    assert before[0] < after[0]
    assert shop.vault.leftovers(shop.harbour.name) == []


def test_items_are_restored_as_what_they_were(shop: Shop, tmp_path: Path) -> None:
    manifest = shop.made()
    shop.restored(manifest, tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "set/jobs/jobs.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (50,)
    config = json.loads((tmp_path / "set/config/config.json").read_text())
    assert config["id"] == manifest.release
    assert (tmp_path / "set/config/files/compose.yaml").read_bytes() == shop.rendered()
    assert "CREATE ROLE shop" in (tmp_path / "set/db/globals.sql").read_text()
    with pytest.raises(Invalid) as refused:
        extract.extract(shop.vault, shop.harbour.name, "latest", ["db", "dbb"], str(tmp_path / "set"))
    assert [str(f) for f in refused.value.findings] == [
        f"items.dbb: set {manifest.id} has no such item (it has: config, db, uploads, jobs)",
        f"to: {tmp_path}/set/db is there already (name another folder, or move it away)",
    ]
    with pytest.raises(Invalid, match=f"no set 's-0'.*there are, newest first: {manifest.id}"):
        extract.extract(shop.vault, shop.harbour.name, "s-0", [], str(tmp_path / "other"))


@pytest.mark.more
def test_a_flipped_bit_is_never_restored(shop: Shop, tmp_path: Path) -> None:
    shop.made()
    packs = sorted((shop.repository / "data").rglob("*"), key=lambda p: -p.stat().st_size if p.is_file() else 0)
    pack = bytearray(packs[0].read_bytes())
    pack[len(pack) // 3] ^= 1
    packs[0].chmod(0o600)
    packs[0].write_bytes(bytes(pack))
    shutil.rmtree(shop.where.cache)  # it may be a pack of folders, which restic remembers
    with pytest.raises(PortError):
        extract.extract(shop.vault, shop.harbour.name, "latest", [], str(tmp_path / "set"))
    there = {p.name for p in (tmp_path / "set").iterdir()}
    assert not {name for name in there if name.startswith(extract.DRAFT)}
    assert len(there) < 4, "the damaged one is not there"


def test_check_mode_only_reads(shop: Shop) -> None:
    answer = shop.back_up(dry=True)
    assert answer["outcome"] == "planned"
    assert answer["plan"] == ["+ config", "+ db", "+ uploads", "+ jobs"]
    assert shop.vault.sets() == []
    assert shop.vault.repository.snapshots() == []


@pytest.mark.more
def test_an_item_that_is_not_due_is_taken_over(shop: Shop, tmp_path: Path) -> None:
    shop.deploy({**ITEMS, "uploads": {**ITEMS["uploads"], "every": "7d"}})
    first, second = shop.made(), shop.made()
    assert second.item("uploads").set == first.id
    assert second.item("uploads").parts == first.item("uploads").parts
    assert second.item("db").set == ""
    shop.vault.drop([first.id], shop.harbour.name)
    shop.restored(second, tmp_path)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("stopped", "x-quaylock.backup.items.db: service db does not run"),
        pytest.param("volume", "volume .*_uploads is of the driver local, type tmpfs", marks=pytest.mark.more),
    ],
)
def test_what_cannot_be_backed_up_is_said_before_anything_is_touched(shop: Shop, how: str, says: str) -> None:
    if how == "stopped":
        shop.harbour.client.containers.get(f"{shop.harbour.name}-db-1").stop(timeout=5)
    else:
        shop.harbour.clear()
        volumes = {"data": {}, "uploads": {"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}}
        extra = {"backup": {"items": {k: ITEMS[k] for k in ("db", "uploads")}}}
        shop.harbour.deployed(shop.services(), volumes=volumes, **{"x-quaylock": extra})
    with pytest.raises(Invalid, match=says):
        shop.back_up()
    assert shop.vault.repository.snapshots() == []


KILLED = """
import os, pickle, signal, sys, time
from ansible_collections.quaylock.stacks.plugins.module_utils import journal
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
request, where, cache, what, do, later = pickle.load(sys.stdin.buffer)
vault = Vault(Restic(where, "web-1", wait=20), cache)
log = journal.SqliteJournal.log
def watched(self, rollout, at, said, details):
    log(self, rollout, at, said, details)
    if said == what and details.get("do") == do:
        time.sleep(later)
        os.kill(os.getpid(), signal.SIGKILL)
journal.SqliteJournal.log = watched
run.back_up(request, vault)
"""


@pytest.mark.parametrize(
    ("what", "do", "later"),
    [
        ("done", "Quiesce", 0.0),
        pytest.param("do", "Store", 0.3, marks=pytest.mark.more),
        pytest.param("do", "Seal", 0.0, marks=pytest.mark.more),
        pytest.param("done", "Open", 0.0, marks=pytest.mark.more),
        pytest.param("do", "Quiesce", 0.0, marks=pytest.mark.more),
        pytest.param("done", "Freeze", 0.0, marks=pytest.mark.more),
        pytest.param("do", "Resume", 0.0, marks=pytest.mark.more),
        pytest.param("done", "ReadBack", 0.0, marks=pytest.mark.more),
        pytest.param("done", "Close", 0.0, marks=pytest.mark.more),
    ],
)
def test_killed_at_any_moment_writers_come_back_and_nothing_in_part_stays(
    shop: Shop, tmp_path: Path, what: str, do: str, later: float
) -> None:
    asked = pickle.dumps((shop.harbour.request({}), shop.where, shop.cache, what, do, later))
    done = subprocess.run(
        [sys.executable, "-c", KILLED], input=asked, timeout=90, env={**os.environ}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    let_go_on(shop.harbour)
    assert shop.goes_on(), "without anybody's hand"
    assert shop.vault.sets() == []
    answer = shop.back_up()
    assert answer["outcome"] == "made", answer
    assert not list((shop.harbour.folder / "state/backup").rglob("*.sqlite"))
    assert shop.paused() == []
    assert shop.goes_on()
    assert [m.id for m in shop.vault.sets()] == [answer["set"]]
    assert shop.vault.leftovers(shop.harbour.name) == []
    database, file = shop.restored(shop.vault.sets()[0], tmp_path)
    assert database - file in (0, 1)
