# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of a host: what it says first, that nothing of it comes from elsewhere, and that hostile text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import page, timeline
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown.picture import NARROW, WIDE, picture, span

HOSTILE = """</style></title><script>alert(1)</script><img src=x onerror='alert(2)'>"&<svg/onload=alert(3)>"""
VOID = {"meta", "rect", "line", "path", "circle", "br", "img"}


class Reading(HTMLParser):
    """The tags and texts of a page; every element has to be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def service(name: str = "web", health: str = "healthy", **about: Any) -> dict[str, Any]:
    known = {"replicas": 1, "wanted": 1, "one_shot": False, "image": "web:1", "restarts": 0}
    return {"name": name, "health": health, **known, **about}


def rolled(outcome: str = "deployed", **about: Any) -> dict[str, Any]:
    known = {
        "id": "r1",
        "kind": "deploy",
        "who": "jane@ci",
        "commit": "",
        "begun": "2026-11-21 16:04:10 UTC",
        "seconds": 9.0,
    }
    return {"outcome": outcome, "plan": [], "notes": [], "failures": [], "msg": "", "timeline": None, **known, **about}


def release(name: str = "r1", **about: Any) -> dict[str, Any]:
    known = {
        "serving": True,
        "at": "today",
        "who": "jane@ci",
        "commit": "c0ffee",
        "images": {"web:1": ""},
        "can_be_returned_to": True,
        "restore_points": {},
    }
    return {"id": name, **known, **about}


def stack(name: str = "shop", **about: Any) -> dict[str, Any]:
    services = about.pop("services", [service()])
    healthy = all(s["health"] in ("healthy", "done") for s in services)
    known = {"present": True, "healthy": healthy, "in_progress": False, "services": services, "urls": []}
    return {"name": name, **known, "rollouts": [rolled()], "releases": [release()], **about}


def shown(*stacks: dict[str, Any], host: str = "prod-1") -> str:
    return page.html({"host": host, "at": "2026-11-21 16:05:00 UTC", "stacks": list(stacks)})


VERDICTS = [
    # name                        stacks                                                         class    headline
    ("good",                      [stack()],                                                     "good",  "shop is healthy"),
    ("several",                   [stack(), stack("b")],                                         "good",  "all 2 stacks healthy"),
    ("a replica is missing",      [stack(services=[service(health="degraded")])],                "warn",  "shop degraded"),
    ("one of two is down",        [stack(), stack("b", services=[service(health="down")])],      "bad",   "1 of 2 stacks not healthy"),
    ("unhealthy",                 [stack(services=[service(health="unhealthy")])],               "bad",   "shop not healthy"),
    ("a word nobody knows",       [stack(services=[service(health="resting")])],                 "warn",  "shop degraded"),
    ("a failed one-shot",         [stack(services=[service("job", "failed", one_shot=True)])],   "bad",   "shop not healthy"),
    ("healthy after a rollback",  [stack(rollouts=[rolled("rolled back")])],                     "warn",  "shop is healthy, but a rollout failed"),
    ("not undone completely",     [stack(rollouts=[rolled("incomplete")])],                      "warn",  "shop is healthy, but a rollout failed"),
    ("under way",                 [stack(in_progress=True)],                                     "busy",  "shop is healthy, a rollout is in progress"),
    ("nothing",                   [],                                                            "warn",  "no stack was deployed here"),
]  # fmt: skip


@pytest.mark.parametrize(("stacks", "kind", "headline"), [c[1:] for c in VERDICTS], ids=[c[0] for c in VERDICTS])
def test_the_first_thing_it_says(stacks: list[dict[str, Any]], kind: str, headline: str) -> None:
    found = page.verdict(stacks)
    assert (found[0], found[2]) == (kind, headline)
    text = shown(*stacks)
    assert Reading(text).words[1].endswith(f"prod-1: {headline}"), "the browser's tab says it too"
    assert f'class="verdict {kind}"' in text


def test_a_sign_stands_beside_every_colour() -> None:
    """Who does not see colours reads the same: the words of health and outcome, and a sign of its own for each."""
    healths = ["healthy", "degraded", "down"]
    text = Reading(shown(stack(services=[service(h, h) for h in healths]))).text
    for words in ("✔ healthy", "▲ degraded", "✖ down"):
        assert words in text
    for outcome in ("deployed", "rolled back", "incomplete", "paused", "interrupted", "something new"):
        assert outcome in Reading(shown(stack(rollouts=[rolled(outcome)]))).text


def test_nothing_is_loaded_and_nothing_runs() -> None:
    text = shown(
        stack(
            urls=["https://shop.example.org/", "tcp://10.0.0.1:5432", "javascript:alert(1)"],
            rollouts=[rolled(timeline=drawn())],
        )
    )
    reading = Reading(text)
    assert {tag for tag, _about in reading.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "form",
        "base",
    } == set()
    for tag, about in reading.tags:
        assert not [name for name in about if name.startswith("on") or name in ("style", "src")], tag
        assert "javascript:" not in str(about.get("href"))
    [link] = [about["href"] for tag, about in reading.tags if tag == "a"]
    assert link == "https://shop.example.org/"
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    policy = next(
        about["content"] for _tag, about in reading.tags if about.get("http-equiv") == "Content-Security-Policy"
    )
    assert style
    want = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{want}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)


def drawn(name: str = "shop-web-2", said: str = "") -> timeline.Timeline:
    look = {"do": "Look", "service": "web", "name": name}
    return timeline.read(
        [
            (10.0, "plan", timeline.plan_entry(["~ web"], {"web": [name]}, {"web": ["db"]})),
            (10.5, "done", {"do": "Create", "service": "web", "name": name}),
            (11.0, "done", {"do": "Start", "service": "web", "name": name}),
            (12.0, "done", {**look, "running": True, "passed": False, "output": said}),
            (13.0, "do", {"do": "Explain", "service": "web", "name": name}),
            (14.0, "finished", {}),
        ]
    )


def test_hostile_text_stays_text() -> None:
    """Names, images, log lines, users, URLs: whatever somebody can put into them shows up as it was written."""
    failure = {"service": HOSTILE, "replica": HOSTILE, "reason": HOSTILE, "said": HOSTILE, "logs": HOSTILE}
    bad = rolled(
        HOSTILE,
        who=HOSTILE,
        commit=HOSTILE,
        plan=[HOSTILE],
        notes=[HOSTILE],
        returned_to=HOSTILE,
        timeline=drawn(HOSTILE, HOSTILE),
    )
    worse = rolled("rolled back", msg=HOSTILE, failures=[failure])
    one = stack(
        HOSTILE,
        services=[service(HOSTILE, HOSTILE, image=f"{HOSTILE}@sha256:{HOSTILE}")],
        urls=[f"https://{HOSTILE}/", HOSTILE],
        rollouts=[worse, bad],
        releases=[
            release(
                HOSTILE,
                who=HOSTILE,
                commit=HOSTILE,
                at=HOSTILE,
                images={HOSTILE: ""},
                restore_points={HOSTILE: HOSTILE},
            )
        ],
    )
    reading = Reading(shown(one, host=HOSTILE))
    assert {"script", "img"} & {tag for tag, _about in reading.tags} == set()
    assert [about for _tag, about in reading.tags if "onerror" in about or "onload" in about] == []
    assert sum("<script>alert(1)</script>" in words for words in reading.words) >= 15


def test_a_failed_rollout_comes_with_its_evidence_and_the_next_command() -> None:
    failure = {"service": "api", "replica": "shop-api-2", "reason": "exited with code 3", "said": "", "logs": ""}
    msg = "shop: rollout r1 was rolled back\n  next    deploy it again"
    text = Reading(shown(stack(rollouts=[rolled("rolled back", failures=[failure], msg=msg)]))).text
    assert "was rolled back: api exited with code 3" in text
    assert "next deploy it again" in text
    assert "deploy it again" not in Reading(shown(stack(rollouts=[rolled(), rolled("rolled back", msg=msg)]))).text


def test_a_release_that_is_not_complete_any_more_says_so() -> None:
    text = Reading(shown(stack(releases=[release(), release("r0", serving=False, can_be_returned_to=False)]))).text
    assert "r1 ● serves" in text
    assert "r0 ▲ not complete any more" in text
    assert "-e stack=shop -e release=previous" in text


def test_a_release_names_its_restore_point() -> None:
    text = Reading(shown(stack(releases=[release(restore_points={"db": "/backups/r1.dump"})]))).text
    assert "web:1 restore point of db before it: /backups/r1.dump" in text


def test_the_sick_stack_comes_first() -> None:
    text = Reading(shown(stack("a"), stack("b", services=[service(health="down")]))).text
    assert text.index(" b ✖ not healthy") < text.index(" a ✔ healthy")


# -- the picture --------------------------------------------------------------------


def test_a_picture_has_a_row_per_replica_and_a_line_per_wait() -> None:
    def replica(service: str, at: float) -> list[tuple[float, str, dict[str, Any]]]:
        about = {"service": service, "name": f"shop-{service}-1"}
        return [
            (at, "done", {"do": "Create", **about}),
            (at + 1, "done", {"do": "Start", **about}),
            (at + 2, "done", {"do": "Look", "running": True, "passed": True, **about}),
            (at + 3, "gate", {"reached": "row", **about}),
            (at + 4, "gate", {"reached": "held", **about}),
        ]

    plan = timeline.plan_entry([], {"db": ["shop-db-1"], "web": ["shop-web-1"]}, {"web": ["db"]})
    route = (9.0, "done", {"do": "Route", "service": "web", "servers": ["shop-web-1"]})
    told = timeline.read([(1.0, "plan", plan), *replica("db", 1), *replica("web", 4), route, (10.0, "committed", {})])
    for size in (WIDE, NARROW):
        reading = Reading(picture(told, size, "wide", "shop"))
        drawn_as = [about.get("class") for _tag, about in reading.tags]
        for sign, count in (
            ("bar", 2),
            ("made", 2),
            ("starting", 2),
            ("checked", 2),
            ("good", 2),
            ("row", 2),
            ("switched", 1),
            ("wait", 1),
            ("commit", 1),
        ):
            assert drawn_as.count(sign) == count, sign
        assert "db-1" in reading.words
        assert reading.tags[0][1]["aria-label"] == "2 new replicas, 2 passed"
        box = [float(v) for v in str(reading.tags[0][1]["viewbox"]).split()]
        for _tag, about in reading.tags:
            for key in ("x", "x1", "x2", "cx"):
                assert about.get(key) is None or 0 <= float(str(about[key])) <= box[2]
    assert "waited for db, created at 3 s, started at 4 s, first pass at 5 s" in picture(told, WIDE, "wide")


@pytest.mark.parametrize("count", [0, 1, 59, 60, 61, 300])
def test_a_picture_of_many_is_bounded(count: int) -> None:
    names = [f"shop-web-{n}" for n in range(count)]
    told = timeline.read([(1.0, "plan", timeline.plan_entry([], {"web": names}, {}))])
    text = picture(told, WIDE, "wide")
    assert text.count('class="bar"') == min(count, 60)
    assert (f"and {count - 60} more replicas" in text) == (count > 60)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (0.42, "0.4 s"), (3, "3 s"), (12.6, "13 s"), (75, "1:15 min"), (4000, "1:06 h")]
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
