# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where restored data goes: what is replaced as a whole, what by itself, and what has no place any more."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import places
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.places import Data, Move
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.scope import Context
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Stack

MODEL = """
services:
  db: {image: db, healthcheck: {test: [CMD, check]}, volumes: [data:/data, shared:/shared]}
  api: {image: api, healthcheck: {test: [CMD, check]}, volumes: [uploads:/uploads, state:/state, shared:/shared]}
volumes: {data: {}, uploads: {}, state: {}, shared: {}, dumps: {}}
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


def data(made: Stack, *directories: str) -> Data:
    return Data(made.backup.items, made, {"db": directories})


def test_volumes_of_a_database_and_of_items_are_replaced_as_a_whole() -> None:
    made = data(stack())
    assert places.whole_volumes(made) == ("uploads", "data"), "who shares one keeps what is in it"
    assert [item.name for item in places.files(made)] == ["jobs", "results"]


HOMES = [
    # where the server kept its files            volumes of the database          what is exchanged for it
    ((), ["data:/data"], ("data",)),
    ((), ["data:/data", "dumps:/dumps"], ("data", "dumps")),
    (("/data/16",), ["data:/data", "dumps:/dumps"], ("data",)),
    (("/data/16", "/dumps/fast"), ["data:/data/", "dumps:/dumps"], ("data", "dumps")),
    (("/data/pg/16",), ["dumps:/data", "data:/data/pg"], ("data",)),
    (("/database",), ["data:/data"], ()),
    (("/data",), ["/srv/pg:/data", "dumps:/dumps"], ()),
]


@pytest.mark.parametrize(("directories", "volumes", "exchanged"), HOMES)
def test_of_a_database_only_what_holds_its_files_is_exchanged(
    directories: tuple[str, ...], volumes: list[str], exchanged: tuple[str, ...]
) -> None:
    made = data(stack(volumes=volumes), *directories)
    assert places.whole_volumes(made) == ("uploads", *exchanged)
    assert [finding.path for finding in places.problems(made, made.stack)] == ([] if exchanged else ["items.db"])


def test_everything_is_moved_aside_and_nothing_is_left_that_destroys_it() -> None:
    made = data(stack())
    folders = {key: f"/volumes/shop_{key}" for key in ("data", "uploads", "state")}
    kept = {key: f"/volumes/kept_{key}" for key in ("data", "uploads")}
    restored = {key: f"/volumes/drill_{key}" for key in ("data", "uploads")}
    found = places.moves(made, "s-1", folders, kept, restored)
    jobs = "/volumes/shop_state/jobs.db"
    assert found == (
        Move("volume uploads", "/volumes/shop_uploads", "/volumes/kept_uploads", "/volumes/drill_uploads"),
        Move("volume data", "/volumes/shop_data", "/volumes/kept_data", "/volumes/drill_data"),
        Move("item jobs", jobs, f"{jobs}.before-s-1", f"{jobs}.restored-s-1"),
        *(Move("item jobs", jobs + end, f"{jobs}{end}.before-s-1") for end in ("-wal", "-shm", "-journal")),
        Move("item results", "/srv/results", "/srv/results.before-s-1", "/srv/results.restored-s-1"),
    )


NOW = [
    # the database now                             what is said
    ({"volumes": ["/srv/pg:/data"]}, "service db keeps /data/16 in no volume of this stack"),
    (
        {"volumes": ["dumps:/data"]},
        "service db kept /data/16 in volume data at /data, and has volume dumps at /data now",
    ),
    (
        {"volumes": ["data:/data/16"]},
        "service db kept /data/16 in volume data at /data, and has volume data at /data/16 now",
    ),
    ({"volumes": ["data:/data", "dumps:/d"]}, ""),
]


@pytest.mark.parametrize(("changed", "said"), NOW)
def test_a_database_that_lives_elsewhere_now_is_refused(changed: dict[str, Any], said: str) -> None:
    found = [str(finding) for finding in places.problems(data(stack(), "/data/16"), stack(**changed))]
    assert [said in text for text in found] == [True] * bool(said)


def test_files_that_somebody_else_writes_too_are_not_exchanged_behind_their_back() -> None:
    made = stack(volumes=["shared:/data"])
    (found,) = places.problems(data(made, "/data"), made)
    assert found.path == "items.db"
    assert found.problem == "volume shared, which holds it, is written by api as well"


def test_what_has_no_place_is_refused_with_a_way_out() -> None:
    then = stack()
    assert places.problems(data(then), then) == []
    model = yaml.safe_load(MODEL)
    del model["services"]["api"], model["x-quaylock"]
    model["services"]["db"]["volumes"] = ["/srv/pg:/data"]
    now = read("shop", model, Context("/srv/shop", "/etc/quaylock/stacks/shop"))
    found = {finding.path: str(finding) for finding in places.problems(data(then), now)}
    assert set(found) == {"items.db", "items.uploads", "items.inside", "items.jobs"}
    assert "service db keeps its data in no volume" in found["items.db"]
    assert all("with to" in text for text in found.values())
