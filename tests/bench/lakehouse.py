# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stack in the shape of the taxi lakehouse: sixteen services in six layers, each ready two seconds after its start.

Everything but the shape is left out, so that what is measured is waiting, not starting databases.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

MONITOR = 2.0
"""seconds that a replica is watched after it was ready, before it counts"""
READY = 2.0
"""seconds from a service's start until its check passes, or until a one-shot ends"""

SHAPE: Mapping[str, tuple[str, ...]] = {
    # storage
    "minio": (),
    "metastore-db": (),
    "superset-db": (),
    "airflow-db": (),
    "minio-init": ("minio",),
    # metadata
    "hive-metastore": ("metastore-db", "minio"),
    # processing
    "spark-master": ("hive-metastore",),
    "spark-worker-1": ("spark-master",),
    "spark-worker-2": ("spark-master",),
    # query
    "trino": ("hive-metastore", "minio"),
    # analytics
    "superset": ("superset-db", "trino"),
    "airflow-init": ("airflow-db",),
    "airflow-webserver": ("airflow-init",),
    "airflow-scheduler": ("airflow-init",),
    # application
    "ingestor": ("minio-init", "hive-metastore"),
    "dbt": ("trino",),
}

ONE_SHOTS = ("minio-init", "airflow-init")

PROD_CHECK = {"interval": "30s", "timeout": "10s", "retries": 5, "start_period": "90s"}


def model(image: str, size: int = 16) -> dict[str, Any]:
    """The Compose model, with production's health settings, on the image of tests/fixtures/stacks/web.

    More than sixteen services are the same platform several times over, the last of them in part.
    """
    # Compose's --wait takes a finished one-shot that nobody waits for as a failure, so they come last
    order = sorted(SHAPE, key=lambda name: name in ONE_SHOTS)
    names = [(name, f"-{turn}" if turn else "") for turn in range(-(-size // len(SHAPE))) for name in order]
    chosen = {f"{name}{suffix}" for name, suffix in names[:size]}
    return {"services": {f"{n}{s}": _service(n, s, image, chosen) for n, s in names[:size]}}


def _service(name: str, suffix: str, image: str, chosen: Collection[str]) -> dict[str, Any]:
    depends = {
        f"{other}{suffix}": {"condition": "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"}
        for other in SHAPE[name]
        if f"{other}{suffix}" in chosen
    }
    service: dict[str, Any] = {"image": image, "depends_on": depends, "stop_grace_period": "5s"}
    if name in ONE_SHOTS:
        return {**service, "command": ["oneshot"], "environment": {"SECONDS": f"{READY:g}"}, "restart": "no"}
    return {
        **service,
        "environment": {"READY_AFTER": f"{READY:g}"},
        "healthcheck": {"test": ["CMD", "/web", "check"], **PROD_CHECK},
        "deploy": {"update_config": {"monitor": f"{MONITOR:g}s"}},
    }


def critical_path() -> float:
    """Seconds of the longest chain of services that wait for each other, each until the one before is ready."""

    @cache
    def ready_at(name: str) -> float:
        return READY + max((ready_at(other) for other in SHAPE[name]), default=0.0)

    return max(map(ready_at, SHAPE))
