# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever stands in a Compose model, it becomes a stack or findings with paths, never a crash."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid, Stack
from hypothesis import given, settings
from hypothesis import strategies as st

CONTEXT = Context("/srv", "/etc/x", {"s": "f"}, {"c": "f"}, entrypoints={"http": 80})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.floats(),
    st.sampled_from(
        [
            "",
            "a",
            "b",
            "s",
            "c",
            "v",
            "n",
            "./x",
            "/x",
            "/x:/y",
            "v:/y:ro",
            "v:/z",
            "80",
            "80:80",
            "80-81:80-81",
            "1.2.3.4::80",
        ]
        + [
            "10s",
            "-1s",
            "1g",
            "x=y",
            "x",
            "a:b:c:d",
            "no",
            "always",
            "on-failure:x",
            "NONE",
            "CMD",
            "start-first",
            "all",
        ]
        + [
            "service_healthy",
            "host",
            "service:a",
            "10.0.0.0/8",
            "10.0.0.1",
            "'",
            "$",
            "http",
            "tcp",
            "bind",
            "volume",
            "tmpfs",
        ]
    ),
    st.text(max_size=4),
)
KEYS = st.sampled_from(
    (
        "image build context args command entrypoint environment user tty healthcheck test interval timeout retries disable "
        "depends_on condition required deploy replicas resources limits reservations cpus memory devices capabilities count "
        "update_config rollback_config order monitor failure_action restart_policy networks aliases ipv4_address volumes type "
        "source target read_only bind create_host_path volume nocopy tmpfs size mode secrets configs labels logging driver "
        "options ulimits soft hard extra_hosts ports published host_ip protocol expose restart scale profiles container_name "
        "network_mode gpus device_ids blkio_config weight_device path weight x-quaylock gate probes http tcp exec port status "
        "body passes cadence deadline progress none ingress entrypoint host check drain one_shot a b v n s c"
    ).split()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
SERVICE = st.dictionaries(KEYS, VALUES, max_size=6).map(lambda keys: {"image": "a", **keys})
TOP = st.fixed_dictionaries(
    {"services": st.dictionaries(st.sampled_from("ab"), SERVICE | VALUES, max_size=2) | VALUES},
    optional={
        section: st.dictionaries(st.sampled_from("vnsc"), VALUES) | VALUES
        for section in ("networks", "volumes", "secrets", "configs")
    },
)


@settings(max_examples=400, deadline=None)
@given(TOP)
def test_anything_is_a_stack_or_findings(definition: dict[str, Any]) -> None:
    try:
        made = read("any", definition, CONTEXT)
    except Invalid as refusal:
        assert refusal.findings
        assert len(set(refusal.findings)) == len(refusal.findings)
        assert all(finding.path and finding.problem for finding in refusal.findings)
    else:
        assert isinstance(made, Stack)
        json.dumps([service.container for service in made.services])
        json.dumps(made.rendered)
