# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Each night what Airflow wrote down long ago goes: files of logs, and what its database knows of runs.

taxi.json beside this file says after how many days. The last run of each DAG stays known.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.decorators import dag, task
from airflow.timetables.trigger import CronTriggerTimetable

DAYS = json.loads(Path(__file__).with_name("taxi.json").read_text())["keep_days"]
LOGS = "/opt/airflow/logs"


def old() -> datetime:
    return datetime.now(timezone.utc) - timedelta(days=DAYS)


@task
def files() -> dict[str, int]:
    """Files that nobody wrote to since, and the folders that are empty without them."""
    before, removed, freed = old().timestamp(), 0, 0
    lighter = set()
    for folder, _folders, names in os.walk(LOGS, topdown=False):
        for name in names:
            path = os.path.join(folder, name)
            found = os.lstat(path)
            if found.st_mtime < before:
                os.unlink(path)
                lighter.add(folder)
                removed, freed = removed + 1, freed + found.st_size
        # one that was empty before may be about to be used
        if folder in lighter and folder != LOGS and not os.listdir(folder):
            os.rmdir(folder)
            lighter.add(os.path.dirname(folder))
    return {"removed": removed, "bytes": freed}


@task
def records() -> None:
    """By Airflow's own `db clean`, which knows what belongs together."""
    import pendulum
    from airflow.utils.db_cleanup import run_cleanup

    run_cleanup(clean_before_timestamp=pendulum.instance(old()), skip_archive=True, confirm=False)


@dag(
    description=f"removes logs and records of runs older than {DAYS} days",
    # not also at once, as for an interval that has just ended
    schedule=CronTriggerTimetable("45 3 * * *", timezone="UTC"),
    start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "execution_timeout": timedelta(hours=1)},
)
def housekeeping() -> None:
    # a log that is known and gone is worse than one that is there and unknown
    records() >> files()


housekeeping()
