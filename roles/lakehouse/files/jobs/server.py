# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the jobs that a file names, one after another, for those who ask over HTTP with the token.

    python server.py          serves on JOBS_PORT (8090) the jobs of JOBS_FILE to who has the token of JOBS_TOKEN_FILE
    python server.py check    does it answer on this host?

    PUT /runs/JOB/RUN         starts this run, or says how it is; with ?again=failed one that failed begins anew
    GET /runs/JOB/RUN         how it is
    DELETE /runs/JOB/RUN      stops it
    GET /health               what there is to run, and what runs; without a token

A job's line on stdout that begins with `result ` has its result as JSON; one that begins with `failed ` has its reason.

Runs are remembered in memory on purpose: one that died with its server is unknown to the next, and whoever still wants
it asks for it again. So a job must overwrite what it wrote before.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEPT = 100
"""runs that ended and are remembered"""
QUEUE = 100
OUTPUT = 4000
"""characters of a job's output that are remembered"""
LINE = 16384
"""the longest line, and so the longest result"""
BODY = 16384
TERM_GRACE = 5.0
CLOSE_GRACE = 3.0
"""seconds that a running job has to end by itself when the server stops; with the other grace less than Docker's ten"""
ENDED = ("succeeded", "failed", "stopped")

# no dash in front: a value stays a value where a command reads options
VALUE = re.compile(r"(?!-)[A-Za-z0-9_:./?=&%+-]{0,300}")
RUN_ID = re.compile(r"[A-Za-z0-9_:.+~@-]{1,250}")
PLACE = re.compile(r"\{(\w+)\}")


class Refused(Exception):
    """What is answered instead."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


@dataclass(frozen=True, slots=True)
class Job:
    """A command with places for parameters; a parameter whose default is None has to be given. Seconds."""

    command: tuple[str, ...]
    parameters: Mapping[str, str | None]
    timeout: float


@dataclass(frozen=True, slots=True)
class Run:
    job: str
    id: str
    parameters: Mapping[str, str]
    state: str = "queued"
    exit_code: int | None = None
    began: float = 0.0
    ended: float = 0.0
    result: Any = None
    output: str = ""
    why: str = ""
    """what a job that failed said of itself"""

    @property
    def name(self) -> str:
        return f"{self.job}/{self.id}"


@dataclass(frozen=True, slots=True)
class Runs:
    """What was asked for, the oldest first."""

    known: Mapping[str, Run] = field(default_factory=dict)
    closing: bool = False

    def having(self, run: Run) -> Runs:
        return replace(self, known={**self.known, run.name: run})

    @property
    def running(self) -> Run | None:
        return next((run for run in self.known.values() if run.state == "running"), None)

    @property
    def queued(self) -> list[Run]:
        return [run for run in self.known.values() if run.state == "queued"]


def read_jobs(text: str) -> dict[str, Job]:
    """The jobs of a file. Raises ValueError where one cannot be run."""
    jobs = {}
    for name, given in json.loads(text).items():
        job = Job(tuple(given["command"]), dict(given.get("parameters", {})), float(given.get("timeout", 3600)))
        unknown = {place for part in job.command for place in PLACE.findall(part)} - set(job.parameters)
        if unknown or not job.command or not RUN_ID.fullmatch(name):
            raise ValueError(f"job {name}: its command is empty or has places without a parameter: {sorted(unknown)}")
        jobs[name] = job
    return jobs


def parameters_of(job: Job, given: Any) -> dict[str, str]:
    """All parameters of a run, as texts."""
    if not isinstance(given, dict):
        raise Refused(400, "parameters are a JSON object")
    if unknown := sorted(set(given) - set(job.parameters)):
        raise Refused(400, f"unknown parameters: {', '.join(unknown)[:200]}")
    values = {**job.parameters, **given}
    for name, value in values.items():
        if value is None:
            raise Refused(400, f"parameter {name} is not given")
        if isinstance(value, bool) or not isinstance(value, (str, int)) or not VALUE.fullmatch(str(value)):
            raise Refused(400, f"parameter {name} has a value that is not allowed")
    return {name: str(value) for name, value in values.items()}


def command_of(job: Job, parameters: Mapping[str, str]) -> list[str]:
    return [PLACE.sub(lambda place: parameters[place[1]], part) for part in job.command]


def asked(runs: Runs, wanted: Run, again: bool) -> tuple[Runs, Run]:
    """A run is asked for: once more, or for the first time."""
    run = runs.known.get(wanted.name)
    if run and run.parameters != wanted.parameters:
        raise Refused(409, f"{run.name} was asked for with other parameters")
    if run and not (again and run.state in ("failed", "stopped")):
        return runs, seen(runs, run.name)
    if runs.closing:
        raise Refused(503, "the server stops")
    if len(runs.queued) >= QUEUE:
        raise Refused(503, f"{QUEUE} runs are waiting already")
    others = {name: run for name, run in runs.known.items() if name != wanted.name}
    return replace(runs, known={**others, wanted.name: wanted}), wanted


def seen(runs: Runs, name: str) -> Run:
    """How a run is. One that ends with its server is not told as stopped: the next server will be asked for it."""
    if not (run := runs.known.get(name)):
        raise Refused(404, "no such run")
    if runs.closing and run.state not in ("succeeded", "failed"):
        raise Refused(503, "the server stops")
    return run


def begun(runs: Runs, now: float) -> tuple[Runs, Run | None]:
    """The next run, if it can begin."""
    if runs.closing or runs.running or not runs.queued:
        return runs, None
    run = replace(runs.queued[0], state="running", began=now)
    return runs.having(run), run


def finished(runs: Runs, run: Run) -> Runs:
    """A run ended; the oldest of those that did are forgotten."""
    known = {**runs.known, run.name: run}
    done = [name for name, each in known.items() if each.state in ENDED]
    for name in done[: max(0, len(done) - KEPT)]:
        del known[name]
    return replace(runs, known=known)


def told(run: Run, now: float) -> dict[str, Any]:
    seconds = (run.ended or now) - run.began if run.began else 0.0
    return {
        "job": run.job,
        "run": run.id,
        "state": run.state,
        "exit_code": run.exit_code,
        "seconds": round(seconds, 2),
        "result": run.result,
        "output": run.output,
        "why": run.why,
    }


class Process:
    """A job that runs: a process group, and the end of what it says."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name, self.output, self.last, self.why = name, "", "", ""
        self.asked_to_stop = False
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        pipes = (self.child.stdout, self.child.stderr)
        self.readers = [threading.Thread(target=self._read, args=(pipe,), daemon=True) for pipe in pipes]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe: Any) -> None:
        while line := pipe.readline(LINE):
            text = line.decode(errors="replace").rstrip("\n")
            if pipe is self.child.stdout and text.startswith("result "):
                self.last = text[len("result ") :]
            if pipe is self.child.stdout and text.startswith("failed "):
                self.why = text[len("failed ") :]
            self.say(text)
        pipe.close()

    def say(self, text: str) -> None:
        say(f"{self.name} | {text}")
        self.output = f"{self.output}{text}\n"[-OUTPUT:]

    @property
    def result(self) -> Any:
        try:
            return json.loads(self.last)
        except ValueError:
            return None

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def wait(self, timeout: float) -> int | None:
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """TERM, then KILL. The group may outlive the child it began with."""
        self.signal(signal.SIGTERM)
        self.wait(TERM_GRACE)
        self.end()

    def end(self) -> int:
        self.signal(signal.SIGKILL)
        code = self.child.wait()
        for reader in self.readers:
            reader.join(2)
        return code


class Jobs:
    """The runs and the one process. All state changes below one lock."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self.jobs, self.runs = jobs, Runs()
        self.process: Process | None = None
        self.lock = threading.Condition()
        self.worker = threading.Thread(target=self._work, daemon=True)
        self.worker.start()

    def put(self, job: str, run_id: str, given: Any, again: bool) -> dict[str, Any]:
        if job not in self.jobs:
            raise Refused(404, "no such job")
        wanted = Run(job, run_id, parameters_of(self.jobs[job], given))
        with self.lock:
            self.runs, run = asked(self.runs, wanted, again)
            self.lock.notify_all()
            return self._told(run)

    def get(self, name: str) -> dict[str, Any]:
        with self.lock:
            return self._told(seen(self.runs, name))

    def delete(self, name: str) -> dict[str, Any]:
        with self.lock:
            run = seen(self.runs, name)
            if run.state == "queued":
                run = replace(run, state="stopped")
                self.runs = finished(self.runs, run)
            elif run.state == "running" and self.process:
                self.process.asked_to_stop = True
                threading.Thread(target=self.process.stop, daemon=True).start()
            return self._told(run)

    def health(self) -> dict[str, Any]:
        with self.lock:
            if self.runs.closing or not self.worker.is_alive():
                raise Refused(503, "the server stops")
            running = self.runs.running
            queued = len(self.runs.queued)
            return {"jobs": sorted(self.jobs), "running": running.name if running else None, "queued": queued}

    def close(self) -> None:
        """Takes nothing new; returns when nothing runs any more."""
        with self.lock:
            self.runs = replace(self.runs, closing=True)
            self.lock.notify_all()
        self.worker.join(CLOSE_GRACE)
        if process := self.process:
            process.asked_to_stop = True
            process.stop()
        self.worker.join(2)

    def _told(self, run: Run) -> dict[str, Any]:
        if run.state == "running" and self.process:
            run = replace(run, output=self.process.output)
        return told(run, time.monotonic())

    def _work(self) -> None:
        while True:
            with self.lock:
                self.runs, run = begun(self.runs, time.monotonic())
                if run is None:
                    if self.runs.closing:
                        return
                    self.lock.wait()
                    continue
                say(f"{run.name} begins")
                job = self.jobs[run.job]
                try:
                    # below the lock: who stops a running job finds its process
                    self.process = Process(run.name, command_of(job, run.parameters))
                except (OSError, ValueError) as error:
                    text = f"it cannot be run: {error}\n"
                    run = replace(run, state="failed", exit_code=127, ended=time.monotonic(), output=text)
            if self.process:
                run = self._ended(run, self.process, job.timeout)
            with self.lock:
                self.process = None
                self.runs = finished(self.runs, run)
            say(f"{run.name} {run.state} after {run.ended - run.began:.1f} s, exit code {run.exit_code}")

    @staticmethod
    def _ended(run: Run, process: Process, timeout: float) -> Run:
        late = process.wait(timeout) is None
        if late:
            process.say(f"it is stopped: {timeout:g} s are over")
            process.stop()
        code = process.end()
        # a job that was stopped has not done its work, whatever it says of itself
        state = "failed" if late else "stopped" if process.asked_to_stop else "failed" if code else "succeeded"
        result = process.result if state == "succeeded" else None
        return replace(
            run,
            state=state,
            exit_code=code,
            ended=time.monotonic(),
            result=result,
            output=process.output,
            why=process.why,
        )


class Handler(BaseHTTPRequestHandler):
    timeout = 20
    server: Server

    def do_GET(self) -> None:
        self._answer()

    do_PUT = do_DELETE = do_GET  # noqa: N815 - the names that http.server looks for

    def _answer(self) -> None:
        try:
            status, body = 200, self._answered()
        except Refused as refused:
            status, body = refused.status, {"error": str(refused)}
        text = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _answered(self) -> dict[str, Any]:
        jobs = self.server.jobs
        url = urlsplit(self.path)
        if (self.command, url.path) == ("GET", "/health"):
            return jobs.health()
        given = (self.headers.get("Authorization") or "").encode("latin-1")
        if not hmac.compare_digest(given, b"Bearer " + self.server.token):
            raise Refused(401, "the token is missing or another one")
        parts = [unquote(part) for part in url.path.split("/")]
        if len(parts) != 4 or parts[:2] != ["", "runs"]:
            raise Refused(404, "no such page")
        job, run_id = parts[2:]
        if not RUN_ID.fullmatch(run_id):
            raise Refused(400, "a run's id has letters, digits and _:.+~@- and at most 250 of them")
        if self.command == "PUT":
            return jobs.put(job, run_id, self._body(), parse_qs(url.query).get("again") == ["failed"])
        return (jobs.get if self.command == "GET" else jobs.delete)(f"{job}/{run_id}")

    def _body(self) -> Any:
        length = self.headers.get("Content-Length") or ""
        if not (length.isascii() and length.isdigit()):
            raise Refused(411, "a length has to be given")
        if int(length[:10]) > BODY:
            raise Refused(413, f"more than {BODY} bytes")
        try:
            return json.loads(self.rfile.read(int(length)) or b"{}")
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not JSON") from None

    def log_message(self, *_arguments: Any) -> None:
        """Requests are not logged: what runs is."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], jobs: Jobs, token: bytes) -> None:
        self.jobs, self.token = jobs, token
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # http.server's own asks the DNS for its name, which a network without a way out answers late
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "jobs", self.server_address[1]

    def handle_error(self, _request: Any, _client: Any) -> None:
        error = sys.exc_info()[1]
        # who hangs up is not worth a line
        if not isinstance(error, OSError):
            say(f"jobs: {type(error).__name__}: {error}")


def say(text: str) -> None:
    print(text, flush=True)


def check(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        body = answer.read(4000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        body, status = str(error), 0
    else:
        status = answer.status
    print(body)
    return 0 if status == 200 else 1


def serve(port: int) -> int:
    try:
        jobs = read_jobs(Path(os.environ.get("JOBS_FILE", "/opt/jobs/jobs.json")).read_text())
        token = Path(os.environ.get("JOBS_TOKEN_FILE", "/run/secrets/jobs_token")).read_bytes().strip()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"jobs: {type(error).__name__}: {error}", file=sys.stderr)
        return 78
    if len(token) < 16:
        print("jobs: the token has less than 16 characters", file=sys.stderr)
        return 78
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_about: stop.set())
    server = Server((os.environ.get("JOBS_HOST", ""), port), Jobs(jobs), token)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"jobs: {', '.join(sorted(jobs))} on port {port}")
    while not stop.wait(1):
        if not server.jobs.worker.is_alive():
            say("jobs: nothing runs the queue any more")
            return 70
    say("jobs: stops")
    server.jobs.close()
    server.shutdown()
    return 0


if __name__ == "__main__":
    asked_for = sys.argv[1:]
    own_port = int(os.environ.get("JOBS_PORT", "8090"))
    if asked_for not in ([], ["check"]):
        sys.exit("server.py, or server.py check")
    sys.exit(check(own_port) if asked_for else serve(own_port))
