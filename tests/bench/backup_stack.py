# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stack of its own with a repository, to be backed up and measured."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import docker
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

STORE = ("Store", "db")


class Bench:
    """A stack of its own, and a repository."""

    def __init__(self, folder: Path, services: dict[str, Any], items: dict[str, Any], volumes: list[str]) -> None:
        self.client = docker.from_env()
        self.name, self.folder = f"qb-{secrets.token_hex(3)}", folder
        (folder / "password").write_text("correct horse\n")
        self.vault = self._vault("repository")
        self.request = Request(
            name=self.name,
            definition={
                "services": services,
                "volumes": {volume: {} for volume in volumes},
                "x-quaylock": {"backup": {"items": items}},
            },
            who="bench",
            state_dir=str(folder / "state"),
            config_dir=str(folder / "etc"),
        )
        answer = deploy.deploy(self.request)
        if answer["outcome"] != "deployed":
            raise SystemExit(str(answer.get("msg", answer)))

    def _vault(self, name: str) -> Vault:
        where = Repository(str(self.folder / name), str(self.folder / "password"), cache=str(self.folder / "cache"))
        made = Vault(Restic(where, "bench", wait=20), str(self.folder / "state/manifests"))
        made.repository.init()
        return made

    def container(self, service: str) -> str:
        label = [f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}"]
        return str(self.client.containers.list(filters={"label": label})[0].name)

    def sql(self, text: str, service: str = "db") -> None:
        call = ["docker", "exec", "-i", self.container(service), "psql", "-U", "shop", "-qX", "-v", "ON_ERROR_STOP=1"]
        subprocess.run(call, input=text.encode(), check=True, stdout=subprocess.DEVNULL)

    def made(self) -> tuple[dict[str, Any], float]:
        began = time.monotonic()
        answer = run.back_up(self.request, self.vault)
        if answer["outcome"] != "made":
            raise SystemExit(str(answer["msg"]))
        return answer, time.monotonic() - began

    def streamed(self, set_: str) -> float:
        """Seconds in which the database went into the repository."""
        journal = SqliteJournal(self.request.journal_path)
        with contextlib.closing(journal):
            at = {e.what: e.at for e in journal.events(set_) if (e.details.get("do"), e.details.get("item")) == STORE}
        return at["done"] - at["do"]

    def by_hand(self, repository: Path) -> float:
        base = ["restic", "-r", str(repository), "--password-file", str(self.folder / "password"), "--quiet"]
        cache = ["--cache-dir", str(self.folder / "cache-by-hand")]
        if not repository.exists():
            subprocess.run([*base, "init"], check=True)
        dump = f"docker exec {self.container('db')} pg_dump -U shop -Fc -Z0 shop"
        began = time.monotonic()
        call = f"set -o pipefail; {dump} | {' '.join([*base, *cache])} backup --stdin --stdin-filename shop.dump"
        subprocess.run(["bash", "-c", call], check=True)
        return time.monotonic() - began

    def away(self) -> None:
        deploy.remove(self.request, True, False)
        for volume in self.client.volumes.list(filters={"label": f"quaylock.kept-of={self.name}"}):
            volume.remove()


def database(image: str, volume: str) -> dict[str, Any]:
    return {
        "image": image,
        "environment": {"POSTGRES_USER": "shop", "POSTGRES_HOST_AUTH_METHOD": "trust"},
        "volumes": [f"{volume}:/var/lib/postgresql/data"],
        "shm_size": "256m",
        "deploy": {"update_config": {"monitor": "0.3s"}},
    }


def say(text: str) -> None:
    print(f"  {text}", flush=True)
