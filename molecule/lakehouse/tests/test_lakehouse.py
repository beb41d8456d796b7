# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was refused has left nothing behind."""

from __future__ import annotations


def test_nothing_of_the_stack_is_on_the_host(host):
    assert not host.file("/etc/quaylock/stacks/lakehouse").exists
    assert host.check_output("docker ps --all --quiet") == ""
    assert host.check_output("docker volume ls --quiet") == ""
