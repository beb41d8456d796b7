# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real lakehouse on this machine's engine: the role's own file, with production's health settings and what the machine has."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import timeline
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings, Request

from tests.fixtures.images.recipes import recipe_image
from tests.fixtures.stacks import lakehouse
from tests.fixtures.stacks.roles import ROOT, loaded

NAME = "qbench-lake"
LAYERS = {
    "storage": ("minio", "minio-init", "metastore-db", "superset-db", "airflow-db"),
    "metadata": ("hive-metastore",),
    "processing": ("spark-master", "spark-worker"),
    "query": ("trino",),
    "analytics": ("superset", "airflow-webserver", "airflow-scheduler"),
    "application": ("ingestor", "dbt"),
}
ROWS, DAY = 1000, "2024-01-01"
HEALED = 180.0
"""seconds in which everything has to be healthy again after a kill"""


@dataclass
class Platform:
    """The role's own file, filled in as a play does."""

    folder: Path
    url: str = ""
    """of another engine than this machine's"""
    proxy: IngressSettings | None = None
    """in front of it, with an entrypoint `http`"""

    def __post_init__(self) -> None:
        self.client: Any = docker.DockerClient(self.url, timeout=120) if self.url else docker.from_env(timeout=120)
        self.images = {name: {"ref": recipe_image(docker.from_env(timeout=120), name)} for name in lakehouse.RECIPES}
        self.want()

    def want(self, **given: Any) -> None:
        """Variables of the role from now on; each call forgets the one before. `labels` are of services, by name."""
        labels, verified = given.pop("labels", {}), given.pop("verified", True)
        # production's CPUs as far as the machine has them; of memory it has as much as development's table wants
        tables = [loaded(ROOT / f"inventories/{e}/group_vars/lakehouse/main.yml") for e in ("prod", "dev")]
        cores = os.cpu_count() or 1
        limits = {
            name: {"cpus": min(prod["cpus"], cores), "memory": tables[1]["lakehouse_limits"][name]["memory"]}
            for name, prod in tables[0]["lakehouse_limits"].items()
        }
        known = lakehouse.variables(
            "prod",
            lakehouse_name=NAME,
            **{
                "images_resolved": self.images,
                "ingress_entrypoints": {"http": {}} if self.proxy else {},
                "lakehouse_entrypoint": "http",
                "lakehouse_limits": limits,
                "lakehouse_daily_schedule": "",
                # the sixteen alone
                "lakehouse_monitoring": False,
                "lakehouse_verify_failure": "report",
                **given,
            },
        )
        self.known, self.model = known, lakehouse.definition(known)
        for service, value in labels.items():
            self.model["services"][service]["labels"] = {"org.example.turn": value}
        if not verified:
            del self.model["x-quaylock"]["verify"], self.model["x-quaylock"]["verify_failure"]
        self.contents = {"secrets": lakehouse.secrets_of(known), "configs": lakehouse.configs_of(known)}
        used = {
            kind: {key: body for key, body in made.items() if key in self.model[kind]}
            for kind, made in self.contents.items()
        }
        self.request = Request(
            name=NAME,
            # as the module's action does, and Compose itself: a $ is written $$
            definition=json.loads(json.dumps(self.model).replace("$$", "$")),
            secrets=used["secrets"],
            configs=used["configs"],
            profiles=lakehouse.profiles_of(known),
            ingress=self.proxy,
            docker_host=self.url,
            state_dir=str(self.folder / "state"),
            config_dir=str(self.folder / "etc"),
            who="bench",
        )

    def deploy(self) -> dict[str, Any]:
        return deploy.deploy(self.request)

    def up(self) -> dict[str, Any]:
        answer = self.deploy()
        if answer["outcome"] not in ("deployed", "unchanged"):
            raise RuntimeError(json.dumps(answer, indent=1, default=str)[-6000:])
        return answer

    def down(self) -> None:
        deploy.remove(self.request, True, False)

    def healthy(self, answer: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
        """Seconds from the rollout's begin until all services had passed, and until each layer had."""
        journal = SqliteJournal(str(self.folder / "state/journal.sqlite"))
        events = journal.events(answer["rollout"])
        told = timeline.read((e.at, e.what, e.details) for e in events)
        began = events[0].at
        there = {service: told.there(service) for service in told.services}
        layers = {layer: max((there.get(name) or began) for name in names) - began for layer, names in LAYERS.items()}
        return max(layers.values()), layers

    def containers(self) -> dict[str, Any]:
        found = self.client.api.containers(filters={"label": [f"com.docker.compose.project={NAME}"]})
        return {entry["Names"][0].lstrip("/"): self.client.api.inspect_container(entry["Id"]) for entry in found}

    def of(self, service: str) -> str:
        return next(
            n
            for n, body in self.containers().items()
            if body["Config"]["Labels"]["com.docker.compose.service"] == service
        )

    def asked(self, service: str, *command: str) -> str:
        call = ["docker", *(["-H", self.url] if self.url else []), "exec", self.of(service), *command]
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-800:]}{done.stderr[-800:]}")
        return done.stdout.strip()

    def memory(self) -> float:
        """MiB of all containers; pages of files that can be dropped do not count."""
        total = 0.0
        for body in self.containers().values():
            stat = Path(f"/sys/fs/cgroup/memory/docker/{body['Id']}/memory.stat")
            if not stat.exists():
                stats = self.client.api.stats(body["Id"], stream=False)["memory_stats"]
                total += stats.get("usage", 0) / 2**20
                continue
            counted = dict(line.split() for line in stat.read_text().splitlines())
            total += (int(counted["total_rss"]) + int(counted["total_mapped_file"])) / 2**20
        return total

    def daily_run(self, name: str) -> dict[str, Any]:
        """Asked again where the page that is asked goes away; the same name is the same run."""
        conf = json.dumps({"day": DAY, "rows": ROWS, "prefix": "verify_"})
        until = time.monotonic() + 900
        while True:
            try:
                said: dict[str, Any] = json.loads(
                    self.asked("airflow-webserver", "airflow-ask", "run", "taxi_daily", name, conf)
                )
                return said
            except (RuntimeError, ValueError, StopIteration) as error:
                if "failed" in str(error) and '"state"' in str(error):
                    raise
                if time.monotonic() > until:
                    raise
            time.sleep(2)

    def sums(self) -> set[str]:
        """What each layer has of that day, as Trino reads it."""
        where = f"WHERE day = DATE '{DAY}'"
        return {
            self.asked(
                "trino",
                "trino-ask",
                f"SELECT count(*), sum(total_amount) FROM iceberg.verify_silver.taxi_trips {where}",
            ),
            self.asked(
                "trino", "trino-ask", f"SELECT sum(trips), sum(revenue) FROM iceberg.verify_gold.trips_by_day {where}"
            ),
        }

    def ill(self) -> list[str]:
        return [n for n, b in self.containers().items() if b["State"].get("Health", {}).get("Status") != "healthy"]

    def healed(self, names: int) -> float:
        began = time.monotonic()
        while len(self.containers()) < names or self.ill():
            if time.monotonic() - began > HEALED:
                raise RuntimeError(f"not healthy after {HEALED:g} s: {self.ill()}")
            time.sleep(0.5)
        return time.monotonic() - began


class Beside(threading.Thread):
    """A daily run that goes on meanwhile. `state` is what became of it."""

    def __init__(self, platform: Platform, name: str) -> None:
        super().__init__()
        self._platform, self._name_of_run, self.state = platform, name, "unknown"
        self.start()

    def run(self) -> None:
        try:
            self.state = str(self._platform.daily_run(self._name_of_run)["state"])
        except Exception as error:
            self.state = f"failed: {error}"


@contextmanager
def lake() -> Iterator[tuple[Platform, Path]]:
    with tempfile.TemporaryDirectory(prefix="quaylock-bench.") as name:
        folder = Path(name)
        platform = Platform(folder)
        try:
            platform.down()
            yield platform, folder
        finally:
            platform.down()
