# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack is, besides its data: the release that serves, the rendered model, its secrets and configs."""

from __future__ import annotations

import json
import time
from collections.abc import Collection

from ..core.backup.manifest import Taken, differences
from ..core.items import CONFIG
from ..core.model import Json
from ..ports import Repository


class ConfigSource:
    """Part of every set, so that an empty host gets a stack back from the repository alone.

    `record` is the release as the journal has it; `folder` is the stack's own on the host, with the contents of its
    secrets, which is one reason why a repository is encrypted.
    """

    def __init__(self, repository: Repository, record: Json, folder: str, label: str, tags: Collection[str]) -> None:
        self._repository, self._folder, self._label, self._tags = repository, folder, label, tags
        self._record = json.dumps(record, indent=1).encode() + b"\n"
        self._at = 0.0

    def open(self) -> None:
        """There is nothing to connect to."""

    def freeze(self) -> None:
        self._at = time.time()

    def store(self) -> Taken:
        release = self._repository.stream(self._label, self._tags, lambda write: write(self._record))
        folder, warnings = self._repository.tree(self._folder, self._tags)
        about = {"folder": self._folder}
        return Taken(CONFIG, CONFIG, (release, folder), self._at, about=about, warnings=warnings)

    def read_back(self, taken: Taken) -> tuple[str, ...]:
        """The folder was read in the repository when it was stored, and cannot be compared with anything else."""
        streams = [part for part in taken.parts if not part.files]
        return differences(streams, [self._repository.read_back(part) for part in streams])

    def close(self) -> None:
        self._repository.break_off(self._tags)
