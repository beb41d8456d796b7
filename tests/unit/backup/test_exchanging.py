# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A restore that is done stays done, whatever goes wrong with what is cleared away after it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import moving
from ansible_collections.quaylock.stacks.plugins.module_utils.backup.exchanging import Exchange
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.places import Move
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError


class Engine:
    """Removes no volume, and has no container."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def remove_volume(self, name: str) -> None:
        self.asked.append(name)
        raise PortError(f"{name} is in use")


def done(folder: Path, engine: Engine) -> Any:
    """An exchange of a file and of two volumes, one of which was not there before."""
    (folder / "results").write_text("old")
    (folder / "results.new").write_text("restored")
    file = Move("item results", str(folder / "results"), str(folder / "results.kept"), str(folder / "results.new"))
    gone = Move("item log", str(folder / "log"), str(folder / "log.kept"))
    tried: Any = SimpleNamespace(manifest=SimpleNamespace(stack="shop"))
    host: Any = SimpleNamespace(engine=engine)
    made: Any = Exchange(host, SimpleNamespace(), SimpleNamespace(), tried, "b-1")  # type: ignore[arg-type]
    made._keeping = {"data": "shop_data.before-b-1", "new": "shop_new.before-b-1"}
    made._nothing = {"new"}
    made._moves, made._staged, made._begun = (file, gone), [str(folder / "results.new")], True
    for move in made._moves:
        moving.move(move)
    return made


def test_what_is_kept_is_told_and_what_keeps_nothing_goes(tmp_path: Path) -> None:
    engine = Engine()
    exchange = done(tmp_path, engine)
    assert exchange.finish() == ["volume shop_data.before-b-1", str(tmp_path / "results.kept")]
    assert engine.asked == ["shop_new.before-b-1"]
    assert not os.path.lexists(tmp_path / "log.kept")


def test_what_is_done_is_not_undone_by_a_failure_after_it(tmp_path: Path) -> None:
    engine = Engine()
    exchange = done(tmp_path, engine)
    exchange.finish()
    exchange.undo()
    assert (tmp_path / "results").read_text() == "restored"
    assert (tmp_path / "results.kept").read_text() == "old"
    assert engine.asked == ["shop_new.before-b-1"], "what keeps the old data is let alone"
