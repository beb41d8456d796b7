# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host knows and tells of its backups: records of its tasks, ages of its sets, metrics, and a webhook."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from ..adapters.local import HostFiles
from ..adapters.webhook import Webhook
from ..core.backup import metrics, records, staleness
from ..core.backup.records import TASKS, Record
from ..core.backup.settings import Settings
from ..core.backup.staleness import DAY, Seen
from ..core.model import Json
from ..host import serving_stack
from ..journal import SqliteJournal
from ..ports import PortError
from .vault import Vault

AGAIN = DAY
"""seconds after which what is still stale is told once more"""
SHORT = 10 * 60.0
"""seconds by which that may come early"""


class Lookout:
    """`journal` is the host's; facts about backups lie beside its rollouts, so that they outlive a lost repository."""

    def __init__(self, journal_path: str, settings: Settings) -> None:
        self._path, self._settings = journal_path, settings

    def stacks(self) -> list[str]:
        """Those that run here and declare what is backed up."""
        with contextlib.closing(SqliteJournal(self._path)) as journal:
            found = [(name, serving_stack(name, journal)) for name in journal.stacks()]
        return [name for name, stack in found if stack is not None and stack.backup.items]

    # -- what was done ------------------------------------------------------------

    def note(self, task: str, stack: str, seconds: float, why: str) -> Record:
        with contextlib.closing(SqliteJournal(self._path)) as journal:
            before = records.read(journal.recall(records.key(task, stack)), task, stack)
            after = records.noted(before, time.time(), seconds, why)
            journal.remember(after.key, records.written(after))
        return after

    def records(self) -> list[Record]:
        with contextlib.closing(SqliteJournal(self._path)) as journal:
            names = ("", *journal.stacks())
            return [
                records.read(journal.recall(records.key(task, stack)), task, stack) for task in TASKS for stack in names
            ]

    # -- what is there ------------------------------------------------------------

    def look(self, stacks: Sequence[str], vault: Vault, offsite: Vault | None) -> list[str]:
        """Read what is in the repositories and remember it. Says which of them did not answer."""
        wrong = []
        found: dict[str, Seen] = {stack: self._seen(stack) for stack in stacks}
        try:
            sets, proofs = vault.sets(), vault.proofs()
            for stack, before in found.items():
                mine = [m for m in sets if m.stack == stack and m.host == vault.repository.host]
                known = [p for p in proofs if p.stack == stack]
                found[stack] = staleness.seen(stack, before.since, mine, known, time.time(), before.offsite)
        except PortError as error:
            wrong.append(str(error))
        if offsite is not None:
            try:
                there = offsite.sets()
                for stack, before in found.items():
                    newest = next((m.at for m in there if m.stack == stack), 0.0)
                    found[stack] = staleness.copied(before, newest)
            except PortError as error:
                wrong.append(f"off-site: {error}")
        with contextlib.closing(SqliteJournal(self._path)) as journal:
            for stack, seen in found.items():
                journal.remember(f"backup:seen:{stack}", staleness.written(seen))
            journal.remember("backup:reachable", {"reachable": not wrong})
        return wrong

    def seen(self, stacks: Sequence[str]) -> list[tuple[Seen, tuple[str, ...]]]:
        """What was seen last of each stack, and what of it is stale by now."""
        now = time.time()
        away = self._settings.offsite is not None
        found = [self._seen(stack) for stack in stacks]
        return [(seen, staleness.stale(seen, self._settings.of(seen.stack), now, away)) for seen in found]

    def _seen(self, stack: str) -> Seen:
        with contextlib.closing(SqliteJournal(self._path)) as journal:
            known = staleness.read(journal.recall(f"backup:seen:{stack}"))
            if known is None or known.since > time.time():  # a clock that went back would expect nothing for long
                known = replace(known or Seen(stack, 0.0), since=time.time())
                journal.remember(f"backup:seen:{stack}", staleness.written(known))
        return known

    # -- who is told ---------------------------------------------------------------

    def write_metrics(self, stacks: Sequence[str]) -> str:
        """What went wrong with it, "" for nothing."""
        if not self._settings.metrics:
            return ""
        with contextlib.closing(SqliteJournal(self._path)) as journal:
            reachable = bool(journal.recall("backup:reachable").get("reachable", True))
        text = metrics.text(self.seen(stacks), self.records(), self._settings, time.time(), reachable)
        try:
            HostFiles().write(self._settings.metrics, text.encode(), 0o644)
        except PortError as error:
            return f"the metrics could not be written: {error}"
        return ""

    def tell(self, message: Json) -> str:
        """What went wrong with it, "" for nothing, and where nobody wants to be told."""
        if not self._settings.webhook_file:
            return ""
        about = {"source": "quaylock-backup", "host": self._settings.host, "at": round(time.time(), 3)}
        try:
            Webhook(self._settings.webhook_file).post({**about, **message})
        except PortError as error:
            return str(error)
        return ""

    def tell_stale(self, stacks: Sequence[str]) -> list[str]:
        """Tell what became stale, once a day while it lasts, and when it is over. What went wrong with that."""
        wrong = []
        for seen, said in self.seen(stacks):
            key = f"backup:told:{seen.stack}"
            with contextlib.closing(SqliteJournal(self._path)) as journal:
                told = float(journal.recall(key).get("at", 0.0))
            fresh = bool(told and not said)
            if not fresh and (not said or 0 <= time.time() - told < AGAIN - SHORT):
                continue
            event = "fresh" if fresh else "stale"
            why = "its sets are as they should be again" if fresh else "; ".join(said)
            message = {"event": event, "stack": seen.stack, "text": f"{self._settings.host}: {seen.stack}: {why}"}
            if problem := self.tell(message):
                wrong.append(problem)
                continue
            with contextlib.closing(SqliteJournal(self._path)) as journal:
                journal.remember(key, {"at": 0.0 if fresh else time.time()})
        return wrong
