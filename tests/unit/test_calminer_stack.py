# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What CalMiner's template says for each environment of the inventories, read as the engine reads it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import compose
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Condition, Order, Service, Stack
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.roles import ROOT, model_of, of_role, templated

ENVIRONMENTS = ("dev", "staging", "prod")
PASSWORD = "unique-and-strong"


def variables(environment: str, **given: Any) -> dict[str, Any]:
    """What the role sees there, without the parts that only a play knows."""
    return {
        **of_role("calminer", environment),
        "ansible_connection": "local" if environment == "dev" else "ssh",
        "vault_calminer_db_password": PASSWORD,
        "images_resolved": {"calminer": {"ref": "quaylock.local/calminer:1"}, "postgres": {"ref": "postgres:16.11"}},
        **given,
    }


def definition(known: dict[str, Any]) -> dict[str, Any]:
    return model_of("calminer", known)


@cache
def plain(environment: str) -> Stack:
    """An environment as it is in the inventory."""
    return stack(environment)


def stack(environment: str, **given: Any) -> Stack:
    known = variables(environment, **given)
    context = compose.Context(
        project_directory="/etc/quaylock/stacks/calminer",
        config_dir="/etc/quaylock/stacks/calminer",
        secrets={"db_password": "0123456789ab"},
        entrypoints={name: door["port"] for name, door in known["ingress_entrypoints"].items()},
        profiles=("local-db",) if templated(known, "{{ _calminer_values.local_db }}") else (),
    )
    return compose.read(templated(known, "{{ calminer_name }}"), definition(known), context)


def limits(service: Service) -> tuple[float, int]:
    host = service.container["HostConfig"]
    return host["NanoCpus"] / 1e9, host["Memory"] // 2**20


SAME = {"api", "migrate", "postgres"}

CASES = [
    # environment, what is looked at, what it is
    ("dev", lambda s: {service.name for service in s.services}, SAME),
    ("prod", lambda s: {service.name for service in s.services}, SAME),
    ("dev", lambda s: s.service("postgres").published, (("127.0.0.1", 5432, "tcp"),)),
    ("staging", lambda s: s.service("postgres").published, ()),
    ("prod", lambda s: s.service("postgres").published, ()),
    ("dev", lambda s: [v.name for v in s.volumes], ["pg_data_dev"]),
    ("prod", lambda s: [v.name for v in s.volumes], ["pg_data_prod"]),
    ("dev", lambda s: "--reload" in s.service("api").container["Cmd"], True),
    ("staging", lambda s: "--reload" in s.service("api").container["Cmd"], False),
    ("prod", lambda s: s.service("api").binds, ()),
    ("dev", lambda s: s.service("api").binds, (str(ROOT / "roles/calminer/files/app"),)),
    ("dev", lambda s: s.service("api").replicas, 1),
    ("prod", lambda s: s.service("api").replicas, 2),
    ("dev", lambda s: limits(s.service("api")), (0.5, 256)),
    ("staging", lambda s: limits(s.service("api")), (0.75, 384)),
    ("prod", lambda s: limits(s.service("api")), (1.0, 512)),
    ("dev", lambda s: s.service("api").container["HostConfig"]["RestartPolicy"]["Name"], "no"),
    ("prod", lambda s: s.service("api").container["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped"),
    ("dev", lambda s: "--seed-data" in s.service("migrate").container["Cmd"], True),
    ("prod", lambda s: "--seed-data" in s.service("migrate").container["Cmd"], False),
    ("dev", lambda s: (s.service("api").routes[0].entrypoint, s.service("api").routes[0].host), ("calminer", "")),
    ("prod", lambda s: s.service("api").routes[0].host, "calminer.example.org"),
    ("prod", lambda s: s.service("api").order, Order.START_FIRST),
    ("prod", lambda s: s.service("postgres").order, Order.STOP_FIRST),
    ("prod", lambda s: s.service("migrate").one_shot, True),
    ("prod", lambda s: s.service("api").gate.hold, 10.0),
]


@pytest.mark.parametrize(("environment", "look", "expected"), CASES)
def test_an_environment_is_what_its_profile_says(environment, look, expected):
    assert look(plain(environment)) == expected


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_service_is_locked_up(environment):
    for service in plain(environment).services:
        host = service.container["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["ReadonlyRootfs"] is True
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert limits(service)[1] > 0


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("image", ["", "registry.example.org/calminer:2"])
def test_the_password_is_a_file_and_nowhere_in_the_model(environment, image):
    known = variables(environment, calminer_image=image)
    assert PASSWORD not in str(definition(known))
    assert templated(known, "{{ _calminer_values.db_password }}") == PASSWORD
    read = stack(environment, calminer_image=image)
    for service in read.services:
        targets = [mount["Target"] for mount in service.container["HostConfig"]["Mounts"]]
        assert "/run/secrets/db_password" in targets


def test_another_image_gets_its_password_in_the_environment_that_nobody_inspects():
    api = stack("prod", calminer_image="registry.example.org/calminer:2").service("api")
    assert api.container["Cmd"][0] == "python3"
    assert api.container["Cmd"][3:5] == ["uvicorn", "main:app"]
    assert not any("PASSWORD" in line for line in api.container["Env"])


def test_migrations_come_before_the_application_and_after_the_database():
    read = plain("prod")
    api = {d.service: d.condition for d in read.service("api").depends_on}
    assert api == {"postgres": Condition.HEALTHY, "migrate": Condition.COMPLETED}
    assert [d.service for d in read.service("migrate").depends_on] == ["postgres"]


def test_a_managed_database_needs_none_of_ours():
    read = stack("prod", calminer_local_db=False, calminer_db_host="db.example.org", calminer_db_schema="mine")
    assert {service.name for service in read.services} == {"api", "migrate"}
    assert read.volumes == ()
    assert {"DATABASE_HOST=db.example.org", "DATABASE_SCHEMA=mine"} <= set(read.service("api").container["Env"])


def test_two_instances_share_nothing():
    demo = {"domain": "demo.example.org", "db_published_port": 0}
    second = stack("prod", stack_instance="demo", calminer_instances={"demo": demo})
    first = plain("prod")
    assert (first.name, second.name) == ("calminer", "demo")
    assert {v.name for v in first.volumes}.isdisjoint(v.name for v in second.volumes)
    ours = {n.name for n in second.networks if not n.external}
    assert {n.name for n in first.networks if not n.external}.isdisjoint(ours)
    assert second.service("api").routes[0].host == "demo.example.org"
    assert second.service("postgres").published == ()


def test_what_an_instance_says_in_vain_is_named():
    known = variables("dev", calminer_instances={"demo": {"domian": "x"}, "other": {"replicas": 3}})
    found = templated(known, "{{ _calminer_unknown }}")
    assert len(found) == 1
    assert found[0].startswith("demo.domian: unknown; known: ")


IMAGES = [
    # given                                                           wanted
    ({}, {"calminer": "build", "postgres": "docker.io/library/postgres:16.11-trixie"}),
    ({"calminer_image": "r.example.org/c:2"}, {"calminer": "r.example.org/c:2", "postgres": "docker.io/library/postgres:16.11-trixie"}),
    ({"calminer_local_db": False}, {"calminer": "build"}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "wanted"), IMAGES)
def test_images_that_are_wanted(given, wanted):
    found = templated(variables("prod", **given), "{{ _calminer_images_wanted }}")
    assert {key: image.get("ref") or image["source"] for key, image in found.items()} == wanted


OWN = {"healthy", "migrated", "page", "scenarios", "simulation", "quiet"}


@pytest.mark.parametrize(
    ("given", "checks"),
    [
        ({}, OWN),
        ({"calminer_image": "registry.example.org/calminer:2"}, {"healthy", "quiet"}),
        ({"calminer_context": "/srv/calminer"}, {"healthy", "quiet"}),
        ({"calminer_local_db": False, "calminer_migrate": False}, OWN - {"migrated"}),
    ],
)
def test_a_release_is_verified_by_what_its_image_can_be_asked(given: dict[str, Any], checks: set[str]) -> None:
    assert {check.name for check in stack("prod", **given).verify.checks} == checks
