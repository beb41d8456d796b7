# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Questions to a container, by a command in it that changes nothing and always has an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TRIES = 10


def asked(container: Any, command: Sequence[str], **about: Any) -> tuple[int, str]:
    """Exit code and what was said, stripped.

    A busy engine may lose what a short command has written (github.com/moby/moby/issues/27289): it is asked again then.
    """
    code, text = 0, ""
    for _try in range(TRIES):
        code, output = container.exec_run(list(command), **about)
        text = output.decode().strip()
        if code or text:
            break
    return code, text
