# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Live progress: the journal's entries as lines for people. A fold, so that it can be taken up at any entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def line(what: str, details: Mapping[str, Any]) -> str:
    """What one entry says to somebody who waits; "" where it says nothing worth a line."""
    do, name, service = details.get("do", ""), details.get("name", ""), details.get("service", "")
    if what == "plan":
        return "\n".join(details.get("lines", []))
    if what == "note":
        return str(details.get("said", ""))
    if what == "check":
        return _checked(name, details)
    if what == "failed":
        return "" if do == "Look" else f"{name or service or do}: {details.get('error', 'failed')}"
    if what == "committed":
        return "every service passed: this is the release now"
    if what == "do":
        return _BEFORE.get(do, "").format(name=name, service=service, **_extra(details))
    if what == "done":
        return _looked(name, details) if do == "Look" else _AFTER.get(do, "").format(name=name, service=service)
    return ""


_BEFORE = {
    "TakePoint": "{service}: taking its restore point, in {name}",
    "Start": "{name}: starting",
    "Drain": "{name}: draining",
    "Route": "{service}: switching traffic to {servers}",
    "Explain": "{name}: failed, everything goes back",
}
_AFTER = {
    "TakePoint": "{service}: its restore point is taken",
    "Route": "{service}: the proxy confirmed the switch",
    "Unroute": "{service}: is not routed any more",
    "Remove": "{name}: removed",
}


def _checked(name: str, details: Mapping[str, Any]) -> str:
    outcome = details.get("outcome")
    if not outcome:
        return f"verifying: {name}"
    said = str(details.get("said") or "").splitlines()
    return f"verifying: {name} {outcome}" + (f": {said[0][:160]}" if said else f" in {details.get('seconds')} s")


def _extra(details: Mapping[str, Any]) -> dict[str, str]:
    return {"servers": ", ".join(details.get("servers") or [])}


def _looked(name: str, details: Mapping[str, Any]) -> str:
    if not details.get("running"):
        code = details.get("exit_code", 0)
        return f"{name}: ended well" if code == 0 else f"{name}: exited with code {code}"
    if details.get("passed") is None:
        return f"{name}: running"
    if details["passed"]:
        return f"{name}: passes its checks"
    said = str(details.get("output", "")).splitlines()
    return f"{name}: not ready, {said[0][:160]}" if said else f"{name}: not ready"
