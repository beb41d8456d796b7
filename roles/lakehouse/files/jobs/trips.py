# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Taxi trips on their way through the lakehouse: a Spark job for each step, for one day or several.

    trips.py bronze --day 2024-01-01 [--days 31] (--rows 3000 [--seed 2009] | --url https://.../yellow_tripdata_%Y-%m.parquet)
    trips.py silver --day 2024-01-01 [--days 31]

bronze has the records as they are published, or made up with their columns and some of their flaws; silver has the
trips that can be true, each once. Each step overwrites the days it is asked for, and nothing else: asked again, it
leaves what was there. `--prefix verify_` keeps to tables of its own. The last line is `result` and what was counted, or
`failed` and why.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sql

PUBLISHED = {
    "VendorID": "int",
    "tpep_pickup_datetime": "timestamp_ntz",
    "tpep_dropoff_datetime": "timestamp_ntz",
    "passenger_count": "double",
    "trip_distance": "double",
    "RatecodeID": "double",
    "store_and_fwd_flag": "string",
    "PULocationID": "int",
    "DOLocationID": "int",
    "payment_type": "int",
    "fare_amount": "double",
    "extra": "double",
    "mta_tax": "double",
    "tip_amount": "double",
    "tolls_amount": "double",
    "improvement_surcharge": "double",
    "total_amount": "double",
    "congestion_surcharge": "double",
    "Airport_fee": "double",
}
"""the columns of the yellow taxis' files: https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page"""
CLEAN = {
    "day": "date",
    "vendor_id": "int",
    "pickup_at": "timestamp_ntz",
    "dropoff_at": "timestamp_ntz",
    "passenger_count": "int",
    "trip_distance": "decimal(8,2)",
    "pu_location_id": "int",
    "do_location_id": "int",
    "payment_type": "int",
    "fare_amount": "decimal(10,2)",
    "tip_amount": "decimal(10,2)",
    "total_amount": "decimal(10,2)",
}
TABLE = "taxi_trips"
LAYERS = ("bronze", "silver", "gold")
LONGEST = 24 * 3600
"""seconds of a trip that can be true"""


class Failed(Exception):
    """A step cannot do its work, for a reason that is none of Spark's."""


def drawn(seed: int, what: str, below: int) -> Column:
    """A number from 0 to below - 1, for each trip and purpose its own, whatever the number of workers."""
    return sql.pmod(sql.xxhash64(sql.lit(seed), sql.lit(what), sql.col("day"), sql.col("number")), sql.lit(below))


def made_up(spark: SparkSession, days: list[datetime.date], rows: int, seed: int) -> DataFrame:
    """So many records for each day; some are refunds, have no distance, end before they begin, or are there twice."""

    def cents(value: Column) -> Column:
        return value / 100

    hundredths = 50 + drawn(seed, "distance", 1200) + drawn(seed, "far", 20) * drawn(seed, "farther", 60)
    flaw = drawn(seed, "flaw", 1000)
    # by day there are two peaks, at eight and at eighteen
    peak = sql.when(drawn(seed, "peak", 2) == 0, 8).otherwise(18) * 3600 + drawn(seed, "around", 7200) - 3600
    moment = sql.when(drawn(seed, "rush", 3) == 0, peak).otherwise(drawn(seed, "moment", 86400))
    calendar = spark.createDataFrame([(day,) for day in days], "day date")
    tip = sql.floor(sql.col("fare") * drawn(seed, "tip", 26) / 100)
    drawn_trips = (
        spark.range(rows, numPartitions=4)
        .withColumnRenamed("id", "number")
        .crossJoin(sql.broadcast(calendar))
        .withColumn("hundredths", sql.when(flaw.between(4, 6), 0).otherwise(hundredths))
        .withColumn("seconds", 180 + hundredths * 2 + drawn(seed, "traffic", 900))
        .withColumn("fare", 300 + hundredths * 2 + drawn(seed, "waiting", 300))
        .withColumn("tip", sql.when(drawn(seed, "generous", 3) > 0, tip).otherwise(0))
        .withColumn("tolls", sql.when(drawn(seed, "bridge", 40) == 0, 694).otherwise(0))
        .withColumn("airport", sql.when(drawn(seed, "airport", 30) == 0, 175).otherwise(0))
        .withColumn("sign", sql.when(flaw < 4, -1).otherwise(1))
        .withColumn("began", sql.unix_timestamp(sql.col("day").cast("timestamp")) + moment)
    )  # fmt: skip
    total = sql.col("fare") + sql.col("tip") + sql.col("tolls") + sql.col("airport") + 50 + 100 + 250
    ended = sql.col("began") + sql.when(flaw.between(7, 8), -60).otherwise(sql.col("seconds"))
    records = drawn_trips.select(
        "day",
        "number",
        (drawn(seed, "vendor", 2) + 1).alias("VendorID"),
        sql.timestamp_seconds("began").alias("tpep_pickup_datetime"),
        sql.timestamp_seconds(ended).alias("tpep_dropoff_datetime"),
        sql.when(flaw >= 15, drawn(seed, "passengers", 4) + 1).alias("passenger_count"),
        cents(sql.col("hundredths")).alias("trip_distance"),
        sql.lit(1).alias("RatecodeID"),
        sql.lit("N").alias("store_and_fwd_flag"),
        (drawn(seed, "from", 263) + 1).alias("PULocationID"),
        (drawn(seed, "to", 263) + 1).alias("DOLocationID"),
        (drawn(seed, "payment", 2) + 1).alias("payment_type"),
        cents(sql.col("sign") * sql.col("fare")).alias("fare_amount"),
        sql.lit(0).alias("extra"),
        cents(sql.col("sign") * 50).alias("mta_tax"),
        cents(sql.col("sign") * sql.col("tip")).alias("tip_amount"),
        cents(sql.col("sign") * sql.col("tolls")).alias("tolls_amount"),
        cents(sql.col("sign") * 100).alias("improvement_surcharge"),
        cents(sql.col("sign") * total).alias("total_amount"),
        cents(sql.col("sign") * 250).alias("congestion_surcharge"),
        cents(sql.col("sign") * sql.col("airport")).alias("Airport_fee"),
    )
    return records.union(records.where(drawn(seed, "again", 500) == 0)).drop("number")


def published(spark: SparkSession, days: list[datetime.date], url: str) -> DataFrame:
    """The records of these days out of the files of their months. Workers read them from the object store."""
    files = [stored(spark, file) for file in sorted({day.strftime(url) for day in days})]
    began = sql.to_date("tpep_pickup_datetime")
    found = None
    for file in files:
        records = spark.read.parquet(file)
        known = {name.lower() for name in records.columns}
        # the columns' types differ between years, and the newer fees are not in all of them
        whole = records.select(
            *[(sql.col(n) if n.lower() in known else sql.lit(None)).cast(t).alias(n) for n, t in PUBLISHED.items()]
        )
        found = whole if found is None else found.unionByName(whole)
    if found is None:
        raise ValueError("no day was asked for")
    return found.withColumn("day", began).where(sql.col("day").isin(days))


def stored(spark: SparkSession, url: str) -> str:
    """Bring a file into the bucket bronze, unless it is there."""
    name = f"s3a://bronze/landing/{url.rpartition('/')[2]}"
    java, jvm = spark.sparkContext._jsc, spark.sparkContext._jvm
    target = jvm.org.apache.hadoop.fs.Path(name)
    files = target.getFileSystem(java.hadoopConfiguration())
    if files.exists(target):
        return name
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "file")
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, open(local, "wb") as file:  # noqa: S310 the operator's
                shutil.copyfileobj(answer, file)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{url} cannot be had: {error}") from error
        # who breaks off in the middle is not told from who is done
        if (wanted := answer.headers["Content-Length"]) and int(wanted) != (got := os.path.getsize(local)):
            raise Failed(f"{url} broke off after {got} of {wanted} bytes")
        # under another name first, so that half a file is none
        part = jvm.org.apache.hadoop.fs.Path(f"{name}.part")
        files.copyFromLocalFile(False, True, jvm.org.apache.hadoop.fs.Path(f"file://{local}"), part)
        files.rename(part, target)
    return name


def table(spark: SparkSession, prefix: str, layer: str, columns: dict[str, str]) -> str:
    """Have the table, and the namespaces of all layers: nobody after us may make those."""
    folder = prefix.rstrip("_")
    for each in LAYERS:
        spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {prefix}{each} LOCATION 's3a://{each}/{folder}'")
    name = f"{prefix}{layer}.{TABLE}"
    shape = ", ".join(f"`{column}` {kind}" for column, kind in columns.items())
    spark.sql(f"CREATE TABLE IF NOT EXISTS {name} ({shape}) USING iceberg PARTITIONED BY (day)")
    return name


def stored_sum(spark: SparkSession, name: str, days: list[datetime.date]) -> tuple[int, str]:
    """What a new reader finds: rows, and money to the cent."""
    money = sql.sum(sql.col("total_amount").cast("decimal(12,2)"))
    row = spark.table(name).where(sql.col("day").isin(days)).agg(sql.count("*").alias("n"), money.alias("t")).first()
    return row["n"], str(row["t"] or "0.00")


def written(records: DataFrame, name: str, columns: dict[str, str]) -> None:
    typed = records.select(*[sql.col(column).cast(kind).alias(column) for column, kind in columns.items()])
    typed.writeTo(name).overwritePartitions()


def bronze(spark: SparkSession, asked: argparse.Namespace, days: list[datetime.date]) -> dict[str, object]:
    columns = {"day": "date", **PUBLISHED}
    name = table(spark, asked.prefix, "bronze", columns)
    records = published(spark, days, asked.url) if asked.url else made_up(spark, days, asked.rows, asked.seed)
    written(records, name, columns)
    rows, total = stored_sum(spark, name, days)
    if not rows:
        raise Failed(f"no records of {days[0]} and {len(days) - 1} days after it were found")
    return {"rows": rows, "total": total}


def silver(spark: SparkSession, asked: argparse.Namespace, days: list[datetime.date]) -> dict[str, object]:
    source = table(spark, asked.prefix, "bronze", {"day": "date", **PUBLISHED})
    name = table(spark, asked.prefix, "silver", CLEAN)
    raw = spark.table(source).where(sql.col("day").isin(days))
    seconds = sql.unix_timestamp(sql.col("tpep_dropoff_datetime").cast("timestamp")) - sql.unix_timestamp(
        sql.col("tpep_pickup_datetime").cast("timestamp")
    )
    true = (
        (sql.to_date("tpep_pickup_datetime") == sql.col("day"))
        & seconds.between(1, LONGEST)
        & (sql.col("trip_distance") > 0)
        & (sql.col("fare_amount") > 0)
        & (sql.col("total_amount") > 0)
    )
    likely = raw.where(sql.coalesce(true, sql.lit(False)))
    trips = likely.distinct().select(
        "day",
        sql.col("VendorID").alias("vendor_id"),
        sql.col("tpep_pickup_datetime").alias("pickup_at"),
        sql.col("tpep_dropoff_datetime").alias("dropoff_at"),
        "passenger_count",
        "trip_distance",
        sql.col("PULocationID").alias("pu_location_id"),
        sql.col("DOLocationID").alias("do_location_id"),
        "payment_type",
        "fare_amount",
        "tip_amount",
        "total_amount",
    )
    written(trips, name, CLEAN)
    found = raw.count()
    kept = likely.count()
    rows, total = stored_sum(spark, name, days)
    if not rows:
        raise Failed(f"none of {found} records of {days[0]} and {len(days) - 1} days after it can be true")
    return {"rows": rows, "rejected": found - kept, "duplicates": kept - rows, "total": total}


def run_of(first: str, number: int) -> Iterator[datetime.date]:
    day = datetime.date.fromisoformat(first)
    for after in range(number):
        yield day + datetime.timedelta(days=after)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a step of taxi trips through the lakehouse")
    parser.add_argument("step", choices=["bronze", "silver"])
    parser.add_argument("--day", required=True)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=2009)
    parser.add_argument("--url", default="")
    parser.add_argument("--prefix", default="", choices=["", "verify_"])
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    days = list(run_of(asked.day, asked.days))
    spark = SparkSession.builder.appName(f"{asked.prefix}{asked.step} {asked.day}").getOrCreate()
    try:
        result = (bronze if asked.step == "bronze" else silver)(spark, asked, days)
        print("result", json.dumps(result), flush=True)
    except Failed as error:
        print("failed", error, flush=True)
        sys.exit(1)
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
