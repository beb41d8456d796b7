# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One run of the module `rollout` as a process of its own, as Ansible starts it on a host: arguments as JSON on stdin.

This is the one place that knows how our engine is started. Prints the module's answer.
"""

from __future__ import annotations

import json
import sys

from ansible.module_utils.testing import patch_module_args
from ansible_collections.quaylock.stacks.plugins.modules import rollout

with patch_module_args(json.load(sys.stdin)):
    rollout.main()
