# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A command in a container as a stream of bytes, in both directions and without a TTY, for as long as it takes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..ports import PortError
from . import processes

HEADER = struct.Struct(">B3xI")
"""before each frame: the stream, three bytes of nothing, and the size"""
STDOUT = 1
CHUNK = 2**20
LAST_LINES = 20
GLANCE = 1.0
"""seconds after which somebody who waits for output looks whether the command was broken off"""
ENDING = 10.0
"""seconds that the engine may take to know how a command ended whose output has ended"""


class ExecStream:
    """One command that runs. `write` and `finish` are its stdin; `frames` is its stdout, and stderr is kept in part.

    `end` may come from any thread, at any time, and more than once: whoever reads or writes gets a PortError.
    """

    def __init__(self, api: Any, container: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = f"{command[0]} in {container}"
        self._api = api
        self._errors: deque[bytes] = deque(maxlen=LAST_LINES)
        self._ended = threading.Event()
        made = api.exec_create(
            container, list(command), stdin=True, stdout=True, stderr=True, environment=dict(environment)
        )
        self._id: str = made["Id"]
        opened = api.exec_start(self._id, socket=True)
        self._response = getattr(opened, "_response", None)  # the connection lives as long as somebody holds it
        self._socket: socket.socket = getattr(opened, "_sock", opened)
        self._socket.settimeout(GLANCE)

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            self._alive()
            try:
                view = view[self._socket.send(view) :]
            except TimeoutError:
                continue
            except OSError as error:
                raise PortError(f"{self.name} takes nothing any more: {error}; {self.said()}") from error

    def finish(self) -> None:
        """Nothing more comes to its stdin."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def frames(self) -> Iterator[memoryview]:
        """Stdout piece by piece; a piece is good until the next one is asked for.

        A frame is what the program wrote at once, often little, and each piece costs whoever takes it: what came
        together leaves together.
        """
        buffer = memoryview(bytearray(CHUNK))
        end = 0  # of what was received and not read yet: at most a part of a header
        stream = left = 0  # of the frame that is read
        while True:
            received = self._some(buffer[end:])
            if not received and not left and not end:
                return
            if not received:
                raise PortError(f"{self.name}: the engine broke off in the middle of a frame")
            end += received
            begin = kept = 0
            while end - begin >= (1 if left else HEADER.size):
                if not left:
                    stream, left = HEADER.unpack_from(buffer, begin)
                    begin += HEADER.size
                    continue
                size = min(left, end - begin)
                if stream == STDOUT:
                    buffer[kept : kept + size] = buffer[begin : begin + size]
                    kept += size
                else:
                    self._errors.extend(bytes(buffer[begin : begin + size]).splitlines())
                begin, left = begin + size, left - size
            rest = bytes(buffer[begin:end])
            if kept:
                yield buffer[:kept]
            end = len(rest)
            buffer[:end] = rest

    def line(self) -> Callable[[], str]:
        """A reader of stdout, line by line, for a conversation. It gives "" at the end."""
        pieces = self.frames()
        rest = bytearray()

        def read() -> str:
            while b"\n" not in rest:
                piece = next(pieces, None)
                if piece is None:
                    text = bytes(rest)
                    rest.clear()
                    return text.decode(errors="replace")
                rest.extend(piece)
            text, _newline, after = bytes(rest).partition(b"\n")
            rest[:] = after
            return text.decode(errors="replace") + "\n"

        return read

    def exit_code(self) -> int:
        """How it ended, once its output has ended. Raises PortError where that cannot be known."""
        until = threading.Event()
        for _try in range(int(ENDING / 0.05)):
            found = self._api.exec_inspect(self._id)
            if not found.get("Running"):
                code = found.get("ExitCode")
                if code is None:
                    break
                return int(code)
            until.wait(0.05)
        raise PortError(f"{self.name}: its output has ended, and the engine does not say how it ended")

    def said(self) -> str:
        """The last lines of its stderr."""
        text = b"\n".join(self._errors).decode(errors="replace").strip()
        return text or "it said nothing"

    def end(self) -> None:
        """Break it off, and what it started with it."""
        self._ended.set()
        with contextlib.suppress(Exception):
            processes.end(self._api.base_url, self._api.exec_inspect(self._id))
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()
        with contextlib.suppress(Exception):
            if self._response is not None:
                self._response.close()

    def _alive(self) -> None:
        if self._ended.is_set():
            raise PortError(f"{self.name} was broken off")

    def _some(self, view: memoryview) -> int:
        """Receive what is there, at least a byte; 0 at the end."""
        while True:
            self._alive()
            try:
                return self._socket.recv_into(view)
            except TimeoutError:
                continue
            except OSError as error:
                self._alive()
                raise PortError(f"{self.name}: the engine does not answer any more: {error}") from error
