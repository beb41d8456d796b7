# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the DAG compares, and how it asks Trino: a server that speaks Trino's protocol is on loopback."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[3] / "roles" / "lakehouse" / "files" / "airflow" / "taxi_checks.py"
_spec = importlib.util.spec_from_file_location("lakehouse_taxi_checks", FILE)
assert _spec
assert _spec.loader
taxi_checks = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = taxi_checks
_spec.loader.exec_module(taxi_checks)

BRONZE = {"rows": 3000, "total": "61000.10"}
SILVER = {"rows": 2990, "rejected": 7, "duplicates": 3, "total": "60000.50"}
GOOD = (2990, "60000.50")

CASES = [
    # name                            bronze's rows  silver reads         gold reads           what is said
    ("all agree", 3000, GOOD, GOOD, None),
    ("a scale more", 3000, (2990, "60000.5000"), (2990, 60000.5), None),
    ("a trip was lost", 3001, GOOD, GOOD, "bronze has 3001 trips, silver made 2990 rows .* = 3000 of them"),
    ("silver has more", 3000, (2991, "60000.50"), GOOD, "wrote 2990 trips of 60000.5, Trino reads 2991 trips of 60000.5 in silver"),
    ("gold has another sum", 3000, GOOD, (2990, "60000.51"), "2990 trips of 60000.5, Trino reads 2990 trips of 60000.51 in gold"),
    ("gold is empty", 3000, GOOD, (None, None), "Trino reads 0 trips of 0 in gold"),
    ("all wrong", 1, (1, "1"), (2, "2"), "bronze has 1 .*; .* in silver; .* in gold"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "silver", "gold", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_layers_that_disagree_are_named_with_both_numbers(rows: int, silver: Any, gold: Any, said: str | None) -> None:
    read = [taxi_checks.Sum.of(row) for row in (silver, gold)]
    if said:
        with pytest.raises(taxi_checks.Differs, match=said):
            taxi_checks.compare({**BRONZE, "rows": rows}, SILVER, *read)
        return
    told = taxi_checks.compare({**BRONZE, "rows": rows}, SILVER, *read)
    assert told == {"trips": 2990, "total": "60000.50", "rows": 2990, "rejected": 7, "duplicates": 3}


def test_a_day_without_trips_agrees_with_itself() -> None:
    nothing = {"rows": 0, "rejected": 0, "duplicates": 0, "total": None}
    empty = taxi_checks.Sum.of((0, None))
    assert empty == taxi_checks.Sum(0, Decimal(0))
    assert taxi_checks.compare({"rows": 0}, nothing, empty, empty)["trips"] == 0


def test_a_query_says_which_schemas_and_takes_nothing_else_into_it() -> None:
    silver, gold = taxi_checks.queries("2024-01-05", "verify_")
    assert "FROM iceberg.verify_silver.taxi_trips WHERE day = DATE '2024-01-05'" in silver
    assert "FROM iceberg.verify_gold.trips_by_day WHERE day = DATE '2024-01-05'" in gold
    for day, prefix in (("2024-01-05' OR '1'='1", ""), ("", ""), ("2024-01-05", "x.y; "), ("2024-01-05\n", "")):
        with pytest.raises(ValueError, match="not a day or not a prefix"):
            taxi_checks.queries(day, prefix)


class Trino(BaseHTTPRequestHandler):
    """Answers in three steps as Trino does, the first time with "busy"."""

    asked: list[str]
    last: dict[str, Any]

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if len(self.asked) == 1:
            self.send_error(503)
            return
        self.tell({"nextUri": f"http://127.0.0.1:{self.headers['Host'].partition(':')[2]}/v1/statement/1?slug=a"})

    def do_GET(self) -> None:
        first = {"nextUri": f"http://127.0.0.1:{self.headers['Host'].partition(':')[2]}/v1/statement/2"}
        self.tell(first if self.path == "/v1/statement/1?slug=a" else self.last)

    def tell(self, what: dict[str, Any]) -> None:
        text = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def trino() -> Iterator[str]:
    Trino.asked, Trino.last = [], {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Trino) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_query_is_followed_to_its_row(trino: str) -> None:
    Trino.last = {"data": [[2990, "60000.50"]]}
    assert taxi_checks.row_of(trino, "SELECT 1") == [2990, "60000.50"]
    assert Trino.asked == ["SELECT 1", "SELECT 1"]


def test_what_trino_refuses_is_said(trino: str) -> None:
    Trino.last = {"error": {"message": "line 1:8: Table 'gold' does not exist"}}
    with pytest.raises(taxi_checks.QueryFailed, match="Table 'gold' does not exist: SELECT 1"):
        taxi_checks.row_of(trino, "SELECT 1")
    Trino.last = {"data": []}
    with pytest.raises(taxi_checks.QueryFailed, match="0 rows instead of one"):
        taxi_checks.row_of(trino, "SELECT 1")
    with pytest.raises(taxi_checks.QueryFailed, match="Trino answers 501"):
        taxi_checks._asked("PUT", f"{trino}/v1/statement", "SELECT 1")
