# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's page: gathers what it shows and writes it. Its look is decided in core/page.py."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .adapters.local import HostFiles
from .core.shown import page as core
from .core.shown import timeline
from .host import open_host
from .journal import SqliteJournal, Summary
from .perform import Host
from .ports import PortError
from .releases import listing, stamp
from .request import Request
from .status import status

ROLLOUTS = 5
"""rollouts of a stack that are shown"""
FACT = "page"
Doors = Mapping[str, Mapping[str, Any]]


def releases_of(host: Host, journal: SqliteJournal, request: Request) -> list[dict[str, Any]]:
    return listing(journal, request.name, request.releases_kept, host.images, host.files) if host.images else []


def shown(request: Request, doors: Doors, host_name: str) -> dict[str, Any]:
    """Everything that the page shows, of every stack that this host's journal knows."""
    host, journal = open_host(request)
    stacks = []
    for name in known(journal):
        one = replace(request, name=name)
        entry = status(one, doors, host_name)
        # who writes it after a rollout still holds the lock of its stack
        entry["in_progress"] = entry["in_progress"] and name != request.name
        entry["releases"] = releases_of(host, journal, one)
        entry["rollouts"] = [rollout(journal, s) for s in journal.history(name, ROLLOUTS)]
        stacks.append(entry)
    return {"host": host_name, "at": stamp(time.time()), "stacks": stacks}


def detailed(request: Request, doors: Doors, host_name: str) -> dict[str, Any]:
    """What `status` tells, with releases, rollouts and the log of a rollout that is under way, as plain values."""
    host, journal = open_host(request)
    entry = status(request, doors, host_name)
    entry["releases"] = releases_of(host, journal, request)
    rollouts = [rollout(journal, s) for s in journal.history(request.name, ROLLOUTS)]
    entry["rollouts"] = [{k: v for k, v in r.items() if k != "timeline"} for r in rollouts]
    under_way = rollouts[0]["id"] if rollouts and entry["in_progress"] else ""
    entry["log"] = [{"at": e.at, "what": e.what, "details": e.details} for e in journal.events(under_way)]
    return entry


def known(journal: SqliteJournal) -> list[str]:
    """Stacks that are here, or should be: not those that were taken down."""
    return [name for name in journal.stacks() if [s.outcome for s in journal.history(name, 1)] != ["removed"]]


def rollout(journal: SqliteJournal, summary: Summary) -> dict[str, Any]:
    """One line of the history, with what was found and how it went."""
    answer = journal.result_of(summary.id) or {}
    entries = [(e.at, e.what, e.details) for e in journal.events(summary.id)]
    return {
        "id": summary.id,
        "kind": summary.kind,
        "who": summary.who,
        "commit": str(summary.asked.get("commit", "")),
        "returned_to": str(summary.asked.get("release", "")),
        "begun": stamp(summary.begun),
        "outcome": summary.outcome or str(answer.get("outcome") or "in progress"),
        "seconds": round(summary.ended - summary.begun, 1) if summary.ended else None,
        "plan": list(answer.get("plan") or []),
        "notes": list(answer.get("notes") or []),
        "failures": list(answer.get("failures") or []),
        "msg": str(answer.get("msg") or ""),
        "timeline": timeline.read(entries),
    }


def write(path: str, request: Request, doors: Doors | None = None, host_name: str = "") -> str:
    """Write the page; what went wrong, "" for nothing. Addresses that are told once are remembered for later."""
    try:
        journal = SqliteJournal(request.journal_path)
        if doors is not None:
            journal.remember(FACT, {"host": host_name, "entrypoints": doors})
        fact = journal.recall(FACT)
        doors = fact.get("entrypoints") or _guessed(request)
        text = core.html(shown(request, doors, str(fact.get("host") or os.uname().nodename)))
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        HostFiles().write(path, text.encode(), 0o644)
    except Exception as error:  # whatever is wrong with the page, the rollout stands
        return f"the page {path} was not written: {error if isinstance(error, PortError) else repr(error)}"
    return ""


def _guessed(request: Request) -> Doors:
    """Before playbooks/status.yml told more: what the rollout knows of the proxy's entrypoints."""
    ports = request.ingress.entrypoints if request.ingress else {}
    return {name: {"port": port, "tls": "enforced" if port == 443 else "off"} for name, port in ports.items()}
