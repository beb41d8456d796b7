# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A WebSocket client (RFC 6455) that tells a goodbye from a cut.

A long-lived connection cannot be moved to another replica. It lives until the drain of its replica ends; then the
application is told to stop and closes it with a close frame, and the client connects again. That loses nothing. A
connection that ends without a close frame was cut.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import struct

ACCEPT_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
GOODBYES = (1000, 1001, 1012)
"""normal, going away, service restart"""


class CutError(Exception):
    """The connection ended, or never began, as it should not have."""


class ClosedError(Exception):
    """The server said goodbye; what was not answered yet has to be asked again on a new connection."""


class Socket:
    """One connection. A task reads all the time, so that a goodbye is seen when it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: str) -> None:
        self._reader, self._writer = reader, writer
        self._messages: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._over: Exception | None = None
        self._task = asyncio.create_task(self._listen())
        self.version = version

    @classmethod
    async def open(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str) -> Socket:
        key = base64.b64encode(os.urandom(16))
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n\r\n".encode()
        )
        status = await reader.readline()
        headers = {}
        while (line := await reader.readline()).strip():
            name, _sign, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if b" 101 " not in status:
            raise CutError(f"no WebSocket: {status[:60].decode('latin-1').strip() or 'closed without an answer'}")
        wanted = base64.b64encode(hashlib.sha1(key + ACCEPT_KEY).digest()).decode()
        if headers.get("sec-websocket-accept") != wanted:
            raise CutError("the handshake was answered with another key")
        return cls(reader, writer, headers.get("x-version", ""))

    async def echo(self, payload: bytes) -> None:
        """Send it and have it back. Raises ClosedError after a goodbye, CutError after anything else."""
        if self._over is None:
            with contextlib.suppress(OSError):  # the reading task knows what happened
                await self._send(BINARY, payload)
        answer = self._over or await self._messages.get()
        if isinstance(answer, Exception):
            raise answer
        if answer != payload:
            raise CutError(f"{len(answer)} bytes came back, {len(payload)} were sent")

    async def close(self) -> None:
        if self._over is None:
            with contextlib.suppress(OSError):
                await self._send(CLOSE, struct.pack(">H", 1000))
        self._task.cancel()
        self._writer.close()

    async def _listen(self) -> None:
        try:
            while True:
                opcode, payload = await self._receive()
                if opcode == CLOSE:
                    code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                    with contextlib.suppress(OSError):
                        await self._send(CLOSE, payload[:2])
                    said = f"closed with code {code}"
                    self._end(ClosedError(said) if code in GOODBYES else CutError(said))
                    return
                if opcode == PING:
                    await self._send(PONG, payload)
                elif opcode != PONG:
                    self._messages.put_nowait(payload)
        except asyncio.IncompleteReadError:
            self._end(CutError("ended without a close frame"))
        except OSError as error:
            self._end(CutError(f"{type(error).__name__} {error}"))

    def _end(self, why: Exception) -> None:
        self._over = why
        self._messages.put_nowait(why)
        self._writer.close()

    async def _receive(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", await self._reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", await self._reader.readexactly(8))[0]
        return first & 0x0F, await self._reader.readexactly(size)

    async def _send(self, opcode: int, payload: bytes) -> None:
        size, mask = len(payload), os.urandom(4)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        repeated = (mask * (size // 4 + 1))[:size]
        number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
        self._writer.write(head + mask + number.to_bytes(size, "big"))
        await self._writer.drain()
