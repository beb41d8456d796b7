# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The deploying process is killed, or two of them meet: nothing that serves is lost, and the next run converges."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import ROOT, Harbour, one_shot, web
from .meanwhile import Meanwhile, of_version, told_to

pytestmark = pytest.mark.integration


KILLED = """
import os, pickle, signal, sys, threading
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal

request, what, do, nth, later = pickle.load(sys.stdin.buffer)
written, count = SqliteJournal.log, 0


def log(self, rollout, at, word, details):
    global count
    if word == what and details.get("do", "") == do:
        count += 1
        if count == nth and later:
            threading.Timer(later, os.kill, (os.getpid(), signal.SIGKILL)).start()
        elif count == nth:
            os.kill(os.getpid(), signal.SIGKILL)
    written(self, rollout, at, word, details)


SqliteJournal.log = log
deploy.deploy(request)
"""


def python(*words: str) -> subprocess.Popen[bytes]:
    """A process of this Python that finds the collection where this one does."""
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, *words], env=found, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def killed_at(
    harbour: Harbour, services: Mapping[str, Any], what: str, do: str, nth: int = 1, later: float = 0.0, **about: Any
) -> None:
    """Deploy in a process that gets SIGKILL when (or so long after) the journal is told of the nth such moment."""
    process = python("-c", KILLED)
    _answer, said = process.communicate(
        pickle.dumps((harbour.request(services, **about), what, do, nth, later)), timeout=60
    )
    assert process.returncode == -signal.SIGKILL, f"the rollout never came to {what} {do} {nth}: {said.decode()}"


def killed_when(harbour: Harbour, when: Callable[[], object], services: Mapping[str, Any], **about: Any) -> None:
    """Deploy in a process that gets SIGKILL as soon as `when` gives something true."""
    process = python("-c", KILLED)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((harbour.request(services, **about), "never", "", 1, 0.0)))
    process.stdin.close()
    until(when, rest=0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def release(version: str) -> dict[str, Any]:
    """Start-first, stop-first with a fixed name, and a one-shot: every kind of step occurs."""
    environment = {"VERSION": version}
    after = {"job": {"condition": "service_completed_successfully"}}
    return {
        "job": one_shot(**environment),
        "web": web(environment=environment, monitor="0.3s", deploy={"replicas": 2}, depends_on=after),
        "fixed": web(environment=environment, monitor="0.3s", container_name=os.environ["QR_FIXED"]),
    }


@pytest.fixture(autouse=True)
def fixed_name(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QR_FIXED", f"{harbour.name}-fixed")


def versions(harbour: Harbour) -> dict[str, list[str]]:
    """Service -> versions that run."""
    found: dict[str, list[str]] = {}
    for body in harbour.containers().values():
        if body["State"]["Running"]:
            [version] = [e.split("=", 1)[1] for e in body["Config"]["Env"] if e.startswith("VERSION=")]
            found.setdefault(body["Config"]["Labels"]["com.docker.compose.service"], []).append(version)
    return found


BEFORE_THE_COMMIT = [
    ("planned", "", 1),
    ("done", "Create", 2),
    ("done", "Start", 1),
    ("do", "Stop", 1),
    ("done", "Stop", 1),
    ("done", "Rename", 1),
    ("do", "Record", 2),
]
AFTER_THE_COMMIT = [("committed", "", 1), ("done", "Remove", 1), ("do", "Publish", 1)]


@pytest.mark.parametrize(("what", "do", "nth"), BEFORE_THE_COMMIT)
def test_killed_before_the_commit_the_next_run_undoes_it(harbour: Harbour, what: str, do: str, nth: int) -> None:
    harbour.deployed(release("1"))
    before = harbour.identities()
    killed_at(harbour, release("2"), what, do, nth)
    assert versions(harbour)["web"].count("1") == 2, "what served before the kill serves on"
    answer = harbour.deploy(release("1"))
    assert answer["outcome"] == "unchanged"
    assert answer["changed"]
    assert any("was interrupted earlier and undone" in note for note in answer["notes"])
    after = harbour.identities()
    assert {n: i for n, (i, _at) in after.items()} == {n: i for n, (i, _at) in before.items()}, "the same containers"
    assert {n: v for n, v in after.items() if "-web-" in n} == {n: v for n, v in before.items() if "-web-" in n}
    assert versions(harbour) == {"web": ["1", "1"], "fixed": ["1"]}


@pytest.mark.parametrize(("what", "do", "nth"), AFTER_THE_COMMIT)
def test_killed_after_the_commit_the_next_run_finishes_it(harbour: Harbour, what: str, do: str, nth: int) -> None:
    harbour.deployed(release("1"))
    killed_at(harbour, release("2"), what, do, nth)
    assert versions(harbour)["web"].count("2") == 2
    answer = harbour.deploy(release("2"))
    assert any("was interrupted earlier and finished" in note for note in answer["notes"])
    assert answer["outcome"] == "unchanged"
    assert versions(harbour) == {"web": ["2", "2"], "fixed": ["2"]}
    assert len(harbour.containers()) == 4
    again = harbour.deploy(release("2"))
    assert (again["outcome"], again["changed"], again["notes"]) == ("unchanged", False, [])


def test_a_first_deploy_that_was_killed_leaves_nothing_in_the_way(harbour: Harbour) -> None:
    killed_at(harbour, release("1"), "done", "Start", 2)
    assert harbour.containers()
    answer = harbour.deployed(release("2"))
    assert any("undone" in note for note in answer["notes"])
    assert versions(harbour) == {"web": ["2", "2"], "fixed": ["2"]}
    assert len(harbour.containers()) == 4


def test_a_recovery_that_is_killed_too_is_taken_up_again(harbour: Harbour) -> None:
    harbour.deployed(release("1"))
    killed_at(harbour, release("2"), "done", "Rename")
    killed_at(harbour, release("3"), "do", "Start")
    answer = harbour.deployed(release("3"))
    assert any("undone" in note for note in answer["notes"])
    assert versions(harbour) == {"web": ["3", "3"], "fixed": ["3"]}
    assert len(harbour.containers()) == 4


def test_killed_while_the_old_one_is_still_stopping_it_is_put_back(harbour: Harbour) -> None:
    """The engine ends what was asked for after the one who asked is gone: running is not staying."""

    def services(version: str) -> dict[str, Any]:
        slow = {"VERSION": version, "IGNORE_TERM": "1"}
        name = os.environ["QR_FIXED"]
        return {"fixed": web(environment=slow, monitor="0.3s", container_name=name, stop_grace_period="6s")}

    harbour.deployed(services("1"))
    [(name, (identity, _since))] = harbour.identities().items()
    killed_at(harbour, services("2"), "do", "Stop", later=0.4)
    assert harbour.running() == [name], "its grace period is not over"
    answer = harbour.deploy(services("1"))
    assert any("undone" in note for note in answer["notes"])
    time.sleep(6.5)
    assert harbour.running() == [name]
    assert harbour.identities()[name][0] == identity


def test_of_two_deployers_at_once_the_second_is_told_of_the_first(harbour: Harbour) -> None:
    services = {"web": web(environment={"READY_AFTER": "told", "VERSION": "1"})}
    first = python("-c", KILLED)
    assert first.stdin is not None
    first.stdin.write(pickle.dumps((harbour.request(services, who="first@ci"), "never", "", 1, 0.0)))
    first.stdin.close()
    request = harbour.request(services)
    until(lambda: deploy.in_progress(request))
    until(lambda: of_version(harbour, "1"))
    with pytest.raises(PortError, match=rf"{harbour.name} is being deployed by first@ci \(pid {first.pid}, rollout r-"):
        deploy.deploy(request)

    def let_go(_found: Any) -> None:
        time.sleep(0.5)  # by then the second waits, as a rule; it ends as well if it does not yet
        told_to(harbour, "go", "1")

    with Meanwhile(lambda: True, let_go):
        patient = deploy.deploy(harbour.request(services, wait=60.0))
    assert first.wait() == 0
    assert patient["outcome"] == "unchanged"
    assert len(harbour.containers()) == 1


def ansible(harbour: Harbour, services: Mapping[str, Any], *more: str) -> subprocess.Popen[str]:
    """The module as Ansible calls it, in a session of its own like that of an SSH login."""
    program = shutil.which("ansible", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no ansible beside this Python")
    args = {
        "name": harbour.name,
        "definition": {"services": dict(services)},
        "state_dir": str(harbour.folder / "state"),
        "config_dir": str(harbour.folder / "etc"),
    }
    command = [program, "localhost", "-i", "localhost,", "-c", "local", "-m", "quaylock.stacks.rollout"]
    return subprocess.Popen(
        [*command, "-a", json.dumps(args), "-e", f"ansible_python_interpreter={sys.executable}", *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_the_death_of_the_session_does_not_stop_a_rollout(harbour: Harbour) -> None:
    process = ansible(harbour, {"web": web(environment={"READY_AFTER": "told", "VERSION": "1"})})
    until(harbour.running, lambda: process.communicate(timeout=1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    [entry] = harbour.journal.history(harbour.name)
    assert entry.ended is None
    with pytest.raises(PortError, match=r"\(pid (\d+), ") as refused:
        harbour.deploy({"web": web()})
    pid = str(refused.value).partition("(pid ")[2].partition(",")[0]
    assert Path(f"/proc/{pid}").exists(), "the one who is named lives"
    told_to(harbour, "go", "1")
    until(lambda: harbour.journal.result_of(entry.id))
    assert harbour.journal.history(harbour.name)[0].outcome == "deployed"
    assert len(harbour.running()) == 1


def test_ansible_shows_the_progress_and_the_answer(harbour: Harbour) -> None:
    process = ansible(harbour, {"web": web()}, "-v")
    said, _errors = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "+ web: create, 1 new" in said
    assert f"{harbour.name}-web-1: starting" in said
    assert f"{harbour.name}-web-1: passes its checks" in said
    assert "outcome: deployed" in said
    assert len(harbour.running()) == 1
