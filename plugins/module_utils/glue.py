# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Between Ansible and the engine: errors become answers that help."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from .adapters import docker_api
from .adapters.local import Busy
from .core.model import Invalid
from .core.releases import KEEP
from .core.shown import report
from .ports import PortError
from .request import IngressSettings, Request

LEAST_SDK = (7, 0)
ENGINE_SPEC: dict[str, Any] = {"docker_host": {"type": "str", "default": ""}}
JOURNAL_SPEC: dict[str, Any] = {"releases_kept": {"type": "int", "default": KEEP}}
CONFIG_SPEC: dict[str, Any] = {"config_dir": {"type": "path", "default": "/etc/quaylock"}}
STATE_SPEC: dict[str, Any] = {"state_dir": {"type": "path", "default": "/var/lib/quaylock"}}
SETTINGS_SPEC: dict[str, Any] = {"settings": {"type": "path", "default": "/etc/quaylock/backup/settings.json"}}
ASKED_SPEC: dict[str, Any] = {"wait": {"type": "float", "default": 0}, "who": {"type": "str", "default": ""}}
STACKS_SPEC: dict[str, Any] = {
    "host": {"type": "str", "default": "localhost"},
    "entrypoints": {"type": "dict", "default": {}},
    "ingress_folder": {"type": "path", "default": "/var/lib/quaylock/ingress"},
    "ingress_container": {"type": "str", "default": ""},
    "ingress_network": {"type": "str", "default": "quaylock_ingress"},
}
"""options that several modules share; `plugins/doc_fragments/host.py` documents them"""


def request_of(params: Mapping[str, Any], name: str) -> Request:
    """What is asked of a stack by a module with all of these options; "" is the host as a whole."""
    doors = params["entrypoints"]
    ingress = IngressSettings(
        params["ingress_folder"],
        params["ingress_container"],
        params["ingress_network"],
        {door: int(about.get("port", 0)) for door, about in doors.items()},
    )
    return Request(
        name=name,
        ingress=ingress if doors else None,
        releases_kept=params["releases_kept"],
        state_dir=params["state_dir"],
        config_dir=params["config_dir"],
        docker_host=params["docker_host"],
    )


def backup_request(params: Mapping[str, Any], again: str) -> Request:
    """What is asked of a stack's sets by a module that makes or tries one; `again` is the next step where it fails."""
    return Request(
        name=params["name"],
        who=asker(params),
        wait=params["wait"],
        again=again,
        state_dir=params["state_dir"],
        config_dir=params["config_dir"],
        docker_host=params["docker_host"],
    )


def asker(params: Mapping[str, Any]) -> str:
    """Who is asking: whoever is named, or the user behind this process."""
    return str(params["who"] or os.environ.get("SUDO_USER") or os.environ.get("USER") or "root")


def require_sdk(module: Any) -> None:
    """The docker SDK has to be there, and young enough for engines whose least API is 1.44."""
    if docker_api.MISSING:
        module.fail_json(
            msg=f"the Python that runs this module has no docker SDK ({docker_api.MISSING}); the role"
            " quaylock.stacks.docker installs one and sets docker_python, which ansible_python_interpreter has to name"
        )
    version = docker_api.sdk_version()
    if version < LEAST_SDK:
        found = ".".join(map(str, version))
        module.fail_json(
            msg=f"docker SDK {found} is too old, 7.0 is needed; the role quaylock.stacks.docker installs it"
        )


@contextlib.contextmanager
def answering(module: Any) -> Iterator[None]:
    """Refusals and the outside's no as a failed task that says what was wrong and what to do."""
    name = module.params.get("name") or ""
    try:
        yield
    except Invalid as refused:
        findings = [str(f) for f in refused.findings]
        module.fail_json(
            msg=report.refusal(name, refused.findings), outcome="refused", findings=findings, changed=False
        )
    except Busy as error:
        module.fail_json(msg=f"{name}: {error}", outcome="refused", changed=False, holder=error.holder)
    except PortError as error:
        module.fail_json(msg=f"{name}: {error}", outcome="refused", changed=False)
    except OSError as error:
        # most of all a full disk, before anything could be written down
        told = f"the state of this host cannot be written or read: {error}; free the disk, then run this again"
        module.fail_json(msg=f"{name}: {told}", changed=False)
