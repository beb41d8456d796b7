# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stack that is deployed over and over: every kind of step occurs between two of its versions."""

from __future__ import annotations

from typing import Any

HOST = "shop.example.org"
READY_AFTER = 0.4
"""seconds until a replica of `web` passes: who answers through the proxy and is younger was not gated"""
CHECK = {"test": ["CMD", "/web", "check"], "interval": "30s", "timeout": "2s", "retries": 3}


def _service(version: int, monitor: str = "0.3s", **environment: str) -> dict[str, Any]:
    return {
        "image": "local/q-web:dev",
        "restart": "unless-stopped",
        "healthcheck": CHECK,
        "stop_grace_period": "2s",
        "environment": {"VERSION": f"v{version}", "EXIT_AT_ONCE": "1", **environment},
        "deploy": {"update_config": {"monitor": monitor}},
        "x-quaylock": {"gate": {"deadline": "15s", "cadence": "100ms"}},
    }


def definition(stack: str, version: int, bad: str = "") -> dict[str, Any]:
    """A one-shot, a routed start-first service, a stop-first one with a fixed name, and one whose route comes and goes.

    `bad`: "late" crashes while it is held, when the traffic of `web` has moved already; "web" never passes its gate.
    """
    route = {"entrypoint": "http", "port": 8000, "check": "/version", "drain": "5s"}
    job = _service(version, SECONDS="0.2")
    del job["healthcheck"], job["restart"], job["deploy"]
    job |= {
        "command": ["oneshot"],
        "networks": ["work"],
        "volumes": ["work:/work"],
        "x-quaylock": {"one_shot": True},
    }
    web = _service(version, READY_AFTER="600" if bad == "web" else str(READY_AFTER))
    if bad == "web":
        web["x-quaylock"]["gate"]["deadline"] = "4s"
    web |= {"depends_on": {"job": {"condition": "service_completed_successfully"}}, "secrets": ["token"]}
    web["deploy"]["replicas"] = 2
    web["x-quaylock"]["ingress"] = [{**route, "host": HOST}]
    fixed = _service(version, "4s" if bad == "late" else "0.3s", **({"CRASH_AFTER": "2.2"} if bad == "late" else {}))
    fixed |= {"container_name": f"{stack}-the-fixed", "depends_on": {"web": {"condition": "service_healthy"}}}
    fixed["x-quaylock"]["restore_point"] = ["/web", "check"]
    side = _service(version)
    if version % 2:
        side["x-quaylock"]["ingress"] = [{**route, "host": f"side.{HOST}"}]
    return {
        "services": {"job": job, "web": web, "fixed": fixed, "side": side},
        "networks": {"work": {"name": f"{stack}_work{version}"}},
        "volumes": {"work": {"name": f"{stack}_work{version}"}},
        "secrets": {"token": {"environment": "TOKEN"}},
    }


def secrets(version: int) -> dict[str, bytes]:
    return {"token": f"of version {version}".encode()}
