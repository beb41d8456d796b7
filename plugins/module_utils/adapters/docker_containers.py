# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One container, by its name: begun, held, ended, looked at, and commands inside it."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

with contextlib.suppress(ImportError):  # docker_api.MISSING says it
    import requests
    from docker.errors import APIError, NotFound

from ..ports import PortError
from . import exec_streams, freezer, processes
from .docker_api import TIMEOUT, asking

OUTPUT = 65536
"""bytes of a command's output that are read, and then its end is waited for"""
LEAVING = 10.0
"""seconds that a container gets which somebody else removes"""


class Containers:
    """Those of one engine. Thread-safe: the client's pool gives each thread a connection of its own."""

    def __init__(self, client: Any) -> None:
        self.api = client.api
        self._frozen: dict[str, int] = {}
        """container id -> process, of those that the kernel holds still for us"""

    def start(self, name: str) -> None:
        with asking(f"starting {name}"):
            self.api.start(name)

    def stop(self, name: str, grace: float) -> None:
        with asking(f"stopping {name}"), contextlib.suppress(NotFound):
            # the client's own timeout has to outlast the grace period
            url = self.api._url("/containers/{0}/stop", name)
            answer = self.api._post(url, params={"t": max(0, round(grace))}, timeout=TIMEOUT + grace)
            self.api._raise_for_status(answer)

    def remove(self, name: str) -> None:
        with asking(f"removing {name}"), contextlib.suppress(NotFound):
            try:
                self.api.remove_container(name, force=True, v=True)
            except APIError as error:
                if error.status_code != http.client.CONFLICT or not self._leaves(name):
                    raise

    def _leaves(self, name: str) -> bool:
        """Somebody else removes it at this moment: that is as good, once it is gone."""
        until = time.monotonic() + LEAVING
        while time.monotonic() < until:
            if self._inspect(name) is None:
                return True
            time.sleep(0.05)
        return False

    def rename(self, name: str, new: str) -> None:
        if self._inspect(name) is None and self._inspect(new) is not None:
            return
        with asking(f"renaming {name} to {new}"):
            self.api.rename(name, new)

    def pause(self, name: str) -> None:
        """Its processes are frozen; done if they are already."""
        found = self._details(name)
        if found["State"]["Paused"]:
            return
        if freezer.freeze(self.api.base_url, found["State"]["Pid"], found["Id"]):
            self._frozen[found["Id"]] = found["State"]["Pid"]
            return
        with asking(f"pausing {name}"):
            self.api.pause(name)

    def unpause(self, name: str) -> None:
        """Its processes go on; done if they do already, or if it is gone.

        Where the kernel does it for us, what the engine has paused was paused by somebody else, and stays so. Who is
        asked for by the id need not wait for an engine that is away.
        """
        if name in self._frozen:
            freezer.thaw(self.api.base_url, self._frozen[name], name)  # where the process is gone, nobody holds still
            del self._frozen[name]
            return
        found = self._inspect(name)
        if found is None or not found["State"]["Running"]:
            return
        if found["State"]["Paused"]:
            if freezer.there(self.api.base_url, found["State"]["Pid"], found["Id"]):
                return
            with asking(f"unpausing {name}"):
                self.api.unpause(name)
        else:
            freezer.thaw(self.api.base_url, found["State"]["Pid"], found["Id"])

    def signal(self, name: str, signal: str) -> None:
        with asking(f"sending {signal} to {name}"):
            self.api.kill(name, signal)

    # -- what is known of it ----------------------------------------------------------

    def _inspect(self, name: str) -> dict[str, Any] | None:
        with asking(f"inspecting {name}"):
            try:
                found: dict[str, Any] = self.api.inspect_container(name)
            except NotFound:
                return None
            return found

    def _details(self, name: str) -> dict[str, Any]:
        details = self._inspect(name)
        if details is None:
            raise PortError(f"{name} does not exist")
        return details

    def pid(self, name: str) -> int:
        """Of its first process, as this host sees it; 0 where it does not run."""
        return int(((self._inspect(name) or {}).get("State") or {}).get("Pid") or 0)

    def address(self, name: str, network: str) -> str:
        details = self._inspect(name)
        endpoint = ((details or {}).get("NetworkSettings", {}).get("Networks") or {}).get(network)
        if not endpoint or not endpoint.get("IPAddress"):
            raise PortError(f"{name} has no address in {network}; does it run?")
        return str(endpoint["IPAddress"])

    def logs(self, name: str, lines: int) -> str:
        with asking(f"reading the logs of {name}"):
            text: bytes = self.api.logs(name, tail=lines, stdout=True, stderr=True)
        return text.decode(errors="replace").rstrip()

    def logs_since(self, name: str, since: float) -> Iterator[str]:
        """What a container has logged from a moment on, line by line."""
        with asking(f"reading the logs of {name}"):
            # the engine takes the moment as text, in whole seconds and a fraction
            answer = self.api.logs(name, stdout=True, stderr=True, stream=True, follow=False, since=round(since, 3))
            rest = b""
            for piece in answer:
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace").rstrip("\r")
                rest = rest[-OUTPUT:]
            if rest:
                yield rest.decode(errors="replace")

    def ended(self, name: str, timeout: float) -> int | None:
        """The exit code of a container once it has ended; None where it is late."""
        until = time.monotonic() + timeout
        while True:
            state = self._details(name)["State"]
            if not state["Running"] and state["Status"] != "created":
                return int(state["ExitCode"])
            if time.monotonic() >= until:
                return None
            time.sleep(0.1)

    # -- commands inside it -----------------------------------------------------------

    def exec(
        self, name: str, command: Sequence[str], timeout: float = 20.0, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Exit code and output (its beginning) of a command in a running container, which is killed when it is late."""
        api = self.api
        until = time.monotonic() + timeout
        with asking(f"running {command[0]} in {name}"):
            made = api.exec_create(name, list(command), stdout=True, stderr=True, environment=dict(environment or {}))
            output = b""
            try:
                # without the SDK's Upgrade header this is an ordinary answer that ends with the command
                with api._post_json(
                    api._url("/exec/{0}/start", made["Id"]),
                    data={"Detach": False, "Tty": False},
                    timeout=timeout,
                    stream=True,
                ) as answer:
                    api._raise_for_status(answer)
                    for chunk in answer.iter_content(None):
                        output = (output + chunk)[:OUTPUT]
                        if time.monotonic() > until:
                            raise requests.exceptions.Timeout("timed out")
            except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
                if "timed out" in str(error).lower():
                    processes.end(api.base_url, api.exec_inspect(made["Id"]))
                    raise PortError(f"no answer within {timeout:g} s") from error
                raise
            code: int = api.exec_inspect(made["Id"])["ExitCode"]
        return code, _unframed(output).decode(errors="replace").strip()

    def stream(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> exec_streams.ExecStream:
        """A command that runs for as long as it takes, its stdin and stdout as bytes. Whoever asks has to end it."""
        with asking(f"running {command[0]} in {name}"):
            return exec_streams.ExecStream(self.api, name, command, environment or {})


def _unframed(data: bytes) -> bytes:
    """An exec's output without the headers of the stream's frames (8 bytes, the last 4 are the size)."""
    text, position = b"", 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "big")
        text += data[position + 8 : position + 8 + size]
        position += 8 + size
    return text
