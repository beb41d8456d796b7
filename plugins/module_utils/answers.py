# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What whoever asked is told: the plan, the outcome with its evidence, and what serves now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import releases
from .core.model import Invalid
from .core.releases import Version, chosen, compare
from .core.rollout.state import Outcome, Rollout
from .core.shown import report
from .journal import SqliteJournal
from .perform import Host, rendered, rendered_path
from .ports import PortError
from .request import Request, Wanted

TO_BE_FETCHED = ""
"""the identity of an image that is not on this host yet"""


def missing_images(state: Rollout) -> list[str]:
    return sorted(ref for ref, image in state.images.items() if image.id == TO_BE_FETCHED)


def returning(wanted: Wanted) -> list[str]:
    """What a return does not do, said before anybody finds out."""
    if wanted.release is None:
        return []
    shots = [s.name for s in wanted.stack.services if s.one_shot]
    again = f"; one-shots that ended well in it are not run again: {', '.join(shots)}" if shots else ""
    at = releases.stamp(wanted.release.at)
    points = [f"{s} before {r.id}: {name}" for r in wanted.since for s, name in r.points.items()]
    since = f"; restore points since: {', '.join(points)}" if points else ""
    return [f"a return to release {wanted.release.id} of {at}: what migrations did to data since is kept{again}{since}"]


def close(request: Request, journal: SqliteJournal, rollout: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Keep the answer for who follows, and show it on the page; a page that cannot be written is a note."""
    journal.result(rollout, answer)
    if request.show:
        wrong = request.show(request)
        if wrong:
            answer = {**answer, "notes": [*answer.get("notes", []), wrong]}
            journal.result(rollout, answer)
    return answer


def answer_of(host: Host, request: Request, state: Rollout, notes: list[str], journal: SqliteJournal) -> dict[str, Any]:
    """The module's answer for a rollout that ended."""
    answer = report.result(state)
    answer["notes"] = [*notes, *answer["notes"]]
    answer["changed"] = state.outcome not in (Outcome.UNCHANGED, Outcome.REFUSED) or bool(notes)
    if state.outcome in (Outcome.DEPLOYED, Outcome.UNCHANGED):
        return answer
    # a release in part is what failure_action: continue asks for, and no failure of the play
    answer["failed"] = state.outcome is not Outcome.PARTIAL
    if state.outcome is Outcome.REFUSED:
        answer["msg"] = report.refusal(request.name, state.findings)
        return answer
    return {**answer, **failed(host, request, state, journal)}


def failed(host: Host, request: Request, state: Rollout, journal: SqliteJournal) -> dict[str, Any]:
    """A failure in words: the evidence, exactly what serves now, and the next command."""
    text, found = serving_now(host, request.name, state, journal)
    again = request.again
    if state.outcome is Outcome.INCOMPLETE:
        again += "\n(mend what the notes say first; that run then finishes this one before it does anything else)"
    return {"serving": found, "msg": report.failure_text(state, text, again)}


def serving_now(host: Host, name: str, state: Rollout, journal: SqliteJournal) -> tuple[str, list[dict[str, Any]]]:
    """What serves after a failure, by the engine's and the proxy's word: a line or more for people, and as values."""
    release = journal.release(name)
    before = f"release {release[0]}" if release else "nothing that was released"
    members = release[2].get("members", {}) if release else {}
    try:
        replicas = list(host.engine.replicas(name))
    except PortError as error:
        return f"unknown: {error}", []
    routed: Mapping[str, frozenset[str]] | None = {}
    try:
        routed = host.ingress.routed(name) if host.ingress else {}
    except PortError:
        routed = None
    of_release = {n: release[0] for names in members.values() for n in names} if release else {}
    found = report.serving(replicas, routed, of_release, state.id)
    if state.outcome is not Outcome.INCOMPLETE and routed is not None:
        counts: dict[str, int] = {}
        for o in replicas:
            if o.running:
                counts[o.service] = counts.get(o.service, 0) + 1
        running = ", ".join(f"{service} x{count}" for service, count in sorted(counts.items()))
        return f"{before}; running: {running or 'nothing'}", found
    return "\n".join([f"{before} is the last release; of it:", *report.serving_lines(found, routed is not None)]), found


def differences(request: Request, wanted: Wanted, state: Rollout, journal: SqliteJournal) -> list[str]:
    """What is asked for beside a kept release: the serving one, or the one that `against` names."""
    kept = journal.releases(request.name, request.releases_kept)
    if not kept and not request.against:
        return []
    before = chosen(request.name, request.against, kept) if request.against else kept[0]
    images = {ref: {"id": i.id, "digest": i.digest} for ref, i in state.images.items()}
    try:
        return [str(d) for d in compare(releases.version(before), Version(wanted.stack, images))]
    except Invalid as refused:  # an older version took what this one refuses
        return [f"release {before.id} cannot be compared with: {finding}" for finding in refused.findings]


def preview_answer(
    host: Host, request: Request, wanted: Wanted, state: Rollout, journal: SqliteJournal
) -> dict[str, Any]:
    stack = wanted.stack
    answer = report.result(state)
    answer["notes"] = [*returning(wanted), *answer["notes"]]
    answer["differences"] = differences(request, wanted, state, journal)
    if state.outcome is Outcome.REFUSED:
        return {**answer, "failed": True, "changed": False, "msg": report.refusal(request.name, state.findings)}
    answer["changed"] = state.outcome is not Outcome.UNCHANGED
    answer["outcome"] = "planned" if answer["changed"] else answer["outcome"]
    answer["to_fetch"] = missing_images(state)
    found = journal.unfinished(request.name)
    if found is not None:
        answer["changed"] = True
        answer["notes"].append(f"rollout {found[0].rollout} was interrupted and would be recovered first")
    for backup in journal.unfinished_of("backup", request.name):
        answer["changed"] = True
        answer["notes"].append(f"backup {backup} was interrupted, and who holds still for it would go on first")
    for restore in journal.unfinished_of("restore", request.name):
        answer["changed"] = True
        answer["notes"].append(f"restore {restore} was interrupted, and the data before it would be put back first")
    before = (host.files.read(rendered_path(host)) or b"").decode()
    images = {ref: image.id for ref, image in state.images.items()}
    answer["diff"] = report.diff(stack, state.plan, state.seen, images, before, rendered(stack).decode())
    return answer
