# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A folder into a real restic, and back as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic_calls import Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.trees import digest_of
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import differences
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.restic_words import Cause
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

from .restics import (
    BLOCK,
    MIB,
    NOWHERE,
    at_work,
    blocks,
    kept,
    locks,
    until,
)

pytestmark = pytest.mark.integration


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
