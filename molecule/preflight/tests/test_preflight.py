# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role preflight only looks."""

from __future__ import annotations


def test_nothing_was_put_on_the_host(host):
    assert not host.file("/etc/quaylock").exists
    assert not host.file("/opt/quaylock").exists
    assert not host.file("/etc/docker/daemon.json").exists
