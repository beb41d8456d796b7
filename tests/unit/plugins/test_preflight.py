# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What speaks against a host is said at once, with what to do about it."""

from __future__ import annotations

import socket

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import host
from ansible_collections.quaylock.stacks.plugins.modules import preflight

GOOD = {
    "root": False,
    "python_minimum": "3.9",
    "memory_mb": 1,
    "disk": [{"path": "/", "free_mb": 0}],
    "engine_minimum": "1.0",
    "ports": [],
    "entrypoints": {},
    "findings": [],
    "socket": "/nonexistent.sock",
}

CASES = [
    # name          what is asked for                                        what is said
    ("good", {}, []),
    ("python", {"python_minimum": "9.0"}, ["older than 9.0: upgrade the distribution"]),
    ("memory", {"memory_mb": 10**9}, ["1000000000 are wanted: add memory"]),
    ("disk", {"disk": [{"path": "/", "free_mb": 10**9}]}, ["MiB are free for / (looked at /), 1000000000 are wanted"]),
    ("told", {"findings": ["vault_a still holds X"]}, ["vault_a still holds X"]),
    (
        "everything at once",
        {"python_minimum": "9.0", "memory_mb": 10**9, "findings": ["told"]},
        ["older than 9.0", "add memory", "told"],
    ),
]


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch):
    monkeypatch.setattr(host, "engine_facts", lambda _: {"version": "", "answers": False})
    monkeypatch.setattr(host, "published", lambda _: iter(()))


@pytest.mark.parametrize(("asked", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_every_finding_is_said(asked, said):
    found = list(preflight.findings({**GOOD, **asked}))
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True)), found


def test_an_engine_that_is_too_old_is_refused(monkeypatch):
    monkeypatch.setattr(host, "engine_facts", lambda _: {"version": "19.03.15", "answers": True})
    (found,) = preflight.findings({**GOOD, "engine_minimum": "20.10"})
    assert found.startswith("the engine is 19.03.15, older than 20.10: upgrade it")


@pytest.fixture
def taken():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        yield own.getsockname()[1]


CONTAINERS = [
    # labels                              said
    ({"quaylock.rollout": "r-1"}, []),
    ({"quaylock.recipe": "haproxy"}, ["is taken by container other-web-1 (web:1): stop it"]),  # the image's label
    ({"com.docker.compose.project": "other"}, ["is taken by container other-web-1 (web:1): stop it"]),
    ({}, ["is taken by container other-web-1 (web:1): stop it"]),
]


@pytest.mark.parametrize(("labels", "said"), CONTAINERS)
def test_a_port_that_a_container_publishes_is_named_unless_it_is_ours(monkeypatch, taken, labels, said):
    container = {"Names": ["/other-web-1"], "Image": "web:1", "Labels": labels}
    monkeypatch.setattr(host, "published", lambda _: iter([("0.0.0.0", taken, "tcp", container)]))
    found = list(preflight.findings({**GOOD, "entrypoints": {"http": {"port": taken}}}))
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True)), found


def test_a_port_that_a_process_holds_is_named_with_the_process(taken):
    (found,) = preflight.findings({**GOOD, "entrypoints": {"http": {"port": taken, "address": "127.0.0.1"}}})
    assert found.startswith(f"port {taken}/tcp on 127.0.0.1, wanted for the entrypoint http, is taken by process ")


def test_the_same_port_on_another_address_is_free(taken):
    assert list(preflight.findings({**GOOD, "entrypoints": {"http": {"port": taken, "address": "192.0.2.1"}}})) == []


def test_the_port_that_redirects_is_looked_at_as_well(taken):
    (found,) = preflight.findings({**GOOD, "entrypoints": {"web": {"port": 1, "redirect": taken}}})
    assert "wanted for the entrypoint web, redirect," in found
