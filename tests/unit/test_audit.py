# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who deploys, from where and what: and nothing else of the environment."""

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import audit

CI = {
    "GITEA_ACTOR": "jane",
    "GITHUB_SHA": "c0ffee",
    "GITHUB_REF_NAME": "main",
    "GITHUB_REPOSITORY": "a/b",
    "GITHUB_RUN_NUMBER": "7",
}
TOLD = [
    # name             environment of the controller              what is told
    ("by hand",        {},
     {"user": "root", "controller": "desk", "commit": "", "ref": "", "repository": "", "run": ""}),
    ("CI",             {**CI, "GITHUB_TOKEN": "secret"},
     {"user": "jane", "controller": "desk", "commit": "c0ffee", "ref": "main", "repository": "a/b", "run": "7"}),
    ("GitLab",         {"GITLAB_USER_LOGIN": "joe", "CI_COMMIT_SHA": "beef"},
     {"user": "joe", "controller": "desk", "commit": "beef", "ref": "", "repository": "", "run": ""}),
    ("a long one",     {"GITHUB_SHA": "x" * 500},
     {"user": "root", "controller": "desk", "commit": "x" * 120, "ref": "", "repository": "", "run": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "expected"), [c[1:] for c in TOLD], ids=[c[0] for c in TOLD])
def test_what_the_controller_tells(environment: dict[str, str], expected: dict[str, str]) -> None:
    assert audit.from_controller("root", "desk", environment) == expected


def test_what_the_journal_keeps() -> None:
    told = {"user": "jane", "controller": "desk", "commit": "", "password": "hunter2"}
    kept = audit.asked(told, {"SSH_CONNECTION": "10.0.0.9 50000 10.0.0.1 22", "VAULT": "hunter2"})
    assert kept == {"user": "jane", "controller": "desk", "address": "10.0.0.9"}
    assert audit.asked({}, {}) == {}
