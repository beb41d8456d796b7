# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`build` and `pull_policy` of a Compose service: where its image comes from. Builds are those of the engine itself."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from ..model import Build
from .container import extra_hosts
from .nodes import Node
from .scope import Context, host_path

_NETWORKS = ("default", "host", "none")
_BUILDKIT = "it needs BuildKit, and a rollout builds with the builder that every engine has"
_ELSEWHERE = "it needs BuildKit: build in CI, push, and name the image"
_REFUSED = {
    "additional_contexts": f"{_BUILDKIT}; put the files into the context",
    "cache_to": f"{_BUILDKIT}; push the image, and name it in cache_from",
    "dockerfile_inline": "write the lines to a file in the context, and name it in dockerfile",
    "entitlements": _ELSEWHERE,
    "isolation": "it is for Windows containers; leave it out",
    "no_cache_filter": f"{_BUILDKIT}; use no_cache",
    "platforms": "a rollout builds for its own host; build in CI, push, and name the image",
    "privileged": "a build must not own the host; leave it out",
    "provenance": _ELSEWHERE,
    "sbom": _ELSEWHERE,
    "secrets": _ELSEWHERE,
    "ssh": _ELSEWHERE,
    "ulimits": "the engine's own builder has none; leave it out",
}


def build(node: Node, context: Context) -> Build | None:
    """None where the image is not built."""
    if not node.given:
        return None
    if not isinstance(node.value, Mapping):
        return Build(_place(node, context))
    network = node.at("network").text()
    if network and network not in _NETWORKS:
        fix = "one of default, host and none: a build runs before the stack's networks are there"
        node.at("network").refuse(f"{network!r} is not a network of a build", fix)
    hosts = (line.partition(":") for line in extra_hosts(node.at("extra_hosts")))
    for entry in node.at("cache_from").entries():
        if "type=" in entry.text():
            entry.refuse(f"{entry.value!r} is not an image", f"{_BUILDKIT}; name an image")
    made = Build(
        _place(node.at("context"), context),
        node.at("dockerfile").text("Dockerfile"),
        {key: value for key, value in node.at("args").pairs(blank=None).items() if value is not None},
        node.at("target").text(),
        {key: value or "" for key, value in node.at("labels").pairs().items()},
        network,
        {name: address for name, _colon, address in hosts},
        node.at("shm_size").size(),
        tuple(node.at("cache_from").texts()),
        node.at("no_cache").flag(),
        node.at("pull").flag(),
        tuple(node.at("tags").texts()),
    )
    node.close(_REFUSED)
    return made


def pull_policy(node: Node, built: bool) -> str:
    """One of always, never, missing and build."""
    word = node.text("missing")
    if word in ("daily", "weekly", "refresh") or word.startswith("every_"):
        node.refuse(
            f"{word!r} changes an image by the clock", "use always: each rollout looks, and gates what it finds"
        )
        return "missing"
    word = node.one_of(("always", "never", "missing", "if_not_present", "build"), "missing")
    if word == "build" and not built:
        node.refuse("there is nothing to build", "add build, or choose another policy")
    return "missing" if word == "if_not_present" else word


def _place(node: Node, context: Context) -> str:
    path = node.text(".")
    if "://" in path or path.startswith("git@"):
        return path
    return host_path(node, posixpath.normpath(path) if not path.startswith("~") else path, context)
