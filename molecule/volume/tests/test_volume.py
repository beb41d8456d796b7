# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The volumes that the role volume makes, removes when asked in words, and keeps."""

from __future__ import annotations

import json

import pytest


def volume(host, name):
    return json.loads(host.check_output(f"docker volume inspect {name}"))[0]


def test_a_volume_can_be_a_folder_of_the_host(host):
    assert volume(host, "results")["Options"]["device"] == "/srv/results"


def test_labels_are_as_listed(host):
    assert volume(host, "cache")["Labels"] == {"keep": "no"}


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("old", False),  # asked for in words
        ("precious", True),  # listed as absent, without the words
        ("foreign", True),
        ("lost", False),
    ],
)
def test_only_what_was_asked_for_in_words_is_gone(host, name, there):
    assert (name in host.check_output("docker volume ls --quiet").splitlines()) is there


def test_a_foreign_volume_keeps_its_labels(host):
    assert volume(host, "foreign")["Labels"] == {"owner": "somebody"}
