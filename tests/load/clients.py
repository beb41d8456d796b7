# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HTTP/1.1 clients of several manners, and what became of their requests.

A request counts as failed when it was sent and no complete, expected answer came: also when the server closed a
kept-alive connection just under it, which many clients repair in silence. Only a connection that was seen to be closed
before anything was sent on it is replaced without counting.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .websocket import ClosedError, CutError, Socket

MIX: Mapping[str, int] = MappingProxyType({"keepalive": 8, "fresh": 4, "post": 4, "slow": 2, "idle": 8})
LONGEST = 600.0
"""seconds that a load may last, whatever was asked for"""
MOST_CLIENTS = 200
ANSWER = 30.0
"""seconds for one answer"""
IDLE = (0.3, 2.5)
"""seconds that an idle client keeps its connection between two requests"""
HEADER = b"x-version"
"""tells who answered"""
WAITING = ("slow", "stream")
"""kinds whose answers take their time: they say nothing about the delay of a request"""


@dataclass
class Report:
    """What was asked and what was lost. Times are seconds."""

    seconds: float = 0.0
    requests: int = 0
    failed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """ "kind: reason" -> how often"""
    answered_by: Counter[str] = field(default_factory=Counter)
    """X-Version of the answers"""
    goodbyes: int = 0
    """WebSockets that the server closed with a close frame, and that were opened again"""
    answers: list[tuple[float, str, float]] = field(default_factory=list)
    """when it came (seconds since the epoch), kind, how long it took"""
    losses: list[tuple[float, str, str]] = field(default_factory=list)
    """when, kind, reason"""

    def quantile(self, share: float) -> float:
        return quantile([took for _at, kind, took in self.answers if kind not in WAITING], share)

    def lose(self, kind: str, reason: str) -> None:
        self.failed += 1
        self.reasons[f"{kind}: {reason}"] += 1
        self.losses.append((time.time(), kind, reason))

    def as_dict(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 2),
            "requests": self.requests,
            "failed": self.failed,
            "per_second": round(self.requests / self.seconds, 1) if self.seconds else 0.0,
            "p50_ms": round(self.quantile(0.5) * 1000, 2),
            "p99_ms": round(self.quantile(0.99) * 1000, 2),
            "max_ms": round(self.quantile(1.0) * 1000, 2),
            "kinds": dict(self.kinds),
            "goodbyes": self.goodbyes,
            "reasons": dict(self.reasons),
            "answered_by": dict(self.answered_by),
        }

    def __str__(self) -> str:
        about = self.as_dict()
        lines = [
            f"{self.failed} of {self.requests} requests failed in {about['seconds']} s "
            f"({about['per_second']}/s, p50 {about['p50_ms']} ms, p99 {about['p99_ms']} ms)"
        ]
        lines += [f"  {count} x {reason}" for reason, count in self.reasons.most_common(20)]
        return "\n".join(lines)


def quantile(times: Iterable[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class LostError(Exception):
    """A request without the answer that it should have had."""


class Connection:
    """One connection of one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.closing = False

    @property
    def usable(self) -> bool:
        return not (self.closing or self._reader.at_eof() or self._writer.is_closing())

    def close(self) -> None:
        self.closing = True
        self._writer.close()

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, dict[bytes, bytes], bytes]:
        self._writer.write(head.encode() + b"\r\n" + body)
        await self._writer.drain()
        status_line = await self._reader.readline()
        if not status_line:
            raise LostError("closed without an answer")
        try:
            status = int(status_line.split()[1])
        except (IndexError, ValueError):
            raise LostError(f"no HTTP: {status_line[:60]!r}") from None
        headers: dict[bytes, bytes] = {}
        while (line := await self._reader.readline()).strip():
            name, _sign, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        content = await self._content(headers)
        if headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return status, headers, content

    async def _content(self, headers: Mapping[bytes, bytes]) -> bytes:
        if b"content-length" in headers:
            return await self._reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"transfer-encoding", b"").lower() != b"chunked":
            self.closing = True
            return await self._reader.read()
        parts = []
        while size := int((await self._line()).split(b";")[0], 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._line()
        return b"".join(parts)

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise LostError("cut in the middle of an answer")
        return line


class Load:
    """A mix of clients against one address, for a bounded time.

    `with Load(...) as load: ...; load.report` runs it beside a test; `run()` waits for its end. Kinds of clients:
    keepalive and post (one connection each; posts compare the echo), fresh (a connection per request), slow (waits
    for a slow answer), stream (reads a long answer line by line and misses none), idle (one connection, long pauses:
    whom a reload could hit), ws (a WebSocket whose messages come back; see websocket.py for when one is lost).
    Bodies of posts have up to `largest` bytes.
    """

    def __init__(
        self,
        target: str,
        *,
        host: str = "",
        mix: Mapping[str, int] = MIX,
        path: str = "/",
        post_path: str = "/echo",
        slow_path: str = "/slow?seconds=0.5",
        stream_path: str = "/stream?seconds=1",
        ws_path: str = "/ws",
        status: int = 200,
        seconds: float = 30.0,
        requests: int = 0,
        pause: float = 0.002,
        answer: float = ANSWER,
        tls: bool = False,
        largest: int = 20000,
    ) -> None:
        address, _sign, port = target.rpartition(":")
        known = ipaddress.ip_address(address.strip("[]"))
        if not (known.is_loopback or known.is_private):
            raise ValueError(f"{target}: load goes to loopback and private addresses only")
        if sum(mix.values()) > MOST_CLIENTS:
            raise ValueError(f"at most {MOST_CLIENTS} clients")
        self._address, self._port = str(known), int(port)
        self._host = host or target
        self._mix = mix
        self._paths = {"post": post_path, "slow": slow_path, "stream": stream_path, "ws": ws_path}
        self._path = path
        self._status = status
        self._seconds = min(seconds, LONGEST)
        self._most = requests
        self._pause = pause
        self._answer = answer
        self._largest = largest
        self._tls = ssl._create_unverified_context() if tls else None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.report = Report()

    def run(self) -> Report:
        with self:
            assert self._thread is not None
            self._thread.join()
        return self.report

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def end(self) -> None:
        """No new requests from now on."""
        self._over.set()

    def stop(self) -> Report:
        """No new requests; those under way get their answers."""
        self.end()
        if self._thread is not None:
            self._thread.join(self._answer + 5)
        return self.report

    def warm(self, requests: int = 50, timeout: float = 60.0) -> None:
        """Returns when so many more requests were answered. Raises TimeoutError."""
        self._until(lambda: len(self.report.answers), len(self.report.answers) + requests, timeout)

    def meets(self, version: str, requests: int = 10, timeout: float = 60.0) -> None:
        """Returns when so many were answered by that version. Raises TimeoutError."""
        self._until(lambda: self.report.answered_by[version], requests, timeout)

    def _until(self, answers: Callable[[], int], wanted: int, timeout: float) -> None:
        until = time.monotonic() + timeout
        while (seen := answers()) < wanted:
            if time.monotonic() > until:
                raise TimeoutError(f"{seen} answers in {timeout:g} s, waited for {wanted}")
            time.sleep(0.01)

    async def _all(self) -> None:
        began = time.monotonic()
        clients = [
            self._talker() if kind == "ws" else self._client(kind)
            for kind, number in self._mix.items()
            for _turn in range(number)
        ]
        await asyncio.gather(*clients)
        self.report.seconds = time.monotonic() - began

    async def _client(self, kind: str) -> None:
        await asyncio.sleep(random.random() * 0.05)
        until = time.monotonic() + self._seconds
        connection: Connection | None = None
        while not self._over.is_set() and time.monotonic() < until:
            if self._most and self.report.requests >= self._most:
                break
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._answer):
                    if connection is None or not connection.usable:
                        connection = await self._connect()
                    await self._request(kind, connection)
                self.report.answers.append((time.time(), kind, time.monotonic() - began))
            except (LostError, OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
                text = str(error) if isinstance(error, LostError) else f"{type(error).__name__} {error}".strip()
                self.report.lose(kind, text)
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(0.02)
            self.report.requests += 1
            self.report.kinds[kind] += 1
            if kind == "fresh" and connection is not None:
                connection.close()
            await self._rest(random.uniform(*IDLE) if kind == "idle" else self._pause)
        if connection is not None:
            connection.close()

    async def _talker(self) -> None:
        """A WebSocket client: one connection as long as the server lets it live."""
        await asyncio.sleep(random.random() * 0.05)
        until = time.monotonic() + self._seconds
        socket: Socket | None = None
        while not self._over.is_set() and time.monotonic() < until:
            began = time.monotonic()
            payload = os.urandom(random.randint(1, 20000))
            try:
                async with asyncio.timeout(self._answer):
                    if socket is None:
                        opened = await asyncio.open_connection(self._address, self._port, ssl=self._tls)
                        socket = await Socket.open(*opened, self._host, self._paths["ws"])
                    await socket.echo(payload)
                self.report.answers.append((time.time(), "ws", time.monotonic() - began))
                self.report.answered_by[socket.version] += 1
            except ClosedError:
                self.report.goodbyes += 1
                socket = None
                continue
            except (CutError, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                text = str(error) if isinstance(error, CutError) else f"{type(error).__name__} {error}".strip()
                self.report.lose("ws", text)
                socket = None
                await asyncio.sleep(0.02)
            self.report.requests += 1
            self.report.kinds["ws"] += 1
            await self._rest(self._pause)
        if socket is not None:
            await socket.close()

    async def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._over.is_set() and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.1))

    async def _connect(self) -> Connection:
        return Connection(*await asyncio.open_connection(self._address, self._port, ssl=self._tls))

    async def _request(self, kind: str, connection: Connection) -> None:
        body = os.urandom(random.randint(1, self._largest)) if kind == "post" else b""
        path = self._paths.get(kind, self._path)
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
        if body:
            digest = hashlib.sha256(body).hexdigest()
            head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\nX-Sha256: {digest}\r\n"
        if kind == "fresh":
            head += "Connection: close\r\n"
        status, headers, content = await connection.ask(head, body)
        if HEADER in headers:
            self.report.answered_by[headers[HEADER].decode("latin-1")] += 1
        if status != self._status:
            raise LostError(f"status {status}: {content[:60]!r}")
        if body and content != body:
            raise LostError(f"{len(content)} bytes came back, {len(body)} were sent")
        if kind == "stream":
            whole(content)


def whole(content: bytes) -> None:
    """A stream of the test application: lines counted from 0 by one and the same version, then `end`."""
    *lines, last = content.decode().splitlines() or [""]
    version = lines[0].rpartition(" ")[0] if lines else ""
    if last != "end" or lines != [f"{version} {n}" for n in range(len(lines))]:
        raise LostError(f"a stream of {len(lines)} lines is not whole, its last one is {last[:60]!r}")


@contextlib.contextmanager
def under(load: Load) -> Iterator[Load]:
    """The load runs, and is warm, as long as the block does."""
    with load:
        load.warm()
        yield load
