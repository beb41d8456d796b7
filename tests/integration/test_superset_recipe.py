# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Superset from its recipe in a stack, with the lakehouse's dashboard: a real PostgreSQL below it, a real Trino with rows in memory."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.docker_engine import DockerEngine
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image

from .conftest import Harbour

pytestmark = [pytest.mark.integration, pytest.mark.more]

DASHBOARDS = Path(__file__).parents[2] / "roles/lakehouse/files/superset/dashboards.yaml"
LOCKED: dict[str, Any] = {
    "read_only": True,
    "init": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "networks": ["inside"],
    "deploy": {"update_config": {"monitor": "0.3s"}},
}
SETTINGS = {
    "DB_HOST": "db",
    "DB_NAME": "superset",
    "DB_USER": "superset",
    "DB_PASSWORD_FILE": "/run/secrets/db",
    "SUPERSET_SECRET_KEY_FILE": "/run/secrets/key",
    "ADMIN_USERNAME": "keeper",
    "ADMIN_PASSWORD_FILE": "/run/secrets/admin",
    "TRINO_USER": "superset",
}
GOLD = (
    "CREATE SCHEMA iceberg.gold",
    # two vendors in 31 days, and what is seen of them by the hour
    "CREATE TABLE iceberg.gold.trips_by_day AS SELECT day, vendor_id, CAST(100 * vendor_id AS bigint) AS trips,"
    " CAST(2.5 AS decimal(38, 2)) AS distance, CAST(10.10 AS decimal(38, 2)) AS revenue, CAST(1 AS decimal(38, 2)) AS tips"
    " FROM UNNEST(sequence(DATE '2024-01-01', DATE '2024-01-31')) AS d (day) CROSS JOIN (VALUES 1, 2) AS v (vendor_id)",
    "CREATE TABLE iceberg.gold.trips_by_hour AS SELECT hour, CAST(hour AS bigint) AS trips, CAST(1 AS decimal(38, 2)) AS revenue"
    " FROM (SELECT CAST(h AS integer) AS hour FROM UNNEST(sequence(0, 23)) AS h (h))",
)


class Lakehouse:
    """The stack's upper layers."""

    def __init__(self, harbour: Harbour, client: Any) -> None:
        self.harbour, self.client = harbour, client
        self.secrets = {
            "db": secrets.token_urlsafe(12).encode(),
            "key": secrets.token_urlsafe(42).encode() + b"\n",
            "admin": b'it\'s "quoted" $HOME 1\n',
            "s3": b"nobody",
        }
        images = {name: recipe_image(client, name) for name in ("postgres", "trino", "superset")}
        superset = {
            **LOCKED,
            "image": images["superset"],
            "environment": SETTINGS,
            "secrets": ["db", "key", "admin"],
            "tmpfs": ["/tmp:mode=1777"],
        }
        trino_settings = {"S3_ENDPOINT": "http://none", "METASTORE_URI": "thrift://none:9083"}
        self.services: dict[str, Any] = {
            "db": {
                **LOCKED,
                "image": images["postgres"],
                "environment": {
                    "POSTGRES_USER": "superset",
                    "POSTGRES_DB": "superset",
                    "POSTGRES_PASSWORD_FILE": "/run/secrets/db",
                },
                "secrets": ["db"],
                "tmpfs": ["/tmp", "/run/postgresql"],
                "volumes": ["db:/var/lib/postgresql/data"],
            },
            "trino": {
                **LOCKED,
                "image": images["trino"],
                "environment": {
                    **trino_settings,
                    "AWS_ACCESS_KEY_ID_FILE": "/run/secrets/s3",
                    "AWS_SECRET_ACCESS_KEY_FILE": "/run/secrets/s3",
                },
                "secrets": ["s3"],
                "configs": [{"source": "catalog", "target": "/etc/trino/catalog/iceberg.properties"}],
                "tmpfs": ["/tmp:mode=1777,exec", "/run/trino:uid=10001,gid=10001,mode=0700"],
                "mem_limit": "2g",
                "x-quaylock": {"gate": {"deadline": "4m", "progress": "3m"}},
            },
            "superset-init": {
                **superset,
                "command": ["init"],
                "configs": [{"source": "dashboards", "target": "/app/assets/dashboards.yaml"}],
                "healthcheck": {"disable": True},
                "restart": "no",
                "depends_on": {"db": {"condition": "service_healthy"}},
                "x-quaylock": {"one_shot": True},
            },
            "superset": {
                **superset,
                "depends_on": {"superset-init": {"condition": "service_completed_successfully"}},
                "x-quaylock": {"gate": {"deadline": "3m", "progress": "2m"}},
            },
        }

    def deploy(self) -> None:
        """Deployed is what was verified, here by what a stack would declare: somebody can log in, and nothing complains."""
        verify = {
            "superset": {
                "exec": {"service": "superset", "command": ["superset-ask", "databases"]},
                "json": {"databases.0": "Lakehouse"},
            },
            "quiet": {"logs": {"allowed": {"db": ["the database system is starting up"]}}},
        }
        self.harbour.deployed(
            self.services,
            networks={"inside": {"internal": True}},
            volumes={"db": {}},
            secrets={name: {} for name in self.secrets},
            secrets_content=self.secrets,
            configs={"catalog": {}, "dashboards": {}},
            configs_content={"catalog": b"connector.name=memory\n", "dashboards": DASHBOARDS.read_bytes()},
            **{"x-quaylock": {"verify": verify, "verify_failure": "report"}},
        )

    def run(self, service: str, *command: str) -> tuple[int, str]:
        container = self.client.containers.get(self.harbour.running(service)[0])
        code, output = container.exec_run(list(command))
        return code, output.decode()

    def ask(self, *what: str) -> dict[str, Any]:
        code, said = self.run("superset", "superset-ask", *what)
        assert code == 0, said
        answer: dict[str, Any] = json.loads(said)
        return answer

    def sql(self, text: str) -> str:
        code, said = self.run("db", "psql", "-U", "superset", "-qAtc", text)
        assert code == 0, said
        return said.strip()

    def log(self, service: str) -> str:
        names = self.harbour.containers(service)
        return "".join(self.client.containers.get(name).logs().decode() for name in names)

    def page(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        address = DockerEngine(self.client).reached(self.harbour.running("superset")[0])
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(urllib.request.Request(f"http://{address}:8088{path}", headers=headers or {}), timeout=20)


def test_superset_serves_the_lakehouses_dashboard(harbour: Harbour, client: Any) -> None:
    lakehouse = Lakehouse(harbour, client)
    lakehouse.deploy()

    # its assets came in while there were no tables, which is told in a sentence
    code, said = lakehouse.run("superset", "superset-ask", "taxi")
    assert code == 1
    assert said.startswith("superset-ask: the chart 'Revenue per day': "), said
    assert "Schema 'gold' does not exist" in said
    code, said = lakehouse.run("trino", "trino-ask", *GOLD)
    assert code == 0, said
    assert lakehouse.ask("taxi") == {
        "databases": ["Lakehouse"],
        "dashboard": "taxi",
        "trips": 31 * 300,
        "charts": {
            "Revenue per day": {"rows": 31, "sum": 626.2},
            "Trips": {"rows": 1, "sum": 9300},
            "Trips by day": {"rows": 62, "sum": 9300},
            "Trips by hour of the day": {"rows": 24, "sum": 276},
        },
    }
    code, said = lakehouse.run("superset", "superset-ask", "nothing")
    assert (code, said.strip()) == (1, "superset-ask: /dashboard/nothing is answered 404: Not found")

    # who wants it for themselves finds it so; none of it leaves for anywhere else
    with lakehouse.page("/login/") as page:
        policy = page.headers["Content-Security-Policy"]
        assert "https://" not in policy
        assert page.headers["Set-Cookie"].startswith("session=")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        lakehouse.page("/nothing")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        lakehouse.page("/api/v1/chart/")
    assert "Traceback" not in lakehouse.log("superset"), "a page that is not there is a line"
    for service in ("superset-init", "superset"):
        body = json.dumps(harbour.containers(service)) + lakehouse.log(service)
        for key, value in lakehouse.secrets.items():
            if key != "s3":
                assert value.decode().strip() not in body, f"{key} is seen from outside"

    # nothing to do is not done, and what somebody changed by hand stays
    lakehouse.sql("UPDATE slices SET description = 'by hand' WHERE slice_name = 'Trips'")
    before = lakehouse.sql("SELECT changed_on FROM dashboards")
    lakehouse.services["superset-init"]["environment"] = {**SETTINGS, "LOG_LEVEL": "WARNING"}
    lakehouse.deploy()
    assert lakehouse.log("superset-init").strip() == "superset init: nothing to do"
    assert lakehouse.sql("SELECT description FROM slices WHERE slice_name = 'Trips'") == "by hand"
    assert lakehouse.sql("SELECT changed_on FROM dashboards") == before

    # another password, and a chart that somebody deleted
    lakehouse.sql("DELETE FROM dashboard_slices; DELETE FROM slices WHERE slice_name = 'Trips'")
    lakehouse.secrets["admin"] = b"another password\n"
    lakehouse.deploy()
    said = lakehouse.log("superset-init")
    assert "superset init: gave keeper another password" in said
    assert set(lakehouse.ask("taxi")["charts"]) > {"Trips"}
    assert lakehouse.sql("SELECT count(*) FROM slices; SELECT count(*) FROM ab_user") == "4\n1"

    # without its database it is not healthy, and it is again when that is back
    container = client.containers.get(harbour.running("db")[0])
    container.pause()
    try:
        code, said = lakehouse.run("superset", "superset-check")
        assert code != 0, said
    finally:
        container.unpause()
    assert lakehouse.run("superset", "superset-check") == (0, "")
    superset = client.containers.get(harbour.running("superset")[0])
    superset.stop(timeout=30)
    superset.reload()
    assert superset.attrs["State"]["ExitCode"] == 0


@pytest.mark.parametrize(
    ("content", "environment", "command", "said"),
    [
        ("short", {}, "serve", "SUPERSET_SECRET_KEY_FILE: /run/secrets/word has 5 characters, the key that signs sessions needs 32"),
        ("x" * 32, {"DB_HOST": ""}, "serve", "DB_HOST is not set: the metadata database is found by DB_HOST, DB_PORT, DB_NAME"),
        ("x" * 32, {"ADMIN_PASSWORD_FILE": "/nowhere"}, "init", "ADMIN_PASSWORD_FILE: cannot read /nowhere as uid 10001"),
    ],
    ids=["a-short-key", "no-database", "no-password"],
)  # fmt: skip
def test_what_is_missing_is_said_at_the_start(
    client: Any, tmp_path: Path, content: str, environment: dict[str, str], command: str, said: str
) -> None:
    word = tmp_path / "word"
    word.write_text(content)
    word.chmod(0o644)
    files = {name: "/run/secrets/word" for name in SETTINGS if name.endswith("_FILE")}
    container = client.containers.run(
        recipe_image(client, "superset"),
        [command],
        detach=True,
        network_mode="none",
        read_only=True,
        environment={**SETTINGS, **files, **environment},
        volumes=[f"{word}:/run/secrets/word:ro"],
    )
    try:
        assert container.wait(timeout=60)["StatusCode"] == 78
        assert container.logs().decode().startswith(f"superset: {said}")
    finally:
        container.remove(force=True)
