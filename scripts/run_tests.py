# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the stages of the tests, all of them or those that are named, and sum up as pytest does.

A stage that fails does not keep the others from running. Logs and reports are in build/tests/.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
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
EARLY = ["pebble", "traefik"]
"""from their Go modules: 2 and 5 to 12 minutes on two cores, once per engine"""
MORE = [] if os.environ.get("MORE") else ["-m", "not more"]
AT_ONCE = 2
"""checks, scenarios of molecule and files of integration tests that run side by side; each keeps a core busy"""
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
SIDE_BY_SIDE = ["-n", str(AT_ONCE), "--dist", "loadfile"]
"""a file's tests share what they need, and stay together"""


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


def say(text: str) -> None:
    print(text, flush=True)


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

    with ThreadPoolExecutor(AT_ONCE) as pool:
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
    rc = subprocess.run(call, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, check=False).returncode
    if not report.exists():
        return Counts(failed=1)
    counts = Counts()
    for suite in ET.parse(report).getroot().iter("testsuite"):
        bad, skipped = int(suite.get("failures", 0)) + int(suite.get("errors", 0)), int(suite.get("skipped", 0))
        counts += Counts(int(suite.get("tests", 0)) - bad - skipped, bad, skipped)
    # interrupted, or nothing was collected
    return counts if rc in (0, 1) else counts + Counts(failed=1)


def simulate() -> Counts:
    return pytest("simulate", "tests/simulation")


def molecule() -> Counts:
    """Every scenario, a few at a time. A scenario counts as one test beside those that testinfra ran in it."""
    wanted = os.environ.get("SCENARIO", "").split()
    scenarios = wanted or sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    logged("test-hosts", [sys.executable, "scripts/test_hosts.py"])
    counts = Counts()

    def run(scenario: str) -> tuple[str, int, str, float]:
        began = time.monotonic()
        own = {"MOLECULE_EPHEMERAL_DIRECTORY": str(ROOT / ".cache" / "molecule" / scenario)}
        rc, said = logged(f"molecule-{scenario}", ["molecule", "test", "-s", scenario], own)
        return scenario, rc, said, time.monotonic() - began

    with ThreadPoolExecutor(AT_ONCE) as pool:
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
    return counts


def bad_days() -> Counts:
    counts = pytest("bad-days", *(f"tests/integration/test_{name}.py" for name in BAD_DAYS), *SIDE_BY_SIDE)
    say(f"  survived {counts.passed} of {counts.passed + counts.failed} that were tried")
    return counts


STAGES: dict[str, Callable[[], Counts]] = {
    "lint": lint,
    "unit": lambda: pytest("unit", "tests/unit"),
    "simulate": simulate,
    "molecule": molecule,
    "integration": lambda: pytest("integration", "tests/contract", "tests/integration", *MORE, *SIDE_BY_SIDE),
    "e2e": lambda: pytest("e2e", "tests/e2e", *MORE),
}
EXTRA: dict[str, Callable[[], Counts]] = {"bad-days": bad_days}
"""stages that only run when they are asked for"""
WITH_ENGINE = {"molecule", "integration", "e2e", *EXTRA}


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
    call = ["ansible-playbook", "-i", "inventories/dev", "tests/fixtures/engine.yml"]
    rc, said = logged("engine", call)
    if rc or not engine_answers():
        say(said[-4000:])
        return False
    return True


def images_early() -> subprocess.Popen[bytes] | None:
    """Begin with the images that take minutes to build, beside the stages that need no engine.

    An image that is there already is found by its content in a second.
    """
    if os.environ.get("SCENARIO") or not have_engine():
        return None
    call = [sys.executable, "-m", f"{COLLECTION}.tests.fixtures.images.recipes", *EARLY]
    with (REPORTS / "images.log").open("wb") as log:
        return subprocess.Popen(call, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait_for_images(early: subprocess.Popen[bytes]) -> None:
    """What failed there fails again, with its words, in the test that needs it."""
    began = time.monotonic()
    if early.poll() is None:
        say(f"  waiting for images: {', '.join(EARLY)} (build/tests/images.log)")
    rc = early.wait()
    waited = time.monotonic() - began
    if rc or waited > 1:
        say(f"  images {'ready' if rc == 0 else 'FAILED'} after {waited:.1f} s of waiting")


def main(names: list[str]) -> int:
    stages = {**STAGES, **EXTRA}
    if unknown := [name for name in names if name not in stages]:
        say(f"no stage {', '.join(unknown)}; there are: {', '.join(stages)}")
        return 2
    REPORTS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    total, lines, lock = Counts(), [], None
    names = names or [*STAGES]
    early = images_early() if {*names} & WITH_ENGINE and names[0] not in WITH_ENGINE else None
    for name in names:
        start = time.monotonic()
        say(f"\n==> {name}")
        if name in WITH_ENGINE and lock is None:
            lock = alone()
        ready = name not in WITH_ENGINE or have_engine()
        if name in WITH_ENGINE and early is not None:
            wait_for_images(early)
            early = None
        counts = stages[name]() if ready else Counts(failed=1)
        lines.append(f"  {name:<12} {time.monotonic() - start:7.1f} s   {counts}")
        total += counts
    say("\n" + "\n".join(lines))
    say(f" {total} in {time.monotonic() - began:.2f}s ".center(80, "="))
    return int(total.failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
