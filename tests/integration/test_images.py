# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images on a real engine: pulled from a real registry, built, loaded.

No registry of the world is asked. What is made is named qimg- or quaylock.local/; the recipes' images stay as a cache.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.images import Images, SourceError
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images import image_sources
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .images import CLOSED, have, output_of, told

docker = pytest.importorskip("docker")

PORT = 18510
HUB = f"127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def hub(client: Any, recipes: dict[str, str]) -> Iterator[str]:
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get("qimg-registry").remove(force=True)
    container = client.containers.run(
        recipes["qimg-registry"],
        name="qimg-registry",
        detach=True,
        ports={"5000/tcp": ("127.0.0.1", PORT)},
        read_only=True,
        tmpfs={"/var/lib/registry": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )

    def answers() -> bool:
        with socket.create_connection(("127.0.0.1", PORT), 1) as connection:
            connection.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)

    until(answers, lambda: container.logs().decode(), OSError)
    yield HUB
    container.remove(force=True)
    for image in client.images.list():
        # an image that lost its tag is still known by the registry's digest
        if any(name.startswith((HUB, "qimg-")) for name in [*image.tags, *(image.attrs["RepoDigests"] or [])]):
            client.images.remove(image.id, force=True)


def small(client: Any, ref: str, content: str) -> str:
    """A tiny image of this name, and its id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("content")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content.encode()))
    name, _sign, tag = ref.rpartition(":")
    answer = client.api.import_image_from_data(buffer.getvalue(), repository=name, tag=tag)
    return str(json.loads(answer.splitlines()[-1])["status"])


def push(client: Any, ref: str, content: str) -> tuple[str, str]:
    """Have an image in the registry and not here: its id, and the digest that the registry gave it."""
    image = small(client, ref, content)
    digest = next(line["aux"]["Digest"] for line in client.api.push(ref, stream=True, decode=True) if line.get("aux"))
    client.images.remove(image, force=True)
    return image, digest


def test_a_pulled_image_comes_once_and_its_digest_is_known(client: Any, hub: str) -> None:
    ref = f"{hub}/qimg/once:1"
    image, digest = push(client, ref, "once")
    wanted = {"app": {"ref": ref, "source": "registry"}}
    first = have(client, wanted)
    assert (first.had["app"].image.id, first.had["app"].image.digest, first.changed) == (image, digest, True)
    again = have(client, wanted)
    assert (again.had["app"].source, again.changed) == ("local", False)


def test_many_images_are_pulled_side_by_side(client: Any, hub: str) -> None:
    refs = [f"{hub}/qimg/many-{n}:1" for n in range(6)]
    pushed = [push(client, ref, ref)[0] for ref in refs]
    outcome = have(client, {f"i{n}": {"ref": ref, "source": "registry"} for n, ref in enumerate(refs)})
    assert [outcome.had[f"i{n}"].image.id for n in range(6)] == pushed


def test_a_tag_that_moved_gives_the_recorded_image_until_asked_otherwise(client: Any, hub: str) -> None:
    ref = f"{hub}/qimg/moved:1"
    wanted: dict[str, Any] = {"app": {"ref": ref, "source": "registry"}}
    old, old_digest = push(client, ref, "old")
    had = have(client, wanted).had["app"]
    lock = image_sources.next_lock({}, {"app": (had.image, had.source)}, image_sources.read(wanted, {}), "now")
    client.images.remove(old, force=True)
    new, _digest = push(client, ref, "new")

    kept = have(client, wanted, lock=lock)
    assert (kept.had["app"].image.id, kept.had["app"].image.digest) == (old, old_digest)
    assert client.images.get(ref).id == old
    wanted["app"]["pull"] = "always"
    moved = have(client, wanted, lock=lock)
    assert (moved.had["app"].image.id, moved.changed) == (new, True)
    assert have(client, wanted, lock=lock).changed is False


def test_a_reference_can_pin_a_digest(client: Any, hub: str) -> None:
    image, digest = push(client, f"{hub}/qimg/pinned:1", "pinned")
    for ref in (f"{hub}/qimg/pinned@{digest}", f"{hub}/qimg/pinned:1@{digest}"):
        outcome = have(client, {"app": {"ref": ref, "source": "registry"}})
        assert outcome.had["app"].image.id == image, told(outcome, "app")


def test_a_mirror_is_asked_before_the_hub(client: Any, hub: str) -> None:
    image, digest = push(client, f"{hub}/library/qimg-mirrored:1", "mirrored")
    wanted = {"app": {"ref": "qimg-mirrored:1", "source": "registry"}}
    outcome = have(client, wanted, mirror=hub)
    had = outcome.had["app"]
    assert (had.image.ref, had.image.id, had.image.digest, had.source) == ("qimg-mirrored:1", image, digest, "mirror")
    assert have(client, wanted).changed is False


def test_a_tag_that_is_not_there_is_said_so(client: Any, hub: str) -> None:
    push(client, f"{hub}/qimg/there:1", "there")
    outcome = have(client, {"app": {"ref": f"{hub}/qimg/there:2", "source": "registry"}})
    assert outcome.failed == ["app"]
    assert "it has no such image or tag" in told(outcome, "app")


def test_a_registry_that_refuses_fails_at_once(client: Any) -> None:
    start = time.monotonic()
    outcome = have(client, {"app": {"ref": f"127.0.0.1:{CLOSED}/app:1", "source": "registry"}}, patience=60.0)
    assert "it refuses the connection" in told(outcome, "app")
    assert outcome.unanswered == {f"127.0.0.1:{CLOSED}": "it refuses the connection"}
    assert time.monotonic() - start < 60


def test_a_registry_that_stays_silent_costs_its_patience_once(client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        wanted = {f"i{n}": {"ref": f"{name}/app-{n}:1", "source": "registry"} for n in range(5)}
        start = time.monotonic()
        outcome = have(client, wanted, patience=3.0)
        assert time.monotonic() - start < 5 * 3
        assert len(outcome.failed) == 5
        assert "it did not answer within 3 s" in told(outcome, "i4")
        start = time.monotonic()
        have(client, wanted, patience=60.0, unanswered=outcome.unanswered)
        assert time.monotonic() - start < 60


@pytest.fixture
def context(client: Any, tmp_path: Path, recipes: dict[str, str]) -> Iterator[Callable[[str], Path]]:
    """Writes a build context; its content is this test's own, so that no image of an earlier run answers for it."""

    def write(dockerfile: str) -> Path:
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\n{dockerfile}\n")
        (folder / "note").write_text(str(tmp_path))
        return folder

    yield write
    made = tuple(f"{image_sources.OWN_REGISTRY}/{key}:" for key in ("app", "bad", "above", "good"))
    for tag in [tag for image in client.images.list() for tag in image.tags if tag.startswith(made)]:
        client.images.remove(tag, force=True)


def test_auto_builds_where_no_registry_answers_and_says_why(client: Any, context: Callable[[str], Path]) -> None:
    wanted = {"app": {"ref": f"127.0.0.1:{CLOSED}/app:1", "context": context("COPY note /note"), "base": "debian"}}
    outcome = have(client, wanted, unanswered={"docker.io": "not asked by tests"})
    assert outcome.had["app"].source == "build"
    assert "it refuses the connection" in told(outcome, "app")
    again = have(client, wanted)
    assert (again.had["app"].source, again.changed) == ("local", False)


def test_auto_takes_the_registrys_image_where_it_answers(client: Any, hub: str, context: Callable[[str], Path]) -> None:
    image, _digest = push(client, f"{hub}/qimg/auto:1", "auto")
    outcome = have(client, {"app": {"ref": f"{hub}/qimg/auto:1", "context": context("RUN false"), "base": "debian"}})
    assert (outcome.had["app"].source, outcome.had["app"].image.id) == ("registry", image)


def test_a_changed_file_makes_a_new_image_and_a_touched_one_does_not(
    client: Any, context: Callable[[str], Path]
) -> None:
    folder = context("COPY note /note")
    wanted = {"app": {"context": folder, "base": "debian", "source": "build"}}
    first = have(client, wanted).had["app"].image
    os.utime(folder / "note", (1, 1))
    (folder / "note").chmod(0o600)
    assert have(client, wanted).changed is False
    (folder / "note").write_text("second")
    second = have(client, wanted).had["app"].image
    assert first.ref != second.ref
    assert output_of(client, second.ref, ["cat", "/note"]) == b"second"


def test_what_dockerignore_names_stays_out(client: Any, context: Callable[[str], Path]) -> None:
    folder = context("COPY . /seen")
    (folder / ".dockerignore").write_text("secret\n*.log\n")
    for name in ("secret", "a.log", "kept"):
        (folder / name).write_text(name)
    image = have(client, {"app": {"context": folder, "base": "debian", "source": "build"}}).had["app"].image
    seen = output_of(client, image.ref, ["ls", "/seen"]).decode().split()
    assert "kept" in seen
    assert not {"secret", "a.log"} & set(seen)


def test_a_build_that_fails_shows_its_last_words_and_spares_the_others(
    client: Any, context: Callable[[str], Path], tmp_path: Path
) -> None:
    bad = context("RUN echo the disk of the world is full >&2; exit 3")
    good = tmp_path / "good"
    shutil.copytree(bad, good)
    (good / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN true\n")
    outcome = have(
        client,
        {
            "bad": {"context": bad, "base": "debian", "source": "build"},
            "above": {"context": good, "base": "bad", "source": "build"},
            "good": {"context": good, "base": "debian", "source": "build"},
        },
    )
    assert outcome.failed == ["bad", "above"]
    assert "the disk of the world is full" in told(outcome, "bad")
    assert "its base bad could not be had" in told(outcome, "above")
    assert outcome.had["good"].image.id


def test_a_ca_bundle_serves_the_build_and_stays_out_of_the_image(
    client: Any, context: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = tmp_path / "proxy.pem"
    bundle.write_text("CERTIFICATES OF THE PROXY")
    folder = context(
        "ARG PIP_CERT\n"
        "COPY note ca-bundle.cr[t] /context/\n"
        "RUN if [ -n \"$PIP_CERT\" ]; then cat $PIP_CERT > /told; else echo none > /told; fi\n"
        "FROM ${BASE_IMAGE}\n"
        "COPY --from=0 /told /told"
    )  # fmt: skip
    wanted = {"app": {"context": folder, "base": "debian", "source": "build"}}
    image = have(client, wanted, ca_bundle=str(bundle)).had["app"].image
    look = ["sh", "-c", "cat /told; ls /context 2>/dev/null || true"]
    assert output_of(client, image.ref, look) == b"CERTIFICATES OF THE PROXY"
    assert have(client, wanted).changed is False, "a bundle that does not stay is no other image"
    nowhere = {"ca_bundle": str(tmp_path / "nowhere.pem")}
    assert not have(client, wanted, **nowhere).failed, "nothing was built, so nobody missed it"
    (folder / "note").write_text("changed")
    assert "nowhere.pem: No such file" in told(have(client, wanted, **nowhere), "app")


def test_an_archive_is_loaded_once(client: Any, hub: str, tmp_path: Path) -> None:
    image = small(client, "qimg-archived:1", "archived")
    archive = tmp_path / "image.tar"
    with archive.open("wb") as file:
        file.writelines(client.images.get("qimg-archived:1").save(named=True))
    client.images.remove(image, force=True)
    wanted: dict[str, Any] = {"app": {"ref": "qimg-archived:1", "archive": archive, "source": "archive"}}
    first = have(client, wanted)
    assert (first.had["app"].image.id, first.had["app"].source) == (image, "archive")
    assert have(client, wanted).changed is False

    small(client, "qimg-archived:1", "another under the same name")
    assert have(client, wanted).had["app"].image.id == image
    wanted["app"]["ref"] = "qimg-archived:2"
    with pytest.raises(Invalid, match="it holds qimg-archived:1"):
        have(client, wanted)
    archive.write_bytes(b"not a tar")
    with pytest.raises(PortError, match="image archive"):
        have(client, wanted)


def test_an_archive_that_ends_early_is_said_so(client: Any, tmp_path: Path) -> None:
    (tmp_path / "cut.tar").write_bytes(b"\0" * 300)
    with pytest.raises((SourceError, PortError), match=r"load .*cut\.tar"):
        Images(client).load(str(tmp_path / "cut.tar"), "qimg-cut:1", lambda _text: None)


# The recipes as containers
