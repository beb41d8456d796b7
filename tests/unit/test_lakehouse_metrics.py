# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lakehouse with its Prometheus: what it changes, what is scraped, and what proves it."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.lakehouse import (
    definition,
    environment_of,
    internals,
    monitored,
    names,
    plain,
    stack,
    variables,
)
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.roles import templated

ENVIRONMENTS = ("dev", "staging", "prod")


def test_the_profile_says_whether_there_is_one():
    there = {e: "prometheus" in names(stack(e)) for e in ENVIRONMENTS}
    assert there == {"dev": False, "staging": True, "prod": True}


def test_without_monitoring_nothing_is_heard_of_it():
    for environment in ENVIRONMENTS:
        limits = {**variables(environment)["lakehouse_limits"], "prometheus": {}}
        known = variables(environment, lakehouse_limits=limits, lakehouse_monitoring=False)
        assert [line for line in json.dumps(definition(known)).lower().split('"') if "prometheus" in line] == []
        assert "metrics" not in definition(known)["networks"]
        assert "prometheus" not in templated(known, "{{ _lakehouse_images_wanted }}")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_with_monitoring_the_others_stay_as_they_are_but_for_what_they_tell(environment):
    before, after = plain(environment), monitored(environment)
    assert names(after) - names(before) == {"prometheus"}
    changed = {s.name for s in before.services if s.container != after.service(s.name).container}
    told = environment_of(after.service("minio"))
    assert told == {**environment_of(before.service("minio")), "MINIO_PROMETHEUS_AUTH_TYPE": "public"}
    model = definition(variables(environment, lakehouse_monitoring=True))["services"]
    of_spark = {name for name, service in model.items() if "metrics.properties" in str(service.get("configs"))}
    assert of_spark == {"spark-master", "spark-worker"}
    assert changed == {"minio", *of_spark}


def test_prometheus_has_no_way_out_until_it_is_to_ask_elsewhere():
    model = definition(variables("prod", lakehouse_monitoring=True))
    assert {name for name, service in model["services"].items() if "metrics" in service["networks"]} == {"prometheus"}
    assert internals(monitored("prod"))["lakehouse_metrics"] is True
    assert "host.docker.internal" not in str(model)
    given = {"lakehouse_monitoring": True, "lakehouse_metrics_targets": {"node": ["host.docker.internal:9100"]}}
    open_ones = [name for name, internal in internals(stack("prod", **given)).items() if not internal]
    assert open_ones == ["lakehouse_metrics"]
    assert scraped(**given)["node"] == {
        "job_name": "node",
        "static_configs": [{"targets": ["host.docker.internal:9100"]}],
    }


def scraped(**given):
    known = variables("prod", **given)
    told = json.loads(templated(known, str(known["_lakehouse_configs"]["prometheus"]) + "\n"))
    return {job["job_name"]: job for job in told["scrape_configs"]}


def test_what_is_scraped_is_part_of_the_stack_and_of_networks_that_prometheus_is_in():
    model = definition(variables("prod", lakehouse_monitoring=True))["services"]
    asked = {job: body for job, body in scraped().items() if job != "prometheus"}
    hosts = {
        job: body["static_configs"][0]["targets"][0].split(":")[0]
        for job, body in asked.items()
        if job != "spark-worker"
    }
    hosts["spark-worker"] = asked["spark-worker"]["dns_sd_configs"][0]["names"][0]
    assert set(hosts) == {"minio", "minio-node", "spark-master", "spark-worker", "trino"}
    for host in hosts.values():
        assert set(model[host]["networks"]) & set(model["prometheus"]["networks"]), host
    assert set(scraped(lakehouse_s3_endpoint="https://s")) == {"prometheus", "spark-master", "spark-worker", "trino"}


def up(**jobs):
    """What promtool prints: for each job how its targets are."""
    lines = [
        f'up{{instance="10.0.0.{n}:1", job="{job.replace("_", "-")}"}} => {state} @[1795357838.393]'
        for job, states in jobs.items()
        for n, state in enumerate(states)
    ]
    return "\n".join(lines) + "\n"


ALL = {"minio_node": "1", "prometheus": "1", "spark_worker": "11", "minio": "1", "trino": "1", "spark_master": "1"}
TARGETS = [
    # name, what is different, whether it passes
    ("all are up", {}, True),
    ("one is down", {"trino": "0"}, False),
    ("one is not there", {"minio_node": ""}, False),
    ("a worker is missing", {"spark_worker": "1"}, False),
    ("a worker is down", {"spark_worker": "10"}, False),
    ("an old one lingers", {"spark_worker": "110"}, False),
    ("somebody else is", {"node": "0"}, True),
]


@pytest.mark.parametrize(("_name", "different", "passes"), TARGETS, ids=[row[0] for row in TARGETS])
def test_a_release_with_monitoring_is_verified_by_its_targets(_name, different, passes):
    model = definition(variables("prod", lakehouse_monitoring=True))
    wanted = model["x-quaylock"]["verify"]["targets"]["matches"]
    assert bool(re.search(wanted, up(**{**ALL, **different}))) is passes
    assert "targets" in {check.name for check in monitored("prod").verify.checks}


def test_samples_are_kept_as_long_as_the_profile_says():
    kept = {
        e: [part for part in monitored(e).service("prometheus").container["Cmd"] if "retention" in part]
        for e in ENVIRONMENTS
    }
    assert kept == {
        e: [f"--storage.tsdb.retention.time={t}"] for e, t in zip(ENVIRONMENTS, ("1d", "7d", "30d"), strict=True)
    }


def test_prometheus_knows_how_many_workers_there_should_be():
    known = variables("prod", lakehouse_spark_workers=4)
    told = templated(known, str(known["_lakehouse_configs"]["prometheus_wanted"]) + "\n")
    assert json.loads(told)["groups"][0]["rules"] == [{"record": "lakehouse:spark_workers:wanted", "expr": "vector(4)"}]
