# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's own command, quaylock-backup: what timers call, without a controller and without Ansible.

One line for everything that was done or went wrong; exit code 0 only where nothing did.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..adapters import docker_api
from ..core.backup import settings as settings_file
from ..core.backup.settings import Settings
from ..core.backup.staleness import age
from ..core.durations import seconds
from ..core.model import Invalid
from ..core.shown.report import refusal
from ..journal import SqliteJournal
from ..ports import PortError
from ..request import Request
from . import guardian, offsite, run
from .drill import drill
from .keeping import keep
from .lookout import Lookout
from .vault import Vault, offsite_of, settings_in, vault_of

NAME = "quaylock-backup"
PATIENCE = 1800.0
"""seconds to wait for a rollout of the stack, or for another backup of it"""
SHARE = "5%"
"""of the repository that `check` reads, another one each time"""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass
class OnHost:
    """One call. `bad` counts what went wrong."""

    settings: Settings
    state_dir: str
    config_dir: str
    docker_host: str
    bad: int = 0
    _vaults: dict[str, Vault] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lookout = Lookout(self.request("").journal_path, self.settings)

    @property
    def vault(self) -> Vault:
        return self._vaults.setdefault("here", vault_of(self.settings, self.state_dir))

    @property
    def away(self) -> Vault | None:
        if self.settings.offsite is None:
            return None
        return self._vaults.setdefault("away", offsite_of(self.settings, self.state_dir))

    def request(self, stack: str, again: str = "") -> Request:
        return Request(
            name=stack,
            who=os.environ.get("SUDO_USER") or "quaylock-backup",
            asked={"from": NAME},
            wait=PATIENCE,
            again=again,
            state_dir=self.state_dir,
            config_dir=self.config_dir,
            docker_host=self.docker_host,
        )

    def wrong(self, text: str) -> None:
        self.bad += 1
        complain(text)

    def perform(self, task: str, stack: str, work: Callable[[], str]) -> None:
        """Do it, say what became of it, remember that, and tell who wants to know of failures."""
        of = stack or "the repository"
        began, why = time.monotonic(), ""
        try:
            said = work()
        except Invalid as error:
            why = refusal(of, error.findings)
        except PortError as error:
            why = str(error) if str(error).startswith(f"{of}: ") else f"{of}: {error}"
        except Exception as error:
            # whatever it is: it is said, counted and told, and the next stack has its turn
            why = f"{of}: {type(error).__name__}: {error}"
        else:
            say(f"{of}: {said}")
        if why:
            self.wrong(why)
        problems = []
        try:
            self.lookout.note(task, stack, time.monotonic() - began, why)
        except Exception as error:
            problems.append(f"{of}: what became of it could not be written down: {type(error).__name__}: {error}")
        if why:
            message = {"event": "failed", "task": task, "stack": stack, "text": f"{self.settings.host}: {why}"}
            problems.append(self.lookout.tell(message))
        for problem in problems:
            if problem:
                self.wrong(problem)

    def look(self, aloud: bool = False) -> None:
        """Bring what is known, and the metrics, to what is there now."""
        stacks = self.lookout.stacks()
        for problem in self.lookout.look(stacks, self.vault, self.away):
            if aloud:
                self.wrong(problem)
        if problem := self.lookout.write_metrics(stacks):
            self.wrong(problem)

    # -- the commands -------------------------------------------------------------

    def run(self, stacks: Sequence[str]) -> None:
        """Make sets: of the named stacks, or of all whose newest one is old enough for their schedule."""
        wanted = list(stacks) or self._due()
        for stack in wanted:
            self.perform("run", stack, lambda stack=stack: self._made(stack))  # type: ignore[misc]
        if not wanted:
            say("nothing is due")

    def _due(self) -> list[str]:
        known = self.lookout.stacks()
        try:
            sets = self.vault.sets()
        except PortError:
            return known  # each of them says what is wrong
        now, mine = time.time(), [m for m in sets if m.host == self.settings.host]
        last = {stack: next((m.at for m in mine if m.stack == stack), None) for stack in known}
        return [stack for stack in known if self.settings.of(stack).due(last[stack], now)]

    def _made(self, stack: str) -> str:
        answer = run.back_up(self.request(stack, f"mend that, then: {NAME} run {stack}"), self.vault)
        self._notes(stack, answer["notes"])
        if answer.get("failed"):
            raise PortError(answer["msg"])
        return f"set {answer['set']} made, {answer['size']} bytes, writers held still for {answer['quiet']:g} s"

    def drill(self, stacks: Sequence[str]) -> None:
        """Restore the newest set of the named stacks, or of all whose newest set is not proven."""
        wanted = list(stacks)
        if not wanted:
            self.look()
            wanted = [s.stack for s, _stale in self.lookout.seen(self.lookout.stacks()) if s.set != s.proven_set]
        for stack in wanted:
            self.perform("drill", stack, lambda stack=stack: self._drilled(stack))  # type: ignore[misc]
        if not wanted:
            say("nothing is due: every newest set is proven")

    def _drilled(self, stack: str) -> str:
        answer = drill(self.request(stack, f"mend that, then: {NAME} drill {stack}"), self.vault)
        self._notes(stack, answer["notes"])
        if answer.get("failed"):
            raise PortError(answer["msg"])
        return f"set {answer['set']} proven, restored in {answer['rto']:.1f} s, it was {age(answer['rpo'])} old"

    def prune(self) -> None:
        """Remove the sets that retention lets go, off-site too."""
        for stack in self.lookout.stacks():
            self.perform("prune", stack, lambda stack=stack: self._kept(stack))  # type: ignore[misc]

    def _kept(self, stack: str) -> str:
        said = []
        rules = [("", self.vault, self.settings.of(stack).rule)]
        if self.away is not None:
            rules.append((" off-site", self.away, self.settings.offsite_rule))
        for where, vault, rule in rules:
            answer = keep(self.request(stack), vault, rule)
            self._notes(stack, answer["notes"])
            gone = [fate["id"] for fate in answer["fates"] if not fate["stays"]]
            said.append(f"{len(answer['fates']) - len(gone)} sets stay{where}, {len(gone)} went")
        return "; ".join(said)

    def check(self, share: str) -> None:
        """See whether the repositories are whole, and read a part of them."""
        self.perform("check", "", lambda: self._checked(share))

    def _checked(self, share: str) -> str:
        said = []
        for where, vault in (("", self.vault), (" off-site", self.away)):
            if vault is not None:
                vault.repository.unlock()
                vault.repository.check(share)
                said.append(f"no damage{where} in {share} that were read")
        return "; ".join(said)

    def copy(self) -> None:
        """Have every set in the other repository."""
        away = offsite_of(self.settings, self.state_dir) if self.away is None else self.away
        for stack in self.lookout.stacks():
            self.perform("copy", stack, lambda stack=stack: self._copied(stack, away))  # type: ignore[misc]

    def _copied(self, stack: str, away: Vault) -> str:
        sets = offsite.copy(self.vault, away, stack)["sets"]
        return f"{', '.join(sets)} copied" if sets else "all sets are off-site"

    def status(self) -> None:
        """Say how old all of it is; write the metrics, and tell the webhook what is stale."""
        self.look(aloud=True)
        stacks, now = self.lookout.stacks(), time.time()
        for seen, stale in self.lookout.seen(stacks):
            words = f"newest set {seen.set}, {age(now - seen.at)} old, {seen.size} bytes" if seen.at else "no set"
            words += f"; proven {seen.proven_set}, {age(now - seen.proven)} old" if seen.proven else "; none is proven"
            say(f"{seen.stack}: {words}; {seen.sets} sets")
            for reason in stale:
                self.wrong(f"{seen.stack}: stale: {reason}; next: {NAME} run {seen.stack}, and see what it says")
        for record in self.lookout.records():
            if record.at and record.why:
                of = record.stack or "the repository"
                say(f"{of}: {record.task} failed {age(now - record.at)} ago: {record.why.splitlines()[0]}")
        if not stacks:
            say("no stack of this host declares a backup")
        for problem in self.lookout.tell_stale(stacks):
            self.wrong(problem)

    def list_stacks(self) -> None:
        for stack in self.lookout.stacks():
            say(stack)

    def mend(self) -> None:
        """Let go on what a killed backup left holding still."""
        with contextlib.closing(SqliteJournal(self.request("").journal_path)) as journal:
            names = [name for name in journal.stacks() if journal.unfinished_of("backup", name)]
        for name in names:
            self._notes(name, guardian.mend(name, self.state_dir, self.config_dir, self.docker_host))

    def _notes(self, stack: str, notes: Sequence[str]) -> None:
        for note in notes:
            say(f"{stack}: {note}")


# -- the command line ---------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(NAME, description="Backups of this host's stacks.", allow_abbrev=False)
    parser.add_argument("--settings", default=settings_file.PATH, help="the host's backup settings")
    parser.add_argument("--state-dir", default="/var/lib/quaylock", help="the journal, locks and copies")
    parser.add_argument("--config-dir", default="/etc/quaylock", help="where stacks are")
    parser.add_argument("--docker-host", default="", help="the engine, where it is not the usual one")
    parser.add_argument("--spread", default="0", metavar="TIME", help="wait a part of it first, such as 15m")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in {
        "run": "make sets, of all stacks that are due or of those that are named",
        "drill": "restore newest sets beside their stacks, of all that are not proven or of those that are named",
    }.items():
        commands.add_parser(name, help=about).add_argument("stacks", nargs="*", metavar="STACK")
    commands.add_parser("prune", help="remove the sets that retention lets go")
    check = commands.add_parser("check", help="look for damage in the repositories")
    check.add_argument("--share", default=SHARE, help="how much is read: 5%%, 1/7, 2G, 100%%")
    commands.add_parser("copy", help="have all sets in the other repository")
    commands.add_parser("status", help="say how old all of it is, write the metrics, tell what is stale")
    commands.add_parser("stacks", help="list the stacks that declare what is backed up")
    commands.add_parser("mend", help="let go on what a killed backup left holding still")
    commands.add_parser("settings", help="see whether the settings are right, and do nothing")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(words)
    try:
        made = OnHost(settings_in(given.settings), given.state_dir, given.config_dir, given.docker_host)
        spread = seconds(given.spread)
    except Invalid as refused:
        complain(refusal(NAME, refused.findings))
        return 1
    except ValueError as error:
        complain(f"{NAME}: --spread: {error}")
        return 1
    if given.command == "settings":
        return 0
    if docker_api.MISSING and given.command in ("run", "drill", "mend"):
        complain(f"{NAME}: this Python has no docker SDK ({docker_api.MISSING}); {settings_file.BY_ROLE}")
        return 1
    if spread > 0:
        time.sleep(random.uniform(0, spread))  # noqa: S311 - so that not all hosts come at once
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once: whatever is held still has its guardian
    return performed(made, given)


def performed(made: OnHost, given: argparse.Namespace) -> int:
    """The command itself. Nothing that it raises is a traceback in the journal of the host."""
    try:
        if given.command in ("run", "drill"):
            getattr(made, given.command)(given.stacks)
        elif given.command == "check":
            made.check(given.share)
        elif given.command == "stacks":
            made.list_stacks()
        else:
            getattr(made, given.command)()
        if given.command not in ("status", "mend", "stacks"):
            made.look()
    except Invalid as error:
        made.wrong(refusal(NAME, error.findings))
    except Exception as error:
        made.wrong(f"{NAME}: {error if isinstance(error, PortError) else f'{type(error).__name__}: {error}'}")
    return int(made.bad > 0)
