# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which waves a run goes over its hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: waves
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: In which waves a run goes over its hosts
description:
  - Returns one mapping with C(waves), a list that a play takes as its C(serial), and C(pause) in seconds, both checked.
  - They come from the variables C(rollout_waves) and C(rollout_wave_pause), and are the same for all hosts of a run.
options:
  _terms:
    description: None are taken.
    required: false
    type: list
    elements: str
notes:
  - A wave is a number of hosts, or a share of the run's hosts such as V(25%). The last one is repeated until no host
    is left.
  - As an extra variable it may be written with commas, as in C(-e rollout_waves=1,25%,100%).
  - All that is wrong is said at once.
"""

EXAMPLES = r"""
- name: Know the waves
  ansible.builtin.set_fact:
    waves: "{{ lookup('quaylock.stacks.waves') }}"

# One host first, the canary; then a quarter of them; then the others. Each wave is watched for two minutes.
# rollout_waves: [1, "25%", "100%"]
# rollout_wave_pause: 2m
"""

RETURN = r"""
_raw:
  description: One mapping with C(waves) and C(pause).
  type: list
  elements: dict
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.quaylock.stacks.plugins.module_utils.core.durations import seconds

ALL_AT_ONCE = ("100%",)
LONGEST_PAUSE = 86400.0
"""seconds between two waves; who wants more than a day runs twice"""
KNOWN = ("rollout_waves", "rollout_wave_pause")
SHARE = re.compile(r"([1-9]\d?|100)%\Z")
NUMBER = re.compile(r"[1-9]\d*\Z")
FIX = 'write numbers of hosts, or shares from "1%" to "100%"'


def listed(waves: object) -> object:
    """What is written with commas as a list, and one wave as a list of one."""
    if isinstance(waves, str):
        return [part.strip() for part in waves.split(",")]
    return [waves] if isinstance(waves, int) else waves


def findings(variables: Mapping[str, object]) -> list[str]:
    """Everything that is wrong with what one host's variables say, one line each."""
    found = [
        f"{name}: unknown; known: {', '.join(KNOWN)}"
        for name in sorted(variables)
        if name.startswith("rollout_wave") and name not in KNOWN
    ]
    waves = listed(variables.get("rollout_waves", ALL_AT_ONCE))
    if not isinstance(waves, Sequence) or not waves:
        found.append(f"rollout_waves: {waves!r} is not a list with one wave or more; {FIX}")
    else:
        found += [
            f"rollout_waves[{index}]: {wave!r} is no wave; {FIX}" for index, wave in enumerate(waves) if _bad(wave)
        ]
    try:
        pause = seconds(variables.get("rollout_wave_pause", 0))
        if not 0 <= pause <= LONGEST_PAUSE:
            found.append(f"rollout_wave_pause: {variables['rollout_wave_pause']} is not from 0 to one day (24h)")
    except ValueError as error:
        found.append(f"rollout_wave_pause: {error}")
    return found


def _bad(wave: object) -> bool:
    if isinstance(wave, bool) or not isinstance(wave, (int, str)):
        return True
    return not (NUMBER.match(str(wave)) or SHARE.match(str(wave)))


def read(variables: Mapping[str, object]) -> dict[str, Any]:
    """The waves as `serial` takes them, and the pause. The variables have no findings."""
    waves = listed(variables.get("rollout_waves", ALL_AT_ONCE))
    if not isinstance(waves, Sequence):
        raise TypeError(f"rollout_waves is no list, and has findings: {waves!r}")
    return {
        "waves": [str(w) if "%" in str(w) else int(w) for w in waves],
        "pause": seconds(variables.get("rollout_wave_pause", 0)),
    }


def differing(by_host: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Which of the variables are not the same on all hosts: a run has its waves, not a host."""
    found = []
    for name in KNOWN:
        values: dict[str, list[str]] = {}
        for host, variables in by_host.items():
            values.setdefault(repr(variables.get(name, "unset")), []).append(host)
        if len(values) > 1:
            said = "; ".join(f"{value} on {', '.join(hosts)}" for value, hosts in values.items())
            found.append(
                f"{name}: {said}: one value for the whole run is wanted, in group_vars/all or as an extra variable"
            )
    return found


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        if terms:
            raise AnsibleError("quaylock.stacks.waves takes no terms: it reads rollout_waves and rollout_wave_pause")
        variables = variables or {}
        hosts = variables.get("ansible_play_hosts_all") or []
        by_host = {host: self._of(variables["hostvars"][host]) for host in hosts}
        own = self._of(variables)
        found = [line for each in [own, *by_host.values()] for line in findings(each)] + differing(by_host)
        if found:
            told = "".join(f"\n  - {line}" for line in dict.fromkeys(found))
            raise AnsibleError(f"refused, and nothing was changed:{told}")
        return [read(own)]

    def _of(self, variables: Mapping[str, Any]) -> dict[str, object]:
        """Values of the variables that are ours, and the names of those that were meant to be."""
        names = [name for name in variables if name.startswith("rollout_wave")]
        return {name: self._templar.template(variables[name]) for name in names}
