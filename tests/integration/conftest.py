# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stacks on the engine of this machine, each with a name, a state and a configuration folder of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import Entry, SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import building
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer
from ansible_collections.quaylock.stacks.tests.fixtures.restic_keys import open_at_once
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

from .images import ELSEWHERE, RECIPES, REGISTRY, have, told

docker = pytest.importorskip("docker")

ROOT = Path(__file__).parents[2]
WEB = "local/q-web:dev"
PASSWORD = "correct horse"
CHECK = {"test": ["CMD", "/web", "check"], "interval": "30s", "timeout": "5s", "retries": 3}


def web(*, monitor: str = "", gate: Mapping[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    """A service of the test application: health check with prod's interval, and a short time to be watched.

    What is about to crash is watched for longer: the end of it ends that, however late it comes on a busy machine.
    """
    short = "20s" if "CRASH_AFTER" in about.get("environment", {}) else "0.3s"
    update = {"monitor": monitor or short, **about.pop("update", {})}
    made: dict[str, Any] = {
        "image": WEB,
        "healthcheck": CHECK,
        "stop_grace_period": "2s",
        "x-quaylock": {"gate": {"deadline": "60s", **(gate or {})}},
        **about,
    }
    made["deploy"] = {**about.get("deploy", {}), "update_config": update}
    return made


def one_shot(**environment: str) -> dict[str, Any]:
    return {"image": WEB, "command": ["oneshot"], "environment": environment, "x-quaylock": {"one_shot": True}}


@dataclass
class Harbour:
    """One stack under test: what is asked for and what the engine then shows."""

    name: str
    folder: Path
    client: Any
    about: dict[str, Any] = field(default_factory=dict)

    def request(self, services: Mapping[str, Any], **about: Any) -> Request:
        top = {
            key: about.pop(key) for key in ("networks", "volumes", "secrets", "configs", "x-quaylock") if key in about
        }
        contents = {key.removesuffix("_content"): about.pop(key) for key in list(about) if key.endswith("_content")}
        return Request(
            name=self.name,
            definition={"services": dict(services), **top},
            state_dir=str(self.folder / "state"),
            config_dir=str(self.folder / "etc"),
            **{"who": "tester", **self.about, **contents, **about},
        )

    def deploy(self, services: Mapping[str, Any], **about: Any) -> dict[str, Any]:
        return deploy.deploy(self.request(services, **about))

    def deployed(self, services: Mapping[str, Any], **about: Any) -> dict[str, Any]:
        """Deploy, and it has to go well."""
        answer = self.deploy(services, **about)
        assert answer["outcome"] == "deployed", json.dumps(answer, indent=2)
        return answer

    def remove(self, volumes: bool = False, dry: bool = False) -> dict[str, Any]:
        return deploy.remove(self.request({}), volumes, dry)

    @property
    def journal(self) -> SqliteJournal:
        return SqliteJournal(str(self.folder / "state/journal.sqlite"))

    def events(self, rollout: str) -> list[Entry]:
        return self.journal.events(rollout)

    def containers(self, service: str = "") -> dict[str, Any]:
        """Name -> inspect body, of everything that carries the stack's project label."""
        wanted = [f"com.docker.compose.project={self.name}"]
        if service:
            wanted.append(f"com.docker.compose.service={service}")
        found = self.client.api.containers(all=True, filters={"label": wanted})
        bodies = []
        for entry in found:
            # the engine may still be busy with what a killed process asked for
            with contextlib.suppress(docker.errors.NotFound):
                bodies.append(self.client.api.inspect_container(entry["Id"]))
        return {body["Name"].lstrip("/"): body for body in sorted(bodies, key=lambda b: str(b["Name"]))}

    def identities(self, service: str = "") -> dict[str, tuple[str, str]]:
        """Name -> (id, when it was started): the same only where nobody touched the container."""
        return {n: (b["Id"], b["State"]["StartedAt"]) for n, b in self.containers(service).items()}

    def running(self, service: str = "") -> list[str]:
        return [name for name, body in self.containers(service).items() if body["State"]["Running"]]

    def kept(self) -> list[str]:
        """The names that images of kept releases have."""
        names = [n for i in self.client.images.list("quaylock.kept/image") for n in i.tags]
        return sorted(n for n in names if n.startswith(f"quaylock.kept/image:{self.name}."))

    def clear(self) -> None:
        for body in self.containers().values():
            self.client.api.remove_container(body["Id"], force=True, v=True)
        for network in self.client.networks.list(filters={"label": f"com.docker.compose.project={self.name}"}):
            network.remove()
        for name in self.kept():
            self.client.images.remove(name)
        for volume in self.client.volumes.list(filters={"label": f"com.docker.compose.project={self.name}"}):
            volume.remove(force=True)


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    made = docker.from_env(timeout=120)
    yield made
    made.close()


@pytest.fixture(scope="session")
def web_built() -> str:
    return web_image(WEB)


@pytest.fixture
def harbours(client: Any, web_built: str, tmp_path: Path) -> Iterator[Callable[..., Harbour]]:
    """Makes stacks, and takes what is left of them away."""
    made: list[Harbour] = []

    def make(folder: Path = tmp_path, **about: Any) -> Harbour:
        harbour = Harbour(f"qr-{secrets.token_hex(3)}", folder, client, about)
        made.append(harbour)
        return harbour

    yield make
    for harbour in made:
        harbour.clear()


@pytest.fixture
def harbour(harbours: Callable[..., Harbour]) -> Harbour:
    return harbours()


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository that nobody writes to, and its password: making one takes seconds."""
    if not shutil.which("restic"):
        pytest.fail("these tests need restic: apt-get install restic")
    folder = tmp_path_factory.mktemp("restic")
    (folder / "password").write_text(f"{PASSWORD}\n")
    assert Restic(Repository(str(folder / "repository"), str(folder / "password")), "web-1").init()
    open_at_once(folder / "repository", PASSWORD)
    return folder


@pytest.fixture
def own_repository(empty_repository: Path, tmp_path: Path) -> Path:
    """A test's own, in tmp_path / "repository", and the password beside it."""
    shutil.copytree(empty_repository, tmp_path, dirs_exist_ok=True)
    return tmp_path / "repository"


@pytest.fixture
def restic(empty_repository: Path, tmp_path: Path) -> Restic:
    """A repository of the test's own, and what asks it."""
    shutil.copytree(empty_repository, tmp_path / "backup")
    folder = tmp_path / "backup"
    about = Repository(str(folder / "repository"), str(folder / "password"), cache=str(folder / "cache"))
    return Restic(about, "q1")


@pytest.fixture(scope="session")
def recipes(client: Any) -> dict[str, str]:
    """The collection's recipes as local images, and the tests' registry built on one of them."""
    names = sorted(path.name for path in RECIPES.iterdir() if path.name not in ELSEWHERE)
    wanted: dict[str, Any] = {name: {"recipe": name, "source": "build"} for name in names}
    wanted["qimg-registry"] = {"context": REGISTRY, "base": "debian", "source": "build"}
    with building("recipes"):  # once, although files of tests run side by side
        outcome = have(client, wanted, unanswered={"docker.io": "not asked by tests"})
    assert not outcome.failed, "\n".join(told(outcome, key) for key in outcome.failed)
    return {key: had.image.ref for key, had in outcome.had.items()}


@pytest.fixture(scope="session")
def docker_compose() -> str:
    """The Compose that we compare with."""
    return compose_peer()
