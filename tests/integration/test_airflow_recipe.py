# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Airflow from its recipe with the lakehouse's DAG and job servers: runs end right, whoever is killed meanwhile.

The jobs are processes that sleep and print a result, and Trino is a program that speaks its protocol; everything else is real.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

docker = pytest.importorskip("docker")

pytestmark = [pytest.mark.integration, pytest.mark.more]

FILES = Path(__file__).parents[2] / "roles" / "lakehouse" / "files"
NAME = "q-air-test"
BAD = re.compile(r"\b(ERROR|FATAL|CRITICAL)\b|Traceback")
SECRETS = {
    "db": 'it\'s "quoted" %s @/: $HOME',
    "key": "k" * 40,
    "admin": "an-admin's-password",
    "jobs_token": "a-token-of-some-length",
}
WRONG_DAY = "2024-02-02"
JOB = """
import json, sys, time
print("works on", sys.argv[2:], flush=True)
time.sleep(float(open("/opt/jobs/seconds").read()))
results = {"bronze": {"rows": 3000, "total": "3100.50"}, "gold": {},
           "silver": {"rows": 2990, "rejected": 7, "duplicates": 3, "total": "2990.50"}}
print("result", json.dumps(results[sys.argv[1]]))
"""
TRINO = """
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Trino(BaseHTTPRequestHandler):
    def do_POST(self):
        query = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.tell({"nextUri": "http://trino:8080/v1/statement/" + ("bad" if "WRONG_DAY" in query and "gold" in query else "good")})
    def do_GET(self):
        self.tell({"data": [[2990, "2990.50"] if self.path.endswith("good") else [2989, "2989.50"]]})
    def tell(self, what):
        text = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

ThreadingHTTPServer(("", 8080), Trino).serve_forever()
""".replace("WRONG_DAY", WRONG_DAY)


def jobs(names: str) -> dict[str, Any]:
    parameters: dict[str, dict[str, str | None]] = {
        "bronze": {"day": None, "rows": "1", "seed": "1", "url": ""},
        "silver": {"day": None},
        "gold": {},
    }
    return {
        name: {
            "command": ["python3", "/opt/jobs/job.py", name, *(f"{{{each}}}" for each in parameters[name])],
            "parameters": {**parameters[name], "prefix": ""},
            "timeout": 60,
        }
        for name in names.split()
    }


class Air:
    """What a stack of Airflow is, without the stack."""

    def __init__(self, client: Any, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.images = {name: recipe_image(client, name) for name in ("airflow", "postgres", "python")}
        (folder / "secrets").mkdir(mode=0o755)
        for name, text in SECRETS.items():
            self.write(f"secrets/{name}", text + "\n")
        self.write("job.py", JOB)
        self.write("trino.py", TRINO)
        self.write("seconds", "0.2")
        settings = {"schedule": None, "start": "2024-01-01", "rows": 3000, "seed": 9, "url": "", "catchup": False}
        self.write("taxi.json", json.dumps(settings))
        self.write("ingestor.json", json.dumps(jobs("bronze silver")))
        self.write("dbt.json", json.dumps(jobs("gold")))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)

    def start(self, name: str, image: str, command: list[str], mounts: dict[str, str], **about: Any) -> Any:
        with contextlib.suppress(docker.errors.NotFound):
            self.client.containers.get(f"{NAME}-{name}").remove(force=True, v=True)
        made = self.client.api.create_container(
            self.images[image],
            command,
            name=f"{NAME}-{name}",
            environment=about.get("environment", {}),
            healthcheck=about.get("check"),
            host_config=self.client.api.create_host_config(
                binds=[f"{self.folder}/secrets:/run/secrets:ro", *(f"{source}:{at}" for source, at in mounts.items())],
                read_only=True,
                init=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                tmpfs={"/tmp": "", **about.get("tmpfs", {})},
            ),
            networking_config=self.client.api.create_networking_config(
                {NAME: self.client.api.create_endpoint_config(aliases=[name])}
            ),
        )
        container = self.client.containers.get(made["Id"])
        container.start()
        return container

    def database(self) -> None:
        self.start(
            "db",
            "postgres",
            ["postgres"],
            {},
            environment={"POSTGRES_USER": "airflow", "POSTGRES_PASSWORD_FILE": "/run/secrets/db"},
            tmpfs={"/run/postgresql": "", "/var/lib/postgresql/data": "uid=999,mode=0700"},
        )

    def job_server(self, name: str) -> Any:
        mounts = {
            f"{FILES}/jobs/server.py": "/opt/jobs/server.py:ro",
            f"{self.folder}/{name}.json": "/opt/jobs/jobs.json:ro",
            f"{self.folder}/job.py": "/opt/jobs/job.py:ro",
            f"{self.folder}/seconds": "/opt/jobs/seconds:ro",
        }
        return self.start(name, "python", ["python3", "/opt/jobs/server.py"], mounts)

    def airflow(self, name: str, command: str, **environment: str) -> Any:
        dags = "/opt/airflow/dags"
        mounts = {
            f"{FILES}/airflow/taxi_daily.py": f"{dags}/taxi_daily.py:ro",
            f"{FILES}/airflow/taxi_checks.py": f"{dags}/taxi_checks.py:ro",
            f"{FILES}/jobs/job_client.py": f"{dags}/job_client.py:ro",
            f"{self.folder}/taxi.json": f"{dags}/taxi.json:ro",
            f"{NAME}-logs": "/opt/airflow/logs",
        }
        second = 1_000_000_000
        check = {"test": ["CMD", "airflow-check", command], "interval": second, "timeout": 9 * second, "retries": 60}
        return self.start(
            name,
            "airflow",
            [command],
            mounts,
            check=check if command in ("webserver", "scheduler") else None,
            environment={
                "DB_HOST": "db",
                "DB_PASSWORD_FILE": "/run/secrets/db",
                "AIRFLOW_SECRET_KEY_FILE": "/run/secrets/key",
                "ADMIN_PASSWORD_FILE": "/run/secrets/admin",
                "BASE_URL": "https://lake.example.org/flow",
                "SECURE_COOKIES": "yes",
                **environment,
            },
        )

    def init(self) -> str:
        container = self.airflow("init", "init")
        code = container.wait(timeout=120)["StatusCode"]
        said: str = container.logs().decode()
        container.remove()
        assert code == 0, said
        return said

    def get(self, name: str) -> Any:
        return self.client.containers.get(f"{NAME}-{name}")

    def healthy(self, name: str, seconds: float = 120) -> None:
        until(
            lambda: self.get(name).attrs["State"]["Health"]["Status"] == "healthy",
            lambda: self.logs(name),
            seconds=seconds,
            rest=0.5,
        )

    def logs(self, name: str) -> str:
        return str(self.get(name).logs().decode())

    def ask(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        code, (out, err) = self.get("webserver").exec_run(["airflow-ask", *arguments], demux=True)
        return code, json.loads(out or b"{}"), (err or b"").decode()

    def succeeds(self, run_id: str, **conf: str) -> dict[str, Any]:
        code, told, said = self.ask("run", "taxi_daily", run_id, json.dumps({"day": "2024-01-05", **conf}))
        assert (code, told["state"]) == (0, "success"), f"{said}\n{self.logs('scheduler')[-3000:]}"
        assert told["tasks"] == dict.fromkeys(("bronze", "silver", "gold", "compare"), "success")
        return told

    def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        until(true, lambda: self.logs("scheduler")[-3000:], seconds=seconds, rest=0.2)

    def in_the_middle_of(self, run_id: str, act: Callable[[], None]) -> float:
        """Acts while this run's first job goes on; the seconds that the run took."""
        self.write("seconds", "8")
        caught: list[BaseException] = []

        def acting() -> None:
            try:
                self.until(lambda: f"taxi_daily.{run_id}.bronze.0 | works" in self.logs("ingestor"))
                self.write("seconds", "0.2")
                act()
            except BaseException as error:
                caught.append(error)

        actor = threading.Thread(target=acting)
        actor.start()
        try:
            return float(self.succeeds(run_id)["seconds"])
        finally:
            actor.join()
            self.write("seconds", "0.2")
            assert not caught


@pytest.fixture(scope="module")
def air(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Air]:
    made = Air(client, tmp_path_factory.mktemp("air"))
    for network in client.networks.list(names=[NAME]):
        network.remove()
    network = client.networks.create(NAME, internal=True)
    try:
        made.database()
        said = made.init()
        assert "the database is migrated" in said
        assert "the administrator admin is made" in said
        made.job_server("ingestor")
        made.job_server("dbt")
        made.start("trino", "python", ["python3", "/trino.py"], {f"{made.folder}/trino.py": "/trino.py:ro"})
        made.airflow("webserver", "webserver")
        made.airflow("scheduler", "scheduler")
        made.healthy("webserver")
        made.healthy("scheduler")
        yield made
    finally:
        for container in client.containers.list(all=True, filters={"name": f"^/{NAME}-"}):
            container.remove(force=True, v=True)
        network.remove()
        with contextlib.suppress(docker.errors.NotFound):
            client.volumes.get(f"{NAME}-logs").remove(force=True)


def test_a_run_tells_what_its_tasks_found_and_nobody_complains(air: Air) -> None:
    told = air.succeeds("first")
    assert told["results"]["bronze"] == {"rows": 3000, "total": "3100.50"}
    assert told["results"]["compare"]["trips"] == 2990
    assert air.succeeds("first")["seconds"] == told["seconds"], "the same name is the same run"
    health = {"metadatabase": "healthy", "scheduler": "healthy"}
    assert air.ask("version")[1] == {"version": "2.10.5", **health, "dags": 1, "import_errors": 0}
    for name in ("webserver", "scheduler", "ingestor", "dbt"):
        logs = air.logs(name)
        assert not BAD.search(logs), logs
        for secret in SECRETS.values():
            assert secret not in logs
    code, listed = air.get("scheduler").exec_run(["find", "/opt/airflow/logs", "-name", "*.log", "-size", "+0"])
    assert (code, b"task_id=compare" in listed) == (0, True)


def test_layers_that_disagree_fail_the_run_with_both_numbers(air: Air) -> None:
    code, told, said = air.ask("run", "taxi_daily", "differs", json.dumps({"day": WRONG_DAY}))
    assert (code, told["state"], told["tasks"]["compare"]) == (1, "failed", "failed")
    assert "task compare failed in try 1" in said
    assert "silver wrote 2990 trips of 2990.5, Trino reads 2989 trips of 2989.5 in gold" in said


def test_a_set_up_again_does_nothing_and_takes_another_password(air: Air) -> None:
    said = air.init()
    assert "the database is as it should be" in said
    assert "the administrator admin is as it should be" in said
    air.write("secrets/admin", "another-password\n")
    assert "the administrator admin is brought up to date" in air.init()
    assert air.ask("version")[0] == 0
    air.write("secrets/admin", SECRETS["admin"] + "\n")
    assert "401" in air.ask("version")[2]
    air.init()
    assert air.ask("version")[0] == 0


def test_a_run_survives_the_death_of_the_scheduler(air: Air) -> None:
    def kill() -> None:
        air.get("scheduler").kill()
        air.get("scheduler").start()

    assert air.in_the_middle_of("killed", kill) < 150
    assert air.logs("ingestor").count("taxi_daily.killed.bronze.0 begins") == 1, "the second try found the run"


def test_a_scheduler_that_is_stopped_leaves_in_time_and_its_run_goes_on_at_once(air: Air) -> None:
    def stop() -> None:
        scheduler = air.get("scheduler")
        scheduler.stop(timeout=15)
        scheduler.reload()
        assert scheduler.attrs["State"]["ExitCode"] == 0
        scheduler.start()

    before = len(air.logs("scheduler"))
    assert air.in_the_middle_of("stopped", stop) < 90
    assert air.logs("ingestor").count("taxi_daily.stopped.bronze.0 begins") == 1
    assert not BAD.search(air.logs("scheduler")[before:])


def test_a_run_survives_the_death_of_a_job_server_and_of_the_webserver(air: Air) -> None:
    def kill() -> None:
        air.get("ingestor").kill()
        air.get("ingestor").start()

    air.in_the_middle_of("job-server", kill)
    assert air.logs("ingestor").count("taxi_daily.job-server.bronze.0 begins") == 2
    webserver = air.get("webserver")
    webserver.stop(timeout=30)
    webserver.reload()
    assert webserver.attrs["State"]["ExitCode"] == 0
    webserver.start()
    air.healthy("webserver")
    assert air.succeeds("job-server")["tasks"]["bronze"] == "success"


def test_cookies_and_pages_are_made_for_the_address_that_browsers_use(air: Air) -> None:
    program = (
        "import urllib.request as u; a = u.urlopen('http://127.0.0.1:8080/flow/login/');"
        " print(a.headers.get('Set-Cookie')); print('/flow/static/' in a.read().decode())"
    )
    code, said = air.get("webserver").exec_run(["python3", "-c", program])
    assert code == 0, said
    assert b"Secure; HttpOnly" in said
    assert b"SameSite=Lax" in said
    assert b"True" in said


def test_a_setting_that_is_missing_is_named(air: Air) -> None:
    air.write("secrets/short", "short\n")
    container = air.airflow("wrong", "webserver", AIRFLOW_SECRET_KEY_FILE="/run/secrets/short")
    assert container.wait(timeout=30)["StatusCode"] == 78
    assert "AIRFLOW_SECRET_KEY_FILE: /run/secrets/short has less than 32 characters" in container.logs().decode()
