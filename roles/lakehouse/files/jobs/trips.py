# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes made-up taxi trips as the Iceberg table bronze.taxi_trips: trips.py ROWS SEED

The columns are those of the published records of yellow taxis. The same rows and seed give the same trips, whatever the
number of workers: each trip comes from a hash of the seed and its own number.
"""

import sys

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sql

DAYS = 31
TABLE = "bronze.taxi_trips"


def drawn(seed: int, what: str, below: int) -> Column:
    """A number from 0 to below - 1, for each trip and purpose its own."""
    return sql.pmod(sql.xxhash64(sql.lit(seed), sql.lit(what), sql.col("trip_id")), sql.lit(below))


def trips(spark: SparkSession, rows: int, seed: int) -> DataFrame:
    hundredths = 50 + drawn(seed, "distance", 1200) + drawn(seed, "far", 20) * drawn(seed, "farther", 60)
    seconds = 180 + hundredths * 2 + drawn(seed, "traffic", 900)
    return (
        spark.range(rows, numPartitions=4)
        .withColumnRenamed("id", "trip_id")
        .withColumn("distance", hundredths)
        .withColumn("fare", 300 + sql.col("distance") * 2 + drawn(seed, "waiting", 300))
        .withColumn(
            "tip",
            sql.when(
                drawn(seed, "generous", 3) > 0, sql.floor(sql.col("fare") * drawn(seed, "tip", 26) / 100)
            ).otherwise(0),
        )
        .select(
            "trip_id",
            (drawn(seed, "vendor", 2) + 1).cast("int").alias("vendor_id"),
            sql.timestamp_seconds(sql.lit(1704067200) + drawn(seed, "pickup", DAYS * 86400)).alias(
                "tpep_pickup_datetime"
            ),
            seconds.cast("int").alias("trip_seconds"),
            (drawn(seed, "passengers", 4) + 1).cast("int").alias("passenger_count"),
            (sql.col("distance") / 100).cast("decimal(8,2)").alias("trip_distance"),
            (drawn(seed, "from", 263) + 1).cast("int").alias("pu_location_id"),
            (drawn(seed, "to", 263) + 1).cast("int").alias("do_location_id"),
            (drawn(seed, "payment", 2) + 1).cast("int").alias("payment_type"),
            (sql.col("fare") / 100).cast("decimal(10,2)").alias("fare_amount"),
            (sql.col("tip") / 100).cast("decimal(10,2)").alias("tip_amount"),
            ((sql.col("fare") + sql.col("tip")) / 100).cast("decimal(10,2)").alias("total_amount"),
        )
    )


def main(rows: int, seed: int) -> None:
    spark = SparkSession.builder.appName("trips").getOrCreate()
    try:
        for layer in ("bronze", "silver", "gold"):
            spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {layer} LOCATION 's3a://{layer}/'")
        made = trips(spark, rows, seed)
        made.writeTo(TABLE).using("iceberg").partitionedBy(sql.days("tpep_pickup_datetime")).createOrReplace()
        stored = spark.table(TABLE).agg(sql.count("*").alias("trips"), sql.sum("total_amount").alias("total")).first()
        print(f"rows={stored['trips']} total={stored['total']}", flush=True)
        if stored["trips"] != rows:
            sys.exit(f"{rows} rows were written, {stored['trips']} are there")
    finally:
        spark.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
