# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's page for whoever is on call: values in, HTML out. No script, nothing from elsewhere, every text escaped.

A page is a mapping with `host`, `at` (text) and `stacks`; a stack is what `status` answers, with `releases` and
`rollouts`, and a rollout is its line of history with its `timeline`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .page_style import STYLE
from .picture import NARROW, WIDE, picture, span
from .timeline import Timeline

REFRESH = 30
"""seconds after which a browser reads the page again"""
LOG_LINES = 40

_HEALTH = {
    "healthy": ("good", "✔"),
    "done": ("good", "✔"),
    "degraded": ("warn", "▲"),
    "unknown to the release": ("warn", "▲"),
    "unhealthy": ("bad", "✖"),
    "down": ("bad", "✖"),
    "failed": ("bad", "✖"),
}
_OUTCOMES = {
    "deployed": ("good", "✔"),
    "unchanged": ("good", "="),
    "deployed in part": ("warn", "▲"),
    "removed": ("warn", "–"),
    "refused": ("warn", "▲"),
    "interrupted": ("warn", "▲"),
    "paused": ("warn", "▮▮"),
    "rolled back": ("bad", "↩"),
    "incomplete": ("bad", "✖"),
    "in progress": ("busy", "●"),
}
_WAIT = "M2 2V8H24"


def html(page: Mapping[str, Any]) -> str:
    """The whole page."""
    stacks: Sequence[Mapping[str, Any]] = page["stacks"]
    policy = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    kind, sign, headline, words = verdict(stacks)
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
            f" style-src 'sha256-{policy}'; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">',
            f'<meta http-equiv="refresh" content="{REFRESH}">',
            f"<title>{escape(sign)} {escape(page['host'])}: {escape(headline)}</title><style>{STYLE}</style></head>",
            f'<body><main><div class="verdict {kind}" role="status">',
            f'<span class="sign" aria-hidden="true">{sign}</span><div>',
            f"<h1>{escape(page['host'])}: {escape(headline)}</h1>",
            *(f"<p>{escape(line)}</p>" for line in words),
            f'<p class="soft">as of {escape(page["at"])}; written after each rollout and by playbooks/status.yml</p>',
            "</div></div>",
            *(_stack(stack) for stack in sorted(stacks, key=lambda s: bool(s["healthy"]))),
            _key() if any(stack.get("rollouts") for stack in stacks) else "",
            "<footer>Quaylock. Times are UTC. This page needs no script and loads nothing.</footer>",
            "</main></body></html>\n",
        ]
    )


def verdict(stacks: Sequence[Mapping[str, Any]]) -> tuple[str, str, str, list[str]]:
    """(class, sign, headline, lines): what a person on call has to know first."""
    if not stacks:
        return "warn", "–", "no stack was deployed here", []
    bad = [s for s in stacks if not s["healthy"]]
    busy = [s["name"] for s in stacks if s["in_progress"]]
    lines = []
    for stack in bad:
        sick = [
            f"{s['name']} is {_state(s)}" for s in stack["services"] if _HEALTH.get(s["health"], ("bad",))[0] != "good"
        ]
        lines.append(f"{stack['name']}: {'; '.join(sick) or 'nothing of it runs'}")
    went_back = [s for s in stacks if _last(s).get("outcome") in ("rolled back", "incomplete")]
    lines += [f"{s['name']}: the last rollout failed and {_ended(_last(s))}" for s in went_back]
    unproven = [s for s in stacks if s["name"] not in busy and not_verified(s)]
    lines += [f"{s['name']}: {not_verified(s)}" for s in unproven]
    lines += [f"{name}: a rollout is in progress" for name in busy]
    if bad:
        down = any(s["health"] in ("down", "unhealthy", "failed") for stack in bad for s in stack["services"])
        count = f"{len(bad)} of {len(stacks)} stacks" if len(stacks) > 1 else bad[0]["name"]
        return ("bad", "✖", f"{count} not healthy", lines) if down else ("warn", "▲", f"{count} degraded", lines)
    healthy = f"all {len(stacks)} stacks healthy" if len(stacks) > 1 else f"{stacks[0]['name']} is healthy"
    if went_back:
        return "warn", "▲", f"{healthy}, but a rollout failed", lines
    if unproven:
        return "warn", "▲", f"{healthy}, but not verified", lines
    return ("busy", "●", f"{healthy}, a rollout is in progress", lines) if busy else ("good", "✔", healthy, lines)


def not_verified(stack: Mapping[str, Any]) -> str:
    """What is to be said against its verification; "" where it passed, or declares none."""
    told = stack.get("verification") or {}
    if not told.get("declared") or told.get("outcome") == "verified":
        return ""
    if told.get("outcome"):
        return f"it is not verified: {', '.join(told['failed'])} did not pass"
    return "it is not verified: its checks were not asked yet, or were broken off"


def _verification(stack: Mapping[str, Any]) -> str:
    told = stack.get("verification") or {}
    wrong = not_verified(stack)
    if told.get("outcome") and not wrong:
        return f'<p class="soft">✔ verified {escape(told["at"])}: {told["checks"]} checks</p>'
    return f"<p>▲ {escape(wrong)}</p>" if wrong else ""


def _ended(rollout: Mapping[str, Any]) -> str:
    return "was rolled back" if rollout.get("outcome") == "rolled back" else "could not be undone completely"


def _last(stack: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (stack.get("rollouts") or [{}])[0]
    return found


def _state(service: Mapping[str, Any]) -> str:
    if service["one_shot"]:
        return str(service["health"])
    return f"{service['health']} ({service['replicas']} of {service['wanted']} replicas)"


def _stack(stack: Mapping[str, Any]) -> str:
    kind, sign = ("good", "✔") if stack["healthy"] else ("bad", "✖")
    word = "healthy" if stack["healthy"] else "not healthy" if stack["present"] else "not deployed"
    name = escape(stack["name"])
    serving = next((r for r in stack.get("releases", []) if r["serving"]), None)
    release = ""
    if serving:
        commit = f", commit {serving['commit'][:12]}" if serving["commit"] else ""
        release = f"release {serving['id']} since {serving['at']} by {serving['who']}{commit}"
    return "".join(
        [
            f'<section aria-label="stack {name}"><div class="head"><h2>{name}</h2>',
            f'<span class="badge {kind}">{sign} {word}</span></div>',
            f'<p class="soft">{escape(release)}</p>' if release else "",
            _verification(stack),
            f'<div class="links">{"".join(_link(url) for url in stack["urls"])}</div>' if stack["urls"] else "",
            _failure(_last(stack)),
            _services(stack["services"]),
            _rollouts(stack["name"], stack.get("rollouts") or []),
            _releases(stack["name"], stack.get("releases") or []),
            "</section>",
        ]
    )


def _link(url: str) -> str:
    """Only what a browser opens is a link."""
    text = escape(url)
    if url.startswith(("http://", "https://")):
        return f'<a href="{text}" rel="noreferrer">{text}</a>'
    return f"<code>{text}</code>"


def _reference(ref: str) -> str:
    """An image, its digest cut short; the whole of it is the tooltip."""
    name, _sign, digest = ref.partition("@")
    text = f"{name}@{digest[:19]}…" if digest else name
    return f'<code title="{escape(ref)}">{escape(text)}</code>'


def _failure(rollout: Mapping[str, Any]) -> str:
    """Why the last rollout failed, before everything else."""
    if rollout.get("outcome") not in ("rolled back", "incomplete", "paused"):
        return ""
    lines = str(rollout.get("msg") or "").splitlines()
    reasons = "; ".join(f"{f['service']} {f['reason']}" for f in rollout.get("failures") or []) or "see below"
    text = "\n".join(lines[:LOG_LINES])
    more = (
        f"<details open><summary>evidence and next command</summary><pre>{escape(text)}</pre></details>"
        if lines
        else ""
    )
    ended = _ended(rollout) if rollout["outcome"] in ("rolled back", "incomplete") else f"is {rollout['outcome']}"
    soft = "warn" if rollout.get("outcome") == "paused" else ""
    return (
        f'<div class="alert {soft}"><strong>{_OUTCOMES.get(rollout["outcome"], ("", "▲"))[1]} The rollout of'
        f" {escape(rollout['begun'])} {escape(ended)}:</strong> {escape(reasons)}{more}</div>"
    )


def _services(services: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for service in services:
        kind, sign = _HEALTH.get(service["health"], ("warn", "▲"))
        count = "once" if service["one_shot"] else f"{service['replicas']}/{service['wanted']}"
        restarts = f"{service['restarts']} restarts" if service["restarts"] else ""
        rows.append(
            f'<tr><td class="name">{escape(service["name"])}</td>'
            f'<td class="nowrap {kind}">{sign} {escape(service["health"])}</td><td class="nowrap">{count}</td>'
            f'<td class="image">{_reference(service["image"])}</td>'
            f'<td class="nowrap soft">{restarts}</td></tr>'
        )
    if not rows:
        return '<p class="soft">Nothing of it is on this host.</p>'
    head = "<thead><tr><th>service</th><th>health</th><th>replicas</th><th>image</th><th></th></tr></thead>"
    return f"<h3>Services</h3><table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _rollouts(stack: str, rollouts: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for number, rollout in enumerate(rollouts):
        kind, sign = _OUTCOMES.get(rollout["outcome"], ("warn", "▲"))
        took = f" in {span(rollout['seconds'])}" if rollout.get("seconds") is not None else ""
        what = "taken down" if rollout["kind"] == "teardown" else rollout["outcome"]
        back = f", a return to {rollout['returned_to']}" if rollout.get("returned_to") else ""
        timeline: Timeline | None = rollout.get("timeline")
        drawn = timeline is not None and bool(timeline.bars)
        inside = f"<pre>{escape(chr(10).join(rollout.get('plan') or []))}</pre>" if rollout.get("plan") else ""
        notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in rollout.get("notes") or [])
        if timeline is not None and drawn:
            inside += picture(timeline, WIDE, "wide", stack) + picture(timeline, NARROW, "narrow", stack)
        told = f"{rollout['begun']} by {rollout['who']}{_commit(rollout)}{back}"
        parts.append(
            f'<details{" open" if number == 0 and drawn else ""}><summary><span class="badge {kind}">{sign}'
            f' {escape(what)}{escape(took)}</span><span class="soft">{escape(told)}</span></summary>'
            f"{inside or '<p>Nothing was changed.</p>'}{notes}</details>"
        )
    return f"<h3>Rollouts</h3>{''.join(parts)}" if parts else ""


def _commit(rollout: Mapping[str, Any]) -> str:
    commit = str(rollout.get("commit") or "")
    return f", commit {commit[:12]}" if commit else ""


def _releases(stack: str, releases: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for release in releases:
        state = '<span class="good">● serves</span>' if release["serving"] else "✔ kept"
        if not release["can_be_returned_to"]:
            state = '<span class="warn">▲ not complete any more</span>'
        images = ", ".join(_reference(ref) for ref in release["images"])
        points = "".join(
            f'<br><span class="soft">restore point of {escape(service)} before it: {escape(name)}</span>'
            for service, name in release["restore_points"].items()
        )
        rows.append(
            f'<tr><td class="name"><code>{escape(release["id"])}</code></td><td class="nowrap">{state}</td>'
            f'<td class="nowrap">{escape(release["at"])}</td><td class="wrap">{escape(release["who"])}'
            f'{escape(_commit(release))}</td><td class="image">{images}{points}</td></tr>'
        )
    if not rows:
        return ""
    head = "<thead><tr><th>release</th><th></th><th>since</th><th>by</th><th>images</th></tr></thead>"
    call = f"ansible-playbook quaylock.stacks.rollback -i INVENTORY -e stack={stack} -e release=previous"
    return (
        f"<h3>Releases</h3><table>{head}<tbody>{''.join(rows)}</tbody></table>"
        f'<p class="soft">Return to one: <code>{escape(call)}</code></p>'
    )


def _key() -> str:
    """What the signs of the pictures mean."""

    def entry(drawing: str, text: str) -> str:
        return f'<span><svg viewBox="0 0 26 14" aria-hidden="true">{drawing}</svg>{text}</span>'

    entries = [
        entry('<rect class="made" x="1" y="6" width="24" height="2"/>', "created, waits"),
        entry('<rect class="starting" x="1" y="4" width="24" height="6" rx="2"/>', "starting"),
        entry('<rect class="checked" x="1" y="1" width="24" height="12" rx="2"/>', "passes its checks"),
        entry('<line class="row" x1="13" y1="1" x2="13" y2="13"/>', "row of passes complete"),
        entry('<rect class="good" x="1" y="1" width="24" height="12" rx="2"/>', "held"),
        entry('<path class="switched" d="M13 0L20 7L13 14L6 7Z"/>', "got its traffic"),
        entry('<path class="tick" d="M8 7L12 11L19 2"/>', "ended well"),
        entry('<path class="cross" d="M8 2L18 12M8 12L18 2"/>', "failed"),
        entry(f'<path class="wait" d="{_WAIT}"/>', "waited for another service"),
    ]
    return f'<div class="key" aria-label="signs">{"".join(entries)}</div>'
