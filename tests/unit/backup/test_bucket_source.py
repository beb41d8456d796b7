# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket item without a server: what is listed is what is stored, and what a half would be is refused."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.buckets import BucketSource, restore_bucket
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Part, Taken
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.objects import Described, Listed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.items import BucketItem
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import (
    Content,
    NoBucket,
    ObjectChanged,
    PortError,
    Repository,
)


@dataclass
class Server:
    """Buckets in memory, with what has to go wrong."""

    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    endpoint: str = "http://memory"
    loses: str = ""
    asked: list[tuple[str, bool]] = field(default_factory=list)
    with_versions: bool = False

    def versioned(self, bucket: str) -> bool:
        if bucket not in self.buckets:
            raise NoBucket(f"there is no bucket {bucket} at {self.endpoint}")
        return self.with_versions

    def make(self, bucket: str) -> bool:
        made = bucket not in self.buckets
        self.buckets.setdefault(bucket, {})
        return made

    def listing(self, bucket: str, prefix: str = "", versions: bool = False) -> list[Listed]:
        self.asked.append((prefix, versions))
        there = self.buckets[bucket].items()
        return [Listed(k, len(v), f"{hash(v)}") for k, v in reversed(there) if k.startswith(prefix) and k != self.loses]

    @contextlib.contextmanager
    def reading(self, bucket: str, listed: Listed) -> Iterator[tuple[Described, Content]]:
        there = self.buckets[bucket].get(listed.key)
        if f"{hash(there)}" != listed.etag or there is None:
            raise ObjectChanged(f"{bucket}/{listed.key} is not any more what it was when it was listed")
        yield Described({"content-type": "text/plain"}), io.BytesIO(there[:1] if self.loses == "bytes" else there)

    def write(self, bucket: str, listed: Listed, about: Described, content: Content) -> str:
        self.buckets[bucket][listed.key] = content.read(listed.size)
        return f"{hash(self.buckets[bucket][listed.key])}"


class Lying:
    """A repository that keeps streams."""

    def __init__(self) -> None:
        self.streams: dict[str, bytes] = {}

    def stream(self, path: str, tags: Any, pump: Callable[[Callable[[Any], None]], None]) -> Part:
        pieces: list[bytes] = []
        pump(lambda piece: pieces.append(bytes(piece)))
        self.streams[path] = b"".join(pieces)
        return Part(path, len(self.streams[path]), "", "snapshot")

    def break_off(self, tags: Any) -> None:
        """Nothing goes on here."""


def source(server: Server, before: int = 0, prefix: str = "", repository: Lying | None = None) -> BucketSource:
    item = BucketItem("lake", "data", prefix=prefix)
    return BucketSource(lambda: server, cast(Repository, repository or Lying()), item, "x.tar", {"t"}, before)


def frozen(server: Server, **about: Any) -> BucketSource:
    made = source(server, **about)
    made.open()
    made.freeze()
    return made


def test_there_and_back() -> None:
    server, lying = Server({"data": {"b": b"two", "a": b"one", "a/c": b""}}), Lying()
    taken = frozen(server, repository=lying).store()
    assert taken.about | {"bucket": "data", "objects": 3, "bytes": 6, "versioned": False} == taken.about
    assert taken.parts[0].files == 0
    restored = restore_bucket(server, "other", io.BytesIO(lying.streams["x.tar"]), taken.about)
    assert (restored.objects, restored.size, restored.made) == (3, 6, True)
    assert server.buckets["other"] == server.buckets["data"]


@pytest.mark.parametrize("versions", [False, True])
def test_versions_are_listed_where_there_are_any(versions: bool) -> None:
    server = Server({"data": {"in/a": b"1"}}, with_versions=versions)
    frozen(server, prefix="in/")
    assert server.asked == [("in/", versions)]


def change(server: Server, how: str) -> None:
    if how == "removed":
        del server.buckets["data"]["a"]
    else:
        server.buckets["data"]["a"] = b"other"


@pytest.mark.parametrize("how", ["removed", "changed"])
@pytest.mark.parametrize(
    ("versions", "says"), [(False, "switch versioning on for it"), (True, "keep versions for longer")]
)
def test_what_changes_after_the_moment_says_what_helps(how: str, versions: bool, says: str) -> None:
    server = Server({"data": {"a": b"one"}}, with_versions=versions)
    made = frozen(server)
    change(server, how)
    with pytest.raises(PortError, match=f"data/a is not any more .* next: {says}"):
        made.store()


def test_an_object_that_ends_early_is_no_object() -> None:
    made = frozen(Server({"data": {"a": b"one"}}, loses="bytes"))
    with pytest.raises(PortError, match="data/a ended 2 bytes early"):
        made.store()


@pytest.mark.parametrize(
    ("there", "before", "warned"), [({}, 3, True), ({}, 0, False), ({"a": b"1"}, 3, False)], ids=str
)
def test_a_bucket_that_was_emptied_is_told(there: dict[str, bytes], before: int, warned: bool) -> None:
    taken: Taken = frozen(Server({"data": there}), before=before).store()
    assert bool(taken.warnings) is warned


@pytest.mark.parametrize(("before", "says"), [(0, "make it, or mend its name"), (3, "restore it from an earlier set")])
def test_a_bucket_that_is_not_there_is_an_error(before: int, says: str) -> None:
    with pytest.raises(PortError, match=f"there is no bucket data at http://memory; next: .*{says}"):
        source(Server(), before=before).open()


def test_one_that_is_closed_stops_at_the_next_piece() -> None:
    made = frozen(Server({"data": {"a": b"one"}}))
    made.close()
    with pytest.raises(PortError, match="lake was broken off"):
        made.store()


def stored() -> tuple[bytes, dict[str, Any]]:
    lying = Lying()
    taken = frozen(Server({"data": {"a": b"one", "b": b"two"}}), repository=lying).store()
    return lying.streams["x.tar"], dict(taken.about)


def test_a_bucket_with_objects_is_not_written_over_unasked() -> None:
    content, about = stored()
    server = Server({"scratch": {"x": b"stays"}})
    with pytest.raises(PortError, match="scratch at http://memory is not empty, it has x; next: empty it"):
        restore_bucket(server, "scratch", io.BytesIO(content), about)
    assert server.buckets["scratch"] == {"x": b"stays"}
    restore_bucket(server, "scratch", io.BytesIO(content), about, over=True)
    assert sorted(server.buckets["scratch"]) == ["a", "b", "x"]


WRONG = [
    # name                      about            loses  says
    ("fewer than there were",   {"objects": 3},  "",    "the archive holds 2 objects of 6 bytes, and the manifest says 3"),
    ("other bytes",             {"bytes": 7},    "",    "and the manifest says 2 objects of 7 bytes"),
    ("one the server loses",    {},              "b",   "what http://memory lists is not what was put: not there: b"),
]  # fmt: skip


@pytest.mark.parametrize(("about", "loses", "says"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_came_back_is_compared(about: dict[str, int], loses: str, says: str) -> None:
    content, known = stored()
    with pytest.raises(PortError, match=r"scratch is not restored, 2 of . objects were put into it") as error:
        restore_bucket(Server(loses=loses), "scratch", io.BytesIO(content), {**known, **about})
    assert says in str(error.value)
