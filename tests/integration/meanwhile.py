# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a test does beside a rollout: at a moment that is seen, not after a time that a slow machine needs longer for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import Harbour


class Meanwhile:
    """Does something beside a rollout, as soon as `when` gives something true; what it raises fails the test."""

    def __init__(self, when: Callable[[], Any], do: Callable[[Any], None]) -> None:
        self._when, self._do = when, do
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._do(until(self._when, lambda: "the moment never came", rest=0.02))
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Meanwhile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


def of_version(harbour: Harbour, version: str, service: str = "") -> list[str]:
    """Running replicas of it, of all services or of one."""
    return [
        name
        for name, body in harbour.containers().items()
        if body["State"]["Running"]
        and f"VERSION={version}" in body["Config"]["Env"]
        and service in ("", body["Config"]["Labels"]["com.docker.compose.service"])
    ]


def has_done(harbour: Harbour, do: str) -> Callable[[], bool]:
    """Whether the rollout that is under way has done something of that kind."""
    return _has(harbour, lambda event: event.what == "done" and event.details.get("do") == do)


def has_reached(harbour: Harbour, reached: str) -> Callable[[], bool]:
    """Whether a gate of the rollout that is under way has come that far."""
    return _has(harbour, lambda event: event.what == "gate" and event.details["reached"] == reached)


def _has(harbour: Harbour, wanted: Callable[[Any], bool]) -> Callable[[], bool]:
    def looked() -> bool:
        newest = harbour.journal.history(harbour.name)[0]
        return newest.ended is None and any(map(wanted, harbour.events(newest.id)))

    return looked


def told_to(harbour: Harbour, what: str, version: str, service: str = "web") -> None:
    """Let every running replica of it `fail` its health check from now on, `crash`, or `go`, which it was held for."""
    replicas = of_version(harbour, version, service)
    assert replicas, f"no {service} of {version} runs"
    for name in replicas:
        # from inside: where it is about to get its names, it is in no network for a moment
        told = harbour.client.api.exec_create(name, ["/web", "tell", what])["Id"]
        said = harbour.client.api.exec_start(told)
        if what != "crash":
            assert harbour.client.api.exec_inspect(told)["ExitCode"] == 0, said
