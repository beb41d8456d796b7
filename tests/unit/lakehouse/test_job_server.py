# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The job server and its client as they are mounted: a real server on loopback, and jobs that are real processes."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

JOBS = Path(__file__).resolve().parents[3] / "roles" / "lakehouse" / "files" / "jobs"
TOKEN = "a-token-of-some-length"


def imported(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"lakehouse_jobs_{name}", JOBS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


server = imported("server")
job_client = imported("job_client")

PRINT = "import sys; print('result', sys.argv[1])"
SLEEP = "import sys, time; time.sleep(float(sys.argv[1])); print('result {\"slept\": %s}' % sys.argv[1])"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
CHATTY = (
    "for n in range(3000): print(n, 'x' * 50)\nprint('y' * 200_000)\nprint('result {\"lines\": 3000}')\nprint('end')"
)
HOPELESS = (
    "import sys; print('failed there is no such month', flush=True)\n"
    "for n in range(3000): print('noise', n, file=sys.stderr)\nsys.exit(1)"
)
PARENT = (
    "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid,"
    " flush=True); import time; time.sleep(60)"
)


def job(code: str, *arguments: str, timeout: float = 30, **parameters: str | None) -> dict[str, Any]:
    return {"command": [sys.executable, "-c", code, *arguments], "parameters": parameters, "timeout": timeout}


DEFINED = {
    "hopeless": job(HOPELESS),
    "sleep": job(SLEEP, "{seconds}", seconds="0.1", note=""),
    "late": job(SLEEP, "60", timeout=0.3),
    "broken": job("import sys; print('so far'); sys.exit('no bucket')"),
    "once": job(
        "import os, sys; p = sys.argv[1]; os.path.exists(p) or open(p, 'w').close() or sys.exit('first')",
        "{at}",
        at=None,
    ),
    "chatty": job(CHATTY),
    "stubborn": job(STUBBORN),
    "parent": job(PARENT),
    "told": job(PRINT, '{{"day": "{day}", "url": "{url}"}}'.replace("{{", "{").replace("}}", "}"), day=None, url=""),
    "nowhere": {"command": ["/no/such/program"]},
}


class Running:
    """A server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "jobs.json").write_text(json.dumps(DEFINED))
        (folder / "token").write_text(TOKEN + "\n")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        about = {"JOBS_FILE": str(self.folder / "jobs.json"), "JOBS_TOKEN_FILE": str(self.folder / "token")}
        return {**os.environ, **about, "JOBS_PORT": str(self.port), "JOBS_HOST": "127.0.0.1"}

    def start(self) -> None:
        with (self.folder / "log").open("ab", buffering=0) as log:
            self.process = subprocess.Popen([sys.executable, JOBS / "server.py"], env=self.environment, stdout=log)
        self.until(lambda: self.check() == 0)

    def check(self) -> int:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return 0
        return 1

    def until(self, true: Callable[[], Any]) -> Any:
        return until(true, self.log, rest=0.02)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self, number: int = signal.SIGKILL) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(15)

    def ask(
        self, method: str, path: str, body: Any = None, token: str = TOKEN, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            text = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            connection.request(method, path, text, {"Authorization": f"Bearer {token}", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def put(self, path: str, **parameters: Any) -> dict[str, Any]:
        status, told = self.ask("PUT", f"/runs/{path}", parameters)
        assert status == 200, told
        return told

    def get(self, path: str) -> dict[str, Any]:
        status, told = self.ask("GET", f"/runs/{path}")
        assert status == 200, told
        return told

    def ended(self, path: str) -> dict[str, Any]:
        told: dict[str, Any] = self.until(lambda: (told := self.get(path))["state"] in server.ENDED and told)
        return told

    def run(self, name: str, run_id: str = "r", deadline: float = 8, **parameters: Any) -> Any:
        return job_client.run(self.url, name, run_id, parameters, TOKEN, deadline)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Running]:
    running = Running(folder)
    running.start()
    try:
        yield running
    finally:
        if running.process and running.process.poll() is None:
            running.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
def jobs(shared: Running) -> Running:
    """The same server for all tests that leave it alive; its log is the test's own."""
    (shared.folder / "log").write_bytes(b"")
    return shared


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Running]:
    with started(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_client, "PAUSE", 0.05)


def test_a_run_is_started_once_and_then_said_how_it_is(jobs: Running) -> None:
    assert jobs.put("sleep/once", seconds="0.2")["state"] in ("queued", "running")
    jobs.put("sleep/once", seconds="0.2")
    told = jobs.ended("sleep/once")
    assert (told["state"], told["exit_code"], told["result"]) == ("succeeded", 0, {"slept": 0.2})
    assert 0.2 <= told["seconds"] < 3
    assert jobs.put("sleep/once", seconds="0.2") == told
    assert jobs.log().count("sleep/once begins") == 1
    assert 'sleep/once | result {"slept": 0.2}' in jobs.log()
    assert jobs.ask("PUT", "/runs/sleep/once", {"seconds": "0.3"})[0] == 409


def test_parameters_reach_a_job_as_they_are(jobs: Running) -> None:
    url = "https://example.org/a/b.parquet?x=1&y=%20+"
    assert jobs.run("told", "2024-01-01T00:00:00+00:00", day="2024-01-01", url=url) == {"day": "2024-01-01", "url": url}


REFUSED = [
    # method    path                body                            status
    ("PUT", "/runs/told/r", {}, 400),  # a day has to be given
    ("PUT", "/runs/told/r", {"day": "x", "more": "1"}, 400),
    ("PUT", "/runs/told/r", {"day": "$(reboot)"}, 400),
    ("PUT", "/runs/told/r", {"day": "--conf=x"}, 400),
    ("PUT", "/runs/told/r", {"day": "a b"}, 400),
    ("PUT", "/runs/told/r", {"day": "1\n"}, 400),
    ("PUT", "/runs/told/r", {"day": "x" * 301}, 400),
    ("PUT", "/runs/told/r", {"day": True}, 400),
    ("PUT", "/runs/told/r", {"day": ["x"]}, 400),
    ("PUT", "/runs/told/r", ["day"], 400),
    ("PUT", "/runs/told/r", b"{", 400),
    ("PUT", "/runs/told/r", b"[" * 9000, 400),
    ("PUT", "/runs/told/" + "r" * 251, {"day": "x"}, 400),
    ("PUT", "/runs/told/a%2Fb", {"day": "x"}, 400),
    ("PUT", "/runs/unknown/r", {}, 404),
    ("GET", "/runs/told/r", None, 404),
    ("DELETE", "/runs/told/r", None, 404),
    ("GET", "/runs", None, 404),
    ("PUT", "/runs/told/r", b"x" * 20_000, 413),
]


def test_what_is_wrong_is_refused_and_runs_nothing(jobs: Running) -> None:
    for method, path, body, status in REFUSED:
        assert jobs.ask(method, path, body)[0] == status, (method, path[:40], body)
    with socket.create_connection(("127.0.0.1", jobs.port), 2) as raw:
        raw.sendall(f"PUT /runs/told/r HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert b" 411 " in raw.recv(100)
    assert "begins" not in jobs.log()


def test_nothing_but_health_is_told_without_the_token(jobs: Running) -> None:
    for token in ("", "another", TOKEN + "x", TOKEN[:-1], "ü"):
        for method in ("GET", "PUT", "DELETE"):
            assert jobs.ask(method, "/runs/sleep/a", {}, token=token)[0] == 401
    assert jobs.ask("GET", "/health", token="") == (200, {"jobs": sorted(DEFINED), "running": None, "queued": 0})
    assert TOKEN not in jobs.log()


def test_runs_go_one_after_another_in_their_order(jobs: Running) -> None:
    for name in "abc":
        jobs.put(f"sleep/{name}", seconds="0.15")
    health = jobs.ask("GET", "/health")[1]
    assert (health["running"], health["queued"]) in [("sleep/a", 2), (None, 3)]
    assert jobs.ended("sleep/c")["state"] == "succeeded"
    told = [line for line in jobs.log().splitlines() if line.endswith("begins") or "succeeded" in line]
    assert [line.split()[0] for line in told] == [f"sleep/{name}" for name in "aabbcc"]


def test_a_job_that_fails_says_why_and_can_begin_anew(jobs: Running, tmp_path: Path) -> None:
    with pytest.raises(job_client.JobFailed, match=r"(?s)failed after .* exit code 1; .*no bucket"):
        jobs.run("broken")
    with pytest.raises(job_client.JobFailed, match="first"):
        jobs.run("once", at=str(tmp_path / "mark"))
    assert jobs.put("once/r", at=str(tmp_path / "mark"))["state"] == "failed", "a plain PUT starts nothing again"
    assert jobs.run("once", at=str(tmp_path / "mark")) == {}
    assert jobs.run("once", at=str(tmp_path / "mark")) == {}
    assert jobs.log().count("once/r begins") == 2
    with pytest.raises(job_client.JobFailed, match=r"(?s)127.*No such file"):
        jobs.run("nowhere")


def test_a_job_that_takes_too_long_is_stopped(jobs: Running) -> None:
    jobs.put("late/r")
    told = jobs.ended("late/r")
    assert (told["state"], told["exit_code"]) == ("failed", -signal.SIGTERM)
    assert "0.3 s are over" in told["output"]


def test_a_run_is_stopped_with_all_its_processes(jobs: Running) -> None:
    jobs.put("parent/r")
    jobs.put("sleep/waits")
    child = int(jobs.until(lambda: jobs.get("parent/r")["output"]))
    assert jobs.ask("DELETE", "/runs/sleep/waits")[1]["state"] == "stopped"
    assert jobs.ask("DELETE", "/runs/parent/r")[0] == 200
    assert jobs.ended("parent/r")["state"] == "stopped"

    def gone() -> bool:
        stat = Path(f"/proc/{child}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    jobs.until(gone)
    assert "sleep/waits begins" not in jobs.log()
    assert jobs.ask("DELETE", "/runs/parent/r")[1]["state"] == "stopped"


def test_output_is_kept_to_its_end_and_shown_whole(jobs: Running) -> None:
    assert jobs.run("chatty") == {"lines": 3000}
    told = jobs.get("chatty/r")
    assert len(told["output"]) == server.OUTPUT
    assert told["output"].endswith('result {"lines": 3000}\nend\n')
    assert "chatty/r | 0 xxx" in jobs.log()
    assert "chatty/r | 2999 xxx" in jobs.log()
    assert max(len(line) for line in jobs.log().splitlines()) < server.LINE + 100


def test_a_job_s_own_reason_goes_before_its_last_lines(jobs: Running) -> None:
    with pytest.raises(job_client.JobFailed, match="with exit code 1: there is no such month; its last lines:\n"):
        jobs.run("hopeless")


def test_a_server_that_is_told_to_stop_lets_a_short_job_end(mortal: Running) -> None:
    mortal.put("sleep/a", seconds="0.5")
    mortal.put("sleep/b")
    mortal.until(lambda: "begins" in mortal.log())
    assert mortal.stop(signal.SIGTERM) == 0
    assert "sleep/a succeeded" in mortal.log()
    assert "sleep/b begins" not in mortal.log()


def test_a_job_that_does_not_want_to_is_killed_with_its_server(jobs: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CLOSE_GRACE", 0.1)
    monkeypatch.setattr(server, "TERM_GRACE", 0.2)
    inside = server.Jobs(server.read_jobs(json.dumps(DEFINED)))
    inside.put("stubborn", "r", {}, again=False)
    jobs.until(lambda: "ready" in inside.get("stubborn/r")["output"])
    child = inside.process.child
    began = time.monotonic()
    inside.close()
    assert time.monotonic() - began < 10
    assert child.poll() == -signal.SIGKILL
    for ask in (lambda: inside.get("stubborn/r"), lambda: inside.put("sleep", "r", {}, again=False), inside.health):
        with pytest.raises(server.Refused, match="the server stops"):
            ask()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_client_gets_its_result_though_the_server_died(mortal: Running, number: int) -> None:
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(mortal.run("sleep", seconds="1.2")))
    asking.start()
    mortal.until(lambda: "sleep/r begins" in mortal.log())
    if number == signal.SIGTERM:
        # it waits for a job that is short
        assert mortal.process
        mortal.process.send_signal(number)
        mortal.process.wait(10)
    else:
        mortal.stop(number)
    mortal.start()
    asking.join(10)
    assert found == [{"slept": 1.2}]


def test_a_client_waits_for_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    running = Running(tmp_path)
    threading.Timer(0.7, running.start).start()
    try:
        assert running.run("sleep") == {"slept": 0.1}
    finally:
        running.until(lambda: running.process)
        running.stop()
    with pytest.raises(job_client.JobFailed, match=r"did not end within 0\.6 s; last heard of it: ConnectionRefused"):
        running.run("sleep", deadline=0.6)


def test_a_client_gives_up_at_once_what_is_refused(jobs: Running) -> None:
    with pytest.raises(job_client.JobFailed, match="refused with 401"):
        job_client.run(jobs.url, "sleep", "r", {}, "another", 5)
    with pytest.raises(job_client.JobFailed, match="refused with 404: no such job"):
        jobs.run("unknown")
    with pytest.raises(job_client.JobFailed, match="refused with 400: unknown parameters: day"):
        jobs.run("sleep", day="x")


def test_the_client_as_a_command(jobs: Running) -> None:
    def said(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(JOBS / "job_client.py"), "--deadline", "8", jobs.url, *arguments]
        return subprocess.run(line, env=jobs.environment, capture_output=True, text=True, check=False, timeout=20)

    done = said("told", "command", "day=2024-01-01", "url=https://example.org/?a=b")
    assert (done.returncode, json.loads(done.stdout)["url"]) == (0, "https://example.org/?a=b")
    failed = said("broken", "command")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "no bucket" in failed.stderr


def test_the_health_check_as_a_command(mortal: Running) -> None:
    line = [sys.executable, str(JOBS / "server.py"), "check"]
    done = subprocess.run(line, env=mortal.environment, capture_output=True, check=False, timeout=10)
    assert (done.returncode, json.loads(done.stdout)["queued"]) == (0, 0)
    mortal.stop()
    assert subprocess.run(line, env=mortal.environment, capture_output=True, check=False, timeout=10).returncode == 1


def test_only_the_last_runs_are_remembered() -> None:
    runs = server.Runs()
    for number in range(server.KEPT + 20):
        runs, run = server.asked(runs, server.Run("sleep", str(number), {}), again=False)
        runs, run = server.begun(runs, float(number))
        runs = server.finished(runs, server.replace(run, state="succeeded", ended=number + 1.0))
    assert list(runs.known) == [f"sleep/{number}" for number in range(20, server.KEPT + 20)]


def test_a_long_queue_takes_no_more() -> None:
    runs = server.Runs()
    for number in range(server.QUEUE):
        runs, _run = server.asked(runs, server.Run("sleep", str(number), {}), again=False)
    with pytest.raises(server.Refused, match="waiting already"):
        server.asked(runs, server.Run("sleep", "more", {}), again=False)


@pytest.mark.parametrize("name", ["place", "empty", "a/b"])
def test_a_file_of_jobs_that_cannot_run_is_refused(name: str) -> None:
    command = {"place": ["x", "{day}"], "empty": []}.get(name, ["x"])
    with pytest.raises(ValueError, match="its command is empty or has places"):
        server.read_jobs(json.dumps({name: {"command": command}}))
