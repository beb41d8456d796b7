# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stack under load and its releases, good and bad, as Quaylock and Docker Compose are given them.

`web` serves everything over HTTP and exits at once on SIGTERM; `live` holds WebSockets and says goodbye on SIGTERM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGE = "local/q-web:load"
HOST = "shop.example.org"
SLOW, STREAM = 10.0, 3.0
"""seconds that the slow and the streamed answers take"""
DRAIN = {"web": "20s", "live": "2s"}
"""longer than any answer; WebSockets live until it ends"""


@dataclass(frozen=True)
class Release:
    """`what` is what is wrong with it ("" for a good one), `outcome` how Quaylock has to end it."""

    version: str
    what: str = ""
    replicas: int = 2
    web: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        return "rolled back" if self.what else "deployed"


BAD: Mapping[str, Mapping[str, str]] = {
    "never ready": {"READY_AFTER": "3600"},
    "crashes after it was ready": {"CRASH_AFTER": "0.7"},
    "500 behind the proxy": {"FAIL_FORWARDED": "1"},
    "healthy, then unhealthy": {"FAIL_AFTER": "0.7"},
}


def series() -> tuple[Release, ...]:
    """Twenty-six, of which twelve are bad and two only change the number of replicas."""
    found = []
    number = 1
    for turn in range(3):
        for what, environment in BAD.items():
            number += 1
            found.append(Release(f"v{number}", replicas=2))
            number += 1
            found.append(Release(f"v{number}", what, 2, environment))
        if turn < 2:
            good = found[-2]
            found.append(Release(good.version, replicas=(3, 1)[turn]))
    return tuple(found)


def _service(release: Release, name: str) -> dict[str, Any]:
    own = {"EXIT_AT_ONCE": "1", **release.web} if name == "web" else {}
    return {
        "image": IMAGE,
        "environment": {"VERSION": release.version, **own},
        "healthcheck": {"test": ["CMD", "/web", "check"], "interval": "1s", "timeout": "2s", "retries": 3},
        "stop_grace_period": "3s",
        "deploy": {"replicas": release.replicas},
    }


def ours(release: Release) -> dict[str, Any]:
    """The definition for Quaylock. A bad release fails by its own fault, not by our patience: 4 s are enough."""
    services = {}
    for name, path in (("web", "/"), ("live", "/ws")):
        service = _service(release, name)
        service["deploy"]["update_config"] = {"monitor": "1s"}
        check = {"check": "/version"} if name == "web" else {"check": "/ws", "status": [426]}
        route = {"entrypoint": "http", "port": 8000, "host": HOST, "path": path, "drain": DRAIN[name], **check}
        service["x-quaylock"] = {"gate": {"deadline": "4s", "cadence": "100ms"}, "ingress": [route]}
        services[name] = service
    return {"services": services}


def compose(release: Release, network: str, published: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The Compose file of a user: one published replica each, or several on the proxy's network."""
    services = {}
    for name in ("web", "live"):
        service = _service(release, name)
        if published:
            service["deploy"] = {"replicas": 1}
            service["ports"] = [f"{published[name]}:8000"]
        else:
            service["networks"] = ["front"]
        services[name] = service
    networks = {} if published else {"networks": {"front": {"external": True, "name": network}}}
    return {"services": services, **networks}
