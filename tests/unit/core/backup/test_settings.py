# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of a host's backups, and what is refused in them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.settings import Settings, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid

LEAST = {"repository": "/srv/backup", "password_file": "/etc/quaylock/backup/password", "host": "web-1"}


def test_the_least_is_enough() -> None:
    assert read(LEAST) == Settings(Repository("/srv/backup", "/etc/quaylock/backup/password"), "web-1")


def test_everything_is_read() -> None:
    given = {
        **LEAST,
        "environment": {"AWS_SHARED_CREDENTIALS_FILE": "/etc/quaylock/backup/s3"},
        "options": ["sftp.command=ssh -p 2222 backup -s sftp"],
        "cache": "/var/cache/quaylock",
        "restic": "/opt/restic",
    }
    found = read(given)
    assert found.repository.options == ("sftp.command=ssh -p 2222 backup -s sftp",)
    assert (found.restic, found.repository.cache) == ("/opt/restic", "/var/cache/quaylock")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"repository": ""}, "repository: is missing (let the role quaylock.stacks.backup write it)"),
        ({"host": None}, "host: must be text"),
        ({"password_file": "password"}, "password_file: 'password' is not an absolute path"),
        ({"password": "hunter2"}, "password: is not a known key"),
        ({"environment": ["A=b"]}, "environment: must map names to texts"),
        ({"options": "a=b"}, "options: must be a list of KEY=VALUE"),
        ({"keep_days": 7}, "keep_days: is not a known key"),
        ({"options": ["a"]}, "options: must be a list of KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], refused: str) -> None:
    with pytest.raises(Invalid) as caught:
        read({**LEAST, **change}, "s.json")
    assert [str(f).startswith(f"s.json: {refused}") for f in caught.value.findings] == [True], caught.value.findings
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", [None, [], "x", 3])
def test_something_else_is_no_settings(given: Any) -> None:
    with pytest.raises(Invalid, match="is not a mapping"):
        read(given)
