# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The repository on a real restic: what goes in whole comes out whole, and what breaks off leaves nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import processes, restic_process
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Failed, Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.trees import digest_of
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import differences
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.restic_words import Cause
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

pytestmark = pytest.mark.integration

MIB = 1 << 20
BLOCK = os.urandom(MIB)
MUCH = 24
"""blocks of a stream: more than restic puts in its first pack"""
NOWHERE = "00" * 32
Write = Callable[[bytes], None]


def blocks(count: int) -> Iterator[bytes]:
    """Different ones, as equal ones are stored once."""
    for number in range(count):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def pumped(count: int, after: int = -1, then: Callable[[], None] = lambda: None) -> Callable[[Write], None]:
    """A producer of `count` blocks, to which something happens after some of them."""

    def pump(write: Write) -> None:
        for number, block in enumerate(blocks(count)):
            if number == after:
                then()
            write(block)
        if after == count:
            then()

    return pump


def raising() -> None:
    raise RuntimeError("pg_dump ended with code 1")


@pytest.fixture(scope="module")
def program() -> str:
    found = shutil.which("restic")
    if not found:
        pytest.fail("these tests need restic: apt-get install restic")
    return found


@pytest.fixture
def restic(empty_repository: Path, program: str, tmp_path: Path) -> Restic:
    shutil.copytree(empty_repository, tmp_path / "backup")
    folder = tmp_path / "backup"
    about = Repository(str(folder / "repository"), str(folder / "password"), cache=str(folder / "cache"))
    return Restic(about, "q1", program)


def place(restic: Restic) -> Path:
    return Path(restic.repository.location)


def kept(restic: Restic) -> list[str]:
    """The snapshots by their files, without restic's help."""
    return sorted(os.listdir(place(restic) / "snapshots"))


def locks(restic: Restic) -> list[str]:
    """The finished ones; restic writes a lock under another name first."""
    return [name for name in os.listdir(place(restic) / "locks") if len(name) == 64]


def at_work() -> list[int]:
    """Every restic that we, or whoever we started, have running."""
    found = []
    for generation in processes.descendants(os.getpid(), processes.parents("/proc")):
        for pid in generation:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "restic":
                    found.append(pid)
    return found


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    last = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < last, "it did not come true"
        time.sleep(0.005)


def kill_restic() -> None:
    until(at_work)
    for pid in at_work():
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def held(restic: Restic, exclusive: bool = True) -> Iterator[int]:
    """Another restic that holds the repository: a check at a crawl, or a backup that waits for its input."""
    call = ["check", "--read-data", "--limit-download=20"] if exclusive else ["backup", "--stdin"]
    about = restic.repository
    other = subprocess.Popen(
        [shutil.which("restic") or "restic", "-r", about.location, "-p", about.password_file, "--no-cache", *call],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: locks(restic))
        yield other.pid
    finally:
        # at a crawl it also takes its time to end in order
        other.kill()
        other.communicate()


def put_down(restic: Restic, exclusive: bool) -> None:
    """Leave the lock of a restic that was killed."""
    with held(restic, exclusive) as pid:
        os.kill(pid, signal.SIGKILL)
    assert locks(restic)


# -- a stream ----------------------------------------------------------------------


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
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Repository, Restic
def pump(write):
    for number in range(12):
        write(number.to_bytes(8, "big") + bytes(1 << 20))
    {wait}
    os.kill(os.getpid(), signal.SIGKILL)
made = Restic(Repository({location!r}, {password!r}), "q1", {program!r})
{call}
"""


def killed_child(restic: Restic, program: str, call: str, wait: str = "") -> None:
    about = {"location": restic.repository.location, "password": restic.repository.password_file}
    text = CHILD.format(path=sys.path, program=program, call=call, wait=wait, **about)
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
def test_our_own_death_midway_leaves_no_snapshot_and_no_restic(restic: Restic, program: str, wait: str) -> None:
    killed_child(restic, program, 'made.stream("shop.dump", {"set=s-1"}, pump)', wait)
    until(lambda: not orphans(restic))
    assert kept(restic) == []
    restic.unlock()
    assert locks(restic) == []


def test_a_tree_does_not_go_on_after_our_death(restic: Restic, program: str, tmp_path: Path) -> None:
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
    killed_child(restic, program, slow)
    until(lambda: not orphans(restic))
    assert kept(restic) == []


# -- a tree ------------------------------------------------------------------------


def odd_tree(folder: Path) -> Path:
    """What file systems hold: names that are no text, links of both kinds, modes, owners, holes, and no files at all."""
    tree = os.fsencode(folder / "sträße [v] *")
    os.makedirs(tree + b"/a/empty")
    os.makedirs(tree + b"/a.d")
    names = (b"with space", b"new\nline", "grün".encode(), b"latin-\xe9", b"-dash", b"n" * 200, b"a/\\back", b"a.d/[1]")
    for number, name in enumerate(names):
        with open(tree + b"/" + name, "wb") as file:
            file.write(BLOCK[: number * 1000])
    os.symlink(b"nowhere/\xe9", tree + b"/dangling")
    os.symlink(b"a", tree + b"/link")
    os.link(tree + b"/with space", tree + b"/a/twin")
    with open(tree + b"/holes", "wb") as file:
        file.truncate(3 * MIB)
    os.mkfifo(tree + b"/fifo")
    os.mkfifo(tree + b"/a/fifo")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(folder):
        listener.bind("socket")
        os.rename(b"socket", tree + b"/socket")
    os.chmod(tree + b"/with space", 0o4751)
    os.chmod(tree + b"/a", 0o1770)
    os.chmod(tree, 0o2750)
    if os.geteuid() == 0:
        os.mknod(tree + b"/device", 0o020600, os.makedev(1, 3))
        os.chown(tree + b"/a.d", 3_000_000, 70)
        os.chown(tree + b"/link", 70, 70, follow_symlinks=False)
        os.chmod(tree + b"/-dash", 0)
    return Path(os.fsdecode(tree))


def test_a_tree_with_odd_names_comes_back_as_it_was(restic: Restic, tmp_path: Path) -> None:
    tree = odd_tree(tmp_path)
    part, warnings = restic.tree(f"{tree}/", {"set=s-1"})
    assert warnings == ()
    assert part.path == str(tree)
    assert part.size == digest_of(str(tree)).size > 3 * MIB
    target = tmp_path / "restored"
    restic.restore_tree(part.snapshot, part.path, str(target))
    found = replace(digest_of(str(target)), path=part.path, snapshot=part.snapshot)
    assert differences([part], [found]) == ()
    assert found == part == restic.read_back(part)
    assert os.listdir(target / "a.d") == ["[1]"]
    assert (target / "a/twin").samefile(target / "with space")
    assert (target / "fifo").is_fifo()
    assert int((tree / "holes").stat().st_mtime) == int((target / "holes").stat().st_mtime)
    assert target.stat().st_mode == tree.stat().st_mode


def test_the_same_tree_has_the_same_digest_in_another_snapshot_and_a_changed_one_has_not(
    restic: Restic, tmp_path: Path
) -> None:
    tree = odd_tree(tmp_path)
    first, _said = restic.tree(str(tree), {"set=s-1"})
    os.utime(tree / "with space", (1, 1))
    second, _said = restic.tree(str(tree), {"set=s-2"}, parent=first.snapshot)
    assert second == replace(first, snapshot=second.snapshot)
    assert second.snapshot != first.snapshot
    (tree / "a").chmod(0o700)
    (said,) = differences([first], [digest_of(str(tree))])
    assert "has another content" in said


def test_what_is_excluded_is_not_in_the_tree(restic: Restic, tmp_path: Path) -> None:
    tree = tmp_path / "srv"
    for name in ("keep", "cache/x", "a/cache/x", "a/b.tmp"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    part, _said = restic.tree(str(tree), (), ["/cache", "*.tmp"])
    shutil.rmtree(tree / "cache")
    (tree / "a/b.tmp").unlink()
    assert replace(digest_of(str(tree)), snapshot=part.snapshot) == part


def test_a_single_file_is_a_tree_as_well(restic: Restic, tmp_path: Path) -> None:
    (tmp_path / "settings.ini").write_text("[a]\n")
    part, _said = restic.tree(str(tmp_path / "settings.ini"), ())
    assert (part.size, part.files) == (4, 1)
    restic.restore_tree(part.snapshot, part.path, str(tmp_path / "restored"))
    assert digest_of(str(tmp_path / "restored/settings.ini")).sha256 == part.sha256


def test_a_folder_that_is_missing_is_said(restic: Restic, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="it does not exist"):
        restic.tree(str(tmp_path / "none"), ())
    with pytest.raises(Failed, match="name folders of it"):
        restic.tree("/", ())
    assert kept(restic) == []


def test_a_file_that_vanishes_while_it_is_saved_is_named_or_nowhere_in_the_snapshot(
    restic: Restic, tmp_path: Path
) -> None:
    tree = tmp_path / "srv"
    tree.mkdir()
    for number, block in enumerate(blocks(40)):
        (tree / f"{number:02}").write_bytes(block)

    def vanish() -> None:
        """Once restic has read the names, and the first of the contents."""

        def reads() -> bool:
            for pid in at_work():
                with contextlib.suppress(OSError):
                    if any(str(tree / "0") in os.readlink(fd.path) for fd in os.scandir(f"/proc/{pid}/fd")):
                        os.kill(pid, signal.SIGSTOP)
                        return True
            return False

        until(reads)
        (tree / "39").unlink()
        for pid in at_work():
            os.kill(pid, signal.SIGCONT)

    vanishing = threading.Thread(target=vanish)
    vanishing.start()
    said, part = "", None
    try:
        part, _said = restic.tree(str(tree), {"set=s-1"})
    except Failed as failed:
        said = str(failed)
    vanishing.join()
    if part:
        # newer ones take it as if it had never been there, and so it is a tree without it
        assert restic.version() >= (0, 17)
        assert part.sha256 == digest_of(str(tree)).sha256
    else:
        assert f"not all of it could be read: {tree}/39: " in said
        assert "no such file" in said
        assert "hold its writer still" in said
        assert (kept(restic), locks(restic)) == ([], [])


def test_a_file_that_cannot_be_read_is_named_and_no_snapshot_stays(restic: Restic) -> None:
    # the memory of a process can be opened, and its first page is never there
    unreadable = f"/proc/{os.getpid()}/mem"
    with pytest.raises(Failed, match=rf"not all of it could be read: {unreadable}: .*input/output error"):
        restic.tree(unreadable, ())
    assert kept(restic) == []


def test_a_folder_with_something_in_it_is_not_restored_to(restic: Restic, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    part, _said = restic.tree(str(tmp_path / "srv"), ())
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("x")
    with pytest.raises(PortError, match=r"target is not empty \(precious\); next:"):
        restic.restore_tree(part.snapshot, part.path, str(target))
    with pytest.raises(PortError, match="is no folder"):
        restic.restore_tree(part.snapshot, part.path, str(target / "precious"))
    assert os.listdir(target) == ["precious"]


def test_a_restore_that_fails_leaves_the_folder_as_it_was(restic: Restic, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    part, _said = restic.tree(str(tmp_path / "srv"), ())
    (tmp_path / "there").mkdir()
    for target in ("there", "new"):
        with pytest.raises(Failed, match="does not hold"):
            restic.restore_tree(part.snapshot, "/srv/other", str(tmp_path / target))
    assert os.listdir(tmp_path / "there") == []
    assert not (tmp_path / "new").exists()
    with pytest.raises(Failed) as caught:
        restic.restore_tree(NOWHERE, part.path, str(tmp_path / "new"))
    assert caught.value.cause is Cause.NO_SNAPSHOT


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
