# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal in a real SQLite file: what is remembered, what is forgotten, and what survives a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.plan import Ran
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import KEEP_DAYS, SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

PLANNED = {"members": {"web": ["shop-web-2"]}, "incumbents": {"web": ["shop-web-1"]}, "running": ["shop-web-1"]}
COMMITTED = {"members": {"web": ["shop-web-2"]}, "images": {}, "ran": [["job", "spec", "sha256:job"]]}
DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state/journal.sqlite")


@pytest.fixture
def journal(path: str) -> SqliteJournal:
    return SqliteJournal(path)


def rollout(journal: SqliteJournal, name: str, at: float, upto: str = "finished", **about: Any) -> None:
    """A rollout that came so far: begun, planned, committed, finished."""
    kind, stack = about.get("kind", "deploy"), about.get("stack", "shop")
    journal.begin(name, stack, kind, about.get("who", "jane"), at, {"model": name})
    milestones = [
        ("planned", PLANNED),
        ("committed", COMMITTED),
        ("finished", {"outcome": about.get("outcome", "deployed"), "notes": []}),
    ]
    for milestone, details in milestones if upto != "begun" else ():
        if milestone == "committed" and (kind == "teardown" or about.get("outcome") == "rolled back"):
            continue
        journal.milestone(name, milestone, at + 1, details)
        if milestone == upto:
            break


UNFINISHED = [
    # name                             how it ended                              found, committed
    ("not even planned",               {"upto": "begun"},                        None),
    ("planned",                        {"upto": "planned"},                      ("r1", False)),
    ("committed",                      {"upto": "committed"},                    ("r1", True)),
    ("finished",                       {},                                       None),
    ("rolled back",                    {"outcome": "rolled back"},               None),
    ("a teardown that was killed",     {"upto": "planned", "kind": "teardown"},  None),
    ("another stack's",                {"upto": "planned", "stack": "other"},    None),
]  # fmt: skip


@pytest.mark.parametrize(("about", "expected"), [c[1:] for c in UNFINISHED], ids=[c[0] for c in UNFINISHED])
def test_unfinished(journal: SqliteJournal, about: dict[str, Any], expected: Any) -> None:
    rollout(journal, "r1", 1000, **about)
    found = journal.unfinished("shop")
    assert (found and (found[0].rollout, found[0].committed)) == expected
    if found:
        left, model = found
        assert model == {"model": "r1"}
        assert left.members == {"web": ["shop-web-2"]}
        assert left.incumbents == {"web": ["shop-web-1"]}
        assert left.running == frozenset({"shop-web-1"})


def test_a_rollout_that_begins_does_not_hide_what_is_unfinished(journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000, "planned")
    rollout(journal, "r2", 2000, "begun")
    assert journal.unfinished("shop")[0].rollout == "r1"  # type: ignore[index]


def test_what_planned_nothing_is_abandoned_and_what_did_is_not(journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000, "begun")
    rollout(journal, "r2", 2000, "planned")
    rollout(journal, "t1", 3000, "planned", kind="teardown")
    rollout(journal, "o1", 3000, "begun", stack="other")
    journal.abandon("shop", 4000)
    outcomes = {s.id: s.outcome for s in [*journal.history("shop"), *journal.history("other")]}
    assert outcomes == {"r1": "interrupted", "r2": "", "t1": "interrupted", "o1": ""}
    assert journal.unfinished("shop") is not None


RELEASES = [
    # name                               rollouts in their order                                              release
    ("nothing yet",                      [],                                                                  None),
    ("the first",                        [{}],                                                                "r1"),
    ("the younger",                      [{}, {}],                                                            "r2"),
    ("a failed one is none",             [{}, {"outcome": "rolled back"}],                                    "r1"),
    ("one that is under way is none",    [{}, {"upto": "planned"}],                                           "r1"),
    ("committed is enough",              [{}, {"upto": "committed"}],                                         "r2"),
    ("torn down",                        [{}, {"kind": "teardown", "outcome": "removed"}],                    None),
    ("not torn down completely",         [{}, {"kind": "teardown", "upto": "planned"}],                       "r1"),
    ("deployed again",                   [{}, {"kind": "teardown", "outcome": "removed"}, {}],                "r3"),
    ("failed again after a teardown",    [{}, {"kind": "teardown", "outcome": "removed"}, {"outcome": "rolled back"}], None),
    ("another stack's",                  [{"stack": "other"}],                                                None),
]  # fmt: skip


@pytest.mark.parametrize(("rollouts", "expected"), [c[1:] for c in RELEASES], ids=[c[0] for c in RELEASES])
@pytest.mark.parametrize("age", [0, 3 * KEEP_DAYS], ids=["today", "long ago"])
def test_release(journal: SqliteJournal, rollouts: list[dict[str, Any]], expected: str | None, age: int) -> None:
    """And forgetting what is old changes nothing of it."""
    for number, about in enumerate(rollouts, 1):
        rollout(journal, f"r{number}", 1000 * number, **about)
    journal.prune(10_000 + age * DAY)
    release = journal.release("shop")
    assert (release and release[0]) == expected
    assert journal.ran("shop") == (frozenset({Ran("job", "spec", "sha256:job")}) if expected else frozenset())
    if release:
        assert release[1] == {"model": expected}
        assert release[2]["members"] == {"web": ["shop-web-2"]}


def test_prune_forgets_the_rest_with_its_events(journal: SqliteJournal) -> None:
    for number in range(1, 4):
        rollout(journal, f"r{number}", number * DAY)
    rollout(journal, "r4", 4 * DAY, outcome="rolled back")
    rollout(journal, "r5", 5 * DAY, "planned")
    rollout(journal, "r6", 200 * DAY, outcome="rolled back")
    for number in range(1, 7):
        journal.log(f"r{number}", number * DAY, "note", {"said": "x"})
    journal.prune(201 * DAY, keep=1)
    assert [s.id for s in journal.history("shop")] == ["r6", "r5", "r3"]
    assert [number for number in range(1, 7) if journal.events(f"r{number}")] == [3, 5, 6]
    assert journal.unfinished("shop") is not None


def test_events_are_read_from_where_one_was(journal: SqliteJournal) -> None:
    journal.begin("r1", "shop", "deploy", "jane", 1, {})
    for number in range(5):
        journal.log("r1", float(number), "note", {"said": str(number)})
        journal.log("other", float(number), "note", {})
    first = journal.events("r1")
    assert [e.details["said"] for e in first] == list("01234")
    assert [e.details["said"] for e in journal.events("r1", first[2].seq)] == list("34")
    assert journal.events("r1", first[-1].seq) == []


def test_milestones_are_events_too(journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000)
    assert [e.what for e in journal.events("r1")] == ["planned", "committed", "finished"]


def test_history_is_for_people(journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000, who="jane@ci")
    rollout(journal, "r2", 2000, outcome="rolled back")
    rollout(journal, "r3", 3000, "planned")
    three, two, one = journal.history("shop")
    assert (three.id, three.outcome, three.ended) == ("r3", "", None)
    assert (two.outcome, two.committed_at) == ("rolled back", None)
    assert (one.who, one.begun, one.ended, one.committed_at) == ("jane@ci", 1000, 1001, 1001)
    assert [s.id for s in journal.history("shop", 1)] == ["r3"]
    rollout(journal, "x", 1, stack="attic")
    assert journal.stacks() == ["attic", "shop"]


def test_the_answer_is_kept_for_who_follows(journal: SqliteJournal) -> None:
    journal.begin("r1", "shop", "deploy", "jane", 1, {})
    assert journal.result_of("r1") is None
    assert journal.result_of("never") is None
    journal.result("r1", {"changed": True, "notes": ["ä"]})
    assert journal.result_of("r1") == {"changed": True, "notes": ["ä"]}


def test_only_root_reads_it(path: str, journal: SqliteJournal) -> None:
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700


def test_it_is_opened_again_as_it_was(path: str, journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000)
    journal.close()
    assert SqliteJournal(path).release("shop")[0] == "r1"  # type: ignore[index]


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b"not a database" * 100), lambda p: p.mkdir()])
def test_a_journal_that_cannot_be_opened_says_what_to_do(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    file = tmp_path / "journal.sqlite"
    spoil(file)
    with pytest.raises(PortError, match=r"the journal .* cannot be opened: .*; free the disk or move the file away"):
        SqliteJournal(str(file))


def in_a_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("upto", ["planned", "committed", "finished"])
def test_a_milestone_survives_the_kill_that_follows_it(path: str, upto: str) -> None:
    def work() -> None:
        rollout(SqliteJournal(path), "r1", 1000, upto)
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(in_a_child(work))
    journal = SqliteJournal(path)
    found = journal.unfinished("shop")
    assert (found is None) == (upto == "finished")
    assert (journal.release("shop") is None) == (upto == "planned")
    assert [e.what for e in journal.events("r1")][-1] == upto


def test_a_milestone_is_synced_to_the_disk(path: str, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite is told around the writes: FULL for milestones, NORMAL for the log."""
    told: list[str] = []
    journal._db.set_trace_callback(told.append)
    journal.begin("r1", "shop", "deploy", "jane", 1, {})
    journal.milestone("r1", "planned", 1, PLANNED)
    journal.log("r1", 2, "note", {})
    level, writes = "NORMAL", []
    for statement in told:
        if statement.startswith("PRAGMA synchronous"):
            level = statement.rpartition(" ")[2]
        elif statement.startswith(("INSERT", "UPDATE")):
            writes.append((statement.split()[2 if statement.startswith("INSERT") else 1], level))
    assert writes == [("rollouts", "FULL"), ("rollouts", "FULL"), ("events", "NORMAL"), ("events", "NORMAL")]
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_processes_write_and_one_reads_meanwhile(path: str, journal: SqliteJournal) -> None:
    def write(name: str) -> Callable[[], None]:
        def work() -> None:
            own = SqliteJournal(path)
            own.begin(name, name, "deploy", "jane", 1, {})
            for number in range(200):
                own.log(name, float(number), "note", {"said": number})
            own.milestone(name, "planned", 1, PLANNED)

        return work

    children = []
    for name in ("a", "b"):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                write(name)()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    seen = 0
    while seen < 402:
        now = len(journal.events("a")) + len(journal.events("b"))
        assert now >= seen
        seen = now
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    for name in ("a", "b"):
        entries = journal.events(name)
        assert [e.details["said"] for e in entries[:-1]] == list(range(200))
        assert journal.unfinished(name) is not None


def test_threads_share_it(journal: SqliteJournal) -> None:
    journal.begin("r1", "shop", "deploy", "jane", 1, {})

    def write(thread: int) -> None:
        for number in range(50):
            journal.log("r1", float(number), "note", {"said": [thread, number]})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [tuple(e.details["said"]) for e in journal.events("r1")]
    assert len(set(said)) == 400
    for thread_number in range(8):
        assert [n for t, n in said if t == thread_number] == list(range(50))


def test_a_full_disk_is_said_and_leaves_what_was(path: str, journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000)
    journal._db.execute(f"PRAGMA max_page_count = {journal._db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.log("r1", 1, "note", {"said": "x" * 1_000_000})
    with pytest.raises(PortError, match=r"the journal cannot be written: .*full; free the disk"):
        journal.begin("r2", "shop", "deploy", "jane", 2, {"said": "x" * 1_000_000})
    assert SqliteJournal(path).release("shop") is not None


def test_a_release_in_part_is_kept_as_it_serves(journal: SqliteJournal) -> None:
    """The model of what stayed behind is the former one, for whoever recovers, compares or returns to it."""

    def model(version: str) -> dict[str, Any]:
        services = {name: {"image": f"{name}:{version}"} for name in ("db", "web")}
        return {"definition": {"services": services}, "context": {"of": version}}

    journal.begin("r1", "shop", "deploy", "jane", 1, model("1"))
    for kind, details in (("planned", PLANNED), ("committed", COMMITTED), ("finished", {"outcome": "deployed"})):
        journal.milestone("r1", kind, 2, details)
    journal.begin("r2", "shop", "deploy", "jane", 3, model("2"))
    journal.milestone("r2", "planned", 4, {**PLANNED, "members": {"web": ["shop-web-2"], "db": ["shop-db-2"]}})
    serves = {"db": ["shop-db-2"], "web": ["shop-web-1"]}
    journal.milestone("r2", "committed", 5, {**COMMITTED, "members": serves, "behind": ["web"]})
    release = journal.release("shop")
    assert release is not None
    images = {name: service["image"] for name, service in release[1]["definition"]["services"].items()}
    assert (release[0], images, release[1]["context"]) == ("r2", {"db": "db:2", "web": "web:1"}, {"of": "2"})
    found = journal.unfinished("shop")
    assert found is not None
    left, kept = found
    assert (left.committed, left.members, left.behind) == (True, serves, frozenset({"web"}))
    assert kept == release[1]


def test_backups_and_drills_are_no_rollouts(journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000)
    for at, kind, outcome in (
        (2000, "backup", "made"),
        (3000, "drill", "proven"),
        (4000, "backup", "made"),
        (5000, "backup", "failed"),
        (6000, "drill", "failed"),
    ):
        journal.begin(f"{kind}-{at}", "shop", kind, "timer", at, {})
        journal.milestone(f"{kind}-{at}", "finished", at + 1, {"outcome": outcome})
        journal.result(f"{kind}-{at}", {"set": f"s-{at}"})
    journal.begin("backup-7000", "shop", "backup", "timer", 7000, {})
    assert [s.id for s in journal.history("shop")] == ["r1"]
    assert [s.id for s in journal.history("shop", kinds=["drill"])] == ["drill-6000", "drill-3000"]
    assert journal.last("backup", "shop", "made") == {"set": "s-4000"}
    assert journal.last("drill", "shop", "proven") == {"set": "s-3000"}
    assert journal.last("drill", "attic", "proven") == {}
    assert journal.unfinished_of("backup", "shop") == ["backup-7000"]
    journal.abandon("shop", 8000)
    assert journal.unfinished_of("backup", "shop") == ["backup-7000"], "a rollout does not end a backup"
    assert journal.is_committed("r1")
    assert not journal.is_committed("backup-2000")


def verification(journal: SqliteJournal, name: str, release: str, at: float, outcome: str) -> None:
    journal.begin(name, "shop", "verify", "jane", at, {}, {"release": release})
    journal.result(name, {"id": name, "outcome": outcome})
    if outcome:
        journal.milestone(name, "finished", at + 1, {"outcome": outcome})


def test_the_newest_verification_of_a_release_is_known(journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1000)
    for name, release, at, outcome in (
        ("v1", "r1", 2000, "verified"),
        ("v2", "r1", 3000, "failed"),
        ("v3", "r2", 4000, "verified"),
        ("v4", "r1", 5000, ""),
    ):
        verification(journal, name, release, at, outcome)
    assert journal.verification("shop", "r1")["id"] == "v2"
    assert journal.verification("shop", "r1", ("verified",))["id"] == "v1"
    assert journal.verification("shop", "r3") == {}
    assert journal.verification("attic", "r1") == {}
    assert (journal.begun("v1"), journal.begun("nothing")) == (2000, 0)
    journal.abandon("shop", 6000)
    assert next(s.outcome for s in journal.history("shop", kinds=["verify"])) == "interrupted"
    assert journal.verification("shop", "r1")["id"] == "v2"
    assert [s.id for s in journal.history("shop")] == ["r1"]


def test_a_release_that_was_verified_long_ago_still_is(journal: SqliteJournal) -> None:
    rollout(journal, "r1", 1 * DAY)
    verification(journal, "v1", "r1", 2 * DAY, "verified")
    verification(journal, "v2", "r1", 3 * DAY, "verified")
    journal.prune(500 * DAY)
    assert [s.id for s in journal.history("shop", kinds=["verify"])] == ["v2"]
