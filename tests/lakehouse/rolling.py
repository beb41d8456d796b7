# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What clients notice while a lakehouse is rolled: those behind the proxy, and those who connect inside of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lakehouse.real import NAME, Platform
from tests.load.clients import Load
from tests.load.proxies import network, ours

SUBNET = "10.213.40.0/24"
PAGES = {"superset": "/login/", "airflow": "/login/", "trino": "/v1/info"}
ROUTED = {"superset": "superset", "airflow": "airflow-webserver", "trino": "trino"}
MIX = {"keepalive": 1, "fresh": 1}
PAUSE = 0.1
"""seconds between two requests of a client: pages of these applications take their time, and the machine is small"""
ROWS = 1_500_000
QUERIES = f"""
import json, signal, sys, time
import trino
over, done, longest, failures = [], 0, 0.0, []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
query = "SELECT x, y FROM UNNEST(sequence(1, 10000)) a(x) CROSS JOIN UNNEST(sequence(1, {ROWS // 10_000})) b(y)"
while not over:
    began = time.time()
    try:
        cursor = trino.dbapi.connect(host=sys.argv[1], port=int(sys.argv[2]), user="load").cursor()
        cursor.execute(query)
        rows = sum(1 for row in iter(cursor.fetchone, None))
        if rows != {ROWS}:
            failures.append(f"{{rows}} rows")
        done, longest = done + 1, max(longest, time.time() - began)
    except Exception as error:
        failures.append(f"after {{time.time() - began:.1f}} s: {{error}}"[:300])
print(json.dumps({{"done": done, "longest": longest, "failures": failures}}))
"""
"""Trino's own client for Python, one query after another; their rows are fetched page by page"""
INSIDE = {
    "minio": ("minio", 9000),
    "metastore-db": ("metastore-db", 5432),
    "superset-db": ("superset-db", 5432),
    "airflow-db": ("airflow-db", 5432),
    "hive-metastore": ("hive-metastore", 9083),
    "spark-master": ("spark-master", 7077),
    "trino": ("trino", 8080),
}
NETWORKS = ("lake", "metadata", "superset", "airflow", "query")
KNOCKING = f"""
import json, signal, socket, threading, time
over, gaps = threading.Event(), {{}}
signal.signal(signal.SIGTERM, lambda *_: over.set())
def knock(service, host, port):
    away = None
    while not over.is_set():
        try:
            socket.create_connection((host, port), 0.5).close()
            if away is not None:
                gaps.setdefault(service, []).append(time.time() - away)
            away = None
        except OSError:
            away = away or time.time()
        time.sleep(0.02)
threads = [threading.Thread(target=knock, args=(s, *at)) for s, at in {INSIDE!r}.items()]
for thread in threads:
    thread.start()
while not over.wait(0.2):
    pass
for thread in threads:
    thread.join()
print(json.dumps(gaps))
"""
"""connects to each service by its name, fifty times a second"""


@dataclass
class Said:
    """What a container wrote when it was told to end."""

    value: Any = None


@contextlib.contextmanager
def watching(platform: Platform, script: str, *words: str, networks: tuple[str, ...], **about: Any) -> Iterator[Said]:
    """A script in a container with Python, on these networks."""
    said = Said()
    made = platform.client.containers.create(
        platform.images["dbt"]["ref"],
        ["-c", script, *words],
        entrypoint="python",
        name=f"{NAME}-clients",
        network=networks[0],
        init=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        **about,
    )
    try:
        for more in networks[1:]:
            platform.client.networks.get(more).connect(made)
        made.start()
        yield said
        made.reload()
        if made.status != "running":
            raise RuntimeError(f"the clients ended: {made.logs().decode()[-2000:]}")
        made.stop(timeout=120)
        said.value = json.loads(made.logs(stderr=False).decode())
    finally:
        made.remove(force=True)


def need(right: bool, what: str) -> None:
    if not right:
        raise AssertionError(what)


def roll(platform: Platform, labels: dict[str, str], service: str, turn: str, **given: Any) -> float:
    """Seconds that it takes to replace this service; nothing else may be touched."""
    before = {name: body["Id"] for name, body in platform.containers().items()}
    labels[service] = turn
    platform.want(labels=dict(labels), verified=False, **given)
    began = time.monotonic()
    platform.up()
    took = time.monotonic() - began
    ids = {body["Id"] for body in platform.containers().values()}
    gone = {name.rpartition("-")[0].removeprefix(f"{NAME}-") for name, id_ in before.items() if id_ not in ids}
    need(gone == {service}, f"{service}: {gone} were replaced")
    return took


def gaps_of(found: Mapping[str, list[float]]) -> str:
    return ", ".join(f"{service} {max(found[service]):.1f} s" for service in INSIDE if service in found) or "none"


def routed(platform: Platform, _folder: Path) -> str:
    """Those behind the proxy, under load: pages, and queries whose rows are still being fetched."""
    told = []
    with network(f"{NAME}-front", SUBNET) as front, ours("haproxy", front) as proxy:
        platform.proxy = proxy.ingress
        address, port = proxy.target.split(":")
        try:
            # the role's own names; TLS ends elsewhere
            given = {"profile_rollout_drain": "10s", "profile_tls": "off"}
            platform.want(verified=False, **given)
            platform.up()
            domains = {name: f"{name}.example.org" for name in PAGES}
            about: Any = {"extra_hosts": {domains["trino"]: address}}
            with contextlib.ExitStack() as clients:
                loads = {
                    name: clients.enter_context(
                        Load(proxy.target, host=domains[name], mix=MIX, path=path, pause=PAUSE, seconds=600)
                    )
                    for name, path in PAGES.items()
                }
                with watching(platform, QUERIES, domains["trino"], port, networks=(front,), **about) as queries:
                    time.sleep(5)
                    labels: dict[str, str] = {}
                    for name, service in ROUTED.items():
                        told.append(f"{name} {roll(platform, labels, service, 'routed', **given):.0f} s")
                    labels = dict.fromkeys(ROUTED.values(), "together")
                    platform.want(labels=labels, verified=False, **given)
                    began = time.monotonic()
                    platform.up()
                    told.append(f"the three together {time.monotonic() - began:.0f} s")
                    time.sleep(3)
            asked = queries.value
            need(not asked["failures"], f"queries: {asked}")
            need(asked["done"] >= 5, f"queries: {asked}")
            for name, load in loads.items():
                need(load.report.failed == 0, f"{name}: {load.report}")
                need(load.report.requests > 100, f"{name}: {load.report}")
            requests = ", ".join(f"{name} {load.report.requests}" for name, load in loads.items())
            return (
                f"{', '.join(told)}; requests: {requests}, failed 0; {asked['done']} queries of {ROWS} rows by Trino's "
                f"client, the longest {asked['longest']:.1f} s, failed 0"
            )
        finally:
            platform.proxy = None
            platform.want(verified=False)
            platform.up()
