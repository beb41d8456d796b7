# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What clients of a stack notice of its backup: an application that writes a SQLite file, beside a database."""

from __future__ import annotations

import time
from pathlib import Path

import docker

from tests.bench.backup_stack import Bench, database, say
from tests.bench.figures import Figure
from tests.fixtures.images.recipes import recipe_image
from tests.load.clients import Load, quantile

MIB = 256
"""of the database, so that the backup takes a while"""
FILL = "SELECT n, repeat(md5(random()::text || n), 128) FROM generate_series(1, {rows}) n"
MIX = {"keepalive": 4, "fresh": 2, "post": 2}
PAUSE = 0.05
"""seconds between two requests of a client: 8 of them are no load that hides the backup"""
IDLE = 20.0
"""seconds that are compared with"""
APPLICATION = """
import contextlib, http.server, sqlite3, threading

WRITE = threading.Lock()
DB = sqlite3.connect("/files/jobs.db", check_same_thread=False, isolation_level=None)
DB.execute("PRAGMA journal_mode = WAL")
DB.execute("CREATE TABLE IF NOT EXISTS jobs (n INTEGER PRIMARY KEY, what BLOB)")

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with WRITE:
            count = DB.execute("SELECT max(n) FROM jobs").fetchone()[0]
        self.answer(str(count).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with WRITE:
            DB.execute("INSERT INTO jobs (what) VALUES (?)", (body,))
        self.answer(body)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

Server(("", 8000), Handler).serve_forever()
"""


def live(folder: Path, image: str) -> list[Figure]:
    say("what clients notice of a backup")
    python = recipe_image(docker.from_env(), "python")
    asks = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/', timeout=2)"
    services = {
        "db": database(image, "data"),
        "api": {
            "image": python,
            "user": "0:0",
            "init": True,
            "entrypoint": ["python3", "-c", APPLICATION],
            "ports": ["127.0.0.1::8000"],
            "volumes": ["files:/files"],
            "healthcheck": {"test": ["CMD", "python3", "-c", asks]},
        },
    }
    items = {
        "db": {"type": "postgres", "service": "db"},
        "jobs": {"type": "sqlite", "volume": "files", "path": "jobs.db"},
        "files": {"type": "volume", "volume": "files", "exclude": ["/jobs.db*"]},
    }
    bench = Bench(folder, services, items, ["data", "files"])
    try:
        bench.sql(f"CREATE TABLE big AS {FILL.format(rows=MIB * 2**20 // 4096)}; CHECKPOINT;")
        port = bench.client.containers.get(bench.container("api")).ports["8000/tcp"][0]["HostPort"]
        with Load(f"127.0.0.1:{port}", mix=MIX, pause=PAUSE, seconds=300) as load:
            load.warm()
            time.sleep(IDLE)
            began = time.time()
            answer, took = bench.made()
            ended = time.time()
            report = load.stop()
        idle = [took for at, _kind, took in report.answers if at < began]
        busy = [took for at, _kind, took in report.answers if began <= at <= ended]
        lost = sum(at >= began for at, _kind, _why in report.losses)
        what = f"during a backup of {took:.0f} s, writers still for {answer['quiet']:.2f} s"
        return [
            Figure(f"requests failed {what}", lost, len(busy) + lost, 0.0, "requests"),
            Figure("p50 of requests meanwhile, beside idle", quantile(busy, 0.5) * 1000, quantile(idle, 0.5) * 1000, None, "ms"),
            Figure("p99 of requests meanwhile, beside idle", quantile(busy, 0.99) * 1000, quantile(idle, 0.99) * 1000, None, "ms"),
            Figure("the slowest of them", max(busy) * 1000, max(idle) * 1000, None, "ms"),
        ]  # fmt: skip
    finally:
        bench.away()
