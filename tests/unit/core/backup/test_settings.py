# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of a host's backups, and what is refused in them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Repository
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.retention import Rule
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.settings import Schedule, Settings, read
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


def test_a_stack_has_what_it_does_not_say_from_the_host() -> None:
    found = read(
        {
            **LEAST,
            "retention": {"days": 7, "least": 2},
            "stale_after": "50h",
            "every": 86400,
            "stacks": {"shop": {"every": "1h", "unproven_after": "8d", "retention": {"days": 0}}},
            "webhook_file": "/etc/quaylock/backup/webhook",
            "metrics": "/var/lib/metrics/quaylock.prom",
        }
    )
    assert found.rule == Rule(7, 2)
    assert found.of("other") == Schedule(86400, 180000, 0, Rule(7, 2))
    assert found.of("shop") == Schedule(3600, 180000, 8 * 86400, Rule(0, 2))
    assert (found.webhook_file, found.metrics) == ("/etc/quaylock/backup/webhook", "/var/lib/metrics/quaylock.prom")


def test_how_long_a_repository_may_be_silent_is_said_once_for_both() -> None:
    assert read(LEAST).repository.answers_within == 120
    found = read({**LEAST, "answers_within": "30s", "offsite": OFFSITE})
    assert found.offsite is not None
    assert (found.repository.answers_within, found.offsite.answers_within) == (30, 30)
    with pytest.raises(Invalid, match="answers_within: is 0, and nobody answers that soon"):
        read({**LEAST, "answers_within": 0})


OFFSITE = {"repository": "sftp:far:/srv", "password_file": "/etc/quaylock/backup/offsite-password"}


def test_another_place_has_a_rule_of_its_own() -> None:
    found = read({**LEAST, "offsite": {**OFFSITE, "retention": {"days": 365}}, "cache": "/var/cache/q"})
    assert found.offsite == Repository(*OFFSITE.values(), cache="/var/cache/q")
    assert found.offsite_rule == Rule(365, 1)


DUE = [
    # name                  every    last     now      due
    ("never yet",           3600.0,  None,    5000.0,  True),
    ("every time",             0.0,  4999.0,  5000.0,  True),
    ("just made",           3600.0,  4900.0,  5000.0,  False),
    ("a little early",      3600.0,  1700.0,  5000.0,  True),
    ("the clock went back", 3600.0,  9000.0,  5000.0,  True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "every", "last", "now", "due"), DUE, ids=[row[0] for row in DUE])
def test_what_is_due(name: str, every: float, last: float | None, now: float, due: bool) -> None:
    assert Schedule(every).due(last, now) is due


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"retention": {"days": -1}}, "retention.days: -1 is no number of days"),
        ({"retention": {"least": 0}}, "retention.least: 0 is no number of sets"),
        ({"retention": {"weeks": 1}}, "retention.weeks: is not a known key"),
        ({"retention": 30}, "retention: must be a mapping"),
        ({"stacks": {"shop": {"keep": 1}}}, "stacks.shop.keep: is not a known key"),
        ({"stacks": {"shop": 1}}, "stacks.shop: must be a mapping"),
        ({"stacks": {"shop": {"every": "often"}}}, "stacks.shop.every: 'often' is not a duration"),
        ({"stale_after": -1}, "stale_after: -1 is below 0"),
        ({"metrics": "a.prom"}, "metrics: 'a.prom' is not an absolute path"),
        ({"webhook": "https://hook.example.org/hunter2"}, "webhook: is not a known key"),
        ({"offsite": {"repository": "/srv/other"}}, "offsite.password_file: is missing"),
        ({"offsite": {**OFFSITE, "repository": "/srv/backup"}}, "offsite.repository: is the repository itself"),
        ({"offsite": {**OFFSITE, "password_file": LEAST["password_file"]}}, "offsite.password_file: is that of"),
        ({"offsite": {**OFFSITE, "retention": {"days": 7}}}, "offsite.retention.days: is shorter"),
        (
            {"environment": {"AWS_PROFILE": "a"}, "offsite": {**OFFSITE, "environment": {"AWS_PROFILE": "b"}}},
            "offsite.environment.AWS_PROFILE: is another one",
        ),
        (
            {"options": ["sftp.command=a"], "offsite": {**OFFSITE, "options": ["sftp.command=b"]}},
            "offsite.options.sftp.command: is another one",
        ),
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
