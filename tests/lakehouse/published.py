# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Trips that somebody publishes: a server of Parquet files, and a daily run that fetches one of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lakehouse.real import NAME, Platform
from tests.lakehouse.rolling import need

MONTH, THAT_DAY, ABSENT = "2019-03", "2019-03-05", "2019-04-01"
FILE = f"yellow_tripdata_{MONTH}.parquet"
TRIPS, TWICE, REFUNDS, BACKWARDS, OTHER = 40, 3, 2, 1, 7
COST = 12.34
WRITE = f"""
from datetime import datetime, timedelta
from pyspark.sql import SparkSession

# as an older year has them: other types, and without the newer fees
shape = (
    "VendorID bigint, tpep_pickup_datetime timestamp, tpep_dropoff_datetime timestamp, passenger_count bigint, "
    "trip_distance double, RatecodeID bigint, store_and_fwd_flag string, PULocationID bigint, DOLocationID bigint, "
    "payment_type bigint, fare_amount double, extra double, mta_tax double, tip_amount double, tolls_amount double, "
    "improvement_surcharge double, total_amount double"
)

def trip(day, number, sign=1, minutes=10):
    began = datetime(2019, 3, day, 8, 0) + timedelta(seconds=number)
    passengers = None if number == 0 else 1
    return (1, began, began + timedelta(minutes=minutes), passengers, 2.5, 1, "N", 10, 20, 1,
            sign * 9.5, 0.0, 0.5, 1.54, 0.0, 0.3, sign * {COST})

rows = [trip(5, n) for n in range({TRIPS})]
rows += rows[1 : {TWICE} + 1]
rows += [trip(5, 100 + n, sign=-1) for n in range({REFUNDS})] + [trip(5, 200 + n, minutes=-5) for n in range({BACKWARDS})]
rows += [trip(6, n) for n in range({OTHER})]
spark = SparkSession.builder.master("local[1]").getOrCreate()
spark.createDataFrame(rows, shape).coalesce(1).write.mode("overwrite").parquet("file:///tmp/published")
"""
SERVE = """
import http.server, pathlib

class Files(http.server.BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        file = pathlib.Path("/files") / self.path.rpartition("/")[2]
        if not file.exists():
            return self.send_error(404)
        content = file.read_bytes()
        Files.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # the connection breaks in the middle of the first answer
        self.wfile.write(content[: len(content) // 2] if Files.asked == 1 else content)

http.server.ThreadingHTTPServer(("", 8000), Files).serve_forever()
"""


def written(ours: Platform, folder: Path) -> None:
    """The month's file, made by the Spark of the stack."""
    call = ["docker", "exec", "-i", ours.of("ingestor")]
    subprocess.run([*call, "python", "-"], input=WRITE.encode(), check=True, capture_output=True, timeout=300)
    found = subprocess.run([*call, "sh", "-c", "cat /tmp/published/part-*.parquet"], capture_output=True, check=True)
    (folder / FILE).write_bytes(found.stdout)


@contextmanager
def server(ours: Platform, folder: Path) -> Iterator[Any]:
    """In the network in which `ingestor` alone has a way out."""
    made = ours.client.containers.create(
        ours.images["dbt"]["ref"],
        entrypoint=["python", "-u", "-c", SERVE],
        volumes={str(folder): {"bind": "/files", "mode": "ro"}},
        name=f"{NAME}-publisher",
    )
    try:
        ours.client.networks.get(f"{NAME}_outside").connect(made, aliases=["trips.example.org"])
        made.start()
        yield made
    finally:
        made.remove(force=True)


def day(ours: Platform, name: str, which: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(
        ours.asked("airflow-webserver", "airflow-ask", "run", "taxi_daily", name, json.dumps({"day": which}))
    )
    return said


def trips(ours: Platform, folder: Path) -> str:
    """A month is fetched once, also where the first try broke off; a month that is not there fails the run, by name."""
    files = folder / "published"
    files.mkdir(exist_ok=True)
    files.chmod(0o755)
    ours.want(lakehouse_trips_url="http://trips.example.org:8000/yellow_tripdata_%Y-%m.parquet", verified=False)
    ours.up()
    written(ours, files)
    with server(ours, files) as publisher:
        counts = {"rows": TRIPS, "rejected": REFUNDS + BACKWARDS, "duplicates": TWICE, "total": f"{TRIPS * COST:.2f}"}
        for name in ("published-1", "published-2"):
            result = day(ours, name, THAT_DAY)["results"]
            need(result["bronze"]["rows"] == TRIPS + TWICE + REFUNDS + BACKWARDS, f"{name}: bronze {result['bronze']}")
            need({k: result["silver"][k] for k in counts} == counts, f"{name}: silver {result['silver']}")
        got = publisher.logs().decode().count(f'"GET /{FILE} HTTP/1.1" 200')
        need(got == 2, f"the file was asked for {got} times, not once broken off and once whole")
        try:
            day(ours, "published-3", ABSENT)
        except RuntimeError as error:
            need(
                "2019-04.parquet" in str(error) and "404" in str(error),
                f"the failure does not say what is absent: {error}",
            )
        else:
            need(False, "a month that is not there was no failure")
    read = ours.asked("trino", "trino-ask", "SELECT count(*), sum(total_amount) FROM iceberg.silver.taxi_trips")
    need(read.split() == [str(TRIPS), f"{TRIPS * COST:.2f}"], f"Trino reads {read}")
    return (
        f"{TRIPS} trips of a day out of a published month, fetched again after an answer that broke off, and then kept; "
        "an absent month failed its run with the address"
    )
