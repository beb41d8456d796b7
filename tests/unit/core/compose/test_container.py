# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compose keys as fields of the Engine API's create body. tests/integration/test_container_bodies.py asks an engine."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read

S = 1_000_000_000
NO = {"Name": "no", "MaximumRetryCount": 0}


def body(keys: str) -> dict[str, Any]:
    definition = {
        "services": {"api": {"image": "api:1", **yaml.safe_load("{" + keys + "}")}},
        "volumes": {"pg": None, "named": {"name": "by-name"}},
        "networks": {"back": {"ipam": {"config": [{"subnet": "10.9.0.0/24"}]}}},
    }
    return dict(read("shop", definition, Context("/srv/shop")).service("api").container)


CONFIG = [
    ("", {}),
    ("command: 'run \"a b\"'", {"Cmd": ["run", "a b"]}),
    ("command: [run, '1']", {"Cmd": ["run", "1"]}),
    ("command: []", {"Cmd": []}),
    ("command: null", {}),
    ("entrypoint: /e -x", {"Entrypoint": ["/e", "-x"]}),
    ("environment: {B: 1, A: true, C: 1.0, D: , E: ''}", {"Env": ["A=true", "B=1", "C=1", "D", "E="]}),
    ("environment: [B=x=y, A]", {"Env": ["A", "B=x=y"]}),
    ("user: '1000'", {"User": "1000"}),
    ("working_dir: /w", {"WorkingDir": "/w"}),
    ("hostname: h, domainname: d", {"Hostname": "h", "Domainname": "d"}),
    ("tty: true, stdin_open: true", {"Tty": True, "OpenStdin": True}),
    ("tty: false", {}),
    ("stop_signal: SIGINT", {"StopSignal": "SIGINT"}),
    ("stop_grace_period: 1500ms", {"StopTimeout": 2}),
    ("labels: [a=1, b]", {"Labels": {"a": "1", "b": ""}}),
    ("healthcheck: {test: x y}", {"Healthcheck": {"Test": ["CMD-SHELL", "x y"]}}),
    (
        "healthcheck: {test: [CMD, x], interval: 1m30s, timeout: 1.5s, retries: 5, start_period: 10s, "
        "start_interval: 500ms}",
        {
            "Healthcheck": {
                "Test": ["CMD", "x"],
                "Interval": 90 * S,
                "Timeout": 3 * S // 2,
                "StartPeriod": 10 * S,
                "StartInterval": S // 2,
                "Retries": 5,
            }
        },
    ),
    ("healthcheck: {disable: true}, x-quaylock: {gate: {none: x}}", {"Healthcheck": {"Test": ["NONE"]}}),
    ("expose: [80, '90/udp', '100-101']", {"ExposedPorts": {"100/tcp": {}, "101/tcp": {}, "80/tcp": {}, "90/udp": {}}}),
]


@pytest.mark.parametrize(("keys", "expected"), CONFIG)
def test_the_process(keys: str, expected: dict[str, Any]) -> None:
    seen = {key: value for key, value in body(keys).items() if key not in ("HostConfig", "NetworkingConfig")}
    assert seen == expected


def bind(port: str, ip: str = "") -> list[dict[str, str]]:
    return [{"HostIp": ip, "HostPort": port}]


HOST = [
    ("restart: always", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}),
    ("restart: 'on-failure:3'", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}),
    ("restart: no", {}),
    ("deploy: {restart_policy: {condition: none}}", {}),
    ("deploy: {restart_policy: {condition: any}}", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}),
    (
        "deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}",
        {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
    ),
    ("cpus: 1.5", {"NanoCpus": 1_500_000_000}),
    (
        "deploy: {resources: {limits: {cpus: '0.5', memory: 512m, pids: 9}, "
        "reservations: {memory: 64m, cpus: '0.25'}}}",
        {"NanoCpus": 500_000_000, "Memory": 2**29, "PidsLimit": 9, "MemoryReservation": 2**26, "CpuShares": 256},
    ),
    ("mem_limit: 1g, memswap_limit: -1", {"Memory": 2**30, "MemorySwap": -1}),
    (
        "cpu_quota: 50000, cpu_period: 100000, cpuset: 0-1",
        {"CpuQuota": 50000, "CpuPeriod": 100000, "CpusetCpus": "0-1"},
    ),
    ("oom_kill_disable: true, oom_score_adj: -500", {"OomKillDisable": True, "OomScoreAdj": -500}),
    ("init: false", {"Init": False}),
    ("privileged: true, read_only: true", {"Privileged": True, "ReadonlyRootfs": True}),
    ("cap_add: [A], cap_drop: [ALL]", {"CapAdd": ["A"], "CapDrop": ["ALL"]}),
    ("security_opt: [no-new-privileges]", {"SecurityOpt": ["no-new-privileges"]}),
    ("group_add: [docker, 1000]", {"GroupAdd": ["docker", "1000"]}),
    ("dns: 10.0.0.1, dns_search: [a], dns_opt: [b]", {"Dns": ["10.0.0.1"], "DnsSearch": ["a"], "DnsOptions": ["b"]}),
    ("extra_hosts: {b: 10.0.0.2, a: [10.0.0.1, '::1']}", {"ExtraHosts": ["a:10.0.0.1", "a:::1", "b:10.0.0.2"]}),
    ("extra_hosts: ['a=[::1]', 'b:10.0.0.1']", {"ExtraHosts": ["a:::1", "b:10.0.0.1"]}),
    (
        "pid: host, ipc: shareable, uts: host, userns_mode: host",
        {"PidMode": "host", "IpcMode": "shareable", "UTSMode": "host", "UsernsMode": "host"},
    ),
    (
        "cgroup: private, cgroup_parent: /p, runtime: crun",
        {"CgroupnsMode": "private", "CgroupParent": "/p", "Runtime": "crun"},
    ),
    ("shm_size: 64m", {"ShmSize": 2**26}),
    ("sysctls: [a=1]", {"Sysctls": {"a": "1"}}),
    ("storage_opt: {size: 1G}", {"StorageOpt": {"size": "1G"}}),
    ("annotations: {a: b}", {"Annotations": {"a": "b"}}),
    (
        "ulimits: {nproc: 10, nofile: {soft: 1, hard: -1}}",
        {"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": -1}, {"Name": "nproc", "Soft": 10, "Hard": 10}]},
    ),
    ("logging: {driver: local, options: {max-file: 5}}", {"LogConfig": {"Type": "local", "Config": {"max-file": "5"}}}),
    (
        "devices: [/dev/a]",
        {"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "rwm"}]},
    ),
    (
        "devices: [{source: /dev/a, target: /dev/b, permissions: r}]",
        {"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}]},
    ),
    ("gpus: all", {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}),
    (
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 2, driver: nvidia}]}}}",
        {"DeviceRequests": [{"Capabilities": [["gpu"]], "Count": 2, "Driver": "nvidia"}]},
    ),
    (
        "blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda, rate: 1m}]}",
        {"BlkioWeight": 300, "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 2**20}]},
    ),
    ("network_mode: host", {"NetworkMode": "host"}),
    ("tmpfs: /t", {"Tmpfs": {"/t": ""}}),
    ("tmpfs: ['/t:size=1m', /u]", {"Tmpfs": {"/t": "size=1m", "/u": ""}}),
    # ports
    ("ports: ['8080:80']", {"PortBindings": {"80/tcp": bind("8080")}}),
    ("ports: [80]", {"PortBindings": {"80/tcp": bind("")}}),
    ("ports: ['127.0.0.1:8080:80/udp']", {"PortBindings": {"80/udp": bind("8080", "127.0.0.1")}}),
    ("ports: ['[::1]:8080:80']", {"PortBindings": {"80/tcp": bind("8080", "::1")}}),
    ("ports: ['127.0.0.1::80']", {"PortBindings": {"80/tcp": bind("", "127.0.0.1")}}),
    ("ports: ['1000-1001:80-81']", {"PortBindings": {"80/tcp": bind("1000"), "81/tcp": bind("1001")}}),
    ("ports: ['1000-1005:80']", {"PortBindings": {"80/tcp": bind("1000-1005")}}),
    ("ports: ['80:80', '81:80']", {"PortBindings": {"80/tcp": [*bind("80"), *bind("81")]}}),
    (
        "ports: [{target: 80, published: 8080, host_ip: 10.0.0.1}]",
        {"PortBindings": {"80/tcp": bind("8080", "10.0.0.1")}},
    ),
    # mounts
    ("volumes: [/d]", {"Mounts": [{"Type": "volume", "Target": "/d", "ReadOnly": False}]}),
    ("volumes: ['pg:/d:ro']", {"Mounts": [{"Type": "volume", "Source": "shop_pg", "Target": "/d", "ReadOnly": True}]}),
    ("volumes: ['named:/d']", {"Mounts": [{"Type": "volume", "Source": "by-name", "Target": "/d", "ReadOnly": False}]}),
    (
        "volumes: ['pg:/d:nocopy']",
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "shop_pg",
                    "Target": "/d",
                    "ReadOnly": False,
                    "VolumeOptions": {"NoCopy": True},
                }
            ]
        },
    ),
    ("volumes: ['./d:/d']", {"Binds": ["/srv/shop/d:/d:rw"]}),
    ("volumes: ['../d:/d:ro,z']", {"Binds": ["/srv/d:/d:ro,z"]}),
    ("volumes: [{type: bind, source: /s, target: /d}]", {"Binds": ["/s:/d:rw"]}),
    (
        "volumes: [{type: bind, source: /s, target: /d, bind: {create_host_path: false, propagation: rslave}}]",
        {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/s",
                    "Target": "/d",
                    "ReadOnly": False,
                    "BindOptions": {"Propagation": "rslave"},
                }
            ]
        },
    ),
    (
        "volumes: [{type: tmpfs, target: /d, tmpfs: {size: 1m, mode: '1770'}}]",
        {
            "Mounts": [
                {
                    "Type": "tmpfs",
                    "Target": "/d",
                    "ReadOnly": False,
                    "TmpfsOptions": {"SizeBytes": 2**20, "Mode": 0o1770},
                }
            ]
        },
    ),
]


@pytest.mark.parametrize(("keys", "expected"), HOST)
def test_what_the_host_gives(keys: str, expected: dict[str, Any]) -> None:
    assert body(keys)["HostConfig"] == {"RestartPolicy": NO, **expected}


ENDPOINTS = [
    ("", {"default": {"Aliases": ["api"]}}),
    ("networks: [back]", {"back": {"Aliases": ["api"]}}),
    ("networks: {back: {aliases: [a, api, b]}}", {"back": {"Aliases": ["api", "a", "b"]}}),
    (
        "networks: {back: {ipv4_address: 10.9.0.7, driver_opts: {x: 1}}}",
        {"back": {"Aliases": ["api"], "IPAMConfig": {"IPv4Address": "10.9.0.7"}, "DriverOpts": {"x": "1"}}},
    ),
    ("network_mode: none", {}),
]


@pytest.mark.parametrize(("keys", "expected"), ENDPOINTS)
def test_where_it_is_found(keys: str, expected: dict[str, Any]) -> None:
    assert body(keys)["NetworkingConfig"]["EndpointsConfig"] == expected
