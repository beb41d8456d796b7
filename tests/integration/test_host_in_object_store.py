# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's own command with both repositories in an object store, configured by what the role writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.repositories import prepare
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.vault import settings_in
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.roles import ROOT, loaded, templated

from .conftest import Harbour
from .servers import USER, Minio, minio
from .test_on_host import Host, deploy

pytestmark = [pytest.mark.integration, pytest.mark.more]


@pytest.fixture(scope="module")
def store(client: Any) -> Iterator[Minio]:
    with minio(client) as made:
        yield made


def configure(host: Host, store: Minio, *buckets: str) -> None:
    """The role's own settings and key file; only its folders are others."""
    near, far = (f"s3:{store.endpoint}/{bucket}/web-1" for bucket in buckets)
    given = {
        "inventory_hostname": "web-1",
        "backup_repository": near,
        "backup_password": "correct horse",
        "backup_offsite": {"repository": far, "retention_days": 365},
        "backup_offsite_password": "correct offsite",
        "backup_s3": {"access_key": USER, "secret_key": store.password},
        # a second is old
        "backup_retention_days": 1 / 86400,
    }
    role = ROOT / "roles" / "backup"
    known = {**loaded(role / "defaults" / "main.yml"), **loaded(role / "vars" / "main.yml"), **given}
    folder = str(host.folder)
    places = {"/etc/quaylock/backup": folder, "/var/cache/quaylock": f"{folder}/cache"}
    written = json.dumps({**templated(known, "{{ _backup_settings }}"), "metrics": f"{folder}/quaylock.prom"})
    for place, here in places.items():
        written = written.replace(place, here)
    host.settings.write_text(written)
    for file in templated(known, "{{ _backup_secrets }}"):
        if file["content"]:
            (host.folder / file["path"]).write_text(file["content"])


def test_sets_are_made_copied_proven_and_dropped_by_two_rules(harbour: Harbour, store: Minio, tmp_path: Path) -> None:
    host, near, far = Host(harbour, tmp_path), store.bucket(), store.bucket()
    deploy(harbour)
    configure(host, store, near, far)
    assert store.password not in host.settings.read_text()
    settings = settings_in(str(host.settings))
    prepare(settings)
    name = harbour.name
    for task in (
        ["run", name],
        ["run", name],
        ["run", name],
        ["copy"],
        ["drill", name],
        ["prune"],
        ["status"],
        ["check"],
    ):
        done = host.call(*task)
        assert done.returncode == 0, f"{task}: {done.stdout}{done.stderr}"
        assert store.password not in done.stdout + done.stderr
        if task == ["prune"]:
            assert f"{name}: 2 sets stay, 1 went; 3 sets stay off-site, 0 went" in done.stdout
    assert len(host.sets()) == 2
    assert "quaylock_backup_repository_up 1" in host.metrics
    assert {key.split("/")[0] for bucket in (near, far) for key in store.objects(bucket)} == {"web-1"}
