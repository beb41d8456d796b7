# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core import durations

SECONDS = [
    ("30s", 30),
    ("1m30s", 90),
    ("1h5m30s20ms", 3930.02),
    ("500ms", 0.5),
    ("1.5s", 1.5),
    (".5s", 0.5),
    ("10us", 0.00001),
    ("10µs", 0.00001),
    ("1d", 86400),
    ("2w", 1209600),
    ("0", 0),
    (0, 0),
    ("-5s", -5),
    ("+5s", 5),
]


@pytest.mark.parametrize(("text", "expected"), SECONDS)
def test_durations_are_go_s(text: object, expected: float) -> None:
    assert durations.seconds(text) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("text", ["", "10", 10, "s", "1x", "1s 2m", "five", True, "1s2", None])
def test_a_time_without_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number with its unit"):
        durations.seconds(text)


SIZES = [
    ("100", 100),
    (100, 100),
    ("1b", 1),
    ("1k", 1024),
    ("1kb", 1024),
    ("64m", 67108864),
    ("64MiB", 67108864),
    ("1.5G", 1610612736),
    ("1 gb", 1073741824),
    ("2t", 2199023255552),
]


@pytest.mark.parametrize(("text", "expected"), SIZES)
def test_sizes_are_docker_s(text: object, expected: int) -> None:
    assert durations.size(text) == expected


@pytest.mark.parametrize("text", ["", "lots", "1x", "-1m", "1m2", True])
def test_other_sizes_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        durations.size(text)


@pytest.mark.parametrize(("value", "said"), [(0.25, "0.25s"), (30, "30s"), (60, "1m"), (90, "1m30s"), (90.5, "90.5s")])
def test_seconds_are_spoken(value: float, said: str) -> None:
    assert durations.spoken(value) == said
