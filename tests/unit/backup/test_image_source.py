# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An image item without an engine: which names are saved, and what is no archive of images."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.images import ImageSource, flaws, load_images
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.measured import Measured
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Part
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Image
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError, Repository

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
DIGEST = "registry.example.org/app@sha256:" + "d" * 64


def tar(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "."))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def listed(*images: dict[str, Any]) -> bytes:
    return json.dumps(images).encode()


WHOLE = tar(a=b"{}", l=b"layer", manifest__json=listed({"Config": "a", "Layers": ["l"]}))


@dataclass
class Engine:
    images: dict[str, str]
    """name or id -> id"""
    archive: bytes = WHOLE
    brings: tuple[str, ...] = ()
    saved: list[str] = field(default_factory=list)
    tagged: list[tuple[str, str]] = field(default_factory=list)

    def image(self, ref: str) -> Image | None:
        return Image(ref, self.images[ref]) if ref in self.images else None

    def tag(self, image: str, name: str) -> None:
        self.tagged.append((image, name))

    def save_images(self, names: Sequence[str]) -> Iterator[bytes]:
        self.saved += names
        for at in range(0, len(self.archive), 700):
            yield self.archive[at : at + 700]

    def load_images(self, content: BinaryIO) -> Sequence[str]:
        self.images |= dict(zip(self.brings, self.brings, strict=True))
        return self.brings


class Lying:
    def stream(self, path: str, tags: Any, pump: Any) -> Part:
        pieces: list[bytes] = []
        pump(pieces.append)
        return part(b"".join(pieces))

    def break_off(self, tags: Any) -> None:
        """Nothing goes on here."""


def part(content: bytes) -> Part:
    measured = Measured(io.BytesIO(content))
    measured.read()
    return Part("/x.tar", measured.size, measured.sha256, "snapshot")


def source(engine: Engine, images: dict[str, str]) -> ImageSource:
    return ImageSource(engine, cast(Repository, Lying()), "images", images, "x.tar", {"t"})


def test_each_image_is_saved_once_by_its_id_and_with_the_names_that_still_mean_it() -> None:
    engine = Engine({ONE: ONE, TWO: TWO, "app:1": ONE, "app": ONE, "db:1": ONE, DIGEST: TWO})
    images = {"app:1": ONE, "app": ONE, "db:1": TWO, DIGEST: TWO}
    made = source(engine, images)
    made.open()
    made.freeze()
    taken = made.store()
    assert engine.saved == [ONE, TWO, "app", "app:1"]
    assert taken.about == {"images": images}


def test_an_image_that_is_gone_is_said_at_the_beginning() -> None:
    with pytest.raises(PortError, match="image sha256:111111111111 of app:1 is not on this host; next: deploy"):
        source(Engine({}), {"app:1": ONE}).open()


def test_an_engine_that_breaks_off_says_why_at_the_end_of_the_archive() -> None:
    engine = Engine({ONE: ONE}, archive=WHOLE[:2000] + b'{"errorDetail":{"message":"no space left on device"}}')
    with pytest.raises(PortError, match=r"saving app:1: the engine broke off: .*no space left on device"):
        source(engine, {"app:1": ONE}).store()


def test_one_that_is_closed_stops_at_the_next_piece() -> None:
    made = source(Engine({ONE: ONE}), {"app:1": ONE})
    made.close()
    with pytest.raises(PortError, match="images was broken off"):
        made.store()


FLAWED = [
    # name                content                                                              images  says
    ("whole",             WHOLE,                                                               1, ()),
    ("fewer images",      WHOLE,                                                               2, ("/x.tar holds 1 images instead of 2",)),
    ("no layer",          tar(a=b"{}", manifest__json=listed({"Config": "a", "Layers": ["l"]})), 1, ("/x.tar lacks l",)),
    ("no configuration",  tar(l=b"", manifest__json=listed({"Config": "a", "Layers": ["l"]})), 1, ("/x.tar lacks a",)),
    ("no list",           tar(a=b"{}"),                                                        1, ("/x.tar holds 0 images instead of 1",)),
    ("no tar",            b"hello" * 1000,                                                     1, ("/x.tar is no archive of images: invalid header",)),
]  # fmt: skip


@pytest.mark.parametrize(("content", "least", "says"), [f[1:] for f in FLAWED], ids=[f[0] for f in FLAWED])
def test_an_archive_holds_what_it_lists(content: bytes, least: int, says: tuple[str, ...]) -> None:
    found = flaws(io.BytesIO(content), part(content), least)
    assert [f[: len(s)] for f, s in zip(found, says, strict=True)] == list(says)


def test_other_bytes_than_were_written_are_a_flaw() -> None:
    assert "another content" in flaws(io.BytesIO(WHOLE), part(WHOLE + b"x"), 1)[0]
    assert "is no archive of images" in flaws(io.BytesIO(WHOLE[:700]), part(WHOLE), 1)[0]


def test_loaded_images_get_the_names_that_they_had() -> None:
    engine = Engine({"db:1": ONE}, brings=(ONE, TWO))
    about = {"images": {"app:1": ONE, "db:1": TWO, DIGEST: TWO}}
    assert load_images(engine, io.BytesIO(b""), about) == (ONE, TWO)
    assert engine.tagged == [(ONE, "app:1"), (TWO, "db:1")]


def test_another_image_than_the_saved_one_is_an_error() -> None:
    with pytest.raises(
        PortError, match="does not hold image sha256:111111111111 of app:1; what it brought: sha256:2222"
    ):
        load_images(Engine({}, brings=(TWO,)), io.BytesIO(b""), {"images": {"app:1": ONE}})
