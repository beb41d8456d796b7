# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A scratch stack: nothing that it is made of reaches anybody outside, or anything that the real stack uses."""

from __future__ import annotations

import json

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import scratch
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.scope import Context
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack

FOLDER = "/var/lib/quaylock/backup/drill/shop"
OWN = "/etc/quaylock/stacks/shop"
MODEL = """
services:
  db:
    image: postgres
    healthcheck: {test: [CMD, pg_isready]}
    networks: {back: {aliases: [database]}}
    volumes: [data:/data, ./conf:/conf:ro, /srv/dumps:/dumps, /run/tool.sock:/tool.sock]
    ports: ["5432:5432"]
    secrets: [password]
    restart: always
  api:
    image: api
    healthcheck: {test: [CMD, check]}
    networks: [back, front]
    depends_on: {db: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}
    volumes:
      - {type: bind, source: /srv/uploads/all, target: /uploads, bind: {create_host_path: false}}
      - {type: bind, source: /srv/logs, target: /logs, bind: {create_host_path: false}}
    x-quaylock: {ingress: [{entrypoint: web, port: 80, host: shop.example.org}]}
    deploy: {replicas: 3}
  migrate: {image: api, command: [migrate]}
  alone: {image: alone, network_mode: host, pid: host, healthcheck: {test: [CMD, check]}}
networks: {back: {}, front: {}}
volumes: {data: {name: shop-data}, files: {}}
secrets: {password: {}}
x-quaylock:
  backup:
    items:
      db: {type: postgres, service: db}
      uploads: {type: path, path: /srv/uploads}
"""
CONTEXT = Context(OWN, OWN, {"password": "f1"}, {}, "quaylock_ingress", {"web": 80})


@pytest.fixture(scope="module")
def whole() -> Stack:
    return read("shop", yaml.safe_load(MODEL), CONTEXT)


@pytest.fixture(scope="module")
def made(whole: Stack) -> Stack:
    paths = {"/srv/uploads": f"{FOLDER}/items/uploads/uploads"}
    return scratch.scratch(whole, ["db", "api", "alone"], FOLDER, paths)


def test_it_has_one_network_without_a_way_out(made: Stack) -> None:
    assert [(n.name, n.body["Internal"]) for n in made.networks] == [("shop-drill_closed", True)]
    for service in made.services:
        endpoints = service.container["NetworkingConfig"]["EndpointsConfig"]
        assert list(endpoints) == ["closed"], service.name
    database = made.service("db").container["NetworkingConfig"]["EndpointsConfig"]["closed"]["Aliases"]
    assert database == ["db", "database"], "who asks for it by any of its names finds it"


def test_nothing_of_the_host_is_shared(made: Stack) -> None:
    for service in made.services:
        text = json.dumps(service.container)
        for shared in ("PortBindings", "NetworkMode", "PidMode", ".sock", '"shop-data"', OWN + "/secrets"):
            assert shared not in text, (service.name, shared)
        assert (service.published, service.routes, service.container_name, service.bound) == ((), (), "", "")
        assert service.replicas == 1
        assert service.container["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_volumes_files_and_folders_are_its_own(made: Stack) -> None:
    assert [(v.key, v.name, v.external) for v in made.volumes] == [("data", "shop-drill_data", False)]
    assert [f.host_path for f in made.files] == [f"{FOLDER}/secrets/password-f1"]
    db, api = (made.service(name).container["HostConfig"] for name in ("db", "api"))
    assert [m["Source"] for m in db["Mounts"]] == ["shop-drill_data", f"{FOLDER}/secrets/password-f1"]
    assert db["Binds"] == [f"{OWN}/conf:/conf:ro", f"{FOLDER}/thrown-away/srv-dumps:/dumps:rw"]
    sources = [m["Source"] for m in api["Mounts"]]
    assert sources == [f"{FOLDER}/items/uploads/uploads/all", f"{FOLDER}/thrown-away/srv-logs"]
    assert scratch.thrown_away(made, FOLDER) == tuple(f"{FOLDER}/thrown-away/srv-{n}" for n in ("dumps", "logs"))


def test_services_wait_only_for_those_that_are_there(made: Stack) -> None:
    assert [d.service for d in made.service("api").depends_on] == ["db"]


def test_what_keeps_the_data_is_chosen_by_the_items(whole: Stack) -> None:
    assert scratch.stores(whole.backup, ["db", "uploads"]) == ("db",)
    assert scratch.stores(whole.backup, ["uploads"]) == ()


def test_volumes_of_items_are_there_although_nobody_mounts_them() -> None:
    model = yaml.safe_load(MODEL)
    model["services"]["api"]["volumes"] = ["files:/files"]
    model["x-quaylock"]["backup"]["items"]["files"] = {"type": "volume", "volume": "files"}
    whole = read("shop", model, CONTEXT)
    made = scratch.scratch(whole, ["db"], FOLDER, {}, whole.backup.items)
    assert [v.name for v in made.volumes] == ["shop-drill_data", "shop-drill_files"]
