# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The networks that the role network makes, and the ones that it leaves alone."""

from __future__ import annotations

import json


def network(host, name):
    return json.loads(host.check_output(f"docker network inspect {name}"))[0]


def test_a_subnet_is_as_listed(host):
    seen = network(host, "eemt-network")
    assert seen["IPAM"]["Config"] == [{"Subnet": "172.28.0.0/16", "Gateway": "172.28.0.1"}]
    assert seen["Labels"] == {"zone": "frontend"}


def test_an_internal_network_has_no_way_out(host):
    assert network(host, "backend")["Internal"] is True


def test_a_foreign_network_is_left_alone(host):
    seen = network(host, "foreign")
    assert seen["IPAM"]["Config"][0]["Subnet"] == "10.77.0.0/24"
    assert seen["Internal"] is False


def test_nothing_is_made_where_something_is_refused(host):
    assert "not-made-either" not in host.check_output("docker network ls --format '{{.Name}}'").splitlines()
