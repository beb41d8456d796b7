# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compose keys whose meaning only shows in a container that runs, or in an image that was built."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .conftest import WEB, Harbour, web

pytestmark = pytest.mark.integration


def read(body: dict[str, Any], path: str) -> str:
    """A file as the container's own user reads it, "" where it may not."""
    address = next(iter(body["NetworkSettings"]["Networks"].values()))["IPAddress"]
    try:
        with urllib.request.urlopen(f"http://{address}:8000/file?path={path}", timeout=3) as seen:
            return str(seen.read().decode())
    except urllib.error.HTTPError:
        return ""


def test_a_secret_is_read_by_whom_it_was_granted_to_and_by_nobody_else(harbour: Harbour) -> None:
    def services(uid: str) -> dict[str, Any]:
        grant = {"source": "key", "uid": uid, "gid": "1005", "mode": 0o400}
        return {name: web(user=f"{name[1:]}:1005", secrets=[grant]) for name in ("u1000", "u1001")}

    about: dict[str, Any] = {"secrets": {"key": {"environment": "X"}}, "secrets_content": {"key": b"for one"}}
    for uid in ("1000", "1001"):
        harbour.deployed(services(uid), **about)
        seen = {name: read(*harbour.containers(name).values(), "/run/secrets/key") for name in ("u1000", "u1001")}
        assert seen == {f"u{uid}": "for one", **{f"u{other}": "" for other in ("1000", "1001") if other != uid}}


def test_a_build_takes_the_keys_that_the_engine_has(harbour: Harbour, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(f"FROM {WEB}\nARG GIVEN\nLABEL given=$GIVEN\n")
    also = f"{harbour.name}-also:1"
    build = {
        "context": str(tmp_path / "context"),
        "args": {"GIVEN": "an argument"},
        "labels": {"built": "for a test"},
        "extra_hosts": ["proxy=10.0.0.3"],
        "network": "none",
        "shm_size": "64m",
        "no_cache": True,
        "cache_from": [WEB],
        "tags": [also],
    }
    try:
        harbour.deployed({"web": web(image=f"{harbour.name}:1", build=build)})
        [body] = harbour.containers().values()
        labels = harbour.client.api.inspect_image(also)["Config"]["Labels"]
        assert (labels["given"], labels["built"]) == ("an argument", "for a test")
        assert body["Image"] == harbour.client.api.inspect_image(also)["Id"]
    finally:
        harbour.clear()
        for name in (also, f"{harbour.name}:1"):
            harbour.client.images.remove(name, force=True)
