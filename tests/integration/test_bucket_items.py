# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stack with a store of its own: its buckets in a set, with keys that are the stack's secrets and nobody else's."""

from __future__ import annotations

import json
import pickle
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import s3
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.docker_engine import DockerEngine
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.s3 import S3
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import drill, extract, restoring, run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.buckets import BucketSource, restore_bucket
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import Harbour, web

pytestmark = [pytest.mark.integration, pytest.mark.more]

KEYS = {"user": b"quay\n", "word": secrets.token_hex(12).encode() + b"\n"}
LAKE = {
    "type": "bucket",
    "bucket": "lake",
    "service": "minio",
    "port": 9000,
    "access_key": "user",
    "secret_key": "word",
}


class Lake:
    """A stack with a MinIO, and a repository."""

    def __init__(self, harbour: Harbour, image: str, folder: Path) -> None:
        self.harbour, self.image, self.folder = harbour, image, folder
        (folder / "password").write_text("correct horse\n")
        self.where = Repository(str(folder / "repository"), str(folder / "password"), cache=str(folder / "cache"))
        self.vault = Vault(Restic(self.where, "web-1", wait=20), str(harbour.folder / "state/manifests"))
        self.vault.repository.init()

    def deploy(self, items: dict[str, Any]) -> None:
        minio = {
            "image": self.image,
            "read_only": True,
            "tmpfs": ["/tmp"],
            "volumes": ["data:/data"],
            "environment": {
                f"MINIO_ROOT_{n}_FILE": f"/run/secrets/{k}" for n, k in (("USER", "user"), ("PASSWORD", "word"))
            },
            "secrets": ["user", "word"],
            "deploy": {"update_config": {"monitor": "0.3s"}},
        }
        writer = web(depends_on=["minio"])
        extra = {"backup": {"items": items}} if items else {}
        self.harbour.deployed(
            {"minio": minio, "writer": writer},
            volumes={"data": {}},
            secrets={"user": {}, "word": {}},
            secrets_content=KEYS,
            **({"x-quaylock": extra} if extra else {}),
        )

    @property
    def s3(self) -> S3:
        address = DockerEngine(self.harbour.client).reached(f"{self.harbour.name}-minio-1")
        word = {key: value.decode().strip() for key, value in KEYS.items()}
        return S3(f"http://{address}:9000", word["user"], word["word"], direct=True)

    def back_up(self, **about: Any) -> dict[str, Any]:
        return run.back_up(self.harbour.request({}), self.vault, **about)


@pytest.fixture
def lake(harbour: Harbour, client: Any, tmp_path: Path) -> Lake:
    made = Lake(harbour, recipe_image(client, "minio"), tmp_path)
    made.deploy({})
    made.deploy({"lake": LAKE})  # only what is backed up is other than before
    made.s3.make("lake")
    return made


def test_a_bucket_of_a_stack_is_backed_up_and_restored(lake: Lake, tmp_path: Path) -> None:
    objects = {"a": b"one", "deep/b": b"two"}
    for key, content in objects.items():
        lake.s3._client.put_object(Bucket="lake", Key=key, Body=content)
    assert lake.back_up(dry=True)["plan"] == ["+ config", "+ lake"]
    answer = lake.back_up()
    assert answer["outcome"] == "made", answer
    assert answer["warnings"] == []
    manifest = lake.vault.sets(lake.harbour.name)[0]
    assert manifest.item("lake").about["objects"] == 2
    extract.extract(lake.vault, lake.harbour.name, "latest", [], str(tmp_path / "set"))
    listed = subprocess.run(
        ["tar", "tf", str(tmp_path / "set/lake/lake.tar")], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == ["a", "deep/b"]
    with (tmp_path / "set/lake/lake.tar").open("rb") as content:
        assert restore_bucket(lake.s3, "scratch", content, manifest.item("lake").about).objects == 2
    assert [o.key for o in lake.s3.listing("scratch")] == ["a", "deep/b"]
    # the secret is in its file, and in the repository, which is encrypted
    word = KEYS["word"].strip()
    found = [p for p in tmp_path.rglob("*") if p.is_file() and word in p.read_bytes()]
    assert {p.parent.name for p in found} == {"secrets"}, found
    assert word.decode() not in json.dumps(answer)

    for key in objects:
        lake.s3._client.delete_object(Bucket="lake", Key=key)
    answer = lake.back_up()
    assert answer["outcome"] == "made", answer
    assert answer["warnings"] == ["lake: lake is empty, and the last set has 2 objects of it"]
    lake.s3._client.delete_bucket(Bucket="lake")
    answer = lake.back_up()
    assert answer["outcome"] == "failed", answer
    assert "lake: there is no bucket lake at http" in answer["msg"]
    assert len(lake.vault.sets(lake.harbour.name)) == 2
    assert lake.vault.leftovers(lake.harbour.name) == []


def test_a_set_with_a_bucket_is_proven_and_goes_back_into_its_store(lake: Lake) -> None:
    objects = {f"k{n}": bytes([n]) * n for n in range(1, 40)}
    for key, content in objects.items():
        lake.s3._client.put_object(Bucket="lake", Key=key, Body=content)
    assert lake.back_up()["outcome"] == "made"
    proof = drill.drill(lake.harbour.request({}), lake.vault)
    assert proof["outcome"] == "proven", proof
    assert {c["what"] for c in proof["checks"]} == {"item lake", "service minio"}
    for key in objects:
        lake.s3._client.delete_object(Bucket="lake", Key=key)
    answer = restoring.restore(lake.harbour.request({}), lake.vault, restoring.Choice(stop=True))
    assert answer["outcome"] == "restored", answer
    name = lake.harbour.running("minio")[0]
    address = DockerEngine(lake.harbour.client).reached(name)
    server = S3(f"http://{address}:9000", "quay", KEYS["word"].decode().strip(), direct=True)
    assert {o.key: o.size for o in server.listing("lake")} == {key: len(content) for key, content in objects.items()}
    for volume in answer["kept"]:
        lake.harbour.client.volumes.get(volume.removeprefix("volume ")).remove()


def test_a_store_that_dies_midway_makes_no_set(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "READ", 3.0)
    monkeypatch.setattr(s3, "CONNECT", 2.0)
    lake.s3._client.put_object(Bucket="lake", Key="a", Body=b"a" * 1000)
    minio = lake.harbour.client.containers.get(f"{lake.harbour.name}-minio-1")
    plain = BucketSource.store
    monkeypatch.setattr(BucketSource, "store", lambda self: (minio.kill(), plain(self))[1])
    answer = lake.back_up()
    assert answer["outcome"] == "failed", answer
    assert "lake: reading lake/a at http" in answer["msg"]
    assert "does not answer" in answer["msg"]
    assert lake.vault.repository.snapshots() == []
    monkeypatch.undo()
    with pytest.raises(Invalid, match=r"items\.lake: service minio does not run"):
        lake.back_up()
    minio.start()
    until(lambda: lake.back_up()["outcome"] == "made")
    assert len(lake.vault.sets(lake.harbour.name)) == 1


WITHOUT = """
import pickle, sys
sys.modules.update(dict.fromkeys(("boto3", "botocore")))  # None: an import of it fails
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.restic import Restic
from ansible_collections.quaylock.stacks.plugins.module_utils.backup import run
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import Vault
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
request, where, cache = pickle.load(sys.stdin.buffer)
try:
    run.back_up(request, Vault(Restic(where, "web-1"), cache))
except Invalid as refused:
    print(refused)
"""


def test_without_boto3_a_backup_says_what_brings_it(lake: Lake) -> None:
    asked = pickle.dumps((lake.harbour.request({}), lake.where, str(lake.folder / "sets")))
    done = subprocess.run([sys.executable, "-c", WITHOUT], input=asked, capture_output=True, timeout=60, check=False)
    assert "a bucket needs boto3: " in done.stdout.decode(), done.stderr.decode()
    assert "pip install boto3" in done.stdout.decode() or "python3-boto3" in done.stdout.decode()
