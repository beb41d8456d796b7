# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A database of 2 GB: its set beside `pg_dump | restic backup --stdin` by hand, its drill and its restore; and how long
writers of a small stack with two databases, a SQLite file and a volume hold still."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import statistics
import tempfile
from pathlib import Path

import docker
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill, restoring

from tests.bench.backup_stack import Bench, database, say
from tests.bench.backups_live import live
from tests.bench.figures import Figure
from tests.fixtures.images.recipes import recipe_image

MIB = 2**20
SIZE = int(os.environ.get("BENCH_MIB", "2048"))
"""of the database's rows, in MiB"""
ROW = 4096
FILL = f"(SELECT string_agg(md5(random()::text || n || k), '') FROM generate_series(1, {ROW // 32}) k)"
LEAST = 0.95
"""of the throughput by hand"""
ROUNDS = 3
"""of both, each into a repository that is empty; the one in the middle counts"""
STILL = 2.0
"""seconds that writers may hold still"""


def backups(_only: str = "") -> list[Figure]:
    """The database goes into a repository several times in turns, by hand and by us; the rest is measured once."""
    image = recipe_image(docker.from_env(), "postgres")
    with tempfile.TemporaryDirectory(prefix="quaylock-bench.") as folder:
        found = _large(Path(folder), image)
    with tempfile.TemporaryDirectory(prefix="quaylock-bench.") as folder:
        found += _still(Path(folder), image)
    with tempfile.TemporaryDirectory(prefix="quaylock-bench.") as folder:
        found += live(Path(folder), image)
    return found


def _large(folder: Path, image: str) -> list[Figure]:
    item = {"type": "postgres", "service": "db", "databases": ["shop"]}
    bench = Bench(folder, {"db": database(image, "data")}, {"db": item}, ["data"])
    try:
        say(f"filling a database with {SIZE} MiB")
        rows = SIZE * MIB // ROW
        bench.sql(
            "CREATE TABLE big (n int PRIMARY KEY, payload text);"
            " ALTER TABLE big ALTER payload SET STORAGE EXTERNAL;"
            f" INSERT INTO big SELECT n, {FILL} FROM generate_series(1, {rows}) n; CHECKPOINT;"
        )
        hand, streamed, took, grown = _rounds(bench, folder)
        one = [_size(folder / "by-hand"), _size(folder / "repository")]
        say("again after one row in a hundred was changed")
        bench.sql(f"UPDATE big SET payload = {FILL} WHERE n % 100 = 0; CHECKPOINT;")
        hand_again = bench.by_hand(folder / "by-hand")
        again, took_again = bench.made()
        added = [_size(folder / "by-hand") - one[0], _size(folder / "repository") - one[1]]
        say("a drill, and a restore")
        proof = drill.drill(bench.request, bench.vault)
        restored = restoring.restore(bench.request, bench.vault, restoring.Choice(stop=True))
        for what in (proof, restored):
            if what.get("failed"):
                raise SystemExit(str(what["msg"]))
        size = f"database of {SIZE} MiB"
        return [
            Figure(f"{size}, into the repository", streamed, hand, round(1 / LEAST, 3)),
            Figure(f"{size}, the whole set, read back through pg_restore", took, hand, None),
            Figure(f"{size}, memory of our process more than before", grown, None, None, "MiB"),
            Figure("the second set, into the repository", bench.streamed(again["set"]), hand_again, None),
            Figure("the second set as a whole", took_again, hand_again, None),
            Figure("the second set, what it adds", added[1] / MIB, added[0] / MIB, None, "MiB"),
            Figure("a drill of it (RTO)", proof["rto"], None, None),
            Figure("a restore of the stack", restored["seconds"], None, None),
            Figure("of which it does not serve", restored["stopped"], None, None),
        ]
    finally:
        bench.away()


def _rounds(bench: Bench, folder: Path) -> tuple[float, float, float, float]:
    """Seconds by hand, ours into the repository, and of our whole set; and MiB that our process took more.

    Who is first changes from round to round: whatever the machine does beside it meets both.
    """
    by_hand: list[float] = []
    ours: list[tuple[float, float]] = []
    bench.by_hand(folder / "first")
    before = _peak()

    def hand() -> None:
        by_hand.append(bench.by_hand(folder / "by-hand"))

    def own() -> None:
        answer, took = bench.made()
        ours.append((bench.streamed(answer["set"]), took))

    for turn in range(ROUNDS):
        for name in ("first", "by-hand", "repository"):
            shutil.rmtree(folder / name, ignore_errors=True)
        bench.vault.repository.init()
        say(f"by hand, and by Quaylock, round {turn + 1} of {ROUNDS}")
        for measured in (own, hand) if turn % 2 else (hand, own):
            measured()
        say(f"  {by_hand[-1]:.1f} s by hand, {ours[-1][0]:.1f} s by Quaylock")
    streamed, took = (statistics.median(figures) for figures in zip(*ours, strict=True))
    return statistics.median(by_hand), streamed, took, _peak() - before


WRITER = """
until psql -h db -U shop -qc 'CREATE TABLE IF NOT EXISTS log (n int)'; do sleep 0.1; done
i=0
while :; do i=$((i + 1)); echo "INSERT INTO log VALUES ($i);"; echo "\\\\! echo $i >> /files/log"; done | psql -h db -U shop -q
"""


def _still(folder: Path, image: str) -> list[Figure]:
    say("how long writers hold still")
    writer = {
        "image": image,
        "user": "0:0",
        "entrypoint": ["/bin/sh", "-c", WRITER],
        "init": True,
        "stop_grace_period": "1s",
        "volumes": ["files:/files"],
        "depends_on": {"db": {"condition": "service_healthy"}, "other": {"condition": "service_healthy"}},
        "healthcheck": {"test": ["CMD", "test", "-s", "/files/log"]},
    }
    services = {"db": database(image, "data"), "other": database(image, "more"), "writer": writer}
    items = {
        "db": {"type": "postgres", "service": "db"},
        "other": {"type": "postgres", "service": "other"},
        "jobs": {"type": "sqlite", "volume": "files", "path": "jobs.db"},
        "files": {"type": "volume", "volume": "files", "exclude": ["/jobs.db*"]},
    }
    bench = Bench(folder, services, items, ["data", "more", "files"])
    try:
        place = Path(bench.client.volumes.get(f"{bench.name}_files").attrs["Mountpoint"])
        with contextlib.closing(sqlite3.connect(place / "jobs.db")) as db:
            db.execute("CREATE TABLE jobs (n INTEGER, what TEXT)")
            db.executemany("INSERT INTO jobs VALUES (?, ?)", ((n, "x" * 200) for n in range(20000)))
            db.commit()
        for number in range(2000):
            (place / f"file-{number}").write_bytes(os.urandom(4096))
        answers = [bench.made() for _turn in range(3)]
        quiet = sorted(answer["quiet"] for answer, _took in answers)[1]
        return [
            Figure("writers hold still: two databases, SQLite, a volume of 2,000 files", quiet, STILL, 1.0),
            Figure("that set as a whole", sorted(took for _answer, took in answers)[1], None, None),
        ]
    finally:
        bench.away()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _peak() -> float:
    """The most memory that this process had, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0
