# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real TimescaleDB: its catalog is restored in a mode of its own, and its hypertables work afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill, restoring, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import fixture_image

from .conftest import Harbour

pytestmark = [pytest.mark.integration, pytest.mark.more]
ROWS = 5000
MADE = f"""
CREATE EXTENSION timescaledb;
CREATE TABLE readings (at timestamptz NOT NULL, sensor int, value float);
SELECT create_hypertable('readings', 'at', chunk_time_interval => interval '1 day');
INSERT INTO readings SELECT '2026-01-01'::timestamptz + n * interval '5 minutes', n % 7, n FROM generate_series(1, {ROWS}) n;
"""
DAYS = "SELECT count(*), sum(n) FROM (SELECT time_bucket('1 day', at), count(*) AS n FROM readings GROUP BY 1) d"


def sql(harbour: Harbour, text: str) -> str:
    database = harbour.client.containers.get(harbour.running("db")[0])
    code, output = database.exec_run(["psql", "-U", "sensors", "-qAtc", text])
    assert code == 0, output
    return str(output.decode().strip())


def test_a_hypertable_is_proven_restored_and_goes_on(
    harbour: Harbour, client: Any, own_repository: Path, tmp_path: Path
) -> None:
    where = Repository(str(own_repository), str(tmp_path / "password"), cache=str(tmp_path / "cache"))
    vault = Vault(Restic(where, "web-1", wait=20), str(harbour.folder / "state/manifests"))
    database = {
        "image": fixture_image(client, "timescale", "postgres"),
        "environment": {"POSTGRES_USER": "sensors", "POSTGRES_HOST_AUTH_METHOD": "trust"},
        "volumes": ["data:/var/lib/postgresql/data"],
        "deploy": {"update_config": {"monitor": "0.3s"}},
    }
    extra = {"backup": {"items": {"db": {"type": "postgres", "service": "db", "databases": ["sensors"]}}}}
    harbour.deployed({"db": database}, volumes={"data": {}}, **{"x-quaylock": extra})
    for statement in MADE.strip().split(";\n"):
        sql(harbour, statement)
    before = sql(harbour, DAYS)
    chunks = sql(harbour, "SELECT count(*) FROM show_chunks('readings')")
    assert int(chunks) > 15
    answer = run.back_up(harbour.request({}), vault)
    assert answer["outcome"] == "made", answer
    about = vault.sets(harbour.name)[0].item("db").about["databases"]["sensors"]
    assert "timescaledb" in about["extensions"]
    proof = drill.drill(harbour.request({}), vault)
    assert proof["outcome"] == "proven", proof
    sql(harbour, "DROP TABLE readings")
    restored = restoring.restore(harbour.request({}), vault, restoring.Choice(stop=True))
    assert restored["outcome"] == "restored", restored
    assert sql(harbour, DAYS) == before
    assert sql(harbour, "SELECT count(*) FROM show_chunks('readings')") == chunks
    sql(harbour, "INSERT INTO readings VALUES ('2027-01-01', 1, 1)")
    assert sql(harbour, "SELECT count(*) FROM show_chunks('readings')") == str(int(chunks) + 1), "it makes new chunks"
    assert sql(harbour, "SELECT count(*) FROM readings") == str(ROWS + 1)
    for volume in restored["kept"]:
        client.volumes.get(volume.removeprefix("volume ")).remove()
