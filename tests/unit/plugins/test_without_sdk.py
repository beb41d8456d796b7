# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""On a host without the docker SDK a module says so, and what brings it, instead of a traceback."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULES = {
    "backup": {"name": "shop"},
    "images": {"images": {}},
    "ingress": {"folder": "/nowhere", "container": "proxy", "address": "172.16.0.2", "entrypoints": {}},
    "rollout": {"name": "shop", "definition": {}},
    "stack_info": {"name": "shop"},
}

WITHOUT = """
import importlib, json, sys
sys.modules.update(dict.fromkeys(("docker", "requests", "urllib3")))  # None: an import of it fails
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.loads(sys.argv[2])}).encode()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module("ansible_collections.quaylock.stacks.plugins.modules." + sys.argv[1]).main()
"""


@pytest.mark.parametrize(("module", "arguments"), MODULES.items(), ids=MODULES)
def test_a_module_without_the_sdk_names_the_role_that_brings_it(module: str, arguments: dict[str, object]) -> None:
    call = [sys.executable, "-c", WITHOUT, module, json.dumps(arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["failed"] is True
    assert "no docker SDK" in answer["msg"]
    assert "quaylock.stacks.docker" in answer["msg"]
