# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate's verdicts. Looks are written P@1 F@2 N@3 X(1)@4 O(137)@5 R@6 S@7: what was seen, and at which second.

P passed, F failed, N ran without a check, X exited with that code, O out of memory, R restarted by the engine once
more, S started again by somebody (another started_at).
"""

from __future__ import annotations

import re

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import (
    ExecProbe,
    Gate,
    Image,
    Sample,
    Service,
    TcpProbe,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.gate import (
    CHECK_COST,
    GLANCE,
    QUICK,
    ROW,
    SHARE,
    Crowd,
    Watch,
    completed,
    finished,
    judge,
    next_look,
)

GATE = Gate(probes=(TcpProbe(80),), passes=3, cadence=0.5, hold=10, deadline=60, progress=30, retries=2)
QUIET = Gate(opted_out="a worker", passes=2, hold=3, deadline=60)
_LOOK = re.compile(r"([PFNXORS])(?:\((\d+)\))?(?:'(\w+)')?@([\d.]+)")


def looks(text: str) -> list[Sample]:
    found = []
    restarts, started = 0, "first"
    for kind, code, said, at in (m.groups() for m in map(_LOOK.fullmatch, text.split()) if m):
        restarts += kind == "R"
        started = "again" if kind == "S" else started
        passed = {"P": True, "F": False, "R": True, "S": True}.get(kind)
        output = said or ("refused" if passed is False else "")
        running = kind not in "XO"
        found.append(Sample(float(at), running, passed, output, int(code or 0), kind == "O", restarts, started))
    assert len(found) == len(text.split()), text
    return found


def watched(gate: Gate, text: str, one_shot: bool = False) -> tuple[Watch, str]:
    """All looks, from second 0 on; the first fault, as the rollout would take it."""
    watch = Watch(since=0.0)
    for sample in looks(text):
        watch, fault = finished(watch, sample, gate.deadline) if one_shot else judge(gate, watch, sample)
        if fault:
            return watch, fault
    return watch, ""


# "ready 3" since second 3; "held 13" since second 13; otherwise the fault
CASES = [
    # name                                  looks                                      verdict
    ("one pass is not enough",              "P@1",                                     "not ready"),
    ("three in a row are ready",            "P@1 P@2 P@3",                             "ready 3"),
    ("not held yet",                        "P@1 P@2 P@3 P@10.9",                      "ready 3"),
    ("healthy and held since its first pass", "P@1 P@2 P@3 P@11",                      "held 11"),
    ("a glance at its state is no check",   "P@1 P@2 P@3 N@11 N@12",                   "ready 3"),
    ("a check after glances",               "P@1 P@2 P@3 N@5 N@8 P@11",                "held 11"),
    ("a glance first is no lack of progress", "N@100 F@101",                           "did not pass within 60 s (0 of 3 passes in a row)"),
    ("a glance sees a crash",               "P@1 P@2 P@3 N@5 X(1)@6",                  "exited with code 1"),
    ("a row that breaks starts anew",       "P@1 P@2 F@3 P@4 P@5",                     "not ready"),
    ("a row after a break",                 "P@1 P@2 F@3 P@4 P@5 P@6",                 "ready 6"),
    ("slow to start",                       "F@1 F@20 P@40 P@41 P@42",                 "ready 42"),
    ("crashes at once",                     "X(1)@0.1",                                "exited with code 1"),
    ("ends well, which no service may",     "X(0)@1",                                  "exited with code 0"),
    ("healthy once, then dies",             "P@1 P@2 X(1)@3",                          "exited with code 1"),
    ("dies while it is held",               "P@1 P@2 P@3 P@8 X(137)@9",                "exited with code 137"),
    ("out of memory",                       "P@1 O(137)@2",                            "exited with code 137 (out of memory)"),
    ("restarted by the engine",             "P@1 R@2",                                 "restarted while it was being gated"),
    ("restarted while it is held",          "P@1 P@2 P@3 R@5",                         "restarted while it was being gated"),
    ("restarted by somebody",               "P@1 P@2 S@3",                             "restarted while it was being gated"),
    ("one failed check while held",         "P@1 P@2 P@3 F@5",                         "ready 3"),
    ("a failed check restarts the hold",    "P@1 P@2 P@3 F@5 P@6 P@7 P@8 P@15",        "ready 3"),
    ("the hold after a failed check",       "P@1 P@2 P@3 F@5 P@6 P@7 P@8 P@16",        "held 16"),
    ("became unhealthy",                    "P@1 P@2 P@3 F@5 F@6",                     "became unhealthy: 2 failed checks in a row after it had passed"),
    ("failures apart are forgiven",         "P@1 P@2 P@3 F@5 P@6 F@7 P@8",             "ready 3"),
    ("became unhealthy after the hold",     "P@1 P@2 P@3 P@13 F@14 F@15",              "became unhealthy: 2 failed checks in a row after it had passed"),
    ("never ready: no news",                "F@1 F@15 F@31",                           "made no progress for 30 s"),
    ("news keep it going to the deadline",  "F'a'@1 F'b'@25 F'c'@50 F'd'@60",          "did not pass within 60 s (0 of 3 passes in a row)"),
    ("almost there at the deadline",        "F'a'@1 F'b'@25 F'c'@50 P@59 P@60",        "did not pass within 60 s (2 of 3 passes in a row)"),
    ("ready at the deadline",               "F'a'@1 F'b'@25 F'c'@50 P@58 P@59 P@60",   "ready 60"),
    ("passing is news",                     "F@1 F@20 P@29 F@31 F@55",                 "not ready"),
    ("a crash beats the deadline",          "F'a'@1 F'b'@25 F'c'@50 X(3)@61",          "exited with code 3"),
    ("long after the deadline, but ready",  "P@1 P@2 P@3 P@100 F@101",                 "ready 3"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "verdict"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_verdict(text: str, verdict: str) -> None:
    watch, fault = watched(GATE, text)
    assert spoken(GATE, watch, fault, looks(text)[-1].at) == verdict


def spoken(gate: Gate, watch: Watch, fault: str, now: float) -> str:
    if fault:
        return fault
    if watch.held(gate):
        assert watch.ready
        return f"held {now:g}"
    return f"ready {watch.ready_at:g}" if watch.ready_at is not None else "not ready"


def test_a_restart_says_what_ended_it() -> None:
    first = Sample(1, True, True, started_at="a")
    again = Sample(2, True, True, restarts=1, started_at="b", exit_code=137, oom=True)
    watch, _fault = judge(GATE, Watch(0), first)
    assert judge(GATE, watch, again)[1] == "restarted while it was being gated (exit code 137, out of memory)"


QUIET_CASES = [
    ("running is enough",        "N@1 N@2",            "ready 2"),
    ("and held",                 "N@1 N@2 N@5",        "held 5"),
    ("but it has to run",        "N@1 X(0)@2",         "exited with code 0"),
    ("and not to restart",       "N@1 N@2 S@3",        "restarted while it was being gated"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "verdict"), [c[1:] for c in QUIET_CASES], ids=[c[0] for c in QUIET_CASES])
def test_opted_out(text: str, verdict: str) -> None:
    watch, fault = watched(QUIET, text)
    assert spoken(QUIET, watch, fault, looks(text)[-1].at) == verdict


def test_without_a_check_nobody_passes_who_did_not_opt_out() -> None:
    watch, fault = watched(GATE, "N@1 N@2 N@3 N@4")
    assert (watch.ready, fault) == (False, "")


ONE_SHOTS = [
    ("works",             "N@1 N@2",          "not ready"),
    ("ended well",        "N@1 X(0)@2",       "held 2"),
    ("ended at once",     "X(0)@0.1",         "held 0.1"),
    ("failed",            "N@1 X(3)@2",       "exited with code 3"),
    ("out of memory",     "N@1 O(0)@2",       "exited with code 0 (out of memory)"),
    ("takes too long",    "N@1 N@60",         "was still running after 60 s"),
    ("ends at the last",  "N@1 X(0)@61",      "held 61"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "verdict"), [c[1:] for c in ONE_SHOTS], ids=[c[0] for c in ONE_SHOTS])
def test_one_shot(text: str, verdict: str) -> None:
    gate = Gate(hold=0, deadline=60)
    watch, fault = watched(gate, text, one_shot=True)
    assert spoken(gate, watch, fault, looks(text)[-1].at) == verdict


QUIET_TIME = 14 * CHECK_COST / SHARE

NEXT = [
    # name                                looks                        crowd       pause  checks
    ("soon at first",                     "F@1",                       (1, 1),     QUICK, True),
    ("more calmly after a while",         "F@5",                       (1, 1),     0.25, True),
    ("at its cadence in the end",         "F@1 F@25",                  (1, 1),     0.5, True),
    ("slower in a crowd",                 "F@1",                       (40, 40),   40 * CHECK_COST, True),
    ("the rest of its row",               "P@1",                       (1, 1),     ROW, True),
    ("a row has its pace in a crowd too", "P@1",                       (40, 40),   ROW, True),
    ("a glance once it passed",           "P@1 P@2 P@3",               (0, 1),     GLANCE, False),
    ("a check each second",               "P@1 P@2 P@3 N@3.5",         (0, 1),     0.5, True),
    ("rarely in a crowd",                 "P@1 P@2 P@3 N@5.5",         (0, 14),    GLANCE, False),
    ("but now and then",                  "P@1 P@2 P@3 N@6",           (0, 14),    QUIET_TIME - 3, True),
    ("a check when the hold ends",        "P@1 P@2 P@3 P@10.8 N@10.9", (0, 1),     0.1, True),
    ("in a crowd too",                    "P@1 P@2 P@3 P@10.8 N@10.9", (0, 100),   0.1, True),
    ("calm after the hold",               "P@1 P@2 P@3 P@11 N@12",     (0, 1),     GLANCE, False),
    ("a check failed meanwhile",          "P@1 P@2 P@3 F@5",           (1, 1),     0.25, True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "crowd", "pause", "checks"), [c[1:] for c in NEXT], ids=[c[0] for c in NEXT])
def test_next_look(text: str, crowd: tuple[int, int], pause: float, checks: bool) -> None:
    watch, _fault = watched(GATE, text)
    now = looks(text)[-1].at
    at, check = next_look(GATE, watch, now, Crowd(*crowd), urgent=False)
    assert (at - now, check) == (pytest.approx(pause), checks)


def test_a_row_that_traffic_waits_for_is_quick() -> None:
    watch, _fault = watched(GATE, "P@1")
    assert next_look(GATE, watch, 1.0, Crowd(), urgent=True) == (pytest.approx(1 + QUICK), True)


def test_the_first_pass_is_healthy_for_ever() -> None:
    assert not watched(GATE, "F@1")[0].healthy
    assert watched(GATE, "P@2 F@3")[0].passed_at == 2


@pytest.mark.parametrize("text", ["P@1 P@2 P@3 P@13", "F@1 P@2 F@3", "P@1 R@2"])
def test_judging_changes_no_value(text: str) -> None:
    start = Watch(since=0.0)
    assert watched(GATE, text) == watched(GATE, text)
    assert start == Watch(since=0.0)


CHECK = {"Test": ["CMD", "/check"], "Interval": 2_000_000_000, "Timeout": 1_000_000_000, "Retries": 4}


def service(gate: Gate, **container: object) -> Service:
    return Service("web", "web:1", container, gate, "spec")


@pytest.mark.parametrize(
    ("gate", "check", "probes"),
    [
        (Gate(image_check=True), CHECK, (ExecProbe(("/check",), 1.0),)),
        (Gate(image_check=True), None, ()),
        (Gate(image_check=True), {"Test": ["NONE"]}, ()),
        (Gate(probes=(TcpProbe(1),)), CHECK, (TcpProbe(1),)),
        (Gate(opted_out="why"), CHECK, ()),
    ],
)
def test_the_images_own_check_fills_the_gate(gate: Gate, check: dict[str, object] | None, probes: object) -> None:
    made = completed(service(gate), Image("web:1", "sha256:1", check=check))
    assert made.probes == probes
    assert completed(service(gate), None).probes == gate.probes
