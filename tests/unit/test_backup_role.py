# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role backup makes of its variables: the settings that the engine reads, schedules, and refusals."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.quaylock.stacks.plugins.lookup.engine_archive import packed
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import settings
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.retention import Rule

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "backup"
GOOD = {"backup_repository": "/srv/backup", "backup_password": "correct horse", "inventory_hostname": "web-1"}
SHA = "ab" * 32
SFTP = {"backup_repository": "sftp:keeper@nas.example.org:/srv/web-1", "backup_known_hosts": ["nas.example.org k"]}
AWAY = {"backup_offsite": {"repository": "/mnt/far"}, "backup_offsite_password": "correct offsite"}


def loaded(path: Path) -> dict[str, Any]:
    loader = DataLoader()
    loader.set_basedir(str(ROOT))
    return loader.load_from_file(str(path), cache="none", trusted_as_template=True) or {}


def templated(text: str, **given: Any) -> Any:
    known = {**loaded(ROLE / "defaults/main.yml"), **loaded(ROLE / "vars/main.yml"), **GOOD, **given}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Templar(loader=DataLoader(), variables=known).template(trust_as_template(text))


def read(**given: Any) -> settings.Settings:
    return settings.read(json.loads(json.dumps(templated("{{ _backup_settings }}", **given), default=str)))


def test_the_engine_reads_what_the_role_writes() -> None:
    found = read()
    assert found.repository.location == "/srv/backup"
    assert (found.host, found.rule, found.offsite, found.webhook_file) == ("web-1", Rule(30, 1), None, "")
    assert (found.schedule.stale_after, found.schedule.unproven_after) == (26 * 3600, 8 * 86400)


def test_everything_that_can_be_said_reaches_it() -> None:
    found = read(
        **SFTP,
        backup_offsite={"repository": "s3:https://s3.example.org/b", "retention_days": 365},
        backup_offsite_password="correct offsite",
        backup_s3={"access_key": "a", "secret_key": "s"},
        backup_stacks={"shop": {"every": "1h"}},
        backup_webhook="https://hook.example.org/hunter2",
        backup_restic_url="https://example.org/restic.bz2",
        backup_restic_sha256=SHA,
        profile_backup_retention="7d",
    )
    assert found.offsite is not None
    assert found.offsite.location == "s3:https://s3.example.org/b"
    assert found.offsite.environment == {"AWS_SHARED_CREDENTIALS_FILE": "/etc/quaylock/backup/s3"}
    assert (found.rule.days, found.offsite_rule.days, found.of("shop").every) == (7, 365, 3600)
    assert found.webhook_file == "/etc/quaylock/backup/webhook"
    assert found.restic == "/usr/local/lib/quaylock/restic-abababababab"
    assert "hunter2" not in repr(found)


def test_the_keys_of_an_object_store_are_a_file_as_its_clients_read_it() -> None:
    files = templated("{{ _backup_secrets }}", backup_s3={"access_key": "a", "secret_key": "s/+'\""})
    written = configparser.ConfigParser(interpolation=None)
    written.read_string(next(file["content"] for file in files if file["path"] == "s3"))
    assert dict(written["default"]) == {"aws_access_key_id": "a", "aws_secret_access_key": "s/+'\""}


def test_by_hand_nothing_is_scheduled_and_nothing_gets_stale() -> None:
    by_hand = {"profile_backup_schedule": "", "profile_backup_retention": ""}
    assert templated("{{ _backup_timers }}", **by_hand) == {"status": "*-*-* *:20:00"}
    found = read(**by_hand)
    assert (found.schedule.stale_after, found.schedule.unproven_after, found.rule.days) == (0, 0, 0)


CALENDARS = [
    ("*-*-* 02:00:00", "00 02 * * *"),
    ("*-*-* 02:30", "30 02 * * *"),
    ("Sun *-*-* 03:00:00", "00 03 * * Sun"),
    ("*-*-01 04:15:00", "15 04 01 * *"),
    ("*-*-* *:20:00", "20 * * * *"),
    ("daily", "0 0 * * *"),
    ("*/10 * * * *", "*/10 * * * *"),
]


@pytest.mark.parametrize(("calendar", "cron"), CALENDARS)
def test_a_calendar_in_cron_s_words(calendar: str, cron: str) -> None:
    found = templated("{{ _backup_cron | from_json }}", backup_schedule=calendar)
    assert found["run"] == cron


PLACES = [
    ("/srv/backup", []),
    ("sftp:keeper@nas.example.org:/srv/web-1", ["nas.example.org"]),
    ("sftp:nas:relative", ["nas"]),
    ("sftp://keeper@nas.example.org:2222//srv/web-1", ["nas.example.org"]),
    ("sftp://keeper@[::1]:2222//srv/web-1", ["::1"]),
    ("s3:https://s3.example.org/bucket", []),
]


@pytest.mark.parametrize(("repository", "hosts"), PLACES)
def test_whom_ssh_has_to_know(repository: str, hosts: list[str]) -> None:
    assert list(templated("{{ _backup_sftp }}", backup_repository=repository)) == hosts


REFUSED = [
    ({}, []),
    ({**SFTP, **AWAY}, []),
    ({"backup_password": ""}, ["backup_password is empty"]),
    ({"backup_password": "CHANGE_THIS"}, ["backup_password still has a placeholder"]),
    ({"backup_s3": {"access_key": "a", "secret_key": "CHANGE_THIS"}}, ["backup_s3 still has a placeholder"]),
    ({**AWAY, "backup_offsite_password": ""}, ["backup_offsite_password is empty"]),
    ({**AWAY, "backup_offsite_password": "correct horse"}, ["backup_offsite_password is backup_password"]),
    ({"backup_recovery_password": "correct horse"}, ["backup_recovery_password is a password that the host has"]),
    (
        {"backup_offsite": {"repo": "/mnt"}},
        ["backup_offsite has keys other than", "backup_offsite names no repository"],
    ),
    ({"backup_s3": {"access_key": "a"}}, ["backup_s3 needs access_key and secret_key"]),
    ({**SFTP, "backup_known_hosts": []}, ["backup_known_hosts is empty, and SFTP to nas.example.org"]),
    ({"backup_restic_url": "https://example.org/restic"}, ["backup_restic_sha256 is no sha256"]),
    ({"backup_schedule": "daily\nExecStart=/bin/sh"}, ["the schedule of run is no calendar"]),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_what_cannot_be_right_is_refused_without_its_value(given: dict[str, Any], said: list[str]) -> None:
    found = templated("{{ _backup_findings }}", **given)
    assert [text for text, begin in zip(found, said, strict=True) if not text.startswith(begin)] == []
    assert "correct" not in str(found)


def test_the_engine_runs_from_its_archive_without_ansible(tmp_path: Path) -> None:
    content = packed()
    assert content == packed(), "the same code is the same file"
    (tmp_path / "engine.zip").write_bytes(content)
    (tmp_path / "settings.json").write_text(json.dumps({"repository": "/r", "password_file": "/p", "host": "web-1"}))
    call = [sys.executable, "-I", str(tmp_path / "engine.zip"), f"--settings={tmp_path}/settings.json", "settings"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "settings.json").write_text('{"repository": "/r", "host": "", "keep": 3}')
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "refused, 3 findings" in done.stderr
