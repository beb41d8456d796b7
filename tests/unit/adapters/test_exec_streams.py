# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What comes out of a command's stream, however the engine and the kernel cut it."""

from __future__ import annotations

import random
import socket
import struct
import threading
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.exec_streams import CHUNK, ExecStream
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

OUT, ERR = 1, 2


class Engine:
    """Its end of the connection is `sends`."""

    base_url = "unix:///nowhere"

    def __init__(self) -> None:
        self.sends, self.ours = socket.socketpair()

    def exec_create(self, *_call: Any, **_about: Any) -> dict[str, str]:
        return {"Id": "1"}

    def exec_start(self, _id: str, **_about: Any) -> Any:
        return self.ours


def frame(stream: int, content: bytes) -> bytes:
    return struct.pack(">B3xI", stream, len(content)) + content


def stream_of(*sent: bytes) -> ExecStream:
    """A stream whose engine sends these pieces and closes."""
    engine = Engine()
    stream = ExecStream(engine, "db", ["pg_dump"], {})

    def send() -> None:
        with engine.sends:
            for piece in sent:
                engine.sends.sendall(piece)

    threading.Thread(target=send, daemon=True).start()
    return stream


def read(stream: ExecStream) -> bytes:
    return b"".join(bytes(piece) for piece in stream.frames())


CUTS = [
    # name                        pieces that are sent                                                 stdout
    ("one frame", [frame(OUT, b"abc")], b"abc"),
    ("many at once", [frame(OUT, b"a") + frame(OUT, b"bc") + frame(OUT, b"d")], b"abcd"),
    ("an empty one between", [frame(OUT, b"a") + frame(OUT, b"") + frame(OUT, b"b")], b"ab"),
    ("stderr between", [frame(OUT, b"a") + frame(ERR, b"oh\n") + frame(OUT, b"b")], b"ab"),
    ("nothing at all", [], b""),
    ("one that is larger than what is read at once", [frame(OUT, bytes(3 * CHUNK + 7))], bytes(3 * CHUNK + 7)),
]


@pytest.mark.parametrize(("_name", "sent", "wanted"), CUTS, ids=[row[0] for row in CUTS])
def test_stdout_is_what_the_program_wrote(_name, sent, wanted):
    assert read(stream_of(*sent)) == wanted


@pytest.mark.parametrize("seed", range(20))
def test_wherever_the_kernel_cuts(seed):
    chance = random.Random(seed)
    contents = [(chance.choice([OUT, OUT, ERR]), chance.randbytes(chance.choice([0, 1, 7, 9000]))) for _n in range(50)]
    whole = b"".join(frame(*content) for content in contents)
    cuts = sorted(chance.sample(range(len(whole)), 40))
    sent = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(stream_of(*sent)) == b"".join(content for stream, content in contents if stream == OUT)


def test_what_came_together_leaves_together():
    sent = b"".join(frame(OUT, bytes([n])) for n in range(100))
    assert [bytes(piece) for piece in stream_of(sent).frames()] == [bytes(range(100))]


@pytest.mark.parametrize("short", [1, 4, 9, 11])
def test_a_frame_that_is_broken_off_is_an_error(short):
    stream = stream_of(frame(OUT, b"whole") + frame(OUT, b"more")[:-short])
    with pytest.raises(PortError, match="pg_dump in db: the engine broke off in the middle of a frame"):
        read(stream)


def test_the_last_words_of_stderr_are_kept():
    stream = stream_of(frame(ERR, b"one\ntwo\n") + frame(OUT, b"x") + frame(ERR, b"three\n"))
    assert read(stream) == b"x"
    assert stream.said() == "one\ntwo\nthree"


def test_a_conversation_is_read_line_by_line():
    line = stream_of(frame(OUT, b"fir"), frame(OUT, b"st\nsecond\nth"), frame(OUT, b"ird")).line()
    assert [line(), line(), line(), line()] == ["first\n", "second\n", "third", ""]
