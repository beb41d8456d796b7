# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket as one stream: what goes in comes out, the same objects are the same bytes, and a half is never a whole."""

from __future__ import annotations

import io
import tarfile

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import bucket_archive
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.measured import END, Measured
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.objects import Described, Listed, differing
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120)
TABLE = st.dictionaries(TEXT, st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=3)
OBJECTS = st.dictionaries(TEXT, st.tuples(st.binary(max_size=1100), TABLE, TABLE), max_size=6)

Given = dict[str, tuple[bytes, Described]]


def archive(objects: Given) -> bytes:
    made = b""
    for key, (content, about) in sorted(objects.items()):
        listed = Listed(key, len(content), f'"{len(content)}"', 1763773200.25)
        made += bucket_archive.beginning(listed, about) + content + bucket_archive.ending(len(content))
    return made + END


def read(content: bytes) -> Given:
    return {o.key: (body.read(o.size), about) for o, about, body in bucket_archive.objects(io.BytesIO(content))}


@given(OBJECTS)
def test_what_goes_in_comes_out(given: dict[str, tuple[bytes, dict[str, str], dict[str, str]]]) -> None:
    objects = {k: (v[0], Described({"content-type": "text/plain"}, v[1], v[2])) for k, v in given.items()}
    made = archive(objects)
    assert read(made) == objects
    assert made == archive(dict(reversed(objects.items())))


KEYS = ["a", "a/", "a/b", "/root", "../up", "ä ö", "x" * 300, "line\nbreak", "=", "é" * 120 + "/"]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_stays_what_it_is(key: str) -> None:
    objects = {key: (b"content", Described({}, {"n=1": "a=b\nc", "%3D": ""}, {"": "x"}))}
    assert read(archive(objects)) == objects


def test_people_can_read_it_with_tar() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive({"photos/a.jpg": (b"jpg", Described())}))) as tar:
        assert [(e.name, e.size, e.mode, e.mtime) for e in tar] == [("photos/a.jpg", 3, 0o600, 1763773200)]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1 << 33])
def test_an_object_ends_at_a_block(size: int) -> None:
    assert (size + len(bucket_archive.ending(size))) % 512 == 0
    assert len(bucket_archive.beginning(Listed("k", size, "e"), Described())) % 512 == 0


WHOLE = archive({"a": (b"a" * 700, Described()), "b": (b"b" * 700, Described())})


@pytest.mark.parametrize("length", [*range(0, len(WHOLE), 512), 700, 3000])
def test_what_breaks_off_is_an_error_wherever_it_does(length: int) -> None:
    with pytest.raises(PortError, match=r"the archive of the bucket|is no object"):
        read(WHOLE[:length])


def test_another_tar_is_no_bucket() -> None:
    other = io.BytesIO()
    with tarfile.open(fileobj=other, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("README"))
    with pytest.raises(PortError, match="'README' in the archive is no object of a bucket"):
        read(other.getvalue())
    with pytest.raises(PortError, match="cannot be read"):
        read(b"hello" * 1000)


DIFFERENT = [
    # name           there                             says
    ("the same",     {"a": (1, "x"), "b": (2, "y")},   ()),
    ("one besides",  {"a": (1, "x"), "b": (2, "y"), "c": (3, "z")}, ()),
    ("one lacking",  {"a": (1, "x")},                  ("not there: b",)),
    ("other size",   {"a": (1, "x"), "b": (3, "y")},   ("another size or content: b",)),
    ("other etag",   {"a": (1, "w"), "b": (2, "y")},   ("another size or content: a",)),
    ("none of it",   {},                               ("not there: a, b",)),
]  # fmt: skip


@pytest.mark.parametrize(("there", "says"), [d[1:] for d in DIFFERENT], ids=[d[0] for d in DIFFERENT])
def test_what_was_put_is_compared_with_what_is_listed(there: dict[str, tuple[int, str]], says: tuple[str, ...]) -> None:
    assert differing({"a": (1, "x"), "b": (2, "y")}, there) == says


def test_many_that_differ_are_not_all_named() -> None:
    assert differing({f"{n:02}": (1, "") for n in range(10)}, {}) == (
        "not there: 00, 01, 02, 03, 04, 05, 06, 07 and 2 more",
    )


def test_a_stream_is_measured_while_it_is_read() -> None:
    measured = Measured(io.BytesIO(b"x" * 1500 + END))
    assert measured.read(10) == b"x" * 10
    while measured.read(100):
        pass
    assert (measured.size, measured.last) == (2524, END)
    assert measured.sha256 == "c8c69222b6ce7abd5cc47e72d1ea83c4f05c5f43737b23953d3bc58a8cbc666f"
