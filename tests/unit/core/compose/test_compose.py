# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a Compose model means: gates, order, dependencies, names, files and what lands on the host."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import gates_of
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    Build,
    Condition,
    Dependency,
    ExecProbe,
    Gate,
    HttpProbe,
    MountedFile,
    Order,
    Route,
    Service,
    Stack,
    TcpProbe,
)

CONTEXT = Context(
    "/srv/shop", "/etc/quaylock/stacks/shop", {"pw": "f1"}, {"ini": "f2"}, entrypoints={"http": 80, "db": 5432}
)


def stack(text: str, context: Context = CONTEXT, name: str = "shop") -> Stack:
    return read(name, yaml.safe_load(text), context)


def api(keys: str, context: Context = CONTEXT) -> Service:
    """One service with the given keys, in a stack that has volumes, networks and files to refer to."""
    definition = {
        "services": {"api": {"image": "api:1", **yaml.safe_load("{" + keys + "}")}},
        "volumes": {"pg": None, "logs": None},
        "networks": {"back": None},
        "secrets": {"pw": None},
        "configs": {"ini": None},
    }
    return read("shop", definition, context).service("api")


GATES = [
    # name, keys of the service, what differs from a gate that asks the image's own check
    ("nothing said", "", {"image_check": True}),
    ("text", "healthcheck: {test: curl x}", {"probes": (ExecProbe(("/bin/sh", "-c", "curl x"), 30.0),)}),
    (
        "CMD",
        "healthcheck: {test: [CMD, pg, -q], timeout: 5s}",
        {"probes": (ExecProbe(("pg", "-q"), 5.0),), "deadline": 105.0},
    ),
    (
        "Docker's arithmetic",
        "healthcheck: {test: x, interval: 10s, timeout: 5s, retries: 4, start_period: 2m}",
        {"probes": (ExecProbe(("/bin/sh", "-c", "x"), 5.0),), "deadline": 180.0, "progress": 130.0, "retries": 4},
    ),
    (
        "zero is the default",
        "healthcheck: {test: x, retries: 0}",
        {"probes": (ExecProbe(("/bin/sh", "-c", "x"), 30.0),)},
    ),
    (
        "times for the image's check",
        "healthcheck: {interval: 5s, timeout: 5s}",
        {"image_check": True, "deadline": 30.0},
    ),
    ("monitor", "deploy: {update_config: {monitor: 30s}}", {"image_check": True, "hold": 30.0}),
    (
        "of our own",
        "x-quaylock: {gate: {passes: 5, cadence: 1s, deadline: 2m, progress: 30s, probes: [{tcp: {port: 5432}}]}}",
        {"passes": 5, "cadence": 1.0, "deadline": 120.0, "progress": 30.0, "probes": (TcpProbe(5432),)},
    ),
    (
        "besides the check",
        "healthcheck: {test: x}, x-quaylock: {gate: {probes: [{exec: [a, b]}, "
        "{http: {port: 80, path: /h, status: [200, 204], body: ok, timeout: 2s}}]}}",
        {
            "probes": (
                ExecProbe(("/bin/sh", "-c", "x"), 30.0),
                ExecProbe(("a", "b")),
                HttpProbe(80, "/h", (200, 204), "ok", 2.0),
            )
        },
    ),
    (
        "a command with its timeout",
        "x-quaylock: {gate: {probes: [{exec: {command: [a, b], timeout: 3s}}]}}",
        {"probes": (ExecProbe(("a", "b"), 3.0),)},
    ),
    ("opted out", "x-quaylock: {gate: {none: a batch worker}}", {"opted_out": "a batch worker"}),
    ("off, and opted out", "healthcheck: {disable: true}, x-quaylock: {gate: {none: x}}", {"opted_out": "x"}),
    (
        "off, with a probe",
        "healthcheck: {disable: true}, x-quaylock: {gate: {probes: [{tcp: {port: 1}}]}}",
        {"probes": (TcpProbe(1),)},
    ),
    (
        "one status",
        "x-quaylock: {gate: {probes: [{http: {port: 1, status: 204}}]}}",
        {"probes": (HttpProbe(1, "/", (204,)),)},
    ),
]


@pytest.mark.parametrize(("keys", "expected"), [case[1:] for case in GATES], ids=[case[0] for case in GATES])
def test_the_gate_asks(keys: str, expected: dict[str, Any]) -> None:
    assert api(keys).gate == Gate(**{"deadline": 180.0, **expected})


IMAGE_CHECKS = [
    # name, the service's keys, the image's HEALTHCHECK, what the gate becomes
    (
        "as the image says",
        "",
        {"Test": ["CMD", "ok"], "Interval": 5_000_000_000, "Timeout": 1_000_000_000},
        {"probes": (ExecProbe(("ok",), 1.0),), "deadline": 18.0},
    ),
    (
        "the service changes the times",
        "healthcheck: {interval: 2s, retries: 5}",
        {"Test": ["CMD-SHELL", "ok"], "Interval": 60_000_000_000, "Timeout": 1_000_000_000},
        {"probes": (ExecProbe(("/bin/sh", "-c", "ok"), 1.0),), "deadline": 15.0, "retries": 5},
    ),
    (
        "the service's own deadline stays",
        "x-quaylock: {gate: {deadline: 33s}}",
        {"Test": ["CMD", "ok"], "StartPeriod": 90_000_000_000},
        {"probes": (ExecProbe(("ok",), 30.0),), "deadline": 33.0, "progress": 120.0},
    ),
    ("none", "", None, {"image_check": True}),
    ("NONE", "", {"Test": ["NONE"]}, {"image_check": True}),
]


@pytest.mark.parametrize(("keys", "image", "expected"), [c[1:] for c in IMAGE_CHECKS], ids=[c[0] for c in IMAGE_CHECKS])
def test_an_image_brings_its_own_check(keys: str, image: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    service = api(keys)
    filled = gates_of.with_image_check(service.gate, service.container.get("Healthcheck", {}), image)
    assert filled == Gate(**{"deadline": 180.0, **expected})


BOUND = [
    # name, keys, order, why it is bound
    ("nothing shared", "", Order.START_FIRST, ""),
    ("asked for", "deploy: {update_config: {order: stop-first}}", Order.STOP_FIRST, ""),
    ("a port", 'ports: ["8080:80"]', Order.STOP_FIRST, "it publishes port 8080"),
    ("a port that the engine picks", 'ports: ["80", "8000-8010:81"]', Order.START_FIRST, ""),
    ("a name", "container_name: cc", Order.STOP_FIRST, "its container_name is cc"),
    ("the host's network", "network_mode: host", Order.STOP_FIRST, "it uses the host's network"),
    ("a volume", "volumes: ['pg:/d']", Order.STOP_FIRST, "it writes volume pg with one replica"),
    ("a host path", "volumes: ['/srv/d:/d']", Order.STOP_FIRST, "it writes host path /srv/d with one replica"),
    ("read only", "volumes: ['pg:/d:ro', '/srv/d:/e:ro']", Order.START_FIRST, ""),
    ("a socket", "volumes: ['/run/x.sock:/run/x.sock']", Order.START_FIRST, ""),
    ("no lasting place", "volumes: [/d, {type: tmpfs, target: /t}], tmpfs: /tmp", Order.START_FIRST, ""),
    ("a shared volume", "volumes: ['pg:/d'], scale: 2", Order.START_FIRST, ""),
    ("in words", "volumes: ['pg:/d'], deploy: {update_config: {order: start-first}}", Order.START_FIRST, ""),
    (
        "several",
        'ports: ["80:80", "443:443"], container_name: cc',
        Order.STOP_FIRST,
        "it publishes port 80 and it publishes port 443 and its container_name is cc",
    ),
    ("a one-shot's volume", "volumes: ['pg:/d'], x-quaylock: {one_shot: true}", Order.START_FIRST, ""),
]


@pytest.mark.parametrize(("keys", "order", "bound"), [case[1:] for case in BOUND], ids=[case[0] for case in BOUND])
def test_what_cannot_run_twice_is_replaced_stop_first(keys: str, order: Order, bound: str) -> None:
    service = api(keys)
    assert (service.order, service.bound) == (order, bound)


def test_a_fixed_address_is_one_replica_s() -> None:
    made = stack("""
        services: {a: {image: a, networks: {n: {ipv4_address: 10.9.0.5}}}}
        networks: {n: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}
    """)
    assert made.service("a").bound == "it has the fixed address 10.9.0.5"


DEPENDENCIES = [
    ("[b]", (Dependency("b"),)),
    ("{b: {condition: service_healthy}}", (Dependency("b", Condition.HEALTHY),)),
    ("{b: {condition: service_started, restart: true}}", (Dependency("b", restart=True),)),
    ("{b: {condition: service_started, required: false}}", (Dependency("b", required=False),)),
    ("{idle: {condition: service_started, required: false}}", ()),
    ("{nowhere: {condition: service_started, required: false}}", ()),
]


@pytest.mark.parametrize(("written", "expected"), DEPENDENCIES)
def test_dependencies(written: str, expected: tuple[Dependency, ...]) -> None:
    made = stack(
        f"services: {{a: {{image: a, depends_on: {written}}}, b: {{image: b}}, idle: {{image: c, profiles: [p]}}}}"
    )
    assert made.service("a").depends_on == expected


def test_a_one_shot_is_what_others_wait_for_to_complete() -> None:
    made = stack("""
        services:
          migrate: {image: a}
          seed: {image: a, x-quaylock: {one_shot: true, gate: {deadline: 90s}}}
          api: {image: a, depends_on: {migrate: {condition: service_completed_successfully}}}
    """)
    assert [(s.name, s.one_shot, s.gate.deadline) for s in made.services] == [
        ("migrate", True, 600.0),
        ("seed", True, 90.0),
        ("api", False, 180.0),
    ]
    assert not made.service("migrate").gate.probes
    assert not made.service("migrate").gate.image_check


ROUTES = [
    ("{entrypoint: http, port: 8000}", Route("http", 8000)),
    (
        "{entrypoint: http, port: 8000, host: Shop.Example.ORG, path: /api, status: [200, 302], drain: 5s}",
        Route("http", 8000, "shop.example.org", "/api", "/api", (200, 302), 5.0),
    ),
    ("{entrypoint: http, port: 8000, check: /health}", Route("http", 8000, check="/health")),
    ("{entrypoint: http, port: 8000, sticky: true}", Route("http", 8000, sticky=True)),
    ("{entrypoint: db, port: 5432, mode: tcp}", Route("db", 5432, check="", mode="tcp")),
]


@pytest.mark.parametrize(("written", "route"), ROUTES)
def test_a_routed_service_joins_the_proxy_s_network(written: str, route: Route) -> None:
    service = api(f"networks: [back], x-quaylock: {{ingress: [{written}]}}")
    assert service.routes == (route,)
    assert service.networks == ("back", "quaylock_ingress")


def test_networks_and_volumes_have_compose_s_names_and_labels() -> None:
    made = stack("""
        services: {a: {image: a, networks: [default, own, theirs, named], volumes: ["v:/v", "w:/w", "x:/x"]}}
        networks: {own: {internal: true, labels: {zone: back}}, theirs: {external: true}, named: {name: n1}, unused: }
        volumes: {v: , w: {external: true, name: their-w}, x: {driver: nfs, driver_opts: {o: addr=1}}, unused: }
    """)
    assert {n.key: (n.name, n.external) for n in made.networks} == {
        "own": ("shop_own", False),
        "theirs": ("theirs", True),
        "named": ("n1", False),
        "default": ("shop_default", False),
    }
    own = next(network.body for network in made.networks if network.key == "own")
    assert own["Internal"] is True
    assert own["Labels"] == {"zone": "back", "com.docker.compose.project": "shop", "com.docker.compose.network": "own"}
    assert {v.key: (v.name, v.external) for v in made.volumes} == {
        "v": ("shop_v", False),
        "w": ("their-w", True),
        "x": ("shop_x", False),
    }
    body = next(volume.body for volume in made.volumes if volume.key == "x")
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.volume": "x"}
    assert body == {"Driver": "nfs", "DriverOpts": {"o": "addr=1"}, "Labels": labels}
    assert made.service("a").volumes == ("v", "w", "x")


def test_the_network_of_highest_priority_comes_first() -> None:
    made = stack("""
        services: {a: {image: a, networks: {x: , y: {priority: 10}, b: }}}
        networks: {x: , y: , b: }
    """)
    assert made.service("a").networks == ("y", "b", "x")


def test_a_service_without_networks_is_on_the_default_one() -> None:
    assert api("").networks == ("default",)
    assert api("network_mode: host").networks == ()


FILES = [
    (
        "secrets: [{source: pw, uid: '999', gid: '1001', mode: '0400'}]",
        [("secret", "/etc/quaylock/stacks/shop/secrets/pw-f1", "/run/secrets/pw", 0o400)],
    ),
    ("secrets: [pw]", [("secret", "/etc/quaylock/stacks/shop/secrets/pw-f1", "/run/secrets/pw", 0o444)]),
    (
        "secrets: [{source: pw, target: db, mode: '0440'}]",
        [("secret", "/etc/quaylock/stacks/shop/secrets/pw-f1", "/run/secrets/db", 0o440)],
    ),
    (
        "secrets: [{source: pw, target: /etc/pw}]",
        [("secret", "/etc/quaylock/stacks/shop/secrets/pw-f1", "/etc/pw", 0o444)],
    ),
    ("configs: [ini]", [("config", "/etc/quaylock/stacks/shop/configs/ini-f2", "/ini", 0o444)]),
    (
        "configs: [{source: ini, target: /etc/app.ini}]",
        [("config", "/etc/quaylock/stacks/shop/configs/ini-f2", "/etc/app.ini", 0o444)],
    ),
]


@pytest.mark.parametrize(("keys", "expected"), FILES)
def test_secrets_are_read_only_mounts_of_files(keys: str, expected: list[tuple[str, str, str, int]]) -> None:
    definition = {
        "services": {"a": {"image": "a", **yaml.safe_load(keys)}},
        "secrets": {"pw": None},
        "configs": {"ini": None},
    }
    made = read("shop", definition, CONTEXT)
    mounts = made.service("a").container["HostConfig"]["Mounts"]
    assert [(f.kind, f.host_path, m["Target"], f.mode) for f, m in zip(made.files, mounts, strict=True)] == expected
    assert all(m["ReadOnly"] and m["Type"] == "bind" for m in mounts)


def test_the_user_s_own_file_is_mounted_and_must_be_there() -> None:
    made = stack("""
        services: {a: {image: a, secrets: [tls]}}
        secrets: {tls: {file: ./tls.pem}}
    """)
    assert made.files == (MountedFile("secret", "tls", "/srv/shop/tls.pem", external=True),)
    assert made.service("a").binds == ("/srv/shop/tls.pem",)


def test_a_secret_that_nobody_uses_is_not_asked_for() -> None:
    assert stack("{services: {a: {image: a}}, secrets: {other: }}").files == ()


BUILDS = [
    ("build: ./app", "shop-api", Build("/srv/shop/app")),
    ("build: .", "shop-api", Build("/srv/shop")),
    (
        "image: own:1, build: {context: app, dockerfile: D, args: {A: 1}, target: t}",
        "own:1",
        Build("/srv/shop/app", "D", {"A": "1"}, "t"),
    ),
    ("build: https://example.org/app.git#v1", "shop-api", Build("https://example.org/app.git#v1")),
    ("image: own:1", "own:1", None),
    (
        "build: {context: ., labels: [a=1, b], network: host, extra_hosts: {p: 10.0.0.3}, shm_size: 64m, "
        "cache_from: [c:1], no_cache: true, pull: true, tags: [t:1]}",
        "shop-api",
        Build(
            "/srv/shop",
            labels={"a": "1", "b": ""},
            network="host",
            extra_hosts={"p": "10.0.0.3"},
            shm_size=2**26,
            cache_from=("c:1",),
            no_cache=True,
            pull=True,
            tags=("t:1",),
        ),
    ),
]


@pytest.mark.parametrize(("keys", "image", "build"), BUILDS)
def test_images_and_builds(keys: str, image: str, build: Build | None) -> None:
    service = read("shop", {"services": {"api": yaml.safe_load("{" + keys + "}")}}, CONTEXT).service("api")
    assert (service.image, service.build) == (image, build)


def test_profiles_choose_services() -> None:
    text = "services: {a: {image: a}, b: {image: b, profiles: [p, q]}, c: {image: c, profiles: [r], comand: x}}"
    names = {
        profiles: [s.name for s in stack(text, Context(profiles=profiles)).services]
        for profiles in ((), ("p",), ("q", "s"))
    }
    assert names == {(): ["a"], ("p",): ["a", "b"], ("q", "s"): ["a", "b"]}


SAME = [
    ("environment: {A: 1, B: 2}", "environment: [B=2, A=1]"),
    ("ports: ['8080:80']", "ports: [{target: 80, published: '8080', protocol: tcp, mode: ingress}]"),
    ("healthcheck: {test: x}", "healthcheck: {test: [CMD-SHELL, x]}"),
    ("volumes: ['pg:/d:ro']", "volumes: [{type: volume, source: pg, target: /d, read_only: true}]"),
    ("command: a 'b c'", "command: [a, b c]"),
    ("deploy: {replicas: 1}", "deploy: {replicas: 3}"),
    ("", "x-quaylock: {gate: {passes: 5}}"),
    ("", "image: other:2"),
    ("", "deploy: {update_config: {monitor: 1s}}"),
    ("mem_limit: 1g", "deploy: {resources: {limits: {memory: 1024m}}}"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_replica_is_kept_where_nothing_of_it_changed(one: str, other: str) -> None:
    assert api(one).spec == api(other).spec


CHANGES = [
    "environment: {A: 1}",
    "command: x",
    "labels: {a: b}",
    "deploy: {labels: {c: d}}",
    "user: '1000'",
    "secrets: [pw]",
    "secrets: [{source: pw, mode: '0400'}]",
    "networks: [back]",
    "networks: {default: {aliases: [x]}}",
    "container_name: xx",
    "healthcheck: {test: x}",
    "mem_limit: 1g",
    "restart: always",
    "stop_grace_period: 1m",
    "x-quaylock: {ingress: [{entrypoint: http, port: 1}]}",
]


def test_whatever_makes_a_replica_what_it_is_changes_its_spec() -> None:
    specs = {keys: api(keys).spec for keys in ("", *CHANGES)}
    assert len(set(specs.values())) == len(specs)
    assert all(len(spec) == 16 for spec in specs.values())


def test_new_content_of_a_secret_is_a_new_spec() -> None:
    newer = Context("/srv/shop", "/etc/quaylock/stacks/shop", {"pw": "f9"}, {"ini": "f2"})
    assert api("secrets: [pw]").spec != api("secrets: [pw]", newer).spec


def test_a_network_s_real_name_is_part_of_the_spec() -> None:
    one = stack("{services: {a: {image: a}}, networks: {default: {name: x}}}").service("a")
    other = stack("{services: {a: {image: a}}, networks: {default: {name: y}}}").service("a")
    assert one.spec != other.spec


def test_the_file_on_the_host_is_complete_and_has_no_content() -> None:
    made = stack(
        """
        version: "3.8"
        name: ignored
        x-team: {pager: $1}
        services:
          api:
            image: api:1
            build: {context: ./app}
            user: "1000"
            ports: [80]
            stop_grace_period: 0
            deploy: {resources: {limits: {memory: 268435456, cpus: 0.5}, reservations: }}
            logging: {options: {max-file: 5}}
            domainname:
            restart: no
            environment: {PRICE: $5, HOME_DIR: "${HOME}"}
            volumes: ["./data:/data:ro", {type: bind, source: ../up, target: /up, read_only: true}, "pg:/pg"]
            secrets: [pw]
            configs: [{source: ini, target: /etc/app.ini}]
            profiles: [web]
            depends_on: {db: {condition: service_started, required: false}, cache: {condition: service_started}}
            x-quaylock: {ingress: [{entrypoint: http, port: 8000}]}
          cache: {image: c, depends_on: []}
          db: {image: d, profiles: [local-db]}
        volumes: {pg: }
        secrets: {pw: , unused: }
        configs: {ini: {content: inline}}
    """,
        Context(
            "/srv/shop",
            "/etc/quaylock/stacks/shop",
            {"pw": "f1"},
            {"ini": "f2"},
            entrypoints={"http": 80},
            profiles=("web",),
        ),
    )
    assert made.rendered == {
        "name": "shop",
        "x-team": {"pager": "$$1"},
        "services": {
            "api": {
                "image": "api:1",
                "build": {"context": "/srv/shop/app"},
                "user": "1000",
                "ports": ["80"],
                "stop_grace_period": "0",
                "deploy": {"resources": {"limits": {"memory": "268435456", "cpus": 0.5}}},
                "logging": {"options": {"max-file": "5"}},
                "restart": "no",
                "environment": {"PRICE": "$$5", "HOME_DIR": "$${HOME}"},
                "volumes": [
                    "/srv/shop/data:/data:ro",
                    {"type": "bind", "source": "/srv/up", "target": "/up", "read_only": True},
                    "pg:/pg",
                ],
                "secrets": ["pw"],
                "configs": [{"source": "ini", "target": "/etc/app.ini"}],
                "depends_on": {"cache": {"condition": "service_started"}},
                "x-quaylock": {"ingress": [{"entrypoint": "http", "port": 8000}]},
                "networks": ["default", "quaylock_ingress"],
            },
            "cache": {"image": "c", "depends_on": []},
        },
        "volumes": {"pg": None},
        "networks": {"quaylock_ingress": {"name": "quaylock_ingress", "external": True}},
        "secrets": {"pw": {"file": "./secrets/pw-f1"}},
        "configs": {"ini": {"file": "./configs/ini-f2"}},
    }
    assert "inline" not in json.dumps(made.rendered)


WRITTEN = [
    ("cpu_rt_runtime: 400ms, cpu_rt_period: '95000'", {"cpu_rt_runtime": 400_000, "cpu_rt_period": "95000"}),
    ("ulimits: {nofile: 1000.0}", {"ulimits": {"nofile": 1000}}),
    ("cpus: 2.0", {"cpus": 2}),
    ("environment: {A: 1000000.0, B: 2.5}", {"environment": {"A": "1e+06", "B": "2.5"}}),
    ("env_file: '', label_file: [], user: ", {}),
    ("secrets: [{source: pw, uid: '5', mode: 256}]", {"secrets": [{"source": "pw", "uid": "5", "mode": 256}]}),
]


@pytest.mark.parametrize(("keys", "written"), WRITTEN)
def test_what_compose_takes_only_one_way_is_written_that_way(keys: str, written: dict[str, Any]) -> None:
    definition = {"services": {"api": {"image": "a", **yaml.safe_load("{" + keys + "}")}}, "secrets": {"pw": None}}
    assert read("shop", definition, CONTEXT).rendered["services"]["api"] == {"image": "a", **written}


def test_a_volume_that_is_a_folder_lies_where_other_paths_do() -> None:
    made = stack("""
        services: {a: {image: a, volumes: ["v:/v"]}}
        volumes: {v: {driver_opts: {type: none, o: "ro,bind", device: ./data}}}
    """)
    assert made.volumes[0].body["DriverOpts"]["device"] == "/srv/shop/data"
    assert made.rendered["volumes"]["v"]["driver_opts"]["device"] == "/srv/shop/data"


def test_a_variable_may_be_called_like_a_duration() -> None:
    made = stack("services: {a: {image: a, environment: {cpu_rt_period: one}}}")
    assert made.rendered["services"]["a"]["environment"] == {"cpu_rt_period": "one"}


def test_what_was_read_is_not_changed() -> None:
    definition = yaml.safe_load("{services: {a: {image: a, depends_on: [b], networks: {default: }}, b: {image: b}}}")
    before = json.dumps(definition)
    made = read("shop", definition, CONTEXT)
    assert json.dumps(definition) == before
    assert made.rendered["services"]["a"] is not definition["services"]["a"]


PLAIN = [
    ("pull_policy: if_not_present", "pull_policy", "missing"),
    ("pull_policy: always", "pull_policy", "always"),
    ("stop_grace_period: 1m30s", "grace", 90.0),
    ("scale: 3", "replicas", 3),
    ("deploy: {replicas: '2'}", "replicas", 2),
    ("scale: 0", "replicas", 0),
    ("labels: [a=1, b]", "labels", {"a": "1", "b": ""}),
    ("labels: {a: 1}, deploy: {labels: {a: 2, c: x}}", "labels", {"a": "1", "c": "x"}),
    ("container_name: cc", "container_name", "cc"),
    ('ports: ["127.0.0.1:80:80", "53:53/udp", "81"]', "published", (("", 53, "udp"), ("127.0.0.1", 80, "tcp"))),
    ("volumes: [{type: bind, source: ./a, target: /a, bind: {create_host_path: false}}]", "binds", ("/srv/shop/a",)),
    ("volumes: ['./a:/a']", "binds", ()),
]


@pytest.mark.parametrize(("keys", "name", "value"), PLAIN)
def test_a_service_has(keys: str, name: str, value: object) -> None:
    assert getattr(api(keys), name) == value
