# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What HAProxy answers on its sockets, as values."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .routing import State, TableError


def variable(answer: str, name: str) -> str:
    """The value in the answer to `show env NAME`, "" where it is not set."""
    return next((line.partition("=")[2] for line in answer.splitlines() if line.startswith(name + "=")), "")


@dataclass(frozen=True, slots=True)
class Row:
    """One server of one pool as `show servers state` has it. `up` is the word of its health check."""

    pool: str
    name: str
    address: str
    port: int
    state: State
    weight: int
    up: bool


def servers_state(answer: str) -> tuple[Row, ...]:
    """`show servers state` (format 1); TableError when it is something else."""
    lines = answer.strip().splitlines()
    if len(lines) < 2 or lines[0].strip() != "1":
        raise TableError(f"not a list of servers: {answer.strip()[:120]!r}")
    names = lines[1].lstrip("# ").split()
    rows = []
    for line in lines[2:]:
        if not line.strip():
            continue
        at = dict(zip(names, line.split(), strict=False))
        try:
            rows.append(
                Row(
                    at["be_name"],
                    at["srv_name"],
                    at["srv_addr"],
                    int(at["srv_port"]),
                    _state(int(at["srv_admin_state"]), int(at["srv_uweight"])),
                    int(at["srv_uweight"]),
                    int(at["srv_op_state"]) in (1, 2),
                )
            )
        except (KeyError, ValueError) as error:
            raise TableError(f"not a server: {line!r}") from error
    return tuple(rows)


def _state(admin: int, weight: int) -> State:
    """HAProxy's SRV_ADMF_* bits: 0x01 0x02 0x04 0x20 0x40 are kinds of maintenance, 0x08 0x10 of drain."""
    if admin & 0x67:
        return State.MAINT
    return State.DRAIN if admin & 0x18 or weight == 0 else State.READY


@dataclass(frozen=True, slots=True)
class Count:
    """One line of `show stat` that speaks about a server."""

    pool: str
    name: str
    sessions: int
    """open now, and waiting"""
    total: int
    failed: int
    """connections that could not be made, and answers that broke"""
    status: str
    check: str
    idle: int = -1
    """seconds since the last request for it, -1 where there was none"""


def stat(answer: str) -> tuple[Count, ...]:
    """`show stat`: the servers in it; TableError when it is something else."""
    text = answer.strip()
    if not text.startswith("# pxname,"):
        raise TableError(f"not statistics: {text[:120]!r}")
    counts = []
    for row in csv.DictReader(text[2:].splitlines()):
        if row["svname"] in ("FRONTEND", "BACKEND"):
            continue

        def number(name: str, row: Mapping[str, str] = row) -> int:
            return int(row.get(name) or 0)

        counts.append(
            Count(
                row["pxname"],
                row["svname"],
                number("scur") + number("qcur"),
                number("stot"),
                number("econ") + number("eresp"),
                row["status"],
                " ".join(filter(None, (row.get("check_status"), row.get("last_chk")))),
                int(row.get("lastsess") or -1),
            )
        )
    return tuple(counts)


@dataclass(frozen=True, slots=True)
class Session:
    """One line of `show sess`. `source` is the client's port."""

    source: int
    pool: str
    server: str
    established: bool


_SESSION = re.compile(r" src=\S*:(\d+) .* be=(\S+) srv=(\S+) .* scb=\[(\d+),")
_ESTABLISHED = 8
"""of HAProxy's stream connector states; 5 is connecting"""


def sessions(answer: str) -> tuple[Session, ...]:
    """`show sess`."""
    return tuple(
        Session(int(found[1]), found[2], found[3] if found[3] != "<none>" else "", int(found[4]) == _ESTABLISHED)
        for found in map(_SESSION.search, answer.splitlines())
        if found
    )


def old_workers(answer: str) -> tuple[int, ...]:
    """Process ids, as the master sees them, of workers that only finish what they have (`show proc`)."""
    found = []
    listed = False
    for line in answer.splitlines():
        if line.startswith("#"):
            listed = line.startswith("# old workers")
        elif listed and line.split()[1:2] == ["worker"]:
            found.append(int(line.split()[0]))
    return tuple(found)


def version(answer: str) -> tuple[tuple[int, int], str]:
    """From `show info`: ((3, 0), "3.0.11-1+deb13u1"); ((0, 0), "") where there is none."""
    text = next((line.partition(":")[2].strip() for line in answer.splitlines() if line.startswith("Version:")), "")
    numbers = text.split("-")[0].split(".")
    if len(numbers) < 2 or not (numbers[0].isdigit() and numbers[1].isdigit()):
        return (0, 0), text
    return (int(numbers[0]), int(numbers[1])), text
