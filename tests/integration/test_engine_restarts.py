# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine is restarted while a set is made: an engine of its own, beside this machine's, that may be killed."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import files, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.tests.fixtures.own_engine import OwnEngine, own_engine
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import WEB, Harbour, web
from .test_backups import frozen

pytestmark = [pytest.mark.integration, pytest.mark.more]


@pytest.fixture
def engine(web_built: str) -> Iterator[OwnEngine]:
    if not shutil.which("dockerd"):
        pytest.skip("dockerd is not on this machine")
    with own_engine(WEB) as made:
        yield made


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_engine_is_restarted_while_writers_hold_still(
    engine: OwnEngine,
    harbours: Callable[..., Harbour],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    harbour = harbours(docker_host=engine.url)
    harbour.client = docker.DockerClient(engine.url)
    (tmp_path / "password").write_text("correct horse\n")
    where = Repository(str(tmp_path / "r"), str(tmp_path / "password"), cache=str(tmp_path / "c"))
    vault = Vault(Restic(where, "web-1"), str(tmp_path / "sets"))
    vault.repository.init()
    items = {"data": {"type": "volume", "volume": "data"}, "word": {"type": "path", "path": str(tmp_path / "password")}}
    services = {"web": {**web(), "volumes": ["data:/data"], "restart": "always"}}
    harbour.deployed(services, volumes={"data": {}}, **{"x-quaylock": {"backup": {"items": items}}})
    plain, once = files.TreeSource.freeze, threading.Lock()
    struck: list[list[str]] = []

    def restarted(self: Any) -> None:
        if once.acquire(blocking=False):
            struck.append(frozen(harbour))
            engine.end(number)
        plain(self)

    monkeypatch.setattr(files.TreeSource, "freeze", restarted)
    answer = run.back_up(harbour.request({}), vault)
    monkeypatch.undo()
    assert struck == [[f"{harbour.name}-web-1"]]
    assert answer["outcome"] in ("made", "failed"), answer
    engine.start()
    harbour.client = docker.DockerClient(engine.url)
    assert frozen(harbour) == []
    assert vault.repository.locks() == []
    assert [m.id for m in vault.sets(harbour.name)] == ([answer["set"]] if answer["outcome"] == "made" else [])
    until(lambda: harbour.running("web"))
    again = run.back_up(harbour.request({}), vault)
    assert again["outcome"] == "made", again
    assert frozen(harbour) == []
