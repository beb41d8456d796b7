# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Docker SDK: whether it is there, a client of it, and the engine's refusals as our own error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

try:
    import docker
    import requests
    from docker.errors import APIError, DockerException

    MISSING = ""
except ImportError as error:  # the module says it with the next step
    MISSING = str(error)

from ..ports import PortError

TIMEOUT = 60
CONNECTIONS = 32


def sdk_version() -> tuple[int, ...]:
    return tuple(int(part) for part in docker.__version__.split(".")[:3] if part.isdigit())


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """The engine's refusals as PortError: what was asked, and its answer."""
    try:
        yield
    except APIError as error:
        raise PortError(f"{what}: {error.explanation or error}") from error
    except (DockerException, requests.exceptions.RequestException, OSError) as error:
        raise PortError(f"{what}: the engine does not answer ({error})") from error


def connect(base_url: str = "") -> Any:
    """A client for the engine's socket, its API version negotiated."""
    with asking("connecting to the Docker engine"):
        return docker.DockerClient(
            base_url=base_url or None, version="auto", timeout=TIMEOUT, max_pool_size=CONNECTIONS
        )
