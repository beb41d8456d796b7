# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket as one stream of a set, and back into a bucket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import BinaryIO

from ..core.backup.manifest import Taken, differences
from ..core.backup.objects import Listed, differing
from ..core.items import BucketItem
from ..core.model import Json
from ..ports import Buckets, Content, NoBucket, ObjectChanged, PortError, Repository, Write
from . import bucket_archive
from .measured import END

PIECE = 1 << 20


class BucketSource:
    """The objects that the bucket lists at the moment. `before` are the objects of the last set, 0 where there is none.

    A bucket with versions keeps what is written over it, so that each object is read as it was. One without does not:
    what was changed or removed since then is an error, as half of it would be of another moment.
    """

    def __init__(
        self,
        s3: Callable[[], Buckets],
        repository: Repository,
        item: BucketItem,
        label: str,
        tags: Collection[str],
        before: int = 0,
    ) -> None:
        self._connect, self._repository, self._item = s3, repository, item
        self._label, self._tags, self._before = label, tags, before
        self._s3: Buckets | None = None
        self._versioned = False
        self._listed: list[Listed] = []
        self._at = 0.0
        self._closed = threading.Event()

    def open(self) -> None:
        self._s3 = self._connect()
        try:
            self._versioned = self._s3.versioned(self._item.bucket)
        except NoBucket as error:
            fix = "make it again and restore it from an earlier set" if self._before else "make it, or mend its name"
            raise PortError(f"{error}; next: {fix}") from error

    def freeze(self) -> None:
        self._at = time.time()
        found = self._server.listing(self._item.bucket, self._item.prefix, self._versioned)
        self._listed = sorted(found, key=lambda listed: listed.key)

    def store(self) -> Taken:
        part = self._repository.stream(self._label, self._tags, self._pump)
        about = {
            "bucket": self._item.bucket,
            "prefix": self._item.prefix,
            "endpoint": self._item.endpoint,
            "service": self._item.service,
            "versioned": self._versioned,
            "objects": len(self._listed),
            "bytes": sum(listed.size for listed in self._listed),
        }
        return Taken(self._item.name, "bucket", (part,), self._at, about=about, warnings=self._warnings())

    def read_back(self, taken: Taken) -> tuple[str, ...]:
        return differences(taken.parts, [self._repository.read_back(part) for part in taken.parts])

    def close(self) -> None:
        self._closed.set()
        self._repository.break_off(self._tags)

    @property
    def _server(self) -> Buckets:
        if self._s3 is None:
            raise PortError(f"{self._item.name} was not opened")
        return self._s3

    def _warnings(self) -> tuple[str, ...]:
        if self._listed or not self._before:
            return ()
        place = f"{self._item.bucket}/{self._item.prefix}".rstrip("/")
        return (f"{place} is empty, and the last set has {self._before} objects of it",)

    def _pump(self, write: Write) -> None:
        for listed in self._listed:
            try:
                with self._server.reading(self._item.bucket, listed) as (about, content):
                    write(bucket_archive.beginning(listed, about))
                    self._copy(listed, content, write)
            except ObjectChanged as error:
                how = "is expired early" if self._versioned else "has no versions"
                fix = "keep versions for longer" if self._versioned else "switch versioning on for it"
                said = f"{error}; the bucket {how}; next: {fix}, or back it up while nobody writes to it"
                raise PortError(said) from error
            write(bucket_archive.ending(listed.size))
        write(END)

    def _copy(self, listed: Listed, content: Content, write: Write) -> None:
        left = listed.size
        while left:
            if self._closed.is_set():
                raise PortError(f"{self._item.name} was broken off")
            piece = content.read(min(PIECE, left))
            if not piece:
                raise PortError(f"{self._item.bucket}/{listed.key} ended {left} bytes early")
            write(piece)
            left -= len(piece)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a bucket got back. `made` says that it was not there before."""

    objects: int
    size: int
    made: bool = False


def restore_bucket(s3: Buckets, bucket: str, content: BinaryIO, about: Json, over: bool = False) -> Restored:
    """Put the objects of an item's stream into `bucket`, which is made where it is missing, and compare them there.

    `about` is the item's in the manifest: without its count an archive that ends early would be a small bucket. What
    has objects under the item's prefix already is refused before anything is written, unless they are to be written
    `over`; what lies there besides stays. Raises PortError, with how many objects were put by then.
    """
    prefix = str(about.get("prefix", ""))
    made = s3.make(bucket)
    if not made and not over:
        for listed in s3.listing(bucket, prefix):
            place = f"{bucket}/{prefix}" if prefix else bucket
            raise PortError(
                f"{place} at {s3.endpoint} is not empty, it has {listed.key}; next: empty it, or take another"
            )
    put: dict[str, tuple[int, str]] = {}
    size = 0
    try:
        for listed, described, body in bucket_archive.objects(content):
            put[listed.key] = (listed.size, s3.write(bucket, listed, described, body))
            size += listed.size
        _compared(s3, bucket, prefix, put, size, about)
    except PortError as error:
        said = f"{bucket} is not restored, {len(put)} of {about['objects']} objects were put into it: {error}"
        raise PortError(said) from error
    return Restored(len(put), size, made)


def _compared(s3: Buckets, bucket: str, prefix: str, put: dict[str, tuple[int, str]], size: int, about: Json) -> None:
    if (len(put), size) != (about["objects"], about["bytes"]):
        wanted = f"{about['objects']} objects of {about['bytes']} bytes"
        raise PortError(f"the archive holds {len(put)} objects of {size} bytes, and the manifest says {wanted}")
    there = {listed.key: (listed.size, listed.etag) for listed in s3.listing(bucket, prefix)}
    if found := differing(put, there):
        raise PortError(f"what {s3.endpoint} lists is not what was put: {'; '.join(found)}")
