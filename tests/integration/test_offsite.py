# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets in two real repositories with two passwords: whole there, or not there, and restored from there alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.trees import digest_of
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract, offsite
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault, tags_of
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Manifest, Taken
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.proof import Proof
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.restic_keys import open_at_once

pytestmark = pytest.mark.integration

MIB = 1 << 20


@dataclass
class Places:
    folder: Path

    def vault(self, name: str, cache: str = "cache") -> Vault:
        about = Repository(
            str(self.folder / name), str(self.folder / f"{name}.password"), cache=str(self.folder / cache)
        )
        return Vault(Restic(about, "web-1", wait=5), str(self.folder / f"{name}.sets"))

    @property
    def here(self) -> Vault:
        return self.vault("here")

    @property
    def there(self) -> Vault:
        return self.vault("there")

    def made(self, set_: str, at: float, content: bytes, over: tuple[Taken, ...] = ()) -> Manifest:
        """A set as a backup makes it, without an engine."""
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        (data / "file").write_bytes(content)
        vault = self.here
        tree, _warnings = vault.repository.tree(str(data), tags_of("shop", set_, "files"))
        stream = vault.repository.stream("shop.db.dump", tags_of("shop", set_, "db"), lambda write: write(content))
        items = (Taken("files", "path", (tree,), at), Taken("db", "postgres", (stream,), at), *over)
        manifest = Manifest(set_, "shop", "web-1", at, items)
        vault.seal(manifest)
        return manifest


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making a repository takes seconds, and copying it none."""
    folder = tmp_path_factory.mktemp("offsite")
    for name in ("here", "there"):
        (folder / f"{name}.password").write_text(f"correct {name}\n")
        assert Places(folder).vault(name).repository.init()  # type: ignore[attr-defined]
        open_at_once(folder / name, f"correct {name}")
    return folder


@pytest.fixture
def places(empty: Path, tmp_path: Path) -> Places:
    shutil.copytree(empty, tmp_path / "places")
    return Places(tmp_path / "places")


def ids(vault: Vault) -> list[str]:
    return [manifest.id for manifest in vault.sets("shop")]


def test_sets_are_copied_whole_and_restored_from_there_alone(places: Places, tmp_path: Path) -> None:
    first = places.made("s-1", 1000, os.urandom(MIB))
    old = Taken("old", "path", first.item("files").parts, 1000, "s-1")
    second = places.made("s-2", 2000, b"new" * 1000, (old,))
    assert offsite.copy(places.here, places.there, "shop", dry=True)["sets"] == ["s-1", "s-2"]
    assert ids(places.there) == []
    answer = offsite.copy(places.here, places.there, "shop")
    assert answer == {"changed": True, "sets": ["s-1", "s-2"], "outcome": "copied"}
    assert ids(places.there) == ["s-2", "s-1"]
    assert not second.snapshots & places.there.sets("shop")[0].snapshots, "they are called otherwise there"
    proof = Proof("s-2", "shop", "web-1", 2500, True, 3.5, 500)
    places.here.prove(proof)
    again = offsite.copy(places.here, places.there, "shop")
    assert (again["changed"], again["sets"]) == (True, [])
    assert places.there.proofs("shop") == [proof]
    again = offsite.copy(places.here, places.there, "shop")
    assert not again["changed"]
    shutil.rmtree(places.folder / "here")
    shutil.rmtree(places.folder / "cache")
    restored = extract.extract(places.there, "shop", "latest", [], str(tmp_path / "out"))
    assert restored["outcome"] == "restored"
    assert (tmp_path / "out/files/file").read_bytes() == b"new" * 1000
    assert digest_of(str(tmp_path / "out/old")).sha256 == first.item("files").parts[0].sha256


@pytest.mark.more
def test_copies_are_copied_back_to_a_new_repository(places: Places, tmp_path: Path) -> None:
    """The way back after the host and its repository were lost."""
    places.made("s-1", 1000, b"one" * 1000)
    offsite.copy(places.here, places.there, "shop")
    (places.folder / "anew.password").write_text("correct anew\n")
    anew = places.vault("anew")
    anew.repository.init()  # type: ignore[attr-defined]
    offsite.copy(places.there, anew, "shop")
    extract.extract(anew, "shop", "s-1", [], str(tmp_path / "out"))
    assert [file.read_bytes() for file in (tmp_path / "out/db").iterdir()] == [b"one" * 1000]
    assert (tmp_path / "out/files/file").read_bytes() == b"one" * 1000


@pytest.mark.more
def test_sets_are_dropped_there_as_here(places: Places) -> None:
    first = places.made("s-1", 1000, b"one" * 1000)
    places.made("s-2", 2000, b"two" * 1000, (Taken("old", "path", first.item("files").parts, 1000, "s-1"),))
    offsite.copy(places.here, places.there, "shop")
    places.there.drop(["s-1"], "shop")
    assert ids(places.there) == ["s-2"]
    for part in places.there.sets("shop")[0].item("old").parts:
        assert places.there.repository.read_back(part).sha256 == part.sha256
    assert places.there.leftovers("shop") == []


def test_a_part_that_is_lost_here_leaves_no_set_there(places: Places) -> None:
    manifest = places.made("s-1", 1000, b"one" * 1000)
    places.here.repository.forget([manifest.item("db").parts[0].snapshot])
    with pytest.raises(PortError, match=r"set s-1 lacks .* of its own snapshots, and is not copied"):
        offsite.copy(places.here, places.there, "shop")
    assert ids(places.there) == []


KILLED = """
import sys
from pathlib import Path
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import offsite
from ansible_collections.quaylock.stacks.tests.integration.test_offsite import Places
places = Places(Path(sys.argv[1]))
print("ready", flush=True)
offsite.copy(places.here, places.there, "shop")
"""


@pytest.mark.more
@pytest.mark.parametrize("later", [1.6, 2.6])
def test_killed_midway_and_again(places: Places, tmp_path: Path, later: float) -> None:
    content = os.urandom(48 * MIB)
    places.made("s-1", 1000, content)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(places.folder)], stdout=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(later)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was at work"
    seen = ids(places.there)
    assert seen == [], "no manifest before all of the data"
    offsite.copy(places.here, places.there, "shop")
    assert ids(places.there) == ["s-1"]
    assert places.there.leftovers("shop") == []
    places.there.repository.check(True)
    extract.extract(places.there, "shop", "latest", ["files"], str(tmp_path / "out"))
    assert (tmp_path / "out/files/file").read_bytes() == content


def test_another_password_is_refused(places: Places) -> None:
    places.made("s-1", 1000, b"one" * 1000)
    (places.folder / "there.password").write_text("wrong\n")
    with pytest.raises(PortError, match=r"there\.password does not open .*there: its password is another"):
        offsite.copy(places.here, places.there, "shop")


def test_a_recovery_key_opens_the_repository_alone(places: Places, tmp_path: Path) -> None:
    places.made("s-1", 1000, b"one" * 1000)
    repository = places.here.repository
    assert isinstance(repository, Restic)
    before = repository.keys()
    assert [key for key in before if key.host == "recovery"] == []
    repository.add_key("correct recovery", "recovery", "quaylock")
    after = repository.keys()
    assert len(after) == len(before) + 1
    assert ("recovery", "quaylock") in [(key.host, key.user) for key in after]
    (places.folder / "here.password").write_text("correct recovery\n")
    extract.extract(places.here, "shop", "latest", ["files"], str(tmp_path / "out"))
    assert (tmp_path / "out/files/file").read_bytes() == b"one" * 1000
