# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the jobs of one day say they wrote, against what Trino reads."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

DAY = re.compile(r"\d{4}-\d\d-\d\d")
PREFIX = re.compile(r"[a-z_]{0,30}")


class Differs(Exception):
    """Two that should say the same do not."""


class QueryFailed(Exception):
    """Trino refused the query or gave up on it."""


@dataclass(frozen=True, slots=True)
class Sum:
    """So many trips, which cost that much together."""

    trips: int
    total: Decimal

    @staticmethod
    def of(row: Any) -> Sum:
        """A row of count and sum; the sum of nothing is null."""
        trips, total = row
        return Sum(int(trips or 0), Decimal(str(total or 0)))

    def __str__(self) -> str:
        return f"{self.trips} trips of {self.total.normalize():f}"


def queries(day: str, prefix: str) -> tuple[str, str]:
    """What to ask of silver and of gold. Both texts become part of a query, so they are looked at before."""
    if not DAY.fullmatch(day) or not PREFIX.fullmatch(prefix):
        raise ValueError(f"not a day or not a prefix: {day!r}, {prefix!r}")
    where = f"WHERE day = DATE '{day}'"
    return (
        f"SELECT count(*), sum(total_amount) FROM iceberg.{prefix}silver.taxi_trips {where}",  # noqa: S608
        f"SELECT sum(trips), sum(revenue) FROM iceberg.{prefix}gold.trips_by_day {where}",  # noqa: S608
    )


def compare(bronze: Mapping[str, Any], silver: Mapping[str, Any], read_silver: Sum, read_gold: Sum) -> dict[str, Any]:
    """No trip is lost or counted twice on its way, and all add up to the same. Raises Differs with both numbers."""
    wrote = Sum.of((silver["rows"], silver["total"]))
    left = {name: int(silver[name]) for name in ("rows", "rejected", "duplicates")}
    wrong = []
    if int(bronze["rows"]) != sum(left.values()):
        parts = " + ".join(f"{count} {name}" for name, count in left.items())
        wrong.append(f"bronze has {bronze['rows']} trips, silver made {parts} = {sum(left.values())} of them")
    for layer, read in (("silver", read_silver), ("gold", read_gold)):
        if read != wrote:
            wrong.append(f"silver wrote {wrote}, Trino reads {read} in {layer}")
    if wrong:
        raise Differs("; ".join(wrong))
    return {"trips": wrote.trips, "total": str(wrote.total), **left}


def row_of(url: str, query: str, timeout: float = 120) -> Any:
    """The only row of a query. Raises QueryFailed, or OSError where Trino is away."""
    until = time.monotonic() + timeout
    answer = _asked("POST", f"{url}/v1/statement", query)
    rows = list(answer.get("data") or [])
    while following := answer.get("nextUri"):
        if time.monotonic() > until:
            raise QueryFailed(f"no answer within {timeout:g} s: {query}")
        answer = _asked("GET", following, None)
        rows += answer.get("data") or []
    if error := answer.get("error"):
        raise QueryFailed(f"{error.get('message')}: {query}")
    if len(rows) != 1:
        raise QueryFailed(f"{len(rows)} rows instead of one: {query}")
    return rows[0]


def _asked(method: str, url: str, body: str | None) -> dict[str, Any]:
    """One step of a query. Trino asks to be asked again when it is busy."""
    address = urlsplit(url)
    for pause in (0.2, 0.5, 1.0, 2.0, 0.0):
        connection = http.client.HTTPConnection(str(address.hostname), address.port or 80, timeout=30)
        try:
            path = f"{address.path}?{address.query}" if address.query else address.path
            headers = {"X-Trino-User": "taxi_daily", "X-Trino-Source": "taxi_daily", "Connection": "close"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status == 200:
            read: dict[str, Any] = json.loads(text)
            return read
        if answer.status not in (429, 502, 503, 504):
            break
        time.sleep(pause)
    raise QueryFailed(f"Trino answers {answer.status}: {text[:300].decode(errors='replace')}")
