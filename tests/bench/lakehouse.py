# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stack in the shape of the taxi lakehouse: sixteen services in six layers, each ready two seconds after its start.

Everything but the shape is left out, so that what is measured is waiting, not starting databases.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

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


def model(image: str, monitor: str = "2s") -> dict[str, Any]:
    """The Compose model, with production's health settings, on the image of tests/fixtures/stacks/web."""
    return {"services": {name: _service(name, image, monitor) for name in SHAPE}}


def _service(name: str, image: str, monitor: str) -> dict[str, Any]:
    depends = {
        other: {"condition": "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"}
        for other in SHAPE[name]
    }
    service: dict[str, Any] = {"image": image, "depends_on": depends, "stop_grace_period": "5s"}
    if name in ONE_SHOTS:
        return {**service, "command": ["oneshot"], "environment": {"SECONDS": f"{READY:g}"}, "restart": "no"}
    return {
        **service,
        "environment": {"READY_AFTER": f"{READY:g}"},
        "healthcheck": {"test": ["CMD", "/web", "check"], **PROD_CHECK},
        "deploy": {"update_config": {"monitor": monitor}},
    }


def critical_path() -> float:
    """Seconds that nobody can be faster than: the longest chain of services that wait for each other."""

    @cache
    def ready_at(name: str) -> float:
        return READY + max((ready_at(other) for other in SHAPE[name]), default=0.0)

    return max(map(ready_at, SHAPE))
