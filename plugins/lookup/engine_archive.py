# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine as one file that a host's Python runs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: engine_archive
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: The engine of this collection as one file for a host
description:
  - Packs what the modules of this collection share into a zip archive that Python runs, and returns its path on the
    controller. The same code is the same file, byte for byte, so that copying it says whether anything has changed.
  - The engine knows no Ansible. On the host, C(python3 engine.zip status) is what timers of the role
    M(quaylock.stacks.backup) call.
options:
  _terms:
    description: None are taken.
    required: false
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Copy the engine
  ansible.builtin.copy:
    src: "{{ lookup('quaylock.stacks.engine_archive') }}"
    dest: /usr/local/lib/quaylock/engine.zip
    mode: "0644"
"""

RETURN = r"""
_raw:
  description: The path of the archive on the controller.
  type: list
  elements: path
"""

import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

ENGINE = Path(__file__).resolve().parents[1] / "module_utils"
PACKAGE = "quaylock"
MAIN = f"""\
from {PACKAGE}.backup.on_host import main
raise SystemExit(main())
"""
THEN = (2020, 1, 1, 0, 0, 0)
"""of every file in it: an archive tells nothing of when it was made"""


def packed(engine: Path = ENGINE) -> bytes:
    """A zip archive that Python runs. Its files are in the order of their names, and all of the same time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", THEN), MAIN)
        for path in sorted(engine.rglob("*.py")):
            about = zipfile.ZipInfo(f"{PACKAGE}/{path.relative_to(engine).as_posix()}", THEN)
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(about, path.read_bytes())
    return content.getvalue()


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        if terms:
            raise AnsibleError("quaylock.stacks.engine_archive takes no terms")
        content = packed()
        # one file for all hosts of a run; Ansible clears the folder away
        path = Path(constants.DEFAULT_LOCAL_TMP) / f"quaylock-engine-{hashlib.sha256(content).hexdigest()[:16]}.zip"
        if not path.exists():
            handle, draft = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(draft).replace(path)
        return [str(path)]
