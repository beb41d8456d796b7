# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the stages of the tests, all of them or those that are named, and sum up as pytest does.

A stage that fails does not keep the others from running. Logs and reports are in build/tests/.

Stages that need an engine wait a lot: for downloads, for builds, for gates. Where others are asked for as well, these
run beside them, nicely, one after the other; what such a stage says is printed as a whole when it has ended.
Images that take minutes to build are begun at once, with the processor's leavings; only what needs them waits for them.
"""

from __future__ import annotations

import fcntl
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "tests"
COLLECTION = "ansible_collections.quaylock.stacks"
EARLY = ["debian", "pebble", "traefik"]
"""what all others are built on, and two from their Go modules, which takes minutes: once per engine"""
LONG = ["docker", "backup", "calminer"]
"""scenarios of molecule that begin first, so that none of them is left alone at the end; `docker` needs no image"""
LATE = ["ingress-traefik"]
"""scenarios that need an image of EARLY: a stage of their own, beside the stages after molecule"""
MORE = [] if os.environ.get("MORE") else ["-m", "not more"]
AT_ONCE = 2
"""checks and workers of tests without an engine that run side by side; each keeps a core busy"""
WAITING = 3
"""scenarios of molecule that run side by side; they wait as long as they work"""
WORKERS = 4
"""files of integration tests that run side by side; they wait for longer than they work"""
BAD_DAYS = [
    "backup_bad_days",
    "bad_containers",
    "bad_repositories",
    "bad_restores",
    "silent_repositories",
    "clock_jumps",
    "engine_restarts",
    "backups",
    "drills",
    "restoring",
    "on_host",
    "offsite",
    "remote_repositories",
    "buckets",
    "bucket_items",
]
"""files of tests in which something happens to a backup, to a drill, or to a restore"""
TWO = ["-n", str(AT_ONCE)]
SIDE_BY_SIDE = ["-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder"]
"""a file's tests share what they need, and stay together; files begin in the order that is given"""
LONG_FILES = [
    "backup_bad_days",
    "pitfalls",
    "rollout_routed",
    "rollout_killed",
    "rollout_steps",
    "compose_conformance",
    "backups",
    "drills",
    "restoring",
    "service_names",
    "ingress_switching",
    "failure_actions",
    "releases",
    "blue_green",
    "haproxy",
    "rollout",
    "rollout_failures",
    "verify",
    "on_host",
    "restore_points",
    "superset_recipe",
]
"""integration tests that take about a minute or more: they begin first, so that none is left alone at the end"""
EARLY_FILES = ["integration/test_traefik", "contract/test_ingress", "integration/test_ingress_traffic"]
EARLY_FILES += ["integration/test_acme", "integration/test_proxy_exchange"]
"""tests that need an image of EARLY: after the long ones, when it is there, and before what fills up the end"""
OWN_HOSTS = ["waves", "prod_over_ssh", "disaster"]
"""end-to-end tests with hosts of their own"""
NICE = 10
"""of what runs beside the stages with an engine, where gates and clients are timed"""


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        parts = [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.passed} passed"] if self.passed or not parts else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        return ", ".join(parts)


class Beside(threading.local):
    """What the stage of this thread has said so far, if it runs beside others."""

    said: list[str] | None = None


BESIDE = Beside()


def say(text: str) -> None:
    if BESIDE.said is None:
        print(text, flush=True)
    else:
        BESIDE.said.append(text)


def environment() -> dict[str, str]:
    """Ansible's own folder is the checkout's, so that tests neither read nor fill the user's."""
    own = {
        "ANSIBLE_HOME": str(ROOT / ".ansible"),
        "ANSIBLE_LOCAL_TEMP": str(ROOT / ".ansible" / "tmp"),
        "DOCKER_BUILDKIT": "0",
        "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PY_COLORS": "0",
        # not beside the sources: a folder there would be part of an image's context
        "RUFF_CACHE_DIR": str(ROOT / ".cache" / "ruff"),
        # 2,000 in a run of all tests; make simulate asks for more
        "QUAYLOCK_SEEDS": os.environ.get("SEEDS") or os.environ.get("QUAYLOCK_SEEDS", "2000"),
    }
    return {**os.environ, **own}


def logged(name: str, call: list[str], extra: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output of a program whose words are of interest only when it fails."""
    done = subprocess.run(
        call, cwd=ROOT, env={**environment(), **(extra or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    (REPORTS / f"{name}.log").write_text(done.stdout)
    return done.returncode, done.stdout


def lint() -> Counts:
    calls = {
        "ruff": ["ruff", "check", "."],
        "ruff-format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy", "--package", f"{COLLECTION}.plugins.module_utils"],
        "yamllint": ["yamllint", "--strict", "."],
        "readme-tables": [sys.executable, "scripts/readme_tables.py", "--check"],
        "changelog": ["antsibull-changelog", "lint"],
        "ansible-lint": ["ansible-lint", "--offline", "--strict", "--nocolor"],
        "sanity": [sys.executable, "scripts/sanity.py"],
    }
    counts = Counts()

    def run(name: str) -> tuple[str, int, str, float]:
        began = time.monotonic()
        rc, said = logged(name, calls[name])
        return name, rc, said, time.monotonic() - began

    with ThreadPoolExecutor(AT_ONCE if BESIDE.said is None else 1) as pool:
        # the long ones first, so that none of them is left alone at the end
        for done in as_completed([pool.submit(run, name) for name in reversed(calls)]):
            name, rc, said, took = done.result()
            say(f"  {name:<14} {'ok' if rc == 0 else 'FAILED':<7} {took:5.1f} s")
            if rc:
                say("\n".join(f"    {line}" for line in said.splitlines()[-60:]))
            counts += Counts(passed=int(rc == 0), failed=int(rc != 0))
    return counts


def pytest(name: str, *words: str) -> Counts:
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    call = [sys.executable, "-m", "pytest", "--no-header", "-q", f"--junitxml={report}", *words]
    if BESIDE.said is None:
        rc = subprocess.run(call, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, check=False).returncode
    else:
        rc, said = logged(name, call)
        say(said.rstrip())
    if not report.exists():
        return Counts(failed=1)
    counts = Counts()
    for suite in ET.parse(report).getroot().iter("testsuite"):
        bad, skipped = int(suite.get("failures", 0)) + int(suite.get("errors", 0)), int(suite.get("skipped", 0))
        counts += Counts(int(suite.get("tests", 0)) - bad - skipped, bad, skipped)
    # interrupted, or nothing was collected
    return counts if rc in (0, 1) else counts + Counts(failed=1)


def simulate() -> Counts:
    return pytest("simulate", "tests/simulation", *TWO)


def molecule(late: bool = False) -> Counts:
    """Every scenario, a few at a time. A scenario counts as one test beside those that testinfra ran in it."""
    wanted = os.environ.get("SCENARIO", "").split()
    there = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    scenarios = wanted or [*LONG, *(s for s in there if s not in LONG)]
    scenarios = [scenario for scenario in scenarios if (scenario in LATE) == late]
    if not scenarios:
        return Counts()
    logged("test-hosts", [sys.executable, "scripts/test_hosts.py"])
    if late:
        EARLY_IMAGES.needed()
    counts = Counts()

    def run(scenario: str) -> tuple[str, int, str, float]:
        began = time.monotonic()
        own = {"MOLECULE_EPHEMERAL_DIRECTORY": str(ROOT / ".cache" / "molecule" / scenario)}
        rc, said = logged(f"molecule-{scenario}", ["molecule", "test", "-s", scenario], own)
        return scenario, rc, said, time.monotonic() - began

    with ThreadPoolExecutor(WAITING) as pool:
        for done in as_completed([pool.submit(run, scenario) for scenario in scenarios]):
            scenario, rc, said, took = done.result()
            plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
            closing = re.findall(r"=+ ((?:\d+ \w+,? ?)+)in [\d.]+s", plain)
            seen = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", closing[-1] if closing else "")}
            say(
                f"  {scenario:<14} {'ok' if rc == 0 else 'FAILED':<7} {took:5.1f} s   {seen.get('passed', 0)} testinfra"
            )
            if rc:
                say("\n".join(f"    {line}" for line in plain.splitlines()[-80:]))
            counts += Counts(seen.get("passed", 0) + int(rc == 0), seen.get("failed", 0) + int(rc != 0))
            if BESIDE.said is None and LANE.tell():
                say("\n==> molecule goes on")
    return counts


def files_of(names: list[str]) -> list[str]:
    return [f"tests/integration/test_{name}.py" for name in names]


def integration() -> Counts:
    first, early = files_of(LONG_FILES), [f"tests/{name}.py" for name in EARLY_FILES]
    there = [*sorted(ROOT.glob("tests/contract/test_*.py")), *sorted(ROOT.glob("tests/integration/test_*.py"))]
    then = [file for file in (str(path.relative_to(ROOT)) for path in there) if file not in (*first, *early)]
    return pytest("integration", *first, *early, *then, *MORE, *SIDE_BY_SIDE)


def e2e() -> Counts:
    """Those of this machine's own inventory one after another, and beside them those with hosts of their own.

    The first of them would restart an engine that the role has not set up yet, and with it the others' hosts.
    """
    if not engine_set_up():
        return Counts(failed=1)
    theirs = [f"tests/e2e/test_{name}.py" for name in OWN_HOSTS]

    def beside() -> tuple[Counts, list[str]]:
        BESIDE.said = []
        return pytest("e2e-hosts", *theirs, *MORE), BESIDE.said

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(beside)
        counts = pytest("e2e", "tests/e2e", *(f"--ignore={file}" for file in theirs), *MORE)
        more, said = others.result()
    say("\n".join(["", "those with hosts of their own:", *said]))
    return counts + more


def bad_days() -> Counts:
    counts = pytest("bad-days", *files_of(BAD_DAYS), *SIDE_BY_SIDE)
    say(f"  survived {counts.passed} of {counts.passed + counts.failed} that were tried")
    return counts


STAGES: dict[str, Callable[[], Counts]] = {
    "lint": lint,
    "unit": lambda: pytest("unit", "tests/unit", *TWO),
    "simulate": simulate,
    "molecule": molecule,
    "molecule-late": lambda: molecule(late=True),
    "integration": integration,
    "e2e": e2e,
}
EXTRA: dict[str, Callable[[], Counts]] = {"bad-days": bad_days}
"""stages that only run when they are asked for"""
WITH_ENGINE = {"molecule", "molecule-late", "integration", "e2e", *EXTRA}


def alone() -> TextIO:
    """Hold this open while the engine is in use: names and ports of two runs on one engine would meet."""
    lock = (Path(tempfile.gettempdir()) / f"quaylock-tests-{os.getuid()}.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another run of the tests has this machine's engine; waiting for its end")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def engine_answers() -> bool:
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def have_engine() -> bool:
    """The role docker makes one, as it does for users."""
    if engine_answers():
        return True
    say("no engine answers: the role docker installs and starts one")
    return engine_set_up()


def engine_set_up() -> bool:
    """As the development inventory wants it."""
    call = ["ansible-playbook", "-i", "inventories/dev", "tests/fixtures/engine.yml"]
    rc, said = logged("engine", call)
    if rc or not engine_answers():
        say(said[-4000:])
        return False
    return True


class EarlyImages:
    """The images that take minutes to build, begun beside whatever does not need them.

    An image that is there already is found by its content in a second. A test that asks for one while it is built
    waits for it. What failed here fails again, with its words, in the test that needs it.
    """

    building: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        call = [sys.executable, "-m", f"{COLLECTION}.tests.fixtures.images.recipes", *EARLY]
        with (REPORTS / "images.log").open("wb") as log:
            self.building = subprocess.Popen(
                call, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def needed(self) -> None:
        """Wait for them, aloud."""
        if self.building is None:
            return
        began = time.monotonic()
        if self.building.poll() is None:
            say(f"  waiting for images: {', '.join(EARLY)} (build/tests/images.log)")
        rc, waited = self.building.wait(), time.monotonic() - began
        if rc or waited > 1:
            say(f"  images {'ready' if rc == 0 else 'FAILED'} after {waited:.1f} s of waiting")


EARLY_IMAGES = EarlyImages()


@dataclass
class Ran:
    name: str
    seconds: float
    counts: Counts

    def __str__(self) -> str:
        return f"  {self.name:<13} {self.seconds:7.1f} s   {self.counts}"


def ran(name: str) -> Ran:
    began = time.monotonic()
    say(f"\n==> {name}{'' if BESIDE.said is None else ', beside the others'}")
    counts = {**STAGES, **EXTRA}[name]() if name not in WITH_ENGINE or have_engine() else Counts(failed=1)
    return Ran(name, time.monotonic() - began, counts)


class Lane:
    """Stages without an engine, one after the other, beside those that have one."""

    def __init__(self) -> None:
        self.ran: list[Ran] = []
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, names: list[str]) -> None:
        say(f"beside the other stages: {', '.join(names)}")
        self._thread = threading.Thread(target=self._work, args=(names,), daemon=True)
        self._thread.start()

    def _work(self, names: list[str]) -> None:
        os.nice(NICE)  # of this thread and of what it starts, on Linux
        for name in names:
            BESIDE.said = []
            try:
                self.ran.append(ran(name))
            except Exception as error:  # it counts as a failure, and the others go on
                say(f"  {type(error).__name__}: {error}")
                self.ran.append(Ran(name, 0.0, Counts(failed=1)))
            self._said.put("\n".join(BESIDE.said))

    def tell(self) -> bool:
        """Print what has ended, if anything has. Only one thread prints, and when nothing else is on its line."""
        told = not self._said.empty()
        while not self._said.empty():
            say(self._said.get())
        return told

    def end(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self.tell()


LANE = Lane()
LATE_LANE = Lane()
"""scenarios that wait for images, beside the stages after molecule"""


def main(names: list[str]) -> int:
    stages = {**STAGES, **EXTRA}
    if unknown := [name for name in names if name not in stages]:
        say(f"no stage {', '.join(unknown)}; there are: {', '.join(stages)}")
        return 2
    REPORTS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    names = names or [*STAGES]
    engine = [name for name in names if name in WITH_ENGINE]
    plain = [name for name in names if name not in WITH_ENGINE]
    lock = alone() if engine else None
    if engine and plain:
        LANE.begin(plain)
    if not os.environ.get("SCENARIO") and engine and (plain or "molecule" in engine) and have_engine():
        EARLY_IMAGES.begin()
    done = []
    for name in engine or plain:
        if name == "molecule-late" and name != engine[-1]:
            LATE_LANE.begin([name])
            continue
        done.append(ran(name))
        LANE.tell()
        LATE_LANE.tell()
    LANE.end()
    LATE_LANE.end()
    done = sorted([*done, *LANE.ran, *LATE_LANE.ran], key=lambda each: names.index(each.name))
    total = sum((each.counts for each in done), Counts())
    say("\n" + "\n".join(map(str, done)))
    say(f" {total} in {time.monotonic() - began:.2f}s ".center(80, "="))
    if lock is not None:
        lock.close()
    return int(total.failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
