# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the lakehouse's template says for each environment of the inventories, read as the engine reads it."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.quaylock.stacks.plugins.lookup.placeholders import places
from ansible_collections.quaylock.stacks.plugins.lookup.repeated_secrets import repeated
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Condition, Order, Service
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.lakehouse import (
    ROLE,
    SECRETS,
    definition,
    environment_of,
    internals,
    monitored,
    names,
    plain,
    stack,
    variables,
)
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.roles import ROOT, loaded, templated

ENVIRONMENTS = ("dev", "staging", "prod")
STORAGE = {"minio", "metastore-db", "superset-db", "airflow-db"}
ANALYTICS = {"superset", "airflow-webserver", "airflow-scheduler"}
LONG = STORAGE | ANALYTICS | {"hive-metastore", "spark-master", "spark-worker", "trino", "ingestor", "dbt"}
ONE_SHOTS = {"minio-init", "superset-init", "airflow-init"}


def limits(service: Service) -> tuple[float, int]:
    host = service.container["HostConfig"]
    return host["NanoCpus"] / 1e9, host["Memory"] // 2**20


LIMITS = [
    # service            dev          staging       prod: CPUs and MiB, the table of the platform's documents
    ("minio", (0.5, 512), (1, 2048), (2, 4096)),
    ("metastore-db", (0.5, 512), (1, 2048), (2, 4096)),
    ("hive-metastore", (0.5, 512), (1, 2048), (2, 4096)),
    ("spark-master", (1, 2048), (2, 4096), (4, 8192)),
    ("spark-worker", (2, 3072), (4, 10240), (8, 20480)),
    ("trino", (2, 4096), (4, 8192), (8, 16384)),
    ("superset-db", (0.5, 512), (1, 2048), (2, 4096)),
    ("airflow-db", (0.5, 512), (1, 2048), (2, 4096)),
    ("superset", (1, 1024), (2, 4096), (4, 8192)),
    ("airflow-webserver", (0.5, 1024), (1, 2048), (2, 4096)),
    ("airflow-scheduler", (1, 1024), (2, 2048), (4, 4096)),
    ("ingestor", (1, 2048), (1, 2048), (1, 2048)),
    ("dbt", (1, 2048), (1, 2048), (1, 2048)),
    # not in the documents: the profile's share of what production has
    ("prometheus", (0.5, 1024), (0.75, 1536), (1, 2048)),
]


@pytest.mark.parametrize(("service", "dev", "staging", "prod"), LIMITS, ids=[row[0] for row in LIMITS])
def test_limits_are_those_of_the_documents(service, dev, staging, prod):
    seen = [limits(monitored(environment).service(service)) for environment in ENVIRONMENTS]
    assert seen == [dev, staging, prod]
    for environment in ENVIRONMENTS:
        one = monitored(environment).service(service)
        assert one.container["HostConfig"]["MemoryReservation"] * 2 == one.container["HostConfig"]["Memory"]


def test_the_defaults_are_production_s_table():
    defaults = loaded(ROLE / "defaults" / "main.yml")["lakehouse_limits"]
    assert defaults == loaded(ROOT / "inventories/prod/group_vars/lakehouse/main.yml")["lakehouse_limits"]


PORTS = {
    # service: host's ports in development; elsewhere there are none
    "minio": [9000],
    "metastore-db": [5435],
    "superset-db": [5433],
    "airflow-db": [5434],
    "hive-metastore": [9083],
    "spark-master": [7077, 8082],
    "spark-worker": [],
    "trino": [],
    "superset": [],
    "airflow-webserver": [],
    "ingestor": [],
    "dbt": [],
    "prometheus": [9090],
}


@pytest.mark.parametrize("service", PORTS)
def test_ports_are_open_in_development_alone_and_on_loopback(service):
    published = monitored("dev").service(service).published
    assert sorted(port for _address, port, _protocol in published) == PORTS[service]
    assert {address for address, _port, _protocol in published} <= {"127.0.0.1"}
    assert [monitored(environment).service(service).published for environment in ("staging", "prod")] == [(), ()]


def test_ports_are_by_default_those_of_the_documents():
    ports = loaded(ROLE / "defaults" / "main.yml")["lakehouse_ports"]
    databases = {"metastore_db": 5432, "superset_db": 5433, "airflow_db": 5434}
    others = {"hive_metastore": 9083, "spark": 7077, "spark_ui": 8080, "prometheus": 9090}
    assert ports == {"minio": 9000, **databases, **others}


WEB = {"trino": "trino", "superset": "superset", "airflow-webserver": "airflow"}


def test_pages_are_behind_the_proxy_and_start_before_their_predecessor_stops():
    for environment in ENVIRONMENTS:
        routed = {s.name: s.routes[0] for s in plain(environment).services if s.routes}
        assert set(routed) == set(WEB)
        for name, route in routed.items():
            own = (
                (WEB[name], "")
                if environment == "dev"
                else ("web", variables(environment)["lakehouse_domains"][WEB[name]])
            )
            assert (route.entrypoint, route.host) == own
            assert route.sticky is (name == "trino"), "the rows of a query are with the Trino that runs it"
    for name in (*WEB, "spark-worker"):
        assert plain("prod").service(name).order is Order.START_FIRST
    for name in (LONG | {"prometheus"}) - {*WEB, "spark-worker"}:
        assert monitored("prod").service(name).order is Order.STOP_FIRST


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_storage_and_metadata_have_no_way_out(environment):
    assert internals(plain(environment)) == {
        f"lakehouse_{name}": True for name in ("lake", "metadata", "query", "jobs", "superset", "airflow")
    }


REACHED_BY = [
    ("metastore-db", "metadata", {"hive-metastore"}),
    ("superset-db", "superset", {"superset-init", "superset"}),
    ("airflow-db", "airflow", {"airflow-init", "airflow-webserver", "airflow-scheduler"}),
]


@pytest.mark.parametrize(("database", "network", "clients"), REACHED_BY)
def test_a_database_is_reached_by_its_own_service_alone(database, network, clients):
    model = definition(variables("prod"))["services"]
    assert {name for name, service in model.items() if network in service["networks"]} == {database, *clients}
    assert model[database]["networks"] == [network]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_service_is_locked_up(environment):
    for service in monitored(environment).services:
        host = service.container["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["ReadonlyRootfs"] is True
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert service.container.get("User", "") not in ("0", "root")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_secrets_are_files_and_nowhere_in_the_model(environment):
    known = variables(environment)
    model = str(definition(known))
    for name in SECRETS:
        assert f"strong-{name}" not in model
        assert templated(known, "{{ _lakehouse_secrets }}")[name].startswith(f"strong-{name}-")
    for service in plain(environment).services:
        wrong = [n for n in environment_of(service) if ("PASSWORD" in n or "SECRET" in n) and not n.endswith("_FILE")]
        assert wrong == []


def test_the_administrator_of_the_object_store_is_known_to_the_store_alone():
    model = definition(variables("dev"))["services"]
    assert [name for name, s in model.items() if "minio_root_password" in s.get("secrets", [])] == [
        "minio",
        "minio-init",
    ]


def test_a_layer_waits_for_the_one_below():
    waits = {s.name: {d.service: d.condition for d in s.depends_on} for s in plain("dev").services}
    started, healthy, completed = Condition.STARTED, Condition.HEALTHY, Condition.COMPLETED
    assert waits == {
        "minio": {},
        "minio-init": {"minio": healthy},
        "metastore-db": {},
        "superset-db": {},
        "superset-init": {"superset-db": healthy},
        "superset": {"superset-db": healthy, "superset-init": completed},
        "airflow-db": {},
        "airflow-init": {"airflow-db": healthy},
        "airflow-webserver": {"airflow-db": healthy, "airflow-init": completed},
        "airflow-scheduler": {"airflow-db": healthy, "airflow-init": completed},
        "hive-metastore": {"metastore-db": healthy, "minio": healthy, "minio-init": completed},
        "spark-master": {"hive-metastore": healthy},
        "spark-worker": {"spark-master": healthy},
        "trino": {"hive-metastore": healthy, "minio": healthy, "minio-init": completed},
        "ingestor": {"spark-worker": healthy, "hive-metastore": healthy},
        "dbt": {"trino": started, "hive-metastore": healthy},
        "sample": {"ingestor": healthy, "dbt": healthy, "trino": healthy},
    }


def test_trips_are_made_up_where_the_profile_wants_seed_data():
    assert names(plain("dev")) == LONG | ONE_SHOTS | {"sample"}
    assert names(plain("prod")) == LONG | ONE_SHOTS
    asked = environment_of(plain("dev").service("sample"))
    assert [asked[name] for name in ("DAY", "DAYS", "ROWS", "SEED")] == ["2024-01-01", "31", "3000", "2009"]


def test_health_checks_ask_for_work():
    checks = {s.name: s.container["Healthcheck"]["Test"] for s in monitored("prod").services if not s.one_shot}
    assert {name: check[1] for name, check in checks.items()} == {
        "minio": "mc",
        "metastore-db": "psql",
        "hive-metastore": "metastore-check",
        "spark-master": "spark-check",
        "spark-worker": "spark-check",
        "trino": "trino-ask",
        "superset-db": "psql",
        "superset": "superset-check",
        "airflow-db": "psql",
        "airflow-webserver": "airflow-check",
        "airflow-scheduler": "airflow-check",
        "ingestor": "python",
        "dbt": "python",
        "prometheus": "prometheus-check",
    }


def test_another_object_store_takes_the_place_of_minio_by_one_variable():
    read = stack("prod", lakehouse_s3_endpoint="https://s3.example.org", lakehouse_monitoring=False)
    assert names(read) == (LONG | ONE_SHOTS) - {"minio", "minio-init"}
    for name in ("hive-metastore", "spark-master", "spark-worker", "trino", "ingestor"):
        assert environment_of(read.service(name))["S3_ENDPOINT"] == "https://s3.example.org"
    assert [name for name, internal in internals(read).items() if not internal] == ["lakehouse_lake"]
    assert {item.name for item in read.backup.items} - {"config"} == {"metastore", "superset", "airflow"}


def test_only_who_fetches_published_trips_has_a_way_out():
    read = stack("prod", lakehouse_trips_url="https://trips.example.org/yellow_tripdata_%Y-%m.parquet")
    model = definition(variables("prod", lakehouse_trips_url="https://trips.example.org/%Y-%m.parquet"))["services"]
    assert [name for name, service in model.items() if "outside" in service["networks"]] == ["ingestor"]
    assert [name for name, internal in internals(read).items() if not internal] == ["lakehouse_outside"]


def test_the_databases_and_every_bucket_are_backed_up():
    items = {item.name for item in plain("prod").backup.items} - {"config"}
    assert items == {
        "metastore",
        "superset",
        "airflow",
        *(f"bucket-{b}" for b in ("lakehouse", "bronze", "silver", "gold", "warehouse")),
    }


@pytest.mark.parametrize(("environment", "workers"), [("dev", 1), ("staging", 2), ("prod", 2)])
def test_workers_are_as_many_as_the_profile_says(environment, workers):
    assert plain(environment).service("spark-worker").replicas == workers


def test_a_worker_offers_what_its_limit_leaves():
    offered = {e: environment_of(plain(e).service("spark-worker")) for e in ENVIRONMENTS}
    assert [(o["WORKER_CORES"], o["WORKER_MEMORY"]) for o in offered.values()] == [
        ("2", "2150m"),
        ("4", "7168m"),
        ("8", "14336m"),
    ]


REFUSED = [
    # given                                                 what is said
    ({"lakehouse_trino_password": "short"}, "lakehouse_trino_password: 8 characters are the least"),
    (
        {"lakehouse_superset_secret_key": "too-short-a-key"},
        "lakehouse_superset_secret_key: 32 characters are the least",
    ),
    ({"lakehouse_buckets": ["bronze", "silver", "gold"]}, "lakehouse_buckets: warehouse is missing; tables lie there"),
    ({"lakehouse_images": {"hive": "x:1"}}, "lakehouse_images.hive: unknown"),
    ({"lakehouse_airflow_keep_days": 0}, "lakehouse_airflow_keep_days: at least 1 day is kept, not 0"),
    ({"lakehouse_limits": {}}, "lakehouse_limits.minio: cpus and memory are wanted"),
    (
        {"lakehouse_metrics_retention": "two weeks"},
        "lakehouse_metrics_retention: a time such as 15d is wanted, not two weeks",
    ),
    (
        {"lakehouse_metrics_targets": {"trino": ["a:1"]}},
        "lakehouse_metrics_targets.trino: a name of small letters that is none of prometheus, spark-master, spark-worker, "
        "trino, minio, minio-node is wanted",
    ),
    (
        {"lakehouse_metrics_targets": {"node": ["http://host:9100/metrics"]}},
        "lakehouse_metrics_targets.node: a list of host:port is wanted",
    ),
    (
        {"lakehouse_metrics_targets": {"node": "host:9100"}},
        "lakehouse_metrics_targets.node: a list of host:port is wanted",
    ),
    ({"lakehouse_metrics_targets": {"node": []}}, "lakehouse_metrics_targets.node: a list of host:port is wanted"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_what_cannot_work_is_refused(given, said):
    assert said in templated(variables("prod", **given), "{{ _lakehouse_wrong }}")
    assert templated(variables("prod"), "{{ _lakehouse_wrong }}") == []


@pytest.mark.parametrize("environment", ["staging", "prod"])
@pytest.mark.parametrize("secret", SECRETS)
def test_every_secret_is_a_placeholder_until_it_has_a_value(environment, secret):
    vault = loaded(ROOT / "inventories" / environment / "group_vars/lakehouse/vault.yml")
    assert f"vault_lakehouse_{secret}" in list(places(vault, "", ("CHANGE_THIS",)))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_that_another_one_is_already_is_named(secret):
    vault = loaded(ROOT / "inventories/dev/group_vars/lakehouse/vault.yml")
    assert repeated(vault, ("vault_",), "CHANGE_THIS") == []
    same = {**vault, f"vault_lakehouse_{secret}": "twice", "vault_other": "twice"}
    assert repeated(same, ("vault_",), "CHANGE_THIS") == [f"vault_lakehouse_{secret} and vault_other"]


def test_more_settings_of_trino_are_lines_of_a_file():
    def lines(**given):
        known = variables("prod", **given)
        return templated(known, str(known["_lakehouse_configs"]["trino_more"])).splitlines()

    assert lines() == ["# of lakehouse_trino_properties"]
    more = lines(lakehouse_trino_properties={"query.max-memory": "1GB", "retry-policy": "TASK"})
    assert more[1:] == ["query.max-memory=1GB", "retry-policy=TASK"]


IMAGES = [
    # given                                      wanted
    ({"lakehouse_registry": ""}, {"spark": "build", "minio": "build", "postgres": "docker.io/library/postgres:17.6-trixie"}),
    ({"lakehouse_registry": "r.example.org/l"}, {"spark": "r.example.org/l/spark:3.5.8", "trino": "r.example.org/l/trino:476"}),
    ({"lakehouse_images": {"spark": "r.example.org/s:1"}}, {"spark": "r.example.org/s:1"}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "wanted"), IMAGES)
def test_images_that_are_wanted(given, wanted):
    found = templated(variables("prod", **given), "{{ _lakehouse_images_wanted }}")
    seen = {key: image.get("ref") or image["source"] for key, image in found.items()}
    assert {key: seen[key] for key in wanted} == wanted


def test_the_tags_are_the_versions_of_the_recipes():
    recipes = ROOT / "roles" / "images" / "files" / "recipes"
    said = {
        name: (recipes / name / "Dockerfile").read_text()
        for name in ("hive-metastore", "spark", "trino", "dbt", "superset", "airflow", "prometheus")
    }
    pinned = ("spark", "dbt", "superset", "airflow")
    said |= {name: said[name] + (recipes / name / "requirements.txt").read_text() for name in pinned}
    versions = loaded(ROLE / "vars" / "main.yml")["_lakehouse_versions"]
    assert [name for name in said if versions[name] not in said[name]] == []
    assert versions["minio"] in (recipes / "minio" / "server" / "go.mod").read_text()


def test_a_job_s_places_are_its_parameters():
    for name in ("_lakehouse_jobs_of_spark", "_lakehouse_jobs_of_dbt"):
        for job in templated(variables("dev"), "{{ " + name + " }}").values():
            places = {place for part in job["command"] for place in re.findall(r"\{(\w+)\}", part)}
            assert places == set(job["parameters"])
            assert all(isinstance(value, str) or value is None for value in job["parameters"].values())


def test_airflow_is_told_what_a_daily_run_is():
    told = templated(variables("dev", lakehouse_daily_schedule=""), "{{ _lakehouse_settings_of_airflow | to_json }}")
    assert json.loads(told) == {
        "schedule": None,
        "start": "2024-01-01",
        "rows": 3000,
        "seed": 2009,
        "url": "",
        "catchup": False,
        "keep_days": 90,
    }


def test_a_release_is_verified_from_spark_to_superset():
    checks = {check.name for check in plain("prod").verify.checks}
    assert checks == {"buckets", "catalog", "daily-run", "trino-reads", "dbt-built", "superset", "quiet"}


def test_the_disposable_stack_takes_every_volume_with_it():
    known = variables("dev", lakehouse_monitoring=True)
    removed = {volume["name"] for volume in templated(known, "{{ _lakehouse_test_volumes }}")}
    assert removed == {f"lakehouse-test_{name}" for name in definition(known)["volumes"]}
