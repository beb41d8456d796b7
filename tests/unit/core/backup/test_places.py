# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where restored data goes: what is replaced as a whole, what by itself, and what has no place any more."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import places
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.places import Move
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.scope import Context
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack

MODEL = """
services:
  db: {image: db, healthcheck: {test: [CMD, check]}, volumes: [data:/data, shared:/shared]}
  api: {image: api, healthcheck: {test: [CMD, check]}, volumes: [uploads:/uploads, state:/state, shared:/shared]}
volumes: {data: {}, uploads: {}, state: {}, shared: {}}
x-quaylock:
  backup:
    items:
      db: {type: postgres, service: db}
      uploads: {type: volume, volume: uploads}
      inside: {type: sqlite, volume: uploads, path: jobs.db}
      jobs: {type: sqlite, volume: state, path: jobs.db}
      results: {type: path, path: /srv/results}
"""


def stack(**changed: Any) -> Stack:
    model = yaml.safe_load(MODEL)
    for path, value in changed.items():
        model["services"]["db"][path] = value
    return read("shop", model, Context("/srv/shop", "/etc/quaylock/stacks/shop"))


def test_volumes_of_a_database_and_of_items_are_replaced_as_a_whole() -> None:
    made = stack()
    assert places.whole_volumes(made.backup.items, made) == ("uploads", "data"), "who shares one keeps what is in it"
    assert [item.name for item in places.files(made.backup.items, made)] == ["jobs", "results"]


def test_everything_is_moved_aside_and_nothing_is_left_that_destroys_it() -> None:
    made = stack()
    folders = {key: f"/volumes/shop_{key}" for key in ("data", "uploads", "state")}
    kept = {key: f"/volumes/kept_{key}" for key in ("data", "uploads")}
    restored = {key: f"/volumes/drill_{key}" for key in ("data", "uploads")}
    found = places.moves(made.backup.items, made, "s-1", folders, kept, restored)
    jobs = "/volumes/shop_state/jobs.db"
    assert found == (
        Move("volume uploads", "/volumes/shop_uploads", "/volumes/kept_uploads", "/volumes/drill_uploads"),
        Move("volume data", "/volumes/shop_data", "/volumes/kept_data", "/volumes/drill_data"),
        Move("item jobs", jobs, f"{jobs}.before-s-1", f"{jobs}.restored-s-1"),
        *(Move("item jobs", jobs + end, f"{jobs}{end}.before-s-1") for end in ("-wal", "-shm", "-journal")),
        Move("item results", "/srv/results", "/srv/results.before-s-1", "/srv/results.restored-s-1"),
    )


def test_what_has_no_place_is_refused_with_a_way_out() -> None:
    then = stack()
    assert places.problems(then.backup.items, then, then) == []
    model = yaml.safe_load(MODEL)
    del model["services"]["api"], model["x-quaylock"]
    model["services"]["db"]["volumes"] = ["/srv/pg:/data"]
    now = read("shop", model, Context("/srv/shop", "/etc/quaylock/stacks/shop"))
    found = {finding.path: str(finding) for finding in places.problems(then.backup.items, then, now)}
    assert set(found) == {"items.db", "items.uploads", "items.inside", "items.jobs"}
    assert "service db keeps its data in no volume" in found["items.db"]
    assert all("with to" in text for text in found.values())
