# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Between Ansible and the engine: errors become answers that help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .adapters import docker_engine
from .adapters.local import Busy
from .core import report
from .core.model import Invalid
from .ports import PortError

LEAST_SDK = (7, 0)


def require_sdk(module: Any) -> None:
    """The docker SDK has to be there, and young enough for engines whose least API is 1.44."""
    if docker_engine.MISSING:
        module.fail_json(
            msg=f"the Python that runs this module has no docker SDK ({docker_engine.MISSING}); the role"
            " quaylock.stacks.docker installs one and sets docker_python, which ansible_python_interpreter has to name"
        )
    version = docker_engine.sdk_version()
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
