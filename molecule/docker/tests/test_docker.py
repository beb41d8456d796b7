# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role docker leaves on a host, with systemd and without."""

from __future__ import annotations

import json


def test_the_engine_answers(host):
    version = host.check_output("docker version --format '{{.Server.Version}}'")
    assert int(version.split(".")[0]) >= 20


def test_it_comes_from_docker_s_repository_where_that_answers(host):
    own = host.file("/etc/apt/sources.list.d/docker.sources").exists
    assert own is host.file("/srv/repository").exists
    assert host.package("docker-ce").is_installed is own
    assert host.package("docker.io").is_installed is not own


def test_its_configuration_is_in_force(host):
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["LoggingDriver"] == "json-file"
    assert info["LiveRestoreEnabled"] is True
    assert "registry.example.org:5000" in info["RegistryConfig"]["IndexConfigs"]
    assert info["DefaultAddressPools"] == [{"Base": "10.201.0.0/16", "Size": 24}]


def test_settings_of_every_source_are_in_the_file(host):
    daemon = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert daemon["log-opts"] == {"max-size": "7m", "max-file": "3"}
    assert daemon["max-concurrent-downloads"] == 6


def test_python_has_a_docker_sdk_that_is_new_enough(host):
    own = "/opt/quaylock/venv/bin/python"
    distribution_has_one = not host.file("/etc/apt/preferences.d/no-sdk").exists
    assert host.file(own).exists is not distribution_has_one
    python = "/usr/bin/python3" if distribution_has_one else own
    said = host.check_output(f"{python} -c 'import docker, requests; print(docker.__version__)'")
    assert int(said.split(".")[0]) >= 7


def test_the_engine_survives_us(host):
    if host.file("/run/systemd/system").exists:
        assert host.service("docker").is_enabled
        assert host.service("docker").is_running
    else:
        assert host.process.filter(comm="dockerd")


def test_a_container_runs(host):
    host.check_output("tar -C / -ch usr/bin/true $(ldd /usr/bin/true | grep -o '/[^ ]*') | docker import - true")
    host.check_output("docker run --rm --network none true /usr/bin/true")
