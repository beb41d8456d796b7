# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What people are told: the plan before, the progress meanwhile, the evidence and the next command after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..model import Finding, Json, Observation, Observed, Stack
from ..rollout.plan import Action, Change, Plan
from ..rollout.state import Failure, Outcome, Rollout

_SIGNS = {
    Action.KEEP: "=",
    Action.CREATE: "+",
    Action.RUN: "+",
    Action.REPLACE: "~",
    Action.SCALE: "~",
    Action.ROUTE: "~",
    Action.REMOVE: "-",
}


def plan_lines(stack: Stack, plan: Plan) -> list[str]:
    """One line per change: sign, service, what and why."""
    lines = [f"+ network {n.name}" for n in stack.networks if n.key in plan.networks]
    lines += [f"+ volume {v.name}" for v in stack.volumes if v.key in plan.volumes]
    lines += [f"  restore point of {s} first, in {name}" if name else f"  {s} first" for s, name in plan.points]
    return lines + [_change_line(stack, c) for c in plan.work]


def _change_line(stack: Stack, change: Change) -> str:
    why = "; ".join(change.reasons)
    text = f"{_SIGNS[change.action]} {change.service}: {change.action.value}"
    if change.action in (Action.REPLACE, Action.RUN) and change.old:
        service = stack.service(change.service)
        if change.action is Action.REPLACE:
            because = f" because {service.bound}" if service.bound else ""
            text += f" {change.order.value}{because}"
    if change.new:
        text += f", {len(change.new)} new"
    if change.old:
        text += f", {len(change.old)} to go"
    return f"{text} ({why})" if why else text


def diff(stack: Stack, plan: Plan, seen: Observation, images: Mapping[str, str], before: str, after: str) -> list[Json]:
    """Ansible's diff: the rendered file, and the replicas as they are and will be."""
    return [
        {"before_header": "compose.yaml", "after_header": "compose.yaml", "before": before, "after": after},
        {
            "before_header": f"{stack.name} now",
            "after_header": f"{stack.name} after the rollout",
            "before": _lines(f"{o.service} {o.spec or '-'} {o.image[:19]}" for o in seen.replicas),
            "after": _lines(
                f"{s.name} {s.spec} {images.get(s.image, s.image)[:19]}"
                for s in stack.services
                for _turn in range(_count(plan, s.name, s.replicas))
            ),
        },
    ]


def _count(plan: Plan, service: str, replicas: int) -> int:
    """A finished one-shot whose container is gone is not made again."""
    change = plan.change(service)
    return len(change.members) if change.action is Action.KEEP else replicas


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in sorted(lines))


def refusal(stack: str, findings: Iterable[Finding]) -> str:
    found = list(findings)
    count = "1 finding" if len(found) == 1 else f"{len(found)} findings"
    lines = [f"{stack}: refused, {count}, nothing was changed"]
    return "\n".join([*lines, *(f"  {f}" for f in found)])


def failure_text(rollout: Rollout, serving: str, again: str) -> str:
    """A rollout that did not end well: what failed with its evidence, what serves now, what to do next."""
    first = rollout.failures[0] if rollout.failures else Failure(rollout.stack.name, "it did not end")
    ended = {
        Outcome.ROLLED_BACK: "was rolled back",
        Outcome.INCOMPLETE: "could not be undone completely",
        Outcome.PAUSED: "is paused",
        Outcome.PARTIAL: "is deployed in part",
    }.get(rollout.outcome or Outcome.INCOMPLETE, "failed")
    subject = f"{first.service} " if first.service != rollout.stack.name else ""
    lines = [f"{rollout.stack.name}: rollout {rollout.id} {ended}: {subject}{_gerund(first)}"]
    behind = sorted(name for name, track in rollout.tracks.items() if track.behind)
    if behind and rollout.committed:
        lines.append(f"  behind  as before: {', '.join(behind)}; all others are new")
    for failure in rollout.failures:
        asked = _gated(failure)
        if asked:
            lines.append(f"  replica {failure.replica} {failure.reason}")
        if failure.said:
            lines.append(f"  {'probe  ' if asked else 'error  '} {_indented(failure.said)}")
        if failure.logs:
            lines.append(f"  logs    {_indented(failure.logs)}")
    lines += [f"  note    {note}" for note in rollout.notes]
    if any(s.one_shot for s in rollout.stack.services) and any(t.service.one_shot for t in rollout.tracks.values()):
        lines.append("  data    what one-shots (migrations) have changed was not reverted")
    lines += [f"  data    restore point of {service} before it: {point}" for service, point in rollout.points.items()]
    lines.append(f"  now     {_indented(serving)}")
    lines.append(f"  next    {_indented(again)}")
    return "\n".join(lines)


def serving(
    replicas: Iterable[Observed],
    routed: Mapping[str, frozenset[str]] | None,
    of_release: Mapping[str, str],
    rollout: str,
) -> list[dict[str, Any]]:
    """Per service what serves and what runs, by the word of the engine and of the proxy.

    `routed` is None where the proxy does not answer; a service that it does not route serves where it runs.
    `of_release` maps a container of the last release to that release; what `rollout` made is what failed.
    """
    groups: dict[str, list[Observed]] = {}
    for replica in sorted(replicas, key=lambda o: (o.service, o.number, o.name)):
        groups.setdefault(replica.service, []).append(replica)
    for service in routed or {}:
        groups.setdefault(service, [])
    found = []
    for service, group in sorted(groups.items()):
        names = (routed or {}).get(service)
        entry: dict[str, Any] = {"service": service, "routed": sorted(names) if names is not None else None}
        entry["replicas"] = [
            {
                "name": o.name,
                "release": of_release.get(o.name, ""),
                "failed_rollout": o.rollout == rollout and o.name not in of_release,
                "running": o.running,
                "exit_code": o.exit_code,
                "serves": o.running and (names is None or o.name in names),
            }
            for o in group
        ]
        found.append(entry)
    return found


def serving_lines(found: Iterable[Json], known: bool = True) -> list[str]:
    """The same for people, a line per service. `known` is false where the proxy did not answer."""
    lines = [] if known else ["the proxy does not answer, so who gets traffic is not known; by the engine's word:"]
    for entry in found:
        parts = []
        for serves, running, word in (
            (True, True, "serves"),
            (False, True, "runs without traffic"),
            (False, False, ""),
        ):
            for replica in entry["replicas"]:
                if (replica["serves"], replica["running"]) == (serves, running):
                    of = replica["release"] and f"release {replica['release']}"
                    of = of or ("the rollout that failed" if replica["failed_rollout"] else "no release")
                    what = (word if known else "runs") if word else f"is stopped (exit code {replica['exit_code']})"
                    parts.append(f"{replica['name']} of {of} {what}")
        lost = sorted(set(entry["routed"] or ()) - {r["name"] for r in entry["replicas"] if r["running"]})
        parts += [f"the proxy sends traffic to {name}, which does not run" for name in lost]
        lines.append(f"{entry['service']}: {'; '.join(parts) or 'nothing is there'}")
    return lines or ["nothing of this stack is there"]


def _gated(failure: Failure) -> bool:
    """Whether the gate failed it, and not a step on the way to the gate."""
    return bool(failure.replica) and not failure.reason.startswith(("its ", "the "))


def _gerund(failure: Failure) -> str:
    return "did not pass its gate" if _gated(failure) else f"failed, {failure.reason}"


def _indented(text: str) -> str:
    return "\n          ".join(text.splitlines())


def result(rollout: Rollout) -> dict[str, Any]:
    """The part of a module's answer that comes from the state."""
    return {
        "outcome": rollout.outcome.value if rollout.outcome else "",
        "rollout": rollout.id,
        "plan": plan_lines(rollout.stack, rollout.plan),
        "images": {ref: {"id": i.id, "digest": i.digest} for ref, i in sorted(rollout.images.items())},
        "notes": list(rollout.notes),
        "restore_points": dict(rollout.points),
        "failures": [
            {"service": f.service, "replica": f.replica, "reason": f.reason, "said": f.said, "logs": f.logs}
            for f in rollout.failures
        ],
        "findings": [str(f) for f in rollout.findings],
    }
