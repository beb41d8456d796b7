# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waves: what is taken, what is refused in which words, and that the plays use them."""

from __future__ import annotations

from pathlib import Path

import jinja2
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
    check, images, deploy, summary = yaml.safe_load((PLAYBOOKS / "site.yml").read_text())
    assert check["any_errors_fatal"]
    assert images["any_errors_fatal"], "no host changes where one of them cannot have its images"
    assert "serial" not in images
    assert "site_waves" in str(deploy["vars"])
    assert deploy["max_fail_percentage"] == 0
    work, watch, end = deploy["tasks"]
    assert work["ignore_unreachable"], "a lost host would take the summary along"
    assert work["rescue"]
    assert "pause" in str(watch["when"])
    assert end["ansible.builtin.meta"] == "end_play"
    assert "serial" not in summary, "the summary is over all hosts"


def told(hosts, **about):
    """The summary over hosts, rendered as Ansible does."""
    template = jinja2.Environment(trim_blocks=True).from_string((PLAYBOOKS / "tasks" / "hosts.txt.j2").read_text())
    return template.render(
        ansible_play_hosts_all=list(hosts), hostvars=hosts, _site_inventories=["inventories/prod"], **about
    ).splitlines()


def host(outcome="", failure="", healthy=True, release="r-1", services=1, **about):
    """Facts of a host with the stack shop, as site.yml leaves them."""
    running = [
        {"name": f"s{n}", "replicas": 1, "wanted": 2, "image": "shop:1", "one_shot": False} for n in range(services)
    ]
    stack = {"name": "shop", "present": True, "healthy": healthy, "release": release, "services": running}
    found = {
        "docker_python": "python3",
        "site_stacks": [{"name": "shop"}],
        "__site_found": {"results": [{"stack": stack}]},
    }
    if outcome:
        found["site_outcomes"] = {"shop": outcome} if outcome != "not tried" else {}
    if failure:
        found["site_failure"] = failure
    return {**found, **about}


def test_the_summary_says_what_became_of_each_host():
    hosts = {
        "web-1": host("deployed"),
        "web-22": host("rolled back", "shop: rollout r-2 was rolled back: web crashed\n  and more", release="r-0"),
        "web-3": host(services=5, healthy=False),
        "web-4": host(
            "failed", "shop: the host is not reached any more", __site_found={"results": [{"unreachable": True}]}
        ),
        "web-5": {"docker_python": "", "site_stacks": [{"name": "shop"}]},
        "web-6": host(
            "not tried",
            "Have an engine: no disk",
            __site_found={"results": [{"stack": {"name": "shop", "present": False}}]},
        ),
    }
    assert told(hosts, stacks="shop", ansible_limit="web-*") == [
        "host    stack  outcome      now",
        "web-1   shop   deployed     healthy, release r-1: s0 1/2 shop:1",
        "web-22  shop   rolled back  healthy, release r-0: s0 1/2 shop:1",
        "web-3   shop   not reached  NOT HEALTHY, release r-1: 5 services",
        "web-4   shop   failed       not known: the host is not reached",
        "web-5   shop   not reached  not known: no engine answers",
        "web-6   shop   not tried    not deployed",
        "failed       web-22: shop: rollout r-2 was rolled back: web crashed",
        "failed       web-4: shop: the host is not reached any more",
        "failed       web-6: Have an engine: no disk",
        "not reached  web-3, web-5: nothing was changed there, because an earlier wave failed",
        "next         mend it, then again (what is deployed already is not touched): "
        "ansible-playbook site.yml -i inventories/prod -e stacks=shop --limit web-*",
    ]


def test_a_good_run_says_no_more_than_it_must():
    stacks = [{"name": "shop"}, {"name": "blog"}]
    assert told({"a": host("deployed"), "b": host("deployed"), "c": host("x", site_stacks=[])}, stacks=stacks) == [
        "host  stack  outcome    now",
        "a     shop   deployed   healthy, release r-1: s0 1/2 shop:1",
        "b     shop   deployed   healthy, release r-1: s0 1/2 shop:1",
        "c     -      no stacks",
    ]
