# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waves: what is taken, what is refused in which words, and that the plays use them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.lookup import waves

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"

TAKEN = [
    # variables                                                waves                   pause
    ({}, ["100%"], 0),
    ({"rollout_waves": [1, "25%", "100%"]}, [1, "25%", "100%"], 0),
    ({"rollout_waves": "1,25%, 100%"}, [1, "25%", "100%"], 0),  # as an extra variable
    ({"rollout_waves": "2"}, [2], 0),
    ({"rollout_waves": 3}, [3], 0),
    ({"rollout_waves": ["5", "1%"]}, [5, "1%"], 0),
    ({"rollout_wave_pause": "1m30s"}, ["100%"], 90),
    ({"rollout_wave_pause": "24h"}, ["100%"], 86400),
]


@pytest.mark.parametrize(("variables", "serial", "pause"), TAKEN)
def test_what_is_taken(variables, serial, pause):
    assert waves.findings(variables) == []
    assert waves.read(variables) == {"waves": serial, "pause": pause}


REFUSED = [
    # name                  variables                                   what is said
    ("none", {"rollout_waves": 0}, ["rollout_waves[0]: 0 is no wave; write numbers"]),
    ("negative", {"rollout_waves": [1, -2]}, ["rollout_waves[1]: -2 is no wave"]),
    ("no share", {"rollout_waves": ["0%"]}, ["rollout_waves[0]: '0%' is no wave"]),
    ("too much", {"rollout_waves": ["101%"]}, ["rollout_waves[0]: '101%' is no wave"]),
    ("a fraction", {"rollout_waves": [0.5]}, ["rollout_waves[0]: 0.5 is no wave"]),
    ("a word", {"rollout_waves": "half"}, ["rollout_waves[0]: 'half' is no wave"]),
    ("a truth", {"rollout_waves": True}, ["rollout_waves[0]: True is no wave"]),
    ("nothing", {"rollout_waves": []}, ["rollout_waves: [] is not a list with one wave or more"]),
    ("empty", {"rollout_waves": ""}, ["rollout_waves[0]: '' is no wave"]),
    ("null", {"rollout_waves": None}, ["rollout_waves: None is not a list"]),
    ("a mapping", {"rollout_waves": {"canary": 1}}, ["rollout_waves: {'canary': 1} is not a list"]),
    ("no unit", {"rollout_wave_pause": 30}, ["rollout_wave_pause: '30' is not a duration"]),
    ("back in time", {"rollout_wave_pause": "-5s"}, ["rollout_wave_pause: -5s is not from 0 to one day"]),
    ("for days", {"rollout_wave_pause": "3d"}, ["rollout_wave_pause: 3d is not from 0 to one day"]),
    ("a slip", {"rollout_wave": 1}, ["rollout_wave: unknown; known: rollout_waves, rollout_wave_pause"]),
    (
        "all at once",
        {"rollout_waves": ["x", 0], "rollout_wave_pause": "x", "rollout_waves_max": 1},
        ["rollout_waves_max: unknown", "rollout_waves[0]: 'x'", "rollout_waves[1]: 0", "rollout_wave_pause: 'x'"],
    ),
]


@pytest.mark.parametrize(("variables", "said"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_is_refused(variables, said):
    found = waves.findings(variables)
    assert len(found) == len(said), found
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True)), found


def test_a_run_has_its_waves_and_not_a_host():
    same = {"rollout_waves": [1, "100%"]}
    assert waves.differing({"a": same, "b": dict(same)}) == []
    found = waves.differing({"a": same, "b": {}, "c": {}})
    assert found == [
        "rollout_waves: [1, '100%'] on a; 'unset' on b, c: one value for the whole run is wanted, in group_vars/all or"
        " as an extra variable"
    ]


def test_the_play_that_deploys_goes_in_waves_and_stops():
    check, deploy, summary = yaml.safe_load((PLAYBOOKS / "site.yml").read_text())
    assert check["any_errors_fatal"]
    assert "site_waves" in deploy["serial"]
    assert deploy["max_fail_percentage"] == 0
    work, watch, end = deploy["tasks"]
    assert work["ignore_unreachable"], "a lost host would take the summary along"
    assert work["rescue"]
    assert "pause" in str(watch["when"])
    assert end["ansible.builtin.meta"] == "end_play"
    assert "serial" not in summary, "the summary is over all hosts"
