# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two stacks of one Compose file, as Docker shows them."""

from __future__ import annotations

import json

import pytest

STACKS = [("shop", "welcome"), ("shop-two", "hello")]


def containers(host, stack, service):
    names = host.check_output(
        f"docker ps -q --filter label=com.docker.compose.project={stack} --filter label=com.docker.compose.service={service}"
    ).split()
    return json.loads(host.check_output(f"docker inspect {' '.join(names)}")) if names else []


@pytest.mark.parametrize(("stack", "greeting"), STACKS)
def test_replicas_run_and_serve_what_the_one_shot_wrote(host, stack, greeting):
    seen = containers(host, stack, "web")
    assert len(seen) == 2
    for replica in seen:
        (network,) = replica["NetworkSettings"]["Networks"].values()
        assert host.check_output(f"curl -sf http://{network['IPAddress']}:8000/index.html") == greeting


@pytest.mark.parametrize(("stack", "_greeting"), STACKS)
def test_the_rendered_file_has_no_secret_and_the_container_has(host, stack, _greeting):
    assert f"secret of {stack}" not in host.file(f"/etc/quaylock/stacks/{stack}/compose.yaml").content_string
    replica = containers(host, stack, "web")[0]
    assert f"secret of {stack}" not in json.dumps(replica)
    assert host.check_output(f"docker exec {replica['Id']} cat /run/secrets/token") == f"secret of {stack}"


@pytest.mark.parametrize(("stack", "_greeting"), STACKS)
def test_containers_are_locked_down_as_the_file_says(host, stack, _greeting):
    for replica in containers(host, stack, "web"):
        assert replica["HostConfig"]["ReadonlyRootfs"] is True
        assert replica["HostConfig"]["CapDrop"] == ["ALL"]
        assert replica["Config"]["User"] == "10001:10001"


def test_the_journal_is_on_the_host(host):
    assert host.file("/var/lib/quaylock/journal.sqlite").is_file
