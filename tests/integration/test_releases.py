# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases on a real engine: a return to one that is kept, what protects its images, and what is said where it fails."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

from .conftest import Harbour, one_shot, web

pytestmark = pytest.mark.integration

TAG = "local/q-web:qr3-moving"


@pytest.fixture
def moving(client: Any) -> Iterator[Any]:
    """Points one tag at another version; whatever is left of it goes in the end."""

    def move(version: str, tag: str = TAG) -> str:
        web_image(tag, version)
        made.add(tag)
        return str(client.images.get(tag).id)

    made: set[str] = set()
    yield move
    for tag in made:
        with contextlib.suppress(docker.errors.ImageNotFound, docker.errors.APIError):
            client.images.remove(tag, force=True)


def image_of(harbour: Harbour, service: str = "web") -> str:
    [body] = harbour.containers(service).values()
    return str(body["Image"])


def back(harbour: Harbour, release: str, **about: Any) -> dict[str, Any]:
    return deploy.deploy(harbour.request({}, release=release, **about))


def refused(harbour: Harbour, release: str, **about: Any) -> str:
    before = harbour.identities()
    with pytest.raises(Invalid) as said:
        back(harbour, release, **about)
    assert harbour.identities() == before
    return str(said.value)


def test_from_one_to_two_and_back_by_id(harbour: Harbour, moving: Any, tmp_path: Path) -> None:
    """The tag points to the second version all the time; the secret of the first is the one that was kept."""
    state = tmp_path / "seen"
    state.mkdir()
    state.chmod(0o777)

    def services(version: str) -> dict[str, Any]:
        shot = {**one_shot(STATE="/state", VERSION=version), "volumes": [f"{state}:/state"]}
        return {"web": web(image=TAG, secrets=["token"]), "migrate": shot}

    def runs() -> int:
        return len(list(state.glob("oneshot-*")))

    top = {"secrets": {"token": {}}}
    one = moving("1")
    first = harbour.deployed(services("1"), secrets_content={"token": b"first"}, **top)["rollout"]
    two = moving("2")
    second = harbour.deployed(services("2"), secrets_content={"token": b"second"}, **top)["rollout"]
    assert (image_of(harbour), runs(), one != two) == (two, 2, True)
    preview = deploy.check(harbour.request({}, release=first))
    assert "~ web: replace start-first, 1 new, 1 to go (image changed)" in preview["plan"]
    assert "~ secrets.token: another content" in preview["differences"]
    assert "~ services.migrate.environment.VERSION" in preview["differences"]
    answer = back(harbour, first, asked={"commit": "c0ffee"})
    assert answer["outcome"] == "deployed", answer
    assert image_of(harbour) == one
    assert runs() == 2, "the one-shot of the old release is not run again"
    [body] = harbour.containers("web").values()
    [mount] = body["Mounts"]
    assert Path(mount["Source"]).read_bytes() == b"first"
    [note] = [n for n in answer["notes"] if n.startswith("a return to release")]
    assert note.endswith(
        "what migrations did to data since is kept; one-shots that ended well in it are not run again: migrate"
    )
    serving, *_others = harbour.journal.releases(harbour.name)
    assert (serving.id, serving.asked) == (answer["rollout"], {"commit": "c0ffee", "release": first})
    assert back(harbour, "previous")["outcome"] == "deployed", "a return can be returned from"
    assert image_of(harbour) == two
    assert harbour.journal.releases(harbour.name)[0].returned_to == second
    assert back(harbour, "previous", releases_kept=2)["outcome"] == "deployed"
    assert back(harbour, harbour.journal.releases(harbour.name)[0].id)["outcome"] == "unchanged"
    for said in (
        json.dumps(answer),
        Path(harbour.folder / "state/journal.sqlite").read_bytes().decode(errors="replace"),
    ):
        assert '"first"' not in said.replace("another content", "")


def test_images_of_kept_releases_outlive_docker_image_prune(harbour: Harbour, moving: Any) -> None:
    """Its rule is: images without a name that no container uses. So the last name besides ours is taken away first."""
    ids = []
    for version in ("1", "2", "3"):
        ids.append(moving(version))
        harbour.deployed({"web": web(image=TAG)}, releases_kept=2)
    assert harbour.kept() == sorted(f"quaylock.kept/image:{harbour.name}.{i[7:19]}" for i in ids[1:])
    dangling = {i.id for i in harbour.client.images.list(all=True, filters={"dangling": True})}
    assert ids[1] not in dangling, "docker image prune removes dangling images only"
    assert f"quaylock.kept/image:{harbour.name}.{ids[0][7:19]}" not in harbour.kept(), "the third release let it go"
    assert "keeps no release" in refused(harbour, harbour.journal.history(harbour.name)[-1].id, releases_kept=2)
    harbour.remove()
    assert harbour.kept() == []


def test_an_own_image_goes_with_the_last_release_that_needs_it(harbour: Harbour, moving: Any) -> None:
    def deployed(version: str) -> None:
        tag = f"quaylock.local/q-web:qr3-{version}"
        moving(version, tag)
        harbour.deployed({"web": web(image=tag)}, releases_kept=2)

    def there(version: str) -> bool:
        return bool(harbour.client.images.list(f"quaylock.local/q-web:qr3-{version}"))

    for version in ("1", "2", "3"):
        deployed(version)
    assert [there(v) for v in ("1", "2", "3")] == [False, True, True]
    harbour.remove()
    assert [there(v) for v in ("2", "3")] == [True, True], "after a teardown somebody may deploy it again"


def test_an_image_that_is_gone_is_fetched_by_its_digest_or_refused(harbour: Harbour, moving: Any) -> None:
    """What `docker image prune -a` does to a release that does not run: the name of ours is no protection from it."""
    one = moving("1")
    first = harbour.deployed({"web": web(image=TAG)})["rollout"]
    moving("2")
    second = harbour.deployed({"web": web(image=TAG)})["rollout"]
    harbour.client.images.remove(one, force=True)
    said = refused(harbour, first)
    assert f"images.{TAG}: {one[:19]} of release {first} is not on this host any more, and no registry has it" in said
    assert f"release: can be returned to: {second}" in said


def test_what_cannot_be_returned_to_is_refused_with_what_is_there(harbour: Harbour) -> None:
    assert f"release: {harbour.name} has no release on this host (deploy it)" in refused(harbour, "previous")
    top = {"secrets": {"token": {}}}
    first = harbour.deployed({"web": web(secrets=["token"])}, secrets_content={"token": b"1"}, **top)["rollout"]
    assert f"there is none before {first}, which serves" in refused(harbour, "previous")
    assert f"keeps no release 'r-0' (there are, newest first: {first})" in refused(harbour, "r-0")
    second = harbour.deployed({"web": web(secrets=["token"])}, secrets_content={"token": b"2"}, **top)["rollout"]
    files = sorted((harbour.folder / f"etc/stacks/{harbour.name}/secrets").iterdir())
    assert len(files) == 2, "those of kept releases stay"
    next(f for f in files if f.read_bytes() == b"1").unlink()
    said = refused(harbour, first)
    assert "secrets.token: its content of release" in said
    assert f"can be returned to: {second}" in said
    for about, words in (
        ({"releases_kept": 0}, "releases_kept: 0 is not from 1 to 100"),
        ({"journal_days": 0}, "journal_days: 0 is not"),
    ):
        assert words in refused(harbour, first, **about)


def test_a_return_that_fails_its_gate_goes_back(harbour: Harbour, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.mkdir()
    state.chmod(0o777)
    about = {"environment": {"STATE": "/state", "FAIL_ON_START": "2"}, "volumes": [f"{state}:/state"]}
    quick = {"test": ["CMD", "/web", "check"], "interval": "1s", "timeout": "1s", "retries": 3}
    first = harbour.deployed(
        {"web": web(gate={"deadline": "8s"}, healthcheck=quick, update={"order": "start-first"}, **about)}
    )["rollout"]
    second = harbour.deployed({"web": web()})["rollout"]
    before = harbour.identities()
    answer = back(harbour, first)
    assert answer["outcome"] == "rolled back", answer
    assert harbour.identities() == before
    assert harbour.journal.releases(harbour.name)[0].id == second
