# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import dataclasses
import time

import psycopg
import pytest
from fastapi.testclient import TestClient

from main import application
from settings import Settings

MINE = {"name": "Shallow pit", "tonnes_a_year": 100, "price": 90, "unit_cost": 40, "investment": 5000, "years": 3}


def test_health_asks_the_database(client: TestClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_health_says_when_the_database_is_away() -> None:
    nowhere = Settings(host="127.0.0.1", port=1, user="u", name="n", password="p")
    with TestClient(application(nowhere)) as client:
        began = time.monotonic()
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "error", "db": "unreachable"})
        assert time.monotonic() - began < 5
        assert client.get("/api/scenarios").status_code == 503
        assert client.get("/version").status_code == 200


def test_health_says_when_the_schema_is_missing(fresh: Settings) -> None:
    with TestClient(application(fresh)) as client:
        answer = client.get("/health")
    assert answer.status_code == 503
    assert "--run-migrations" in answer.json()["db"]


def test_health_says_when_the_schema_is_too_old(migrated: Settings) -> None:
    with psycopg.connect(migrated.conninfo) as connection:
        connection.execute("DELETE FROM schema_migration WHERE number > '0001'")
    with TestClient(application(migrated)) as client:
        answer = client.get("/health")
    assert answer.status_code == 503
    assert "schema is at 0001" in answer.json()["db"]


def test_health_recovers_when_connections_were_cut(client: TestClient, migrated: Settings) -> None:
    assert client.get("/health").status_code == 200
    with psycopg.connect(migrated.conninfo) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND pid <> pg_backend_pid()",
            (f"calminer {migrated.version}",),
        )
    assert client.get("/health").status_code == 200


def test_version_is_the_release(fresh: Settings) -> None:
    with TestClient(application(dataclasses.replace(fresh, version="2.1.0"))) as client:
        assert client.get("/version").json()["version"] == "2.1.0"


def test_a_scenario_is_stored_and_listed(client: TestClient) -> None:
    stored = client.post("/api/scenarios", json=MINE)
    assert stored.status_code == 201
    listed = client.get("/api/scenarios").json()
    assert listed == [stored.json()]
    assert MINE.items() <= listed[0].items()


def test_the_newest_comes_first(client: TestClient) -> None:
    for name in ("first", "second", "third"):
        client.post("/api/scenarios", json={"name": name})
    assert [one["name"] for one in client.get("/api/scenarios?limit=2").json()] == ["third", "second"]


def test_a_name_is_taken_once(client: TestClient) -> None:
    assert client.post("/api/scenarios", json=MINE).status_code == 201
    again = client.post("/api/scenarios", json=MINE)
    assert (again.status_code, again.json()["detail"]) == (409, "there is a scenario called Shallow pit")


BAD = [
    # name             change
    ("without a name", {"name": ""}),
    ("no years", {"years": 0}),
    ("negative price", {"price": -1}),
    ("not a number", {"price": "much"}),
]


@pytest.mark.parametrize("change", [case[1] for case in BAD], ids=[case[0] for case in BAD])
def test_a_scenario_that_makes_no_sense_is_refused(client: TestClient, change: dict[str, object]) -> None:
    assert client.post("/api/scenarios", json=MINE | change).status_code == 422
    assert client.get("/api/scenarios").json() == []


def test_the_page_lists_scenarios_and_escapes_them(client: TestClient) -> None:
    assert "There is none yet" in client.get("/").text
    client.post("/api/scenarios", json=MINE | {"name": "<script>alert(1)</script>"})
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;alert(1)" in page.text


def test_static_files_are_served(client: TestClient) -> None:
    assert client.get("/static/calminer.css").headers["content-type"].startswith("text/css")
    assert client.get("/static/../main.py").status_code == 404


def test_a_simulation_takes_the_time_it_was_given(client: TestClient) -> None:
    client.post("/api/scenarios", json=MINE)
    began = time.monotonic()
    answer = client.get("/api/scenarios/simulate?seconds=0.3").json()
    assert 0.3 <= time.monotonic() - began < 2
    found = answer["scenarios"]["Shallow pit"]
    assert found["p10"] < found["p50"] < found["p90"]


def test_a_simulation_can_be_repeated(client: TestClient) -> None:
    client.post("/api/scenarios", json=MINE)
    one, two = (client.get("/api/scenarios/simulate?seconds=0&seed=7").json() for _turn in range(2))
    assert one == two
