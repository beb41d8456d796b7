# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two CalMiners on one host, as their users and an operator see them."""

from __future__ import annotations

import json

import pytest

STACKS = pytest.mark.parametrize("stack", ["calminer", "calminer-demo"])
REACHED = {"calminer": "http://127.0.0.1:8000", "calminer-demo": "-H Host:demo.example.org http://127.0.0.1:80"}
SEEDED = {"calminer": 3, "calminer-demo": 0}
REPLICAS = {"calminer": 1, "calminer-demo": 2}


def inspected(host, stack, service, running=True):
    found = host.check_output(
        f"docker ps -q {'' if running else '-a'} --filter label=com.docker.compose.project={stack}"
        f" --filter label=com.docker.compose.service={service}"
    ).split()
    return json.loads(host.check_output(f"docker inspect {' '.join(found)}")) if found else []


def asked(host, stack, path, more=""):
    return host.check_output(f"curl -sS --fail -m 10 {more} {REACHED[stack]}{path}")


@STACKS
def test_it_is_healthy_through_the_proxy(host, stack):
    assert json.loads(asked(host, stack, "/health")) == {"status": "ok"}
    assert json.loads(asked(host, stack, "/version"))["version"] == "1.0.0"
    assert "<h1>CalMiner</h1>" in asked(host, stack, "/")
    assert "text/css" in host.check_output(f"curl -sI {REACHED[stack]}/static/calminer.css")


@STACKS
def test_migrations_ran_once_and_scenarios_are_stored(host, stack):
    (migrate,) = inspected(host, stack, "migrate", running=False)
    assert migrate["State"]["ExitCode"] == 0
    before = json.loads(asked(host, stack, "/api/scenarios"))
    assert len([one for one in before if not one["name"].startswith("by testinfra")]) == SEEDED[stack]
    name = f"by testinfra {len(before)}"
    asked(host, stack, "/api/scenarios", f'-H Content-Type:application/json -d \'{{"name": "{name}"}}\'')
    assert json.loads(asked(host, stack, "/api/scenarios"))[0]["name"] == name


@STACKS
def test_every_container_is_locked_up(host, stack):
    api = inspected(host, stack, "api")
    assert len(api) == REPLICAS[stack]
    for container in [*api, *inspected(host, stack, "postgres")]:
        assert container["Config"]["User"] not in ("", "0", "root")
        assert container["HostConfig"]["ReadonlyRootfs"] is True
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert container["HostConfig"]["Memory"] > 0


@STACKS
def test_the_password_is_in_its_file_alone(host, stack):
    api = inspected(host, stack, "api")[0]
    assert f"molecule-{stack}" not in json.dumps(api)
    assert f"molecule-{stack}" not in host.file(f"/etc/quaylock/stacks/{stack}/compose.yaml").content_string
    assert host.check_output(f"docker exec {api['Id']} cat /run/secrets/db_password") == f"molecule-{stack}"
    assert host.file(f"/etc/quaylock/stacks/{stack}/secrets").mode == 0o700


def test_each_has_its_own_volume_and_network(host):
    volumes = host.check_output("docker volume ls -q").split()
    networks = host.check_output("docker network ls --format '{{.Name}}'").split()
    assert {"pg_data_dev", "calminer-demo_pg_data_dev"} <= set(volumes)
    assert {"calminer_backend", "calminer-demo_backend"} <= set(networks)


def test_only_the_first_database_is_published_and_on_loopback(host):
    (first,), (second,) = (inspected(host, stack, "postgres") for stack in ("calminer", "calminer-demo"))
    assert first["HostConfig"]["PortBindings"] == {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5432"}]}
    assert not second["HostConfig"]["PortBindings"]
