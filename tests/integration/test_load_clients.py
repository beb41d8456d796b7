# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The clients of the load tests see what is lost, and nothing else: whoever counts has to be able to count."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.load import Load
from ansible_collections.quaylock.stacks.tests.load.clients import LostError, whole

pytestmark = pytest.mark.integration

MIX = {"keepalive": 2, "fresh": 2, "post": 2, "slow": 2, "stream": 2, "ws": 2, "idle": 4}
SHORT = {"slow_path": "/slow?seconds=1", "stream_path": "/stream?seconds=1", "pause": 0.02}
QUICK = {**SHORT, "answer": 5.0}
"""whoever got no answer by then has lost it: above what a busy machine needs for one"""


@pytest.fixture
def backend(client: Any, web_built: str) -> Iterator[tuple[Any, str]]:
    """A replica, and its address. No proxy is between, which could hide something.

    In a network of its own: on a shared one, another container may get the address of one that is stopped.
    """
    name = f"qr-{secrets.token_hex(3)}"
    network = client.networks.create(name)
    made = client.containers.run(web_built, name=name, network=name, detach=True)
    made.reload()
    target = f"{made.attrs['NetworkSettings']['Networks'][name]['IPAddress']}:8000"
    until(lambda: not Load(target, mix={"fresh": 1}, requests=1, seconds=1).run().failed, made.logs)
    yield made, target
    made.remove(force=True)
    network.remove()


def test_a_backend_that_works_loses_nothing(backend: tuple[Any, str]) -> None:
    report = Load(backend[1], mix=MIX, seconds=2, **SHORT).run()
    assert report.failed == 0, report
    assert set(report.kinds) == set(MIX)


def test_every_kind_of_client_sees_a_backend_that_is_killed(backend: tuple[Any, str]) -> None:
    with Load(backend[1], mix=MIX, seconds=120, **QUICK) as load:
        until(lambda: {*load.report.kinds} == {*MIX}, lambda: load.report)
        before = load.report.failed
        backend[0].kill()
        until(lambda: {kind for _at, kind, _why in load.report.losses} == {*MIX}, lambda: load.report)
    assert before == 0


def test_a_websocket_that_was_told_goodbye_is_not_lost_and_one_that_was_cut_is(backend: tuple[Any, str]) -> None:
    container, target = backend
    with Load(target, mix={"ws": 3}, seconds=120, pause=0.02, answer=5.0) as load:
        load.warm()
        stopping = threading.Thread(target=container.stop)
        stopping.start()
        until(lambda: load.report.goodbyes >= 3, lambda: load.report, rest=0.01)
        assert not any("close frame" in why for _at, _kind, why in load.report.losses), load.report
        stopping.join()
        container.start()
        load.warm()
        goodbyes, lost = load.report.goodbyes, len(load.report.losses)
        container.kill()
        # by an end without a close frame, by a reset, or by silence where the container's network went first
        until(lambda: len(load.report.losses) - lost >= 3, lambda: load.report)
    assert load.report.goodbyes == goodbyes, load.report


ANSWERS = [
    # name                          the stream's content       lost
    ("whole",                       b"v1 0\nv1 1\nend\n",      False),
    ("cut before its end",          b"v1 0\nv1 1\n",           True),
    ("with a line missing",         b"v1 0\nv1 2\nend\n",      True),
    ("from two versions",           b"v1 0\nv2 1\nend\n",      True),
    ("nothing",                     b"",                       True),
]  # fmt: skip


@pytest.mark.parametrize(("content", "lost"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_a_stream_is_checked_whole(content: bytes, lost: bool) -> None:
    if lost:
        with pytest.raises(LostError):
            whole(content)
    else:
        whole(content)
