# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service may refer to while it is read: the host's facts and the stack's own networks, volumes and files."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Finding, MountedFile, Network, Volume
from .nodes import Node


@dataclass(frozen=True, slots=True)
class Context:
    """What the host adds to a definition.

    `project_directory` is the folder on the host that relative paths start from; `config_dir` the stack's own folder.
    `secrets` and `configs` map each key whose content was handed over to the fingerprint of that content.
    `entrypoints` maps names of the proxy's entrypoints to their ports; empty means that there is no proxy.
    """

    project_directory: str = ""
    config_dir: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)
    ingress_network: str = "quaylock_ingress"
    entrypoints: Mapping[str, int] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """A stack's top level, read. A file that nobody provides is a Finding, raised when a service asks for it."""

    stack: str
    context: Context
    networks: Mapping[str, Network]
    volumes: Mapping[str, Volume]
    secrets: Mapping[str, MountedFile | Finding]
    configs: Mapping[str, MountedFile | Finding]


def host_path(node: Node, path: str, context: Context) -> str:
    """An absolute path on the host for one that the stack gives; refuses what has no one meaning there."""
    if path.startswith("~"):
        node.refuse(f"{path!r} depends on whose home it is", "write an absolute path")
    elif not path.startswith("/"):
        if not context.project_directory.startswith("/"):
            node.refuse(f"{path!r} is relative, and the stack has no folder on the host", "write an absolute path")
            return path
        path = posixpath.join(context.project_directory, path)
    return posixpath.normpath(path)
