# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prometheus from its recipe, alone and as the lakehouse's, with the services that it scrapes there."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import yaml
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.stacks import lakehouse
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.roles import ROOT, loaded
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import Harbour

pytestmark = [pytest.mark.integration, pytest.mark.more]

FOLDER = "/etc/prometheus"
SCRAPED = ("minio", "spark-master", "spark-worker", "trino")
WORKERS = 2


@pytest.fixture(scope="module")
def image(client: Any) -> str:
    return recipe_image(client, "prometheus")


def given(**about: Any) -> dict[str, Any]:
    """The role's variables for production with monitoring, as small as in development."""
    small = loaded(ROOT / "inventories/dev/group_vars/lakehouse/main.yml")["lakehouse_limits"]
    wanted = {"lakehouse_monitoring": True, "lakehouse_spark_workers": WORKERS, "lakehouse_limits": small}
    return lakehouse.variables("prod", **{"ingress_entrypoints": {}, **wanted, **about})


def mounted(folder: Path, known: dict[str, Any]) -> Path:
    """What the role gives Prometheus to read, where it reads it."""
    contents = lakehouse.configs_of(known)
    folder.chmod(0o755)
    for config in lakehouse.definition(known)["services"]["prometheus"]["configs"]:
        path = folder / Path(config["target"]).relative_to(FOLDER)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(contents[config["source"]])
    return folder


def promtool(client: Any, image: str, folder: Path, *what: str) -> tuple[int, str]:
    container = client.containers.create(
        image,
        list(what),
        entrypoint=["promtool"],
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        volumes=[f"{folder}:{FOLDER}:ro"],
        name=f"qr-promtool-{time.monotonic_ns()}",
    )
    try:
        container.start()
        return container.wait(timeout=60)["StatusCode"], container.logs().decode()
    finally:
        container.remove(force=True, v=True)


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"lakehouse_metrics_targets": {"node": ["host.docker.internal:9100"]}},
        {"lakehouse_s3_endpoint": "https://s"},
    ],
    ids=["as it is", "with targets elsewhere", "with a store elsewhere"],
)
def test_what_the_role_gives_it_is_right(client: Any, image: str, tmp_path: Path, about: dict[str, Any]) -> None:
    code, said = promtool(
        client, image, mounted(tmp_path, given(**about)), "check", "config", f"{FOLDER}/prometheus.yml"
    )
    assert code == 0, said
    assert re.findall(r"rules/(\w+)\.yml\n  SUCCESS: (\d+) rules found", said) == [
        ("backup", "7"),
        ("lakehouse", "5"),
        ("wanted", "1"),
    ]


TRINO = "trino_execution_name_QueryManager"
STORE = "minio_cluster_capacity_usable"
MINUTES = 20
ALERTS = [
    # alert, series as promtool writes them, when it is raised in minutes, and when not yet
    ("LakehouseServiceDown", {'up{job="trino", instance="trino:8080"}': "1 0x20"}, 7, 5),
    ("LakehouseWorkersMissing", {"metrics_master_aliveWorkers_Number": "2 1x20"}, 7, 5),
    ("LakehouseStoreFillsUp", {f"{STORE}_free_bytes": "21 19x20", f"{STORE}_total_bytes": "100x20"}, 7, 5),
    ("LakehouseStoreLosesDrives", {"minio_cluster_drive_offline_total": "0 1x20"}, 7, 5),
    (
        "LakehouseQueriesFail",
        {
            f"{TRINO}_InternalFailures": "0x10 9x10",
            f"{TRINO}_ExternalFailures": "0x20",
            f"{TRINO}_InsufficientResourcesFailures": "0x20",
        },
        13,
        9,
    ),
]


@pytest.mark.parametrize(("alert", "series", "raised", "quiet"), ALERTS, ids=[row[0] for row in ALERTS])
def test_an_alert_is_raised_when_it_has_to_be(
    client: Any, image: str, tmp_path: Path, alert: str, series: dict[str, str], raised: int, quiet: int
) -> None:
    """promtool compares whole alerts, so their number is asked for."""
    asked = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    wanted = {raised: 1, quiet: 0}
    cases = {
        "rule_files": ["rules/lakehouse.yml", "rules/wanted.yml"],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": asked, "eval_time": f"{at}m", "exp_samples": [{"labels": "{}", "value": value}]}
                    for at, value in wanted.items()
                ],
            }
        ],
    }
    folder = mounted(tmp_path, given())
    (folder / "cases.yml").write_text(yaml.safe_dump(cases))
    code, said = promtool(client, image, folder, "test", "rules", f"{FOLDER}/cases.yml")
    assert code == 0, said


def hardened(image: str, **about: Any) -> dict[str, Any]:
    return {
        "image": image,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": ["data:/prometheus"],
        "deploy": {"update_config": {"monitor": "0.3s"}},
        **about,
    }


def address_of(harbour: Harbour) -> str:
    (body,) = harbour.containers("prometheus").values()
    (network,) = body["NetworkSettings"]["Networks"].values()
    return f"http://{network['IPAddress']}:9090"


def run(harbour: Harbour, *command: str) -> tuple[int, str]:
    (name,) = harbour.running("prometheus")
    code, output = harbour.client.containers.get(name).exec_run(list(command))
    return code, output.decode()


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        text: str = answer.read().decode(errors="replace")
        return text


def test_it_serves_locked_up_with_all_that_its_pages_need_and_keeps_its_samples(harbour: Harbour, image: str) -> None:
    about: dict[str, Any] = {"volumes": {"data": {}}}
    harbour.deployed({"prometheus": hardened(image)}, **about)
    assert run(harbour, "id", "-u") == (0, "10001\n")
    assert run(harbour, "prometheus-check")[0] == 0
    assert run(harbour, "prometheus-check", "nobody") == (
        1,
        "no sample of the job nobody was stored within the last minute\n",
    )
    address = address_of(harbour)
    # the addresses of pages that Debian leaves out lead to those that it has
    assert 'url=classic/graph"' in page(f"{address}/alerts")
    for name in ("graph", "alerts", "targets", "rules"):
        needed = re.findall(r'(?:src|href)="([^"]*static/[^"]+)"', page(f"{address}/classic/{name}"))
        assert needed
        assert all(page(urljoin(f"{address}/classic/{name}", link)) for link in needed)

    until(lambda: not run(harbour, "prometheus-check", "prometheus")[0], rest=0.5)
    first = run(harbour, "promtool", "query", "instant", "http://127.0.0.1:9090", "count_over_time(up[1h])")[1]
    harbour.deployed({"prometheus": hardened(image, environment={"TURN": "2"})}, **about)
    again = run(harbour, "promtool", "query", "instant", "http://127.0.0.1:9090", "count_over_time(up[1h])")[1]
    assert "=>" in first
    assert again.split("@")[0].split("=>")[1] >= first.split("@")[0].split("=>")[1]


def test_a_configuration_that_is_wrong_is_refused(harbour: Harbour, image: str) -> None:
    about: dict[str, Any] = {"volumes": {"data": {}}, "configs": {"own": {}}}
    mount = [{"source": "own", "target": f"{FOLDER}/prometheus.yml"}]
    wrong = {"scrape_configs": [{"job_name": "web", "static_config": []}]}
    good = {"scrape_configs": [{"job_name": "web"}]}
    harbour.deployed(
        {"prometheus": hardened(image, configs=mount)}, configs_content={"own": json.dumps(good).encode()}, **about
    )
    (serving,) = harbour.running("prometheus")
    answer = harbour.deploy(
        {"prometheus": hardened(image, configs=mount)}, configs_content={"own": json.dumps(wrong).encode()}, **about
    )
    assert answer["outcome"] == "rolled back"
    assert "field static_config not found in type config.ScrapeConfig" in json.dumps(answer)
    assert harbour.running("prometheus") == [serving]


class Backups(BaseHTTPRequestHandler):
    """As a host's node-exporter tells of its backups."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'quaylock_backup_sets{stack="shop"} 0\nquaylock_backup_stale{stack="shop"} 1\n')

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def exporter() -> Iterator[int]:
    with ThreadingHTTPServer(("0.0.0.0", 0), Backups) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_everything_that_it_asks_in_the_lakehouse_answers(harbour: Harbour, client: Any, exporter: int) -> None:
    recipes = ("minio", "spark", "trino", "prometheus")
    known = given(
        images_resolved={name: {"ref": recipe_image(client, name)} for name in recipes},
        lakehouse_metrics_targets={"node": [f"host.docker.internal:{exporter}"]},
    )
    model = lakehouse.definition(known)
    services = {name: model["services"][name] for name in (*SCRAPED, "prometheus")}
    for service in services.values():
        # the other layers are not there
        waits = service.pop("depends_on", {})
        service["depends_on"] = {name: how for name, how in waits.items() if name in services}
        service["deploy"]["update_config"]["monitor"] = "0.3s"
    allowed = model["x-quaylock"]["verify"]["quiet"]["logs"]["allowed"]
    quiet = {"allowed": {name: lines for name, lines in allowed.items() if name in services}}
    contents = {"secrets": lakehouse.secrets_of(known), "configs": lakehouse.configs_of(known)}
    used = {
        f"{kind}_content": {
            key: content
            for key, content in made.items()
            if any(key in str(service.get(kind)) for service in services.values())
        }
        for kind, made in contents.items()
    }
    answer = harbour.deployed(
        services,
        networks={name: model["networks"][name] for name in ("lake", "query", "metrics")},
        volumes={name: {} for name in ("minio-data", "spark-checkpoints", "spark-work", "prometheus-data")},
        secrets={key: {} for key in used["secrets_content"]},
        configs={key: {} for key in used["configs_content"]},
        profiles=("object-store", "monitoring"),
        **used,
        **{"x-quaylock": {"verify": {"targets": model["x-quaylock"]["verify"]["targets"], "quiet": {"logs": quiet}}}},
    )
    assert answer["verification"]["outcome"] == "verified", json.dumps(answer["verification"], indent=2)

    samples = json.loads(asked(harbour, "scrape_samples_post_metric_relabeling"))
    told = {sample["metric"]["job"]: int(sample["value"][1]) for sample in samples}
    assert told.pop("node") == 2
    assert {job: count > 30 for job, count in told.items()} == {
        job["job_name"]: True for job in json.loads(lakehouse.configs_of(known)["prometheus"])["scrape_configs"][:-1]
    }
    # rules are looked at every 30 s
    pending = until(lambda: json.loads(asked(harbour, 'ALERTS{alertname="QuaylockBackupNeverMade"}')), rest=1)
    assert pending[0]["metric"]["stack"] == "shop"
    # what the alert rules read is there
    rules = yaml.safe_load((lakehouse.ROLE / "files/prometheus/lakehouse.rules.yml").read_text())["groups"][0]["rules"]
    read = {name for rule in rules for name in re.findall(r"\b(?:minio|metrics|trino)_\w+", rule["expr"])}
    assert read
    assert [name for name in sorted(read) if json.loads(asked(harbour, name)) == []] == []
    (alive,) = json.loads(asked(harbour, "metrics_master_aliveWorkers_Number"))
    assert alive["value"][1] == str(WORKERS)


def asked(harbour: Harbour, query: str) -> str:
    code, said = run(harbour, "promtool", "query", "instant", "-o", "json", "http://127.0.0.1:9090", query)
    assert code == 0, said
    return said
