# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images of recipes, contexts and archives, had as the role has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import build_contexts
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.images import Images
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images import image_sources
from ansible_collections.quaylock.stacks.plugins.module_utils.image_run import Outcome, Run, Settings

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "roles/images/files/recipes"
REGISTRY = ROOT / "tests/fixtures/images/registry"
ELSEWHERE = {
    "traefik",
    "minio",
    "debian-bookworm",
    "java",
    "hive-metastore",
    "spark",
    "trino",
    "dbt",
    "superset",
    "airflow",
    "prometheus",
}
"""recipes that take long: the tests that need one have it built"""
CLOSED = 18599
"""a port on which nobody listens"""


def have(client: Any, images: dict[str, Any], patience: float = 3.0, **settings: Any) -> Outcome:
    """One run over images whose contexts and archives are paths of this machine."""
    names = [str(given.get(field) or "") for given in images.values() for field in ("recipe", "base")]
    packs = {f"recipe:{name}": pack for name, pack in build_contexts.recipe_packs(str(RECIPES), names).items()}
    for key, given in images.items():
        if given.get("context"):
            packs[f"context:{key}"] = build_contexts.context_pack(str(given["context"]))
        if given.get("archive"):
            packs[f"archive:{key}"] = build_contexts.archive_pack(str(given["archive"]))
    wanted = image_sources.read(images, packs)
    return Run(Images(client, patience=patience), wanted, Settings(**settings), lambda _text: None).have()


def told(outcome: Outcome, key: str) -> str:
    return "\n".join(str(attempt) for attempt in outcome.tried[key])


def output_of(client: Any, ref: str, command: list[str], **about: Any) -> bytes:
    """What a short container wrote. Read when it ended: an engine's followed log can end before the first line is in it."""
    container = client.containers.run(ref, command, detach=True, **about)
    try:
        ended = container.wait(timeout=60)["StatusCode"]
        written: bytes = container.logs(stdout=True, stderr=ended != 0)
        assert ended == 0, written.decode()
        return written
    finally:
        container.remove(force=True, v=True)
