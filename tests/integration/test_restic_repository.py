# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A repository of a real restic: what is in it, what is wrong with it, and who has locked it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import restic_process
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic_calls import Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.restic_words import Cause
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

from .restics import (
    BLOCK,
    MIB,
    NOWHERE,
    at_work,
    held,
    kept,
    locks,
    place,
    pumped,
    put_down,
    raising,
    until,
)

pytestmark = pytest.mark.integration


# -- what is there -------------------------------------------------------------------


def test_an_unknown_snapshot_and_an_unknown_path_are_refused_before_anything_is_read(restic: Restic) -> None:
    part = restic.stream("a", (), pumped(1))
    for snapshot, path, cause in ((NOWHERE, "/a", Cause.NO_SNAPSHOT), (part.snapshot, "/b", Cause.NO_PATH)):
        with pytest.raises(Failed) as caught, restic.reading(snapshot, path):
            pytest.fail("there was something to read")
        assert caught.value.cause is cause


def test_who_stops_reading_early_still_learns_that_the_rest_is_well(restic: Restic) -> None:
    part = restic.stream("a", (), pumped(8))
    with restic.reading(part.snapshot, part.path) as content:
        assert content.read(8) == bytes(8)
    with pytest.raises(RuntimeError, match="pg_dump"), restic.reading(part.snapshot, part.path):
        raising()
    assert (at_work(), locks(restic)) == ([], [])


def test_what_is_dropped_is_said_and_the_others_stay(restic: Restic) -> None:
    first, second = (restic.stream("a", {f"set=s-{n}"}, pumped(n)) for n in (1, 2))
    assert restic.forget([]) == []
    assert restic.forget([NOWHERE, first.snapshot, second.snapshot[:8]]) == sorted([NOWHERE, second.snapshot[:8]])
    assert kept(restic) == [second.snapshot]
    restic.prune()
    assert restic.read_back(second) == second


def test_making_a_repository_twice_makes_one(restic: Restic, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in place(restic).rglob("*") if path.is_file()}
    assert restic.init() is False
    assert before == {path: path.read_bytes() for path in place(restic).rglob("*") if path.is_file()}
    (tmp_path / "other").write_text("battery staple\n")
    with pytest.raises(Failed, match="its password is another"):
        Restic(replace(restic.repository, password_file=str(tmp_path / "other")), "q1").init()


def packs(restic: Restic) -> list[Path]:
    """The large ones hold content, the small ones folders."""
    return sorted((p for p in (place(restic) / "data").rglob("*") if p.is_file()), key=lambda p: -p.stat().st_size)


def test_a_flipped_bit_is_found_by_reading_and_by_nothing_else(restic: Restic) -> None:
    part = restic.stream("a", (), pumped(4))
    pack = packs(restic)[0]
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    restic.check()
    for ask in (lambda: restic.read_back(part), lambda: restic.check("100%")):
        with pytest.raises(Failed) as caught:
            ask()
        assert caught.value.cause is Cause.DAMAGED
        assert "is damaged; next: see how much of it" in str(caught.value)


def test_a_missing_pack_is_found_within_seconds(restic: Restic, tmp_path: Path) -> None:
    tree = tmp_path / "srv"
    tree.mkdir()
    (tree / "a").write_bytes(BLOCK)
    part, _said = restic.tree(str(tree), ())
    packs(restic)[0].unlink()
    # restic 0.14 by itself would look for it for a quarter of an hour
    began = time.monotonic()
    for ask in (lambda: restic.read_back(part), restic.check):
        with pytest.raises(Failed) as caught:
            ask()
        assert caught.value.cause is Cause.DAMAGED
    assert time.monotonic() - began < 30


# -- a repository that is in a bad way ----------------------------------------------------


@pytest.fixture
def small(restic: Restic, tmp_path: Path) -> Iterator[Restic]:
    """The repository on a file system of its own, with 12 MiB of space."""
    folder = tmp_path / "small"
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if subprocess.run(call, check=False, capture_output=True).returncode:
        pytest.skip("mounting takes root")
    try:
        shutil.copytree(restic.repository.location, folder / "repository")
        yield Restic(replace(restic.repository, location=str(folder / "repository")), "q1")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_repository_that_fills_up_is_said_within_seconds_and_leaves_nothing(small: Restic) -> None:
    part = small.stream("first", (), pumped(1))
    began = time.monotonic()
    with pytest.raises(Failed, match=r"there is no space left at .* next: make room") as caught:
        small.stream("second", (), pumped(60))
    assert time.monotonic() - began < 30, "restic by itself tries for a quarter of an hour"
    assert caught.value.cause is Cause.FULL
    assert (kept(small), at_work()) == ([part.snapshot], [])
    (place(small) / "ballast").write_bytes(b"")
    with contextlib.suppress(OSError):
        (place(small) / "ballast").write_bytes(bytes(12 * MIB))
    # no place for a lock either, and yet it can be restored from
    assert small.read_back(part) == part
    assert [snapshot.id for snapshot in small.snapshots()] == [part.snapshot]


def test_a_repository_that_cannot_be_written_to_is_said_and_can_be_read(small: Restic) -> None:
    part = small.stream("first", (), pumped(1))
    subprocess.run(["mount", "-o", "remount,ro", place(small).parent], check=True)
    with pytest.raises(Failed, match="cannot be written to; next: look at its mount") as caught:
        small.stream("second", (), pumped(1))
    assert caught.value.cause is Cause.READ_ONLY
    assert small.read_back(part) == part


@pytest.mark.parametrize(
    ("change", "cause", "next_"),
    [
        ({"location": "{}/none"}, Cause.NO_REPOSITORY, "mount it if it should be there, or make one: restic -r"),
        ({"password_file": "{}/wrong"}, Cause.PASSWORD, "put the password that the repository was made with"),
        ({"password_file": "{}/none"}, Cause.PASSWORD_FILE, "install -m 600"),
    ],
)
def test_a_repository_that_does_not_open_says_what_to_do(
    restic: Restic, tmp_path: Path, change: dict[str, str], cause: Cause, next_: str
) -> None:
    (tmp_path / "wrong").write_text("battery staple\n")
    other = Restic(replace(restic.repository, **{k: v.format(tmp_path) for k, v in change.items()}), "q1")
    for ask in (other.snapshots, lambda: other.stream("a", (), pumped(30)), lambda: other.tree(str(tmp_path), ())):
        with pytest.raises(Failed) as caught:
            ask()
        assert caught.value.cause is cause
        assert next_ in str(caught.value)
        assert "staple" not in str(caught.value)
    assert kept(restic) == []


def test_a_restic_that_is_missing_or_something_else_is_refused(restic: Restic) -> None:
    assert restic.version() >= (0, 14)
    with pytest.raises(PortError, match=r"is not installed on this host; next: apt-get install restic"):
        Restic(restic.repository, "q1", "no-restic-here").version()
    with pytest.raises(PortError, match="of an unknown version; "):
        Restic(restic.repository, "q1", "echo").version()


# -- locks ---------------------------------------------------------------------------


def test_an_exclusive_lock_of_the_living_is_named_and_stays(restic: Restic) -> None:
    restic.stream("a", (), pumped(4))
    with held(restic) as pid:
        for ask in (restic.unlock, lambda: restic.stream("b", (), pumped(30))):
            with pytest.raises(Failed, match=rf"is locked exclusively by process {pid} on .* since 20") as caught:
                ask()
            assert caught.value.cause is Cause.LOCKED
            assert "next: wait for its end" in str(caught.value)
        assert Path(f"/proc/{pid}").exists()
        assert len(locks(restic)) == 1
    assert len(kept(restic)) == 1


def test_a_shared_lock_of_the_living_hinders_only_who_must_be_alone(restic: Restic) -> None:
    with held(restic, exclusive=False) as pid:
        assert restic.unlock() == []
        with pytest.raises(Failed, match=rf"is locked by process {pid} on"):
            restic.unlock(alone=True)
        assert restic.stream("b", (), pumped(1)).snapshot in kept(restic)
        assert Path(f"/proc/{pid}").exists()


def test_the_lock_of_the_dead_is_taken_away(restic: Restic) -> None:
    restic.stream("a", (), pumped(4))
    put_down(restic, exclusive=True)
    (lock,) = restic.unlock(alone=True)
    assert (lock.host, lock.exclusive, abs(lock.since - time.time()) < 60) == (socket.gethostname(), True, True)
    assert locks(restic) == []
    assert restic.stream("b", (), pumped(1)).snapshot in kept(restic)


def test_who_dies_meanwhile_does_not_hinder_work_that_has_begun(restic: Restic) -> None:
    part = restic.stream("shop.dump", {"t"}, lambda write: write(b"content"))
    put_down(restic, exclusive=False)
    restic.forget([part.snapshot])
    assert (kept(restic), locks(restic)) == ([], [])


def test_a_process_that_got_the_number_of_a_dead_restic_lives_on(restic: Restic) -> None:
    """restic's own unlock sends it SIGHUP to see whether it lives, and most programs die of that."""
    put_down(restic, False)
    (lock,) = restic.locks()
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK) or os.geteuid():
        pytest.skip("choosing a process id takes root")
    heir = None
    # on a busy machine others take it before us, and keep it for a while
    until = time.monotonic() + 20
    while time.monotonic() < until:
        last.write_text(str(lock.pid - 1))
        heir = subprocess.Popen(["sleep", "60"])
        if heir.pid == lock.pid:
            break
        heir.kill()
        heir.wait()
    assert heir is not None
    assert heir.pid == lock.pid, "the number was taken by somebody else"
    try:
        assert restic.unlock() == [lock]
        assert heir.poll() is None
        assert locks(restic) == []
    finally:
        heir.kill()
        heir.wait()


def test_a_restic_that_does_not_move_is_not_waited_for_for_ever(
    restic: Restic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restic_process, "PATIENCE", 1.0)
    monkeypatch.setattr(restic_process, "LEAVING", 0.5)

    def freeze() -> None:
        until(at_work)
        os.kill(at_work()[0], signal.SIGSTOP)

    with pytest.raises(PortError, match="restic has not taken a byte for 1 s"):
        restic.stream("a", (), pumped(30, 2, freeze))
    assert (kept(restic), at_work(), locks(restic)) == ([], [], [])
