# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who deploys, from where and what: known names of a few variables only, so that no secret comes along."""

from __future__ import annotations

from collections.abc import Mapping

KEYS = ("user", "controller", "commit", "ref", "repository", "run")
LONGEST = 120

_FROM_CI = {
    "commit": ("GITEA_SHA", "GITHUB_SHA", "CI_COMMIT_SHA"),
    "ref": ("GITEA_REF_NAME", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"),
    "repository": ("GITEA_REPOSITORY", "GITHUB_REPOSITORY", "CI_PROJECT_PATH"),
    "run": ("GITEA_RUN_NUMBER", "GITHUB_RUN_NUMBER", "CI_PIPELINE_ID"),
}
ACTORS = ("GITEA_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")


def from_controller(user: str, controller: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What the controller knows; CI's words come from its variables."""
    actor = next((environment[name] for name in ACTORS if environment.get(name)), user)
    found = {"user": actor, "controller": controller}
    for key, names in _FROM_CI.items():
        found[key] = next((environment[name] for name in names if environment.get(name)), "")
    return {key: value[:LONGEST] for key, value in found.items()}


def asked(deployer: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What the journal keeps: what the controller told, and the address that the host saw it come from."""
    found = {key: str(deployer.get(key) or "")[:LONGEST] for key in KEYS}
    found["address"] = environment.get("SSH_CONNECTION", "").partition(" ")[0]
    return {key: value for key, value in found.items() if value}
