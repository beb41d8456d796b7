# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Small files, made up: whatever two or three of them say, merged they say the same to us as to Compose."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_files import load
from ansible_collections.quaylock.stacks.tests.fixtures import compose_view
from ansible_collections.quaylock.stacks.tests.fixtures.compose_corpus import PROJECT, VARIABLES, stack_of
from ansible_collections.quaylock.stacks.tests.fixtures.peer import compose_peer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.integration

# What one file may say of a key, in YAML: short and long syntax, tags, nothing.
SAID = {
    "command": ["a b", "[c, d]", "[]", "", "!reset null", "!override [e]"],
    "entrypoint": ["/e", "[/f, g]", "[]", ""],
    "environment": ["{A: 1, B: two}", "[A=3, C, 'D=']", "{A: , E: true}", "!override {Z: 9}", "[]", ""],
    "labels": ["{a: 1}", "[a=2, b]", "{c: x=y}", "!override [z]", "{}"],
    "annotations": ["{a: 1}", "[a=2, b=3]"],
    "ports": [
        "['8000:80']",
        "[{target: 80, published: '8000'}]",
        "['127.0.0.1:8000:80', '9000:90/udp']",
        "['7000-7002:7000-7002']",
        "[{target: 7001, published: '7001'}]",
        "[80, '81']",
        "!override ['1:1']",
        "!reset []",
    ],
    "expose": ["['70']", "[71, '72/udp']", "['70', 71]"],
    "volumes": [
        "['vol:/v', './d:/d:ro']",
        "[{type: volume, source: wol, target: /v}]",
        "[{type: bind, source: ./e, target: /d}]",
        "[/anonymous]",
        "['vol:/v:ro']",
        "!override ['wol:/w']",
        "[{type: tmpfs, target: /v, tmpfs: {size: 1m}}]",
    ],
    "tmpfs": ["/t", "[/t, '/u:size=1m']", "['/u:size=2m']"],
    "dns": ["10.0.0.1", "[10.0.0.2, 10.0.0.1]", "[]"],
    "dns_search": ["a.example", "[b.example]"],
    "extra_hosts": ["{a: 10.0.0.1}", "['a=10.0.0.2', 'b:10.0.0.3']", "{a: [10.0.0.4, 10.0.0.5]}"],
    "cap_add": ["[A]", "[B, A]", "!reset []"],
    "devices": ["['/dev/a:/dev/x']", "[{source: /dev/b, target: /dev/x}]", "[/dev/c]"],
    "security_opt": ["['a:b']", "['a:b', c]"],
    "group_add": ["[x]", "[y, x]"],
    "networks": [
        "[n, m]",
        "{n: {aliases: [one]}}",
        "{n: {aliases: [two]}, default: }",
        "{m: {priority: 5}}",
        "!override [m]",
        "",
    ],
    "depends_on": [
        "[other]",
        "{other: {condition: service_healthy}}",
        "{other: {condition: service_started, restart: true}}",
        "{third: {condition: service_started}}",
        "!reset null",
    ],
    "secrets": ["[s]", "[{source: s, target: /run/secrets/s}]", "[{source: s, target: /other, mode: 0440}]"],
    "configs": ["[c]", "[{source: c, target: /c}]"],
    "healthcheck": [
        "{test: a, retries: 2}",
        "{test: [CMD, b], interval: 5s}",
        "{timeout: 3s}",
        "{interval: }",
        "!override {test: c}",
        "{disable: false}",
    ],
    "logging": [
        "{driver: local, options: {a: 1}}",
        "{options: {b: 2}}",
        "{driver: syslog}",
        "{driver: local, options: {a: 3}}",
    ],
    "ulimits": ["{nofile: 5}", "{nofile: {soft: 1, hard: 2}}", "{nofile: {hard: 9}, nproc: 7}"],
    "sysctls": ["{a.b: 1}", "[a.b=2, c.d=3]"],
    "deploy": [
        "{replicas: 1}",
        "{resources: {limits: {cpus: '0.5'}}}",
        "{resources: {limits: {memory: 64m}}}",
        "{resources: !override {limits: {pids: 9}}}",
        "{labels: {x: 1}}",
        "{labels: [x=2, y]}",
        "{restart_policy: {condition: on-failure}}",
    ],
    "build": [
        "./app",
        "{context: ./b, args: [A=1]}",
        "{args: {A: 2, B: x}, target: t}",
        "{tags: [a, b]}",
        "{tags: [b, c], labels: [l=1]}",
    ],
    "user": ["'1'", "'2'", ""],
    "read_only": ["true", "false", "!reset null"],
    "stop_grace_period": ["5s", "1m"],
    "profiles": ["[]"],
}
TOP = """
  other: {image: o}
  third: {image: t}
networks: {n: , m: }
volumes: {vol: , wol: }
secrets: {s: {file: ./compose.yaml}}
configs: {c: {file: ./compose.yaml}}
"""


@st.composite
def layers(draw: st.DrawFn) -> list[str]:
    keys = draw(st.lists(st.sampled_from(sorted(SAID)), min_size=1, max_size=4, unique=True))
    files = []
    for number in range(draw(st.integers(2, 3))):
        lines = [] if number else ["    image: app"]
        lines += [f"    {key}: {draw(st.sampled_from(SAID[key]))}" for key in keys if not number or draw(st.booleans())]
        files.append(
            "services:\n  app:" + ("\n" + "\n".join(lines) if lines else " {}") + (TOP if not number else "\n")
        )
    return files


@settings(
    max_examples=int(os.environ.get("MERGES", "60")),
    deadline=None,
    derandomize="MERGES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(layers())
def test_files_merge_alike(tmp_path_factory: pytest.TempPathFactory, files: list[str]) -> None:
    folder = tmp_path_factory.mktemp("merge")
    names = ["compose.yaml", *(f"more{number}.yaml" for number in range(1, len(files)))]
    for name, text in zip(names, files, strict=True):
        (folder / name).write_text(text)
    theirs, ours = said_by_compose(folder, names), said_by_us(folder, names)
    if theirs is not None and ours is not None:
        found = {
            key: f"Quaylock {ours.get(key)!r}, Compose {theirs.get(key)!r}"
            for key in ours.keys() | theirs.keys()
            if ours.get(key) != theirs.get(key)
        }
        assert not found, "\n---\n".join(files)


def said_by_compose(folder: Path, names: list[str]) -> dict[str, Any] | None:
    """None where Compose refuses the files."""
    words = [word for name in names for word in ("-f", name)]
    done = subprocess.run(
        [compose_peer(), "-p", PROJECT, *words, "config", "--format", "json"],
        cwd=folder,
        env={**os.environ, **VARIABLES},
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode else compose_view.theirs(json.loads(done.stdout), VARIABLES)


def said_by_us(folder: Path, names: list[str]) -> dict[str, Any] | None:
    """None where what they say together cannot be rolled out, such as two mounts at one place."""
    try:
        loaded = load([str(folder / name) for name in names], VARIABLES, folder=str(folder), name=PROJECT)
        return compose_view.ours(stack_of(loaded.definition, folder), loaded)
    except Invalid:
        return None
