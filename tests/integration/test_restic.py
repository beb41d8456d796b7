# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stream into a real restic: what goes in whole comes out whole, and what breaks off leaves nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import processes
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic_calls import Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

from .restics import (
    MIB,
    MUCH,
    Write,
    at_work,
    blocks,
    kept,
    kill_restic,
    locks,
    pumped,
    raising,
    until,
)

pytestmark = pytest.mark.integration


def test_a_stream_comes_back_bit_by_bit(restic: Restic, tmp_path: Path) -> None:
    part = restic.stream("shop.dump", {"set=s-1", "item=db"}, pumped(MUCH))
    whole = b"".join(blocks(MUCH))
    assert (part.path, part.size, part.sha256, part.files) == (
        "/shop.dump", len(whole), hashlib.sha256(whole).hexdigest(), 0,
    )  # fmt: skip
    with restic.reading(part.snapshot, part.path) as content:
        assert content.read() == whole
    assert restic.read_back(part) == part
    (snapshot,) = restic.snapshots({"item=db", "set=s-1"})
    assert (snapshot.id, snapshot.paths, snapshot.host) == (part.snapshot, (part.path,), "q1")
    assert snapshot.tags > {"item=db", "set=s-1"}
    assert abs(snapshot.at - time.time()) < 60
    assert restic.snapshots({"set=s-1", "item=other"}) == []
    assert locks(restic) == []


def test_no_password_is_seen_among_the_arguments_or_the_environment(restic: Restic) -> None:
    seen = []

    def look() -> None:
        until(at_work)
        seen.extend(Path(f"/proc/{at_work()[0]}/{file}").read_bytes() for file in ("cmdline", "environ"))

    os.environ["RESTIC_PASSWORD_COMMAND"] = "echo not ours"
    try:
        restic.stream("d", (), pumped(1, 0, look))
    finally:
        del os.environ["RESTIC_PASSWORD_COMMAND"]
    assert all(b"horse" not in text and b"not ours" not in text for text in seen)
    assert restic.repository.location.encode() not in seen[0]
    assert restic.repository.password_file.encode() in seen[1]


@pytest.mark.parametrize(("count", "after"), [(3, 0), (MUCH, 12), (MUCH, MUCH)], ids=["first", "midway", "complete"])
def test_a_dump_that_dies_leaves_no_snapshot(restic: Restic, count: int, after: int) -> None:
    with pytest.raises(RuntimeError, match="pg_dump ended with code 1"):
        restic.stream("shop.dump", {"set=s-1"}, pumped(count, after, raising))
    assert (kept(restic), locks(restic), at_work()) == ([], [], [])


def test_a_dump_that_dies_after_restic_has_read_all_of_it_leaves_no_snapshot(restic: Restic) -> None:
    def then() -> None:
        time.sleep(1.0)  # for restic to have taken the lot
        raising()

    with pytest.raises(RuntimeError):
        restic.stream("shop.dump", (), pumped(1, 1, then))
    assert (kept(restic), locks(restic)) == ([], [])


def test_the_code_of_a_producer_is_seen_before_the_snapshot_is_made(restic: Restic) -> None:
    def pump(write: Write) -> None:
        with subprocess.Popen(["sh", "-c", "head -c 3000000 /dev/zero; exit 3"], stdout=subprocess.PIPE) as producer:
            assert producer.stdout is not None
            while piece := producer.stdout.read(MIB):
                write(piece)
        assert kept(restic) == []
        if producer.returncode:
            raise PortError(f"the producer ended with code {producer.returncode}")

    with pytest.raises(PortError, match=r"^the producer ended with code 3$"):
        restic.stream("shop.dump", (), pump)
    assert kept(restic) == []


def test_an_empty_stream_is_no_backup(restic: Restic) -> None:
    with pytest.raises(Failed, match="there was nothing to write"):
        restic.stream("shop.dump", (), lambda write: None)
    assert (kept(restic), locks(restic)) == ([], [])


@pytest.mark.parametrize("name", ["", "/", "db/shop.dump", "..", "/a/"])
def test_a_stream_is_named_without_a_folder(restic: Restic, name: str) -> None:
    with pytest.raises(PortError, match="one word without a folder"):
        restic.stream(name, (), pumped(1))
    assert kept(restic) == []


def test_two_streams_at_the_same_time_do_not_mind_each_other(restic: Restic) -> None:
    parts, meeting = [], threading.Barrier(2)

    def one(name: str) -> None:
        # both are open at the same time, and with the same tags
        parts.append(restic.stream(name, {"set=s-1"}, pumped(8, 4, lambda: meeting.wait(20) and None)))

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(part.path for part in parts) == ["/a", "/b"]
    assert {part.snapshot for part in parts} == {*kept(restic)}
    assert len(kept(restic)) == 2


def test_a_restic_that_is_killed_midway_is_said_and_leaves_nothing(restic: Restic) -> None:
    with pytest.raises(Failed, match=r"writing /shop.dump: restic was killed \(signal 9\)"):
        restic.stream("shop.dump", (), pumped(200, 12, kill_restic))
    assert (kept(restic), locks(restic)) == ([], [])


CHILD = """
import os, signal, sys
sys.path[:0] = {path!r}
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
def pump(write):
    for number in range(12):
        write(number.to_bytes(8, "big") + bytes(1 << 20))
    {wait}
    os.kill(os.getpid(), signal.SIGKILL)
made = Restic(Repository({location!r}, {password!r}), "q1")
{call}
"""


def killed_child(restic: Restic, call: str, wait: str = "") -> None:
    about = {"location": restic.repository.location, "password": restic.repository.password_file}
    text = CHILD.format(path=sys.path, call=call, wait=wait, **about)
    # it ends by SIGKILL, and its own restic becomes an orphan of somebody else
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == -signal.SIGKILL


def orphans(restic: Restic) -> list[str]:
    """Every restic on this machine that works at the repository."""
    found = []
    for pid in processes.parents("/proc"):
        with contextlib.suppress(OSError):
            if restic.repository.location.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


@pytest.mark.parametrize("wait", ["", "import time; time.sleep(1)"], ids=["at once", "when restic waits"])
def test_our_own_death_midway_leaves_no_snapshot_and_no_restic(restic: Restic, wait: str) -> None:
    killed_child(restic, 'made.stream("shop.dump", {"set=s-1"}, pump)', wait)
    until(lambda: not orphans(restic))
    assert kept(restic) == []
    restic.unlock()
    assert locks(restic) == []


def test_a_tree_does_not_go_on_after_our_death(restic: Restic, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    for number, block in enumerate(blocks(24)):
        (big / str(number)).write_bytes(block)
    slow = f"""
import threading, time
def die():
    while not [1 for p in os.listdir("/proc") if p.isdecimal() and p != str(os.getpid()) and works(p)]: time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)
def works(pid):
    try:
        mine = open("/proc/" + pid + "/environ", "rb").read()
        return {restic.repository.location!r}.encode() in mine and open("/proc/" + pid + "/comm").read() == "restic\\n"
    except OSError: return False
threading.Thread(target=die, daemon=True).start()
made.tree({str(big)!r}, {{"set=s-1"}})
"""
    killed_child(restic, slow)
    until(lambda: not orphans(restic))
    assert kept(restic) == []
