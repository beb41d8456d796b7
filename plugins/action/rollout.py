# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of a rollout: reads the Compose files, starts the work on the host, shows how it goes."""

from __future__ import annotations

import base64
import getpass
import os
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.quaylock.stacks.plugins.module_utils import audit
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.local import LONGEST_WAIT
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown import board, progress, report
from ansible_collections.quaylock.stacks.plugins.module_utils.core.shown.timeline import Timeline, read
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_files import load
from ansible_collections.quaylock.stacks.plugins.plugin_utils.screen import Screen

MODULE = "quaylock.stacks.rollout"
NEWS = 5
"""seconds that one question for news may take on the host"""
LOST = 120
"""seconds without a connection until the rollout is left to itself"""
LOCAL = ("local", "ansible.builtin.local", "community.docker.docker_api")

display = Display()


class ActionModule(ActionBase):
    """quaylock.stacks.rollout"""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        args = dict(self._task.args)
        name = str(args.get("name", ""))
        if args.get("state", "present") != "absent" and not (args.get("follow") or args.get("release")):
            try:
                self._read(args)
            except Invalid as refused:
                findings = [str(f) for f in refused.findings]
                text = report.refusal(name, refused.findings)
                return {"failed": True, "changed": False, "outcome": "refused", "findings": findings, "msg": text}
        told = audit.from_controller(getpass.getuser(), socket.gethostname(), os.environ)
        args["deployer"] = {**told, **{k: v for k, v in (args.get("deployer") or {}).items() if v}}
        args.setdefault("who", f"{args['deployer']['user']}@{args['deployer']['controller']}")
        if self._task.check_mode or args.get("follow") or args.get("state") == "fetched":
            return self._call(args, variables)
        if args.get("state") == "absent":
            return self._in_turn(name, args, variables)
        began = time.monotonic()
        answer = self._in_turn(name, {**args, "detach": True}, variables)
        if answer.get("outcome") != "running":
            return answer
        return self._follow(name, answer["rollout"], args, variables, began)

    def _in_turn(self, name: str, args: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Call it; where another deployer has the stack, say who, and go on asking for as long as this run may wait."""
        try:
            wait = float(args.get("wait") or 0)
        except (TypeError, ValueError):  # the module refuses it in its own words
            return self._call(args, variables)
        if not 0 < wait <= LONGEST_WAIT:
            return self._call(args, variables)
        began, told = time.monotonic(), ""
        patience = 0.0
        while True:
            answer = self._call({**args, "wait": patience}, variables)
            waited = time.monotonic() - began
            if "holder" not in answer or waited >= wait:
                return answer
            who = str(answer["msg"]).removeprefix(f"{name}: ").partition(";")[0]
            if who != told:
                host = str(variables.get("inventory_hostname", ""))
                self._show(host, name, waited, f"{who}; waiting up to {wait:g} s for the end of it")
            told = who
            patience = min(NEWS, wait - waited)

    def _call(self, args: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=dict(args), task_vars=variables, wrap_async=False
        )
        return answer

    def _read(self, args: dict[str, Any]) -> None:
        """Compose files, or a definition, become one definition; contents of secrets and configs travel apart."""
        files = _listed(args.pop("compose", None))
        overrides = _listed(args.pop("overrides", None))
        given = args.pop("variables", None) or {}
        paths = [
            self._found(f) if isinstance(f, str) else f for f in [*(files or [args.get("definition")]), *overrides]
        ]
        first = next((p for p in paths if isinstance(p, str)), "")
        folder = os.path.dirname(first) or str(args.get("project_directory") or "") or self._loader.get_basedir()
        loaded = load(
            [p for p in paths if p is not None],
            given,
            args.get("profiles") or [],
            folder,
            secrets=args.get("secrets") or {},
            configs=args.get("configs") or {},
            name=str(args.get("name") or ""),
        )
        args["definition"] = loaded.definition
        for kind, contents in (("secrets", loaded.secrets), ("configs", loaded.configs)):
            own = {k: str(v).encode() for k, v in (args.get(kind) or {}).items()}
            args[kind] = {k: base64.b64encode(v).decode() for k, v in {**contents, **own}.items()}
        if first and self._connection.transport in LOCAL:
            args.setdefault("project_directory", os.path.abspath(os.path.dirname(first)))

    def _found(self, path: str) -> str:
        found: str = self._loader.path_dwim(path)
        if os.path.exists(found):
            return found
        return str(self._find_needle("files", path)) if not os.path.isabs(path) else found

    def _follow(
        self, name: str, rollout: str, args: Mapping[str, Any], variables: dict[str, Any], began: float
    ) -> dict[str, Any]:
        """Show the journal until the rollout has ended. A lost connection is waited for: the work goes on."""
        host = variables.get("inventory_hostname", "")
        ask = {k: args[k] for k in ("name", "again", "state_dir", "docker_host") if k in args}
        since, last, first = 0, time.monotonic(), 0.0
        above: list[tuple[str, int, Timeline]] = []  # who began the one that is followed, and where they were left
        shown: set[str] = set()
        screen = Screen(variables)
        told = Timeline()
        while True:
            try:
                news = self._call({**ask, "follow": {"rollout": rollout, "since": since, "timeout": NEWS}}, variables)
                lost = ""
            except AnsibleConnectionFailure as error:
                news, lost = {}, str(error)
            if news.get("unreachable"):
                lost = str(news.get("msg", "unreachable"))
            if lost:
                if time.monotonic() - last > LOST:
                    text = f"{name}: the connection to {host} is lost ({lost}); rollout {rollout} goes on without us"
                    return {
                        "failed": True,
                        "changed": True,
                        "rollout": rollout,
                        "msg": f"{text}\n  next    run it again",
                    }
                time.sleep(1)
                continue
            last = time.monotonic()
            if news.get("failed"):
                return news
            events = _up_to_another(news["events"])
            told = read(((e["at"], e["what"], e["details"]) for e in events), told)
            if screen.there:
                screen.draw(board.rollout(told, f"{host} {name}", told.now, screen.width))
            for entry in events:
                since, first = entry["seq"], first or entry["at"]
                if screen.there:
                    continue
                text = progress.line(entry["what"], entry["details"])
                # a probe that counts down says the same thing each time
                if _gist(text) not in shown or entry["what"] != "done":
                    self._show(host, name, entry["at"] - first, text)
                shown.add(_gist(text))
            if events and events[-1]["details"].get("follow"):
                above.append((rollout, since, told))
                rollout, since, told = str(events[-1]["details"]["follow"]), 0, Timeline()
            elif news["answer"] is not None and above:
                rollout, since, told = above.pop()
            elif news["answer"] is not None:
                answer = dict(news["answer"])
                answer.setdefault("changed", True)
                answer["seconds"] = round(time.monotonic() - began, 1)
                return answer

    @staticmethod
    def _show(host: str, name: str, seconds: float, text: str) -> None:
        for part in text.splitlines():
            display.display(f"  {host} {name} {seconds:6.1f} s  {part}")


def _gist(text: str) -> str:
    """A line without its measures; the numbers of replicas stay."""
    return re.sub(r"(?<![\w-])\d[\d.]*", "#", text)


def _up_to_another(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries up to one that says that another rollout has begun, which is followed first."""
    leading = [place for place, entry in enumerate(events) if entry["details"].get("follow")]
    return events[: leading[0] + 1] if leading else events


def _listed(value: Any) -> list[Any]:
    if value in (None, ""):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
