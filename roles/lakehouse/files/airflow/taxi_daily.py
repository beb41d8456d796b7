# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One day of taxi trips: bronze, silver and gold, and whether they agree.

taxi.json beside this file says when, how many, and where from.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import job_client
import taxi_checks
from airflow.decorators import dag, task
from airflow.exceptions import AirflowFailException
from airflow.models.param import Param
from airflow.operators.python import get_current_context

SETTINGS = json.loads(Path(__file__).with_name("taxi.json").read_text())
SPARK, DBT, TRINO = "http://ingestor:8090", "http://dbt:8090", "http://trino:8080"
LIMIT = timedelta(hours=1)


def asked() -> dict[str, Any]:
    """Which day this run is about, of how many trips, and whether it is one that only proves something."""
    context = get_current_context()
    given = context["params"]
    return {
        "day": given["day"] or context["logical_date"].strftime("%Y-%m-%d"),
        "rows": str(given["rows"]),
        "prefix": given["prefix"],
    }


def run(url: str, job: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """A job's result. Tries of a task share a run, so that a second one finds what the first began.

    Who clears a task wants it done again, under another name: Airflow then allows as many tries more.
    """
    instance = get_current_context()["task_instance"]
    cleared = instance.max_tries - instance.task.retries
    name = f"{instance.dag_id}.{instance.run_id}.{instance.task_id}.{cleared}"
    deadline = LIMIT.total_seconds() - 30
    try:
        return job_client.run(url, job, name, parameters, job_client.own_token(), deadline)
    except job_client.JobFailed as error:
        # without a traceback of this file, which says nothing about the job
        raise job_client.JobFailed(str(error)) from None


@task
def bronze() -> dict[str, Any]:
    about = asked()
    # what only proves something needs nobody outside
    url = "" if about["prefix"] else SETTINGS["url"]
    return run(SPARK, "bronze", {**about, "seed": str(SETTINGS["seed"]), "url": url})


@task
def silver() -> dict[str, Any]:
    about = asked()
    return run(SPARK, "silver", {"day": about["day"], "prefix": about["prefix"]})


@task
def gold() -> dict[str, Any]:
    return run(DBT, "gold", {"prefix": asked()["prefix"]})


@task
def compare(from_bronze: dict[str, Any], from_silver: dict[str, Any]) -> dict[str, Any]:
    about = asked()
    read = [
        taxi_checks.Sum.of(taxi_checks.row_of(TRINO, query))
        for query in taxi_checks.queries(about["day"], about["prefix"])
    ]
    try:
        return {"day": about["day"], **taxi_checks.compare(from_bronze, from_silver, *read)}
    except taxi_checks.Differs as error:
        # the same numbers would differ once more
        raise AirflowFailException(str(error)) from None


@dag(
    description="bronze, silver and gold of one day of taxi trips",
    schedule=SETTINGS["schedule"],
    start_date=datetime.fromisoformat(SETTINGS["start"]).replace(tzinfo=timezone.utc),
    catchup=SETTINGS["catchup"],
    max_active_runs=1,
    default_args={"retries": 4, "retry_delay": timedelta(seconds=10), "execution_timeout": LIMIT},
    params={
        "day": Param(None, type=["null", "string"], format="date", description="instead of the run's own day"),
        "rows": Param(SETTINGS["rows"], type="integer", minimum=1),
        "prefix": Param(
            "", type="string", pattern="^[a-z_]*$", description="of the schemas; verify_ leaves the real ones alone"
        ),
    },
    tags=["taxi"],
)
def taxi_daily() -> None:
    first, second, third = bronze(), silver(), gold()
    first >> second >> third >> compare(first, second)


taxi_daily()
