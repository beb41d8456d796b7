# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The recipes' images as containers that run."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .images import output_of
from .inside import asked

docker = pytest.importorskip("docker")


@contextlib.contextmanager
def running(client: Any, image: str, name: str, **about: Any) -> Iterator[Any]:
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get(name).remove(force=True, v=True)
    hardened = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    container = client.containers.run(image, name=name, detach=True, **{**hardened, **about})
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def healthy(container: Any, seconds: float = 60) -> None:
    def is_healthy() -> bool:
        container.reload()
        state = container.attrs["State"]
        assert state["Status"] == "running", container.logs().decode()
        return bool(state.get("Health", {}).get("Status") == "healthy")

    until(is_healthy, lambda: container.logs().decode(), seconds=seconds, rest=0.1)


def ended(container: Any) -> tuple[int, str]:
    return container.wait(timeout=60)["StatusCode"], container.logs().decode()


PASSWORD = 'it\'s "quoted" $HOME'
PSQL = ["psql", "-h", "127.0.0.1", "-U", "shop", "-d", 'the "shop"', "-qAtc"]
AS = {"PGPASSWORD": PASSWORD}


class Database:
    """PostgreSQL from the recipe, as a stack runs it."""

    def __init__(self, client: Any, image: str, folder: Path) -> None:
        self.client, self.image = client, image
        self.password = folder / "password"
        self.password.write_text(f"{PASSWORD}\n")
        self.password.chmod(0o644)
        self.scripts = folder / "init"
        self.scripts.mkdir()

    def run(self, **about: Any) -> contextlib.AbstractContextManager[Any]:
        environment = {
            "POSTGRES_USER": "shop",
            "POSTGRES_DB": 'the "shop"',
            "POSTGRES_PASSWORD_FILE": "/run/secrets/password",
        }
        # the image's check runs every ten seconds
        check = {"test": ["CMD", "pg_isready", "-q", "-h", "127.0.0.1"], "interval": 300_000_000}
        return running(
            self.client,
            self.image,
            "qimg-postgres",
            **{
                "environment": environment,
                "tmpfs": {"/tmp": "", "/run/postgresql": ""},
                "volumes": [
                    "qimg-postgres:/var/lib/postgresql/data",
                    f"{self.password}:/run/secrets/password:ro",
                    f"{self.scripts}:/docker-entrypoint-initdb.d:ro",
                ],
                "healthcheck": check,
                **about,
            },
        )

    @staticmethod
    def sql(container: Any, query: str, password: str = PASSWORD) -> str:
        code, said = asked(container, [*PSQL, query], environment={"PGPASSWORD": password})
        return said if code == 0 else f"FAILED {said}"


@pytest.fixture
def database(client: Any, recipes: dict[str, str], tmp_path: Path) -> Iterator[Database]:
    def forget() -> None:
        with contextlib.suppress(docker.errors.NotFound):
            client.containers.get("qimg-postgres").remove(force=True, v=True)
        with contextlib.suppress(docker.errors.NotFound):
            client.volumes.get("qimg-postgres").remove()

    forget()
    yield Database(client, recipes["postgres"], tmp_path)
    forget()


def test_postgres_serves_hardened_and_keeps_its_rows_over_restart_and_replacement(database: Database) -> None:
    (database.scripts / "10-table.sql").write_text("CREATE TABLE crates (n int);")
    (database.scripts / "20-row.sh").write_text("psql -c 'INSERT INTO crates VALUES (7)'\n")
    (database.scripts / "README").write_text("no script")
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT n FROM crates") == "7"
        assert database.sql(container, "SHOW server_encoding") == "UTF8"
        assert "authentication failed" in database.sql(container, "SELECT 1", password="guessed")
        code, environment = asked(container, ["cat", "/proc/1/environ"])
        assert (code, "PASSWORD" in environment) == (0, False)
        assert asked(container, ["cat", "/proc/1/comm"])[1] == "postgres"
        assert asked(container, ["id", "-u"])[1] == "999"
        assert container.exec_run([*PSQL, "INSERT INTO crates VALUES (8)"], environment=AS).exit_code == 0
        container.stop(timeout=20)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0
        container.start()
        healthy(container)
        assert database.sql(container, "SELECT sum(n) FROM crates") == "15"
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT sum(n) FROM crates") == "15"


def test_postgres_that_is_killed_in_its_first_start_begins_again(database: Database) -> None:
    (database.scripts / "10-table.sql").write_text("CREATE TABLE crates AS SELECT generate_series(1, 1000) AS n;")
    for pause in (0.05, 0.2, 0.4, 0.6):
        with database.run() as container:
            time.sleep(pause)
            with contextlib.suppress(docker.errors.APIError):
                container.kill()
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT count(*) FROM crates") == "1000"
        assert asked(container, ["sh", "-c", "ls -A $PGDATA | grep -c ^.new"])[1] == "0"


def test_postgres_does_not_start_after_an_init_script_that_failed(database: Database) -> None:
    script = database.scripts / "10-bad.sql"
    script.write_text("CREATE TABLE crates (n int);\nSELECT * FROM nowhere;\n")
    with database.run() as container:
        code, log = ended(container)
        assert code != 0
        assert 'relation "nowhere" does not exist' in log
    script.write_text("CREATE TABLE crates (n int);")
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT count(*) FROM crates") == "0"


REFUSALS = [
    ("no password", {"environment": {}}, "no password: set POSTGRES_PASSWORD_FILE"),
    ("both", {"environment": {"POSTGRES_PASSWORD": "x", "POSTGRES_PASSWORD_FILE": "/x"}}, "are both set"),
    ("no such file", {"environment": {"POSTGRES_PASSWORD_FILE": "/nowhere"}}, "cannot read /nowhere"),
    ("no place", {"environment": {"POSTGRES_PASSWORD": "x", "PGDATA": "/usr/share"}}, "cannot be written"),
    ("other user", {"user": "4711", "environment": {"POSTGRES_PASSWORD": "x"}}, "cannot be written by uid 4711"),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "about", "words"), REFUSALS)
def test_postgres_refuses_in_words(database: Database, _name: str, about: dict[str, Any], words: str) -> None:
    with database.run(**about) as container:
        code, log = ended(container)
        assert code == 78
        assert words in log


def test_postgres_started_as_root_drops_to_its_own_user(database: Database) -> None:
    capable = ["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "SETGID", "SETUID"]
    with database.run(user="0", cap_add=capable) as container:
        healthy(container)
        assert asked(container, ["stat", "-c", "%u", "/proc/1"])[1] == "999"


def test_haproxy_serves_hardened_and_ends_softly(client: Any, recipes: dict[str, str]) -> None:
    with running(client, recipes["haproxy"], "qimg-haproxy", tmpfs={"/run/haproxy": ""}) as container:
        healthy(container)
        assert asked(container, ["id", "-u"])[1] == "99"
        container.reload()
        address = container.attrs["NetworkSettings"]["IPAddress"]
        with socket.create_connection((address, 8080), 3) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b"200" in connection.recv(200)
        container.stop(timeout=10)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0


def test_python_makes_environments_without_root(client: Any, recipes: dict[str, str]) -> None:
    look = (
        "import os, ssl, venv; venv.create('/tmp/v', with_pip=True);"
        "print(os.getuid(), ssl.create_default_context().cert_store_stats()['x509_ca'] > 50)"
    )
    about = {"read_only": True, "tmpfs": {"/tmp": "exec"}, "cap_drop": ["ALL"]}
    output = output_of(client, recipes["python"], ["python3", "-c", look], **about)
    assert output.split() == [b"10001", b"True"]


# The role
