# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The images that the role has on a host without a registry."""

from __future__ import annotations

import json


def names(host):
    return host.check_output("docker images --format '{{.Repository}}:{{.Tag}}'").split()


def test_a_recipe_is_built_and_named_by_its_content(host):
    assert [name for name in names(host) if name.startswith("quaylock.local/haproxy:")]


def test_an_archive_is_loaded(host):
    assert "carried:1.0" in names(host)


def test_what_each_reference_was_is_recorded(host):
    lock = json.loads(host.file("/var/lib/quaylock/images.lock.json").content_string)
    assert "carried:1.0" in json.dumps(lock)
