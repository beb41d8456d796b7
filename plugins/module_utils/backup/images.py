# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images of services as one stream of a set, for where no registry has them, and back onto an engine."""

from __future__ import annotations

import json
import tarfile
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO

from ..core.backup.manifest import Part, Taken
from ..core.images.image_sources import reference
from ..core.model import Json
from ..ports import ImageArchive, PortError, Repository, Write
from .measured import END, Measured, ended, unlike

PIECE = 1 << 20
LISTED = "manifest.json"
LONGEST = 16 << 20
"""bytes of that list"""


class ImageSource:
    """`images` are reference -> id: those that the release runs, whatever a reference means by now."""

    def __init__(
        self,
        engine: ImageArchive,
        repository: Repository,
        name: str,
        images: Mapping[str, str],
        label: str,
        tags: Collection[str],
    ) -> None:
        self._engine, self._repository, self._name, self._images = engine, repository, name, images
        self._label, self._tags = label, tags
        self._at = 0.0
        self._closed = threading.Event()

    def open(self) -> None:
        """An id is for good; all there is to know is whether the engine still has it."""
        for ref, image in self._images.items():
            if self._engine.image(image) is None:
                raise PortError(f"image {image[:19]} of {ref} is not on this host; next: deploy the stack again")

    def freeze(self) -> None:
        self._at = time.time()

    def store(self) -> Taken:
        part = self._repository.stream(self._label, self._tags, self._pump)
        return Taken(self._name, "image", (part,), self._at, about={"images": dict(sorted(self._images.items()))})

    def read_back(self, taken: Taken) -> tuple[str, ...]:
        """The stream as it is in the repository, and as a tar from begin to end."""
        part = taken.parts[0]
        with self._repository.reading(part.snapshot, part.path) as content:
            return flaws(content, part, len(set(self._images.values())))

    def close(self) -> None:
        self._closed.set()
        self._repository.break_off(self._tags)

    def _pump(self, write: Write) -> None:
        last = b""
        for piece in self._engine.save_images(self._wanted()):
            if self._closed.is_set():
                raise PortError(f"{self._name} was broken off")
            write(piece)
            last = ended(last, piece)
        if last != END:
            said = last.decode("utf-8", "replace").strip("\0")[-400:]
            raise PortError(f"saving {', '.join(self._images)}: the engine broke off: {said}")

    def _wanted(self) -> list[str]:
        """Each image once by its id, and by those of its references that still mean it: the archive has them then."""
        own = [ref for ref, image in self._images.items() if is_name(ref) and self._is(ref, image)]
        return [*sorted(set(self._images.values())), *sorted(own)]

    def _is(self, ref: str, image: str) -> bool:
        found = self._engine.image(ref)
        return found is not None and found.id == image


def is_name(ref: str) -> bool:
    """Whether an image can be given this name: a digest or an id is what it is."""
    return not ref.startswith("sha256:") and not reference(ref).digest


def flaws(content: BinaryIO, part: Part, least: int) -> tuple[str, ...]:
    """What is wrong with the stream of `least` images; empty where it is what was written, and holds all it lists."""
    measured = Measured(content)
    names: set[str] = set()
    listed: list[dict[str, Any]] = []
    try:
        with tarfile.open(fileobj=measured, mode="r|", bufsize=PIECE) as archive:
            while (entry := archive.next()) is not None:
                names.add(entry.name)
                body = archive.extractfile(entry) if entry.name == LISTED else None
                if body is not None:
                    listed = json.loads(body.read(LONGEST))
                archive.members.clear()  # type: ignore[attr-defined]
        while measured.read(PIECE):
            pass
        needed = {name for image in listed for name in (image["Config"], *(image["Layers"] or ()))}
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        return (f"{part.path} is no archive of images: {error}",)
    if (measured.size, measured.sha256) != (part.size, part.sha256):
        return (unlike(part, measured),)
    found = [f"{part.path} holds {len(listed)} images instead of {least}"] if len(listed) < least else []
    return (*found, *(f"{part.path} lacks {name}" for name in sorted(needed - names)[:8]))


def load_images(engine: ImageArchive, content: BinaryIO, about: Json) -> tuple[str, ...]:
    """Have the images of an item's stream on an engine, by their ids and their references. Returns the ids.

    `about` is the item's in the manifest. A reference that means another image by now means the old one again. Raises
    PortError where an image that came is not the one that was saved.
    """
    wanted: Mapping[str, str] = about["images"]
    came = engine.load_images(content)
    for ref, image in sorted(wanted.items()):
        if engine.image(image) is None:
            there = ", ".join(i[:19] for i in came) or "none"
            raise PortError(f"the archive does not hold image {image[:19]} of {ref}; what it brought: {there}")
        found = engine.image(ref)
        if is_name(ref) and (found is None or found.id != image):
            engine.tag(image, ref)
    return tuple(sorted(set(wanted.values())))
