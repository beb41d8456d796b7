# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Buckets of a real MinIO: as they were at the moment, into a real repository, and back."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import s3
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.s3 import PART, S3
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.buckets import (
    BucketSource,
    Restored,
    restore_bucket,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.manifest import Taken
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.items import BucketItem
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import NoBucket, PortError

from .servers import USER, Minio, minio, refused

pytestmark = [pytest.mark.integration, pytest.mark.more]

MIB = 1 << 20
SOME = {"a": b"one", "b": b"two" * 1000, "c": b""}


@pytest.fixture(scope="module")
def store(client: Any) -> Iterator[Minio]:
    with minio(client) as made:
        yield made


@pytest.fixture(scope="module")
def restic(tmp_path_factory: pytest.TempPathFactory) -> Restic:
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "password").write_text("correct horse\n")
    made = Restic(Repository(str(folder / "repository"), str(folder / "password"), cache=str(folder / "cache")), "q1")
    made.init()
    return made


Sourced = Callable[..., BucketSource]


@pytest.fixture
def source(store: Minio, restic: Restic) -> Sourced:
    """An item of a bucket, and nothing of it is left in the repository where it fails."""

    def make(bucket: str, prefix: str = "", before: int = 0) -> BucketSource:
        item = BucketItem("lake", bucket, prefix=prefix)
        tags = {f"item={secrets.token_hex(4)}"}
        return BucketSource(lambda: store.s3, restic, item, f"q.{bucket}.tar", tags, before)

    return make


def taken(source: BucketSource, meanwhile: Callable[[], object] = lambda: None) -> Taken:
    """The item through all of its steps; something may happen to the bucket after its moment."""
    try:
        source.open()
        source.freeze()
        meanwhile()
        made = source.store()
        assert source.read_back(made) == ()
        return made
    finally:
        source.close()


def restored(restic: Restic, server: S3, item: Taken, bucket: str, over: bool = False) -> Restored:
    part = item.parts[0]
    with restic.reading(part.snapshot, part.path) as content:
        return restore_bucket(server, bucket, content, item.about, over)


def elsewhere() -> str:
    return f"q-{secrets.token_hex(4)}"


@pytest.mark.parametrize("versioned", [False, True])
def test_a_bucket_comes_back_as_it_was(store: Minio, restic: Restic, source: Sourced, versioned: bool) -> None:
    bucket, scratch = store.bucket(versioned), elsewhere()
    store.put(bucket, **SOME)
    store.put(bucket, b=b"two again")
    store.put(bucket, gone=b"removed")
    store.client.delete_object(Bucket=bucket, Key="gone")
    made = taken(source(bucket))
    assert made.about | {"objects": 3, "bytes": 12, "versioned": versioned} == made.about
    assert made.parts[0].files == 0
    assert restored(restic, store.s3, made, scratch) == Restored(3, 12, True)
    assert store.objects(scratch) == store.objects(bucket) == {**SOME, "b": b"two again"}


def test_what_belongs_to_an_object_comes_back_with_it(store: Minio, restic: Restic, source: Sourced) -> None:
    bucket, scratch = store.bucket(), elsewhere()
    keys = ["folder/", "folder/ä ö=ü.txt", "folder/%41+b", "f" * 250 + "/" + "g" * 250, "x'&<y>\"z"]
    given = {
        "ContentType": "text/x-quay",
        "CacheControl": "max-age=60",
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentDisposition": 'attachment; filename="a.txt"',
        "Metadata": {"owner": "harbour=master", "n": "1"},
        "Tagging": "class=a%3Db&kept=",
    }
    for key in keys:
        store.client.put_object(Bucket=bucket, Key=key, Body=key.encode(), **given)
    restored(restic, store.s3, taken(source(bucket)), scratch)
    assert store.objects(scratch) == {key: key.encode() for key in keys}
    for key in keys:
        there = store.client.get_object(Bucket=scratch, Key=key)
        wanted = {name: value for name, value in given.items() if name != "Tagging"}
        assert {name: there[name] for name in wanted} == wanted
        tags = store.client.get_object_tagging(Bucket=scratch, Key=key)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"class": "a=b", "kept": ""}


def test_with_versions_each_object_is_read_as_it_was_at_the_moment(
    store: Minio, restic: Restic, source: Sourced
) -> None:
    bucket, scratch = store.bucket(versioned=True), elsewhere()
    store.put(bucket, **SOME)

    def busy() -> None:
        store.put(bucket, a=b"written again", new=b"not there before")
        store.client.delete_object(Bucket=bucket, Key="b")

    restored(restic, store.s3, taken(source(bucket), busy), scratch)
    assert store.objects(scratch) == SOME


@pytest.mark.parametrize("how", ["written again", "removed", "removed with its bucket"])
def test_without_versions_what_changes_after_the_moment_is_an_error(
    store: Minio, restic: Restic, source: Sourced, how: str
) -> None:
    bucket = store.bucket()
    store.put(bucket, **SOME)

    def busy() -> None:
        if how == "written again":
            store.put(bucket, b=b"other")
        else:
            for key in SOME if how == "removed with its bucket" else ("b",):
                store.client.delete_object(Bucket=bucket, Key=key)
        if how == "removed with its bucket":
            store.client.delete_bucket(Bucket=bucket)

    before = len(restic.snapshots())
    with pytest.raises(PortError) as error:
        taken(source(bucket), busy)
    if how == "removed with its bucket":
        assert f"there is no bucket {bucket}" in str(error.value)
    else:
        assert f"{bucket}/b is not any more what it was when it was listed" in str(error.value)
        assert "next: switch versioning on for it" in str(error.value)
    assert len(restic.snapshots()) == before


def test_a_version_that_expires_early_is_an_error(store: Minio, source: Sourced) -> None:
    bucket = store.bucket(versioned=True)
    store.put(bucket, **SOME)
    version = next(o.version for o in store.s3.listing(bucket, versions=True) if o.key == "b")
    with pytest.raises(PortError, match="next: keep versions for longer"):
        taken(source(bucket), lambda: store.client.delete_object(Bucket=bucket, Key="b", VersionId=version))


def test_an_emptied_bucket_is_told_from_one_that_is_gone(store: Minio, restic: Restic, source: Sourced) -> None:
    bucket, scratch = store.bucket(), elsewhere()
    made = taken(source(bucket, before=3))
    assert made.warnings == (f"{bucket} is empty, and the last set has 3 objects of it",)
    assert taken(source(bucket)).warnings == ()
    assert restored(restic, store.s3, made, scratch) == Restored(0, 0, True)
    store.client.delete_bucket(Bucket=bucket)
    with pytest.raises(PortError, match=f"there is no bucket {bucket} at http.*; next: make it again and restore it"):
        taken(source(bucket, before=3))


def test_a_prefix_is_all_that_is_read_and_all_that_has_to_be_empty(
    store: Minio, restic: Restic, source: Sourced
) -> None:
    bucket, scratch = store.bucket(), store.bucket()
    for key in ("in/a", "in/b", "inside", "out/c"):
        store.client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    store.put(scratch, other=b"stays")
    made = taken(source(bucket, prefix="in/"))
    assert restored(restic, store.s3, made, scratch) == Restored(2, 8)
    assert store.objects(scratch) == {"in/a": b"in/a", "in/b": b"in/b", "other": b"stays"}


def test_what_has_objects_is_written_over_only_when_told(store: Minio, restic: Restic, source: Sourced) -> None:
    bucket = store.bucket()
    store.put(bucket, **SOME)
    made = taken(source(bucket))
    store.put(bucket, a=b"newer", d=b"besides")
    with pytest.raises(PortError, match=f"{bucket} at http.* is not empty, it has a; next: empty it"):
        restored(restic, store.s3, made, bucket)
    assert store.objects(bucket)["a"] == b"newer"
    assert restored(restic, store.s3, made, bucket, over=True) == Restored(3, 3003)
    assert store.objects(bucket) == {**SOME, "d": b"besides"}


def test_who_may_not_in_is_told_why(store: Minio, source: Sourced) -> None:
    bucket = store.bucket()
    wrong = S3(store.endpoint, USER, "another-password", direct=True)
    said = [refused(wrong, bucket), refused(S3(store.endpoint, "nobody", store.password, direct=True), bucket)]
    assert "the secret key is another; next: mend the stack's secret" in said[0]
    assert "does not know the access key" in said[1]
    assert not any(word in line for line in said for word in ("another-password", store.password))
    with pytest.raises(NoBucket):
        store.s3.versioned(elsewhere())


def peak() -> int:
    """The most memory that this process had since it was last asked, in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    return int(lines["VmHWM"].split()[0]) * 1024


def test_many_small_objects_and_a_large_one_need_little_memory(store: Minio, restic: Restic, source: Sourced) -> None:
    bucket, scratch = store.bucket(), elsewhere()
    client = store.client
    for number in range(1000):
        client.put_object(Bucket=bucket, Key=f"small/{number:04}", Body=b"%d" % number)
    block = os.urandom(20 * MIB)
    upload = {"Bucket": bucket, "Key": "large", "UploadId": client.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]}  # fmt: skip
    etags = [client.upload_part(**upload, PartNumber=n, Body=block)["ETag"] for n in range(1, 11)]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    del block
    taken(source(store.bucket()))  # what is imported on the way is there now
    peak()
    before = peak()
    made = taken(source(bucket))
    assert made.about["objects"] == 1001
    assert made.about["bytes"] == 200 * MIB + 2890
    assert peak() - before < 24 * MIB
    assert restored(restic, store.s3, made, scratch).objects == 1001
    assert peak() - before < 24 * MIB + 4 * PART
    sizes = {o.key: o.size for o in store.s3.listing(scratch)}
    assert (sizes["large"], sizes["small/0999"], len(sizes)) == (200 * MIB, 3, 1001)


def test_a_second_set_of_the_same_objects_adds_nothing(store: Minio, restic: Restic, source: Sourced) -> None:
    bucket = store.bucket()
    store.put(bucket, large=os.urandom(8 * MIB), **SOME)
    first = taken(source(bucket))
    before = stored(restic)
    second = taken(source(bucket))
    assert second.parts[0].sha256 == first.parts[0].sha256
    assert stored(restic) - before < 64 * 1024


def stored(restic: Restic) -> int:
    folder = Path(restic.repository.location)
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_a_server_that_dies_midway_leaves_nothing_and_the_next_time_works(
    store: Minio, restic: Restic, source: Sourced, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = store.bucket()
    store.put(bucket, a=os.urandom(30 * MIB), b=b"two")
    before = len(restic.snapshots())
    plain = BucketSource._copy

    def spoiled(self: BucketSource, listed: Any, content: Any, write: Callable[[bytes], None]) -> None:
        write(content.read(MIB))
        store.container.kill()
        listed = type(listed)(listed.key, listed.size - MIB, listed.etag)
        plain(self, listed, content, write)

    monkeypatch.setattr(BucketSource, "_copy", spoiled)
    monkeypatch.setattr(s3, "READ", 3.0)
    with pytest.raises(PortError, match=f"reading {bucket}/a at http.*: the server does not answer, or broke off"):
        taken(source(bucket))
    monkeypatch.undo()
    assert len(restic.snapshots()) == before
    store.start()
    assert taken(source(bucket)).about["objects"] == 2


@pytest.mark.parametrize("cut", [512, 4096, MIB + 5000])
def test_an_archive_that_breaks_off_is_never_taken_for_a_bucket(
    store: Minio, restic: Restic, source: Sourced, tmp_path: Path, cut: int
) -> None:
    bucket, scratch = store.bucket(), elsewhere()
    store.put(bucket, a=b"one", b=os.urandom(2 * MIB), c=b"three")
    made = taken(source(bucket))
    part = made.parts[0]
    with restic.reading(part.snapshot, part.path) as content:
        (tmp_path / "tar").write_bytes(content.read()[:-cut])
    with (tmp_path / "tar").open("rb") as content, pytest.raises(PortError) as error:
        restore_bucket(store.s3, scratch, content, made.about)
    assert f"{scratch} is not restored, " in str(error.value)
    assert " of 3 objects were put into it: " in str(error.value)
