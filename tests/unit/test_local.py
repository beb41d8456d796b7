# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's files and its locks, on a real file system and with real processes."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import stat
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.local import (
    HostFiles,
    WallClock,
    host_key,
    locked,
    taken,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request, model_of

FILES = HostFiles()


def child(work: Callable[[], AbstractContextManager[object]]) -> int:
    """A process that is in that context and waits to be killed; returns when it is."""
    done, told = os.pipe()
    made = os.fork()
    if made == 0:
        try:
            os.close(done)
            with work():
                os.write(told, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    assert os.read(done, 1) == b"x", "the child did not come so far"
    os.close(done)
    return made


def end(process: int, number: int = signal.SIGKILL) -> None:
    os.kill(process, number)
    os.waitpid(process, 0)


# -- locks --------------------------------------------------------------------------------


def test_one_deployer_per_stack(tmp_path: Path) -> None:
    folder = str(tmp_path / "locks")
    with locked(folder, "shop", "jane", 0):
        assert taken(folder, "shop")
        assert not taken(folder, "other")
        with locked(folder, "other", "jane", 0):
            assert taken(folder, "other")
    assert not taken(folder, "shop")
    with locked(folder, "shop", "jane", 0):
        pass


def test_the_holder_is_named_with_the_next_step(tmp_path: Path) -> None:
    holder = child(lambda: locked(str(tmp_path), "shop", "jane@ci", 0))
    try:
        with pytest.raises(PortError) as refused, locked(str(tmp_path), "shop", "john", 0):
            pass
    finally:
        end(holder)
    assert re.fullmatch(
        rf"shop is being deployed by jane@ci \(pid {holder}\) since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC; "
        r"wait for the end of it, or let this run wait for it: -e stack_wait=SECONDS",
        str(refused.value),
    )


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path: Path) -> None:
    holder = child(lambda: locked(str(tmp_path), "shop", "jane", 0))
    assert taken(str(tmp_path), "shop")
    end(holder)
    assert not taken(str(tmp_path), "shop")
    with locked(str(tmp_path), "shop", "john", 0):
        pass


def test_who_waits_gets_it(tmp_path: Path) -> None:
    holder = child(lambda: locked(str(tmp_path), "shop", "jane", 0))
    timer = threading.Timer(0.4, end, (holder,))
    timer.start()
    began = time.monotonic()
    with locked(str(tmp_path), "shop", "john", 60):
        assert 0.3 < time.monotonic() - began < 60
    timer.join()


def test_who_waits_does_not_wait_for_ever(tmp_path: Path) -> None:
    holder = child(lambda: locked(str(tmp_path), "shop", "jane", 0))
    try:
        began = time.monotonic()
        with pytest.raises(PortError), locked(str(tmp_path), "shop", "john", 0.6):
            pass
        assert 0.5 < time.monotonic() - began < 60
    finally:
        end(holder)


def test_a_failure_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(str(tmp_path), "shop", "jane", 0):
        raise ZeroDivisionError
    assert not taken(str(tmp_path), "shop")


def test_a_forked_child_keeps_the_lock_and_signs_it(tmp_path: Path) -> None:
    """How a detached rollout goes on when the module that began it has ended."""
    done, told = os.pipe()
    with locked(str(tmp_path), "shop", "jane", 0) as sign:
        made = os.fork()
        if made == 0:
            try:
                sign("r-1")
                os.write(told, b"x")
                signal.pause()
            finally:
                os._exit(0)
        os.read(done, 1)
    assert taken(str(tmp_path), "shop")
    with (
        pytest.raises(PortError, match=rf"by jane \(pid {made}, rollout r-1\)"),
        locked(str(tmp_path), "shop", "john", 0),
    ):
        pass
    end(made)
    assert not taken(str(tmp_path), "shop")


def test_looking_does_not_get_in_the_way(tmp_path: Path) -> None:
    """A status page that looks all the time must not make a deployer believe that it is second."""
    stop = threading.Event()
    with locked(str(tmp_path), "shop", "jane", 0):
        pass

    def look() -> None:
        while not stop.is_set():
            taken(str(tmp_path), "shop")
            time.sleep(0.002)

    lookers = [threading.Thread(target=look) for _turn in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _turn in range(100):
            with locked(str(tmp_path), "shop", "jane", 0):
                pass
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_nobody_deploys_where_nobody_ever_did(tmp_path: Path) -> None:
    assert not taken(str(tmp_path / "never"), "shop")
    assert list(tmp_path.iterdir()) == [], "and looking leaves no trace"


def test_a_lock_file_of_nonsense_still_locks(tmp_path: Path) -> None:
    (tmp_path / "shop.lock").write_text("{nonsense")
    holder = os.open(tmp_path / "shop.lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(PortError, match="by somebody"), locked(str(tmp_path), "shop", "john", 0):
        pass
    os.close(holder)


# -- files --------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_has_its_mode_and_its_folder_is_roots_alone(tmp_path: Path) -> None:
    target = tmp_path / "new/secrets/key"
    FILES.write(str(target), b"x", 0o444)
    assert (target.read_bytes(), mode(target), mode(target.parent)) == (b"x", 0o444, 0o700)
    FILES.write(str(target), b"x", 0o400)
    assert mode(target) == 0o400, "the same content with another mode"


def test_a_file_belongs_to_whom_it_was_granted(tmp_path: Path) -> None:
    target = tmp_path / "key"
    owners = [(1000, 1001), (0, 0)] if os.geteuid() == 0 else [(os.geteuid(), os.getegid())]
    for owner in owners:
        FILES.write(str(target), b"x", 0o400, owner)
        there = target.stat()
        assert (there.st_uid, there.st_gid, mode(target)) == (*owner, 0o400)


def test_the_same_content_keeps_the_file(tmp_path: Path) -> None:
    """A bind mount of the file would lose a new inode."""
    target = tmp_path / "key"
    FILES.write(str(target), b"x", 0o444)
    before = target.stat().st_ino
    FILES.write(str(target), b"x", 0o444)
    assert target.stat().st_ino == before
    FILES.write(str(target), b"y", 0o444)
    assert target.stat().st_ino != before


def test_a_reader_sees_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "compose.yaml"
    versions = [bytes([letter]) * 100_000 for letter in b"ab"]
    FILES.write(str(target), versions[0], 0o644)
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            content = target.read_bytes()
            seen.add((len(content), content[:1], content == content[:1] * len(content)))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        FILES.write(str(target), versions[number % 2], 0o644)
    stop.set()
    reader.join()
    assert {(size, whole) for size, _letter, whole in seen} == {(100_000, True)}


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "compose.yaml"
    FILES.write(str(target), b"old", 0o644)
    made = os.fork()
    if made == 0:
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        FILES.write(str(target), b"new", 0o644)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(made, 0)[1])
    assert target.read_bytes() == b"old"
    FILES.write(str(target), b"new", 0o644)
    assert target.read_bytes() == b"new"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "compose.yaml"
    FILES.write(str(target), b"old", 0o644)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PortError, match=rf"writing {target}: No space left on device"):
        FILES.write(str(target), b"new", 0o644)
    assert [p.name for p in tmp_path.iterdir()] == ["compose.yaml"]
    assert target.read_bytes() == b"old"


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PortError, match=r"writing .*file/key"):
        FILES.write(str(tmp_path / "file/key"), b"x", 0o444)


def test_what_is_not_there_is_not_there(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert (FILES.read(absent), FILES.exists(absent), FILES.listing(absent)) == (None, False, [])
    FILES.remove(absent)
    FILES.write(str(tmp_path / "b"), b"", 0o644)
    FILES.write(str(tmp_path / "a"), b"", 0o644)
    assert FILES.listing(str(tmp_path)) == ["a", "b"]
    FILES.remove(str(tmp_path / "a"))
    assert FILES.listing(str(tmp_path)) == ["b"]


def test_the_clock_is_the_hosts() -> None:
    assert abs(WallClock().now() - time.time()) < 5


# -- fingerprints -------------------------------------------------------------------------


def prints(folder: Path, **contents: bytes) -> dict[str, str]:
    request = Request("shop", {}, secrets=contents, state_dir=str(folder))
    return dict(model_of(request).context["secrets"])


def test_a_fingerprint_tells_contents_apart_and_nothing_else(tmp_path: Path) -> None:
    one = prints(tmp_path, a=b"password", b=b"password", c=b"other")
    assert one["a"] == one["b"] != one["c"]
    assert all(re.fullmatch(r"[0-9a-f]{12}", p) for p in one.values())
    assert prints(tmp_path, a=b"password") == {"a": one["a"]}, "and it stays"


def test_another_host_gives_another_fingerprint(tmp_path: Path) -> None:
    """So that nobody finds a weak password by comparing it with a list."""
    assert prints(tmp_path / "one", a=b"password") != prints(tmp_path / "other", a=b"password")


def test_the_hosts_key_is_made_once_and_kept(tmp_path: Path) -> None:
    key = host_key(str(tmp_path / "state"))
    assert len(key) == 32
    assert host_key(str(tmp_path / "state")) == key
    assert mode(tmp_path / "state/fingerprint.key") == 0o600


def test_the_model_has_no_contents(tmp_path: Path) -> None:
    request = Request("shop", {"services": {}}, secrets={"a": b"hunter2"}, state_dir=str(tmp_path))
    assert "hunter2" not in repr(model_of(request))
    assert "hunter2" not in repr(request)
