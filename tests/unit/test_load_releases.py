# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What make load rolls out: enough of each kind, and nothing that would be refused before it begins."""

from __future__ import annotations

from collections import Counter

from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import compose
from ansible_collections.quaylock.stacks.tests.load.releases import BAD, DRAIN, SLOW, STREAM, Release, ours, series

CONTEXT = compose.Context(
    project_directory="/x",
    config_dir="/x",
    secrets={},
    configs={},
    ingress_network="proxy",
    entrypoints={"http": 8080},
    profiles=(),
)


def test_there_are_enough_of_each_kind() -> None:
    kinds = Counter(release.what for release in series())
    assert sum(kinds.values()) >= 20
    assert all(kinds[what] >= 3 for what in BAD)
    assert kinds[""] >= 10


def test_each_of_them_changes_something() -> None:
    """Of the releases that went well: a bad one leaves what was there."""
    before = Release("v1")
    for release in series():
        assert (release.version, release.replicas, release.what) != (before.version, before.replicas, ""), release
        before = before if release.what else release


def test_all_are_read_without_a_finding() -> None:
    for release in series():
        stack = compose.read("shop", ours(release), CONTEXT)
        assert {s.name: s.replicas for s in stack.services} == {"web": release.replicas, "live": release.replicas}


def test_a_drain_outlasts_the_answers_that_it_waits_for() -> None:
    assert float(DRAIN["web"].removesuffix("s")) > max(SLOW, STREAM)
