# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a directory a build sees, and when that is another one."""

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images.build_context import (
    Entry,
    declared,
    fingerprint,
    ignore_rules,
    ignored,
)

IGNORED = [
    # .dockerignore              path                    stays out
    ("", "a.txt", False),
    ("# a.txt", "a.txt", False),
    ("a.txt", "a.txt", True),
    ("a.txt", "sub/a.txt", False),
    ("/a.txt", "a.txt", True),
    ("./a.txt", "a.txt", True),
    ("*.txt", "a.txt", True),
    ("*.txt", "sub/a.txt", False),
    ("*/*.txt", "sub/a.txt", True),
    ("**/*.txt", "a.txt", True),
    ("**/*.txt", "x/y/a.txt", True),
    ("sub", "sub/deep/a.txt", True),
    ("sub/", "sub/a.txt", True),
    ("sub/**", "sub/deep/a.txt", True),
    ("s?b", "sub/a.txt", True),
    ("[st]ub", "tub/a.txt", True),
    ("[^st]ub", "tub/a.txt", False),
    ("*\n!keep.txt", "keep.txt", False),
    ("*\n!keep", "keep/a.txt", False),
    ("!keep.txt\n*", "keep.txt", True),
    ("**/__pycache__", "x/__pycache__/a.pyc", True),
    ("a+b", "a+b", True),
    ("a+b", "aab", False),
    (r"\*", "*", True),
    (r"\*", "a", False),
]


@pytest.mark.parametrize(("rules", "path", "out"), IGNORED)
def test_a_dockerignore_is_read_as_docker_reads_it(rules: str, path: str, out: bool) -> None:
    assert ignored(path, ignore_rules(rules)) is out


BASE = [Entry("Dockerfile", "aa"), Entry("run", "bb", executable=True)]
OTHERS = [
    ("content", [Entry("Dockerfile", "ab"), BASE[1]]),
    ("name", [Entry("Dockerfil", "aa"), BASE[1]]),
    ("executable bit", [BASE[0], Entry("run", "bb")]),
    ("one file more", [*BASE, Entry("more", "cc")]),
    ("a link instead of a file", [BASE[0], Entry("run", "bb", executable=True, link=True)]),
]


@pytest.mark.parametrize(("_what", "entries"), OTHERS)
def test_a_changed_file_changes_the_name(_what: str, entries: list[Entry]) -> None:
    assert fingerprint(entries) != fingerprint(BASE)


def test_the_order_of_files_changes_nothing() -> None:
    assert fingerprint(reversed(BASE)) == fingerprint(BASE)


def test_arguments_of_all_stages_are_known() -> None:
    dockerfile = (
        "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}\n  arg One=1\n# ARG no\nARG Two\nARG BASE_IMAGE\nRUN echo ARG three"
    )
    assert declared(dockerfile) == ("BASE_IMAGE", "One", "Two")
