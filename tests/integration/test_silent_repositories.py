# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A repository that does not answer: a server that accepts and says nothing, a command that waits for its input."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import restic_process
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic_calls import Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill, extract, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.restic_words import Cause
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import Harbour, web

pytestmark = pytest.mark.integration
SOON = 2.0


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken, and nothing is said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


def below_us(word: str) -> list[str]:
    """Command lines that have the word, of whomever: what a restic started must not outlive it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [line] if word in line and "pytest" not in line else []
    return found


def place(tmp_path: Path, how: str, port: int, **about: Any) -> Repository:
    (tmp_path / "password").write_text("correct horse\n")
    if how == "s3":
        (tmp_path / "keys").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
        keys = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys")}
        about = {"environment": keys, **about}
        return Repository(
            f"s3:http://127.0.0.1:{port}/bucket", str(tmp_path / "password"), cache=str(tmp_path), **about
        )
    waits = tmp_path / "waits"
    waits.write_text("import time; time.sleep(1e6)")
    command = {
        # sshd's own limit for logging in is two minutes, and this one has none
        "ssh": f"ssh -F none -o BatchMode=yes -o UserKnownHostsFile={tmp_path}/known -p {port} 127.0.0.1 -s sftp",
        "command": f"{sys.executable} {waits}",
    }[how]
    options = (f"sftp.command={command}",)
    return Repository("sftp:user@vault:/srv", str(tmp_path / "password"), options=options, cache=str(tmp_path), **about)


@pytest.mark.parametrize("how", ["ssh", "command", "s3"])
def test_it_is_given_up_and_said_once(how: str, silent: int, tmp_path: Path) -> None:
    where = place(tmp_path, how, silent, answers_within=SOON)
    restic = Restic(where, "web-1")
    began = time.monotonic()
    with pytest.raises(
        Failed, match="does not answer, and was waited for for 2 s; next: try it by hand: restic -r s"
    ) as told:
        restic.snapshots()
    assert SOON < time.monotonic() - began < SOON + 30
    assert told.value.cause is Cause.UNREACHABLE
    assert where.location.removeprefix("s3:") in str(told.value)
    # who clears up, and the next stack of the same run, need not find it out again
    began = time.monotonic()
    for call in (restic.locks, restic.init, lambda: restic.forget(["a" * 64]), restic.keys):
        with pytest.raises(Failed, match="does not answer"):
            call()
    assert time.monotonic() - began < 4 * SOON
    assert below_us(str(tmp_path)) == [], "what it was spoken to by has ended, too"


def test_all_who_ask_it_end(silent: int, tmp_path: Path) -> None:
    request = Request(name="shop", state_dir=str(tmp_path / "state"), config_dir=str(tmp_path / "etc"))
    calls: list[Callable[[Vault], Any]] = [
        lambda vault: vault.offered("shop"),
        lambda vault: drill.drill(request, vault),
        lambda vault: extract.extract(vault, "shop", "latest", [], str(tmp_path / "to")),
    ]
    for call in calls:
        restic = Restic(place(tmp_path, "command", silent, answers_within=1.0), "web-1", wait=300)
        began = time.monotonic()
        with pytest.raises(Failed, match="does not answer"):
            call(Vault(restic, str(tmp_path / "sets")))
        assert time.monotonic() - began < 30
    assert not (tmp_path / "to").exists()


@pytest.mark.more
def test_a_backup_begins_with_the_question_and_ends_with_it(silent: int, harbour: Harbour, tmp_path: Path) -> None:
    plan = {"backup": {"items": {"results": {"type": "path", "path": str(tmp_path)}}}}
    harbour.deployed({"web": web()}, **{"x-quaylock": plan})
    before = harbour.identities()
    restic = Restic(place(tmp_path, "ssh", silent, answers_within=1.0), "web-1", wait=300)
    began = time.monotonic()
    with pytest.raises(Failed, match="does not answer"):
        run.back_up(harbour.request({}), Vault(restic, str(tmp_path / "sets")))
    assert time.monotonic() - began < 30
    assert harbour.identities() == before


@pytest.fixture
def restic(tmp_path: Path) -> Restic:
    (tmp_path / "password").write_text("correct horse\n")
    made = Restic(
        Repository(str(tmp_path / "r"), str(tmp_path / "password"), cache=str(tmp_path / "c"), answers_within=2.0), "q"
    )
    made.init()
    return made


@pytest.mark.more
def test_who_works_is_waited_for(restic: Restic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any limit, as long as bytes move: a producer that thinks, and a reader that is slow."""
    monkeypatch.setattr(restic_process, "PATIENCE", 1.0)
    block = os.urandom(1 << 20)

    def slow(write: Callable[[bytes], None]) -> None:
        for _turn in range(3):
            write(block)
            time.sleep(1.2)

    part = restic.stream("slow", {"t"}, slow)
    assert part.size == 3 << 20
    with restic.reading(part.snapshot, part.path) as content:
        assert content.read(1 << 20) == block
        time.sleep(2)
    assert restic.locks() == []


def test_a_process_that_only_waits_is_silent_and_one_that_works_is_not() -> None:
    busy = "import time\nwhile True: sum(range(10**6))"
    speaks = "import time\nwhile True: print('x' * 70000, flush=True); time.sleep(0.3)"
    chats = "import time\nwhile True: print('still here', flush=True); time.sleep(0.1)"
    scripts = {"busy": busy, "speaks": speaks, "chats": chats, "sleeps": "import time; time.sleep(99)"}
    running = {
        name: subprocess.Popen([sys.executable, "-u", "-c", s], stdout=subprocess.DEVNULL)
        for name, s in scripts.items()
    }
    try:
        time.sleep(1)  # until they have begun
        vigils = {name: restic_process.Vigil(process.pid, lambda: 0) for name, process in running.items()}
        silent: set[str] = set()

        def looked() -> set[str]:
            for name in vigils.keys() - silent:
                try:
                    vigils[name].look(3.0)
                except restic_process.Silent:
                    silent.add(name)
            return silent

        until(lambda: looked() >= {"chats", "sleeps"}, rest=0.1)
        looked()
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    assert silent == {"chats", "sleeps"}
