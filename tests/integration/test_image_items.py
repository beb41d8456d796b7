# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images of services in a set: saved, removed, loaded, and the same image again."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.docker_engine import DockerEngine
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import extract, restoring, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.images import load_images
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

from .conftest import WEB, Harbour, web

docker = pytest.importorskip("docker")
pytestmark = pytest.mark.integration

IMAGES = {"images": {"type": "image", "services": ["web", "second"]}}


@pytest.fixture
def vault(harbour: Harbour, own_repository: Path, tmp_path: Path) -> Vault:
    where = Repository(str(own_repository), str(tmp_path / "password"), cache=str(tmp_path / "cache"))
    return Vault(Restic(where, "web-1"), str(harbour.folder / "state/manifests"))


@pytest.fixture
def own(client: Any, web_built: str) -> Iterator[str]:
    """An image that nobody else has: the application with a label of this test."""
    name = f"local/qb-{secrets.token_hex(4)}:1"
    container = client.containers.create(WEB)
    repository, _colon, tag = name.rpartition(":")
    container.commit(repository, tag, changes=[f"LABEL test={name}"])
    container.remove()
    yield name
    with contextlib.suppress(docker.errors.ImageNotFound):
        client.images.remove(name, force=True)


def test_an_image_is_saved_removed_and_loaded_again(
    harbour: Harbour, vault: Vault, own: str, client: Any, tmp_path: Path
) -> None:
    services = {"web": web(image=own), "second": web(image=own)}
    harbour.deployed(services, **{"x-quaylock": {"backup": {"items": IMAGES}}})
    id = client.images.get(own).id  # noqa: A001
    answer = run.back_up(harbour.request({}), vault)
    assert answer["outcome"] == "made", answer
    item = vault.sets(harbour.name)[0].item("images")
    assert item.about == {"images": {own: id}}
    assert (len(item.parts), item.parts[0].files) == (1, 0)
    extract.extract(vault, harbour.name, "latest", ["images"], str(tmp_path / "set"))
    assert (tmp_path / "set/images/images.tar").stat().st_size == item.size

    harbour.clear()
    for name in client.images.get(id).tags:
        client.images.remove(name, force=True)
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(id)
    engine = DockerEngine(client)
    with vault.repository.reading(item.parts[0].snapshot, item.parts[0].path) as content:
        assert load_images(engine, content, item.about) == (id,)
    assert client.images.get(own).id == id
    assert client.images.get(own).labels["test"] == own


@pytest.mark.more
def test_an_empty_host_without_the_image_gets_the_stack_back(
    harbour: Harbour, vault: Vault, own: str, client: Any, tmp_path: Path
) -> None:
    harbour.deployed({"web": web(image=own), "second": web(image=own)}, **{"x-quaylock": {"backup": {"items": IMAGES}}})
    assert run.back_up(harbour.request({}), vault)["outcome"] == "made"
    id = client.images.get(own).id  # noqa: A001
    harbour.clear()
    for name in client.images.get(id).tags:
        client.images.remove(name, force=True)
    harbour.folder = tmp_path / "new"
    answer = restoring.restore(harbour.request({}), vault, restoring.Choice())
    assert answer["outcome"] == "restored", answer
    assert {body["Image"] for body in harbour.containers().values()} == {id}
    assert len(harbour.running()) == 2


@pytest.mark.more
def test_a_second_set_of_the_same_image_adds_little(harbour: Harbour, vault: Vault, tmp_path: Path) -> None:
    harbour.deployed({"web": web()}, **{"x-quaylock": {"backup": {"items": {"images": {"type": "image"}}}}})
    sizes = []
    for _turn in range(2):
        assert run.back_up(harbour.request({}), vault)["outcome"] == "made"
        sizes.append(sum(p.stat().st_size for p in (tmp_path / "repository").rglob("*") if p.is_file()))
    assert sizes[1] - sizes[0] < 200_000


def test_a_name_that_means_another_image_by_now_is_saved_as_what_serves(
    harbour: Harbour, vault: Vault, own: str, client: Any
) -> None:
    harbour.deployed({"web": web(image=own)}, **{"x-quaylock": {"backup": {"items": {"images": {"type": "image"}}}}})
    id = client.images.get(own).id  # noqa: A001
    client.images.get(WEB).tag(own)
    assert run.back_up(harbour.request({}), vault)["outcome"] == "made"
    item = vault.sets(harbour.name)[0].item("images")
    assert item.about == {"images": {own: id}}
    with vault.repository.reading(item.parts[0].snapshot, item.parts[0].path) as content:
        load_images(DockerEngine(client), content, item.about)
    assert client.images.get(own).id == id


def test_what_is_no_archive_is_refused_by_the_engine(client: Any) -> None:
    with pytest.raises(PortError, match="load images"):
        DockerEngine(client).load_images(io.BytesIO(b"hello" * 1000))
    with pytest.raises(PortError, match="save sha256:0000"):
        list(DockerEngine(client).save_images([f"sha256:{'0' * 64}"]))
