# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Repositories on other machines, over SFTP and S3: whole sets of a small stack, and servers that go away."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import restic as restics
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import restic_process
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic_calls import Failed
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.restic_words import Cause
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.restic_keys import open_at_once

from .conftest import Harbour, web
from .servers import USER, Minio, Sshd, minio, sshd

pytestmark = pytest.mark.integration

MIB = 1 << 20
WORD = "correct horse battery"


@dataclass
class Remote:
    """A repository elsewhere. `secret` is what must never be seen."""

    repository: Repository
    kill: Callable[[], object]
    start: Callable[[], object]
    wrong: Repository
    """the same with another key"""
    secret: str = ""
    gone: Repository = field(init=False)
    """the same where there is no repository"""

    def __post_init__(self) -> None:
        self.gone = replace(self.repository, location=f"{self.repository.location}-none")

    @property
    def restic(self) -> Restic:
        return Restic(self.repository, "web-1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sftp") / "sshd") as made:
        yield made


@pytest.fixture(scope="module")
def store(client: Any) -> Iterator[Minio]:
    with minio(client) as made:
        yield made


@pytest.fixture(params=["sftp", pytest.param("s3", marks=pytest.mark.more)])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    (tmp_path / "password").write_text(f"{WORD}\n")
    about: dict[str, Any] = {"password_file": str(tmp_path / "password"), "cache": str(tmp_path / "cache")}
    if request.param == "sftp":
        sshd: Sshd = request.getfixturevalue("server")
        place = f"sftp:127.0.0.1:{tmp_path}/repository"
        good = Repository(place, options=(f"sftp.command={sshd.command()}",), **about)
        wrong = replace(good, options=(f"sftp.command={sshd.command('other')}",))
        made = Remote(good, sshd.kill, sshd.start, wrong)
    else:
        minio: Minio = request.getfixturevalue("store")
        for name, word in (("keys", minio.password), ("wrong", "another-password")):
            lines = f"[default]\naws_access_key_id = {USER}\naws_secret_access_key = {word}\n"
            (tmp_path / name).write_text(lines)
        environment = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys")}
        good = Repository(f"s3:{minio.endpoint}/q-{secrets.token_hex(4)}", environment=environment, **about)
        wrong = replace(good, environment={"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "wrong")})
        made = Remote(good, minio.container.kill, minio.start, wrong, minio.password)
    assert made.restic.init()
    if request.param == "sftp":
        open_at_once(tmp_path / "repository", WORD)
    return made


def vault(remote: Remote, harbour: Harbour) -> Vault:
    return Vault(remote.restic, str(harbour.folder / "state/manifests"))


def deploy(harbour: Harbour, folder: Path) -> None:
    harbour.deployed(
        {"web": web()}, **{"x-quaylock": {"backup": {"items": {"results": {"type": "path", "path": str(folder)}}}}}
    )


def test_a_set_goes_there_and_comes_back(remote: Remote, harbour: Harbour, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "numbers").write_bytes(os.urandom(3 * MIB))
    deploy(harbour, results)
    there = vault(remote, harbour)
    answer = run.back_up(harbour.request({}), there)
    assert answer["outcome"] == "made", answer
    assert not remote.secret or remote.secret not in str(answer)
    assert [m.id for m in Vault(remote.restic, str(tmp_path / "other")).sets(harbour.name)] == [answer["set"]]
    extract.extract(there, harbour.name, "latest", [], str(tmp_path / "set"))
    assert (tmp_path / "set/results/numbers").read_bytes() == (results / "numbers").read_bytes()
    assert remote.restic.locks() == []


@pytest.mark.more
def test_a_stream_goes_there_and_comes_back_and_a_broken_one_does_not(remote: Remote) -> None:
    content = os.urandom(9 * MIB)
    part = remote.restic.stream("whole.bin", {"t"}, lambda write: write(content))
    assert remote.restic.read_back(part) == part
    assert [s.id for s in remote.restic.snapshots({"t"})] == [part.snapshot]

    def broken(write: Callable[[bytes], None]) -> None:
        write(content)
        raise PortError("pg_dump ended with code 1")

    with pytest.raises(PortError, match="pg_dump ended with code 1"):
        remote.restic.stream("broken.bin", {"t"}, broken)
    assert [s.id for s in remote.restic.snapshots({"t"})] == [part.snapshot]
    remote.restic.forget([part.snapshot])
    remote.restic.prune()
    remote.restic.check(read_data=True)


def test_another_key_and_another_place_are_told_apart(remote: Remote) -> None:
    # a restic that ends before ssh has said why only knows that there was no answer, and tells how to ask
    says = r"the server does not let us in to .*; next: mend the key|unable to start the sftp session"
    for call in (lambda r: r.snapshots(), lambda r: r.init()):
        with pytest.raises(Failed, match=says) as refused:
            call(Restic(remote.wrong, "web-1"))
        assert refused.value.cause in (Cause.KEPT_OUT, Cause.UNREACHABLE)
        assert "another-password" not in str(refused.value)
    with pytest.raises(Failed, match=r"there is no repository at .*; next: mount it .*, or make one") as refused:
        Restic(remote.gone, "web-1").snapshots()
    assert refused.value.cause is Cause.NO_REPOSITORY


@pytest.mark.more
def test_no_key_is_in_the_arguments_of_a_process(remote: Remote) -> None:
    seen: list[str] = []

    def looking(write: Callable[[bytes], None]) -> None:
        write(b"hello")
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                seen.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    remote.restic.stream("looked.bin", {"t"}, looking)
    ours = [line for line in seen if "looked.bin" in line]
    assert ours
    for word in filter(None, (WORD, remote.secret)):
        assert not any(word in line for line in seen)


@pytest.mark.more
def test_a_server_that_goes_away_midway_makes_no_set(
    remote: Remote, harbour: Harbour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "numbers").write_bytes(b"1")
    deploy(harbour, results)
    there = vault(remote, harbour)
    # restic itself tries for a quarter of an hour
    monkeypatch.setattr(restic_process, "PATIENCE", 6.0)
    plain = Restic.stream

    def spoiled(self: Restic, name: str, tags: Any, pump: Any) -> Any:
        def more(write: Callable[[bytes], None]) -> None:
            write(os.urandom(8 * MIB))
            remote.kill()
            for _block in range(64):
                write(os.urandom(8 * MIB))
            pump(write)

        return plain(self, name, tags, more)

    monkeypatch.setattr(restics.Restic, "stream", spoiled)
    answer = run.back_up(harbour.request({}), there)
    monkeypatch.undo()
    assert answer["outcome"] in ("failed", "incomplete"), answer
    assert re.search(r"why     config: writing /.*: s.* does not answer; next: try it by hand", answer["msg"]), answer
    remote.start()
    assert there.sets(harbour.name) == []
    answer = run.back_up(harbour.request({}), there)
    assert answer["outcome"] == "made", answer
    assert [m.id for m in there.sets(harbour.name)] == [answer["set"]]
    assert there.leftovers(harbour.name) == []
    assert remote.restic.locks() == []


@pytest.mark.more
def test_a_server_that_is_away_is_told(remote: Remote, harbour: Harbour, tmp_path: Path) -> None:
    deploy(harbour, tmp_path)
    remote.kill()
    try:
        with pytest.raises(Failed, match="does not answer; next: try it by hand: restic -r s") as refused:
            run.back_up(harbour.request({}), vault(remote, harbour))
        assert refused.value.cause is Cause.UNREACHABLE
    finally:
        remote.start()
