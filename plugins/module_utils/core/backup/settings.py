# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host knows about its backups: where they go, under which password, how often, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..durations import seconds
from ..model import Finding, Invalid
from .repository import ANSWERS_WITHIN, Repository
from .retention import Rule

PATH = "/etc/quaylock/backup/settings.json"
"""written by the role, root's alone; the modules and the host's own timers read it"""
BY_ROLE = "let the role quaylock.stacks.backup write it"
_PLACE = ("repository", "password_file", "environment", "options")
_OF_A_STACK = ("every", "stale_after", "unproven_after", "retention")
_KNOWN = (
    *_PLACE,
    "cache",
    "answers_within",
    "host",
    "restic",
    *_OF_A_STACK,
    "stacks",
    "webhook_file",
    "metrics",
    "offsite",
)
_TEXTS = ("cache", "restic", "webhook_file", "metrics")
SLACK = 0.1
"""share of `every` by which a run may come early: timers are spread, and a run takes its time"""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is expected of a stack's backups, in seconds; 0 for nothing.

    A run makes a set where the last one is older than `every`. One older than `stale_after` is told, and so is it
    where the newest set that a drill has restored is older than `unproven_after`.
    """

    every: float = 0.0
    stale_after: float = 26 * 3600.0
    unproven_after: float = 0.0
    rule: Rule = field(default_factory=Rule)

    def due(self, last: float | None, now: float) -> bool:
        """Whether a run makes a set of it; `last` is when the newest was. A clock that went back makes it due."""
        return last is None or last > now or now - last >= self.every * (1 - SLACK)


@dataclass(frozen=True, slots=True)
class Settings:
    """`host` is what snapshots are of, `restic` the program, `offsite` where whole sets are copied to.

    `webhook_file` holds the URL that is told of failures, as it may have a token in it; `metrics` is a file for
    node-exporter's textfile collector. Either is "" for none.
    """

    repository: Repository
    host: str
    restic: str = "restic"
    schedule: Schedule = field(default_factory=Schedule)
    stacks: Mapping[str, Schedule] = field(default_factory=dict)
    webhook_file: str = ""
    metrics: str = ""
    offsite: Repository | None = None
    offsite_rule: Rule = field(default_factory=Rule)

    @property
    def rule(self) -> Rule:
        return self.schedule.rule

    def of(self, stack: str) -> Schedule:
        return self.stacks.get(stack, self.schedule)


Refuse = Callable[[str, str, str], None]


def read(found: Any, path: str = PATH) -> Settings:
    """Raises Invalid with everything that is wrong with it."""
    wrong: list[Finding] = []
    if not isinstance(found, Mapping):
        raise Invalid((Finding(path, "is not a mapping", BY_ROLE),))

    def refuse(key: str, problem: str, fix: str = "") -> None:
        wrong.append(Finding(f"{path}: {key}", problem, fix))

    _close(found, _KNOWN, "", refuse)
    texts = {key: _text(found, key, "", refuse) for key in ("host", *_TEXTS)}
    if found.get("host", "") == "":
        refuse("host", "is missing", BY_ROLE)
    for key in ("webhook_file", "metrics"):
        if texts[key] and not texts[key].startswith("/"):
            refuse(key, f"{texts[key]!r} is not an absolute path")
    within = _seconds(found, "answers_within", ANSWERS_WITHIN, "", refuse)
    if not within:
        refuse("answers_within", "is 0, and nobody answers that soon", "as 2m")
    repository = _place(found, "", texts["cache"], within, refuse)
    schedule = _schedule(found, Schedule(), "", refuse)
    stacks = {}
    for name, entry in _mapping(found, "stacks", "", refuse).items():
        _close(entry, _OF_A_STACK, f"stacks.{name}", refuse)
        stacks[str(name)] = _schedule(entry, schedule, f"stacks.{name}.", refuse)
    offsite, offsite_rule = None, schedule.rule
    if found.get("offsite"):
        entry = _mapping(found, "offsite", "", refuse)
        _close(entry, (*_PLACE, "retention"), "offsite", refuse)
        offsite = _place(entry, "offsite.", texts["cache"], within, refuse)
        offsite_rule = _rule(entry, schedule.rule, "offsite.", refuse)
        _beside(repository, offsite, refuse)
        if offsite_rule.days and (not schedule.rule.days or offsite_rule.days < schedule.rule.days):
            why = "is shorter than of the repository, so that what was removed would be copied again"
            refuse("offsite.retention.days", why, f"at least {schedule.rule.days:g}; 0 keeps all")
    if wrong:
        raise Invalid(tuple(wrong))
    return Settings(
        repository,
        texts["host"],
        texts["restic"] or "restic",
        schedule,
        stacks,
        texts["webhook_file"],
        texts["metrics"],
        offsite,
        offsite_rule,
    )


def _close(entry: Any, known: tuple[str, ...], path: str, refuse: Refuse) -> None:
    if not isinstance(entry, Mapping):
        refuse(path, "must be a mapping", "")
        return
    for key in sorted(str(k) for k in entry.keys() - set(known)):
        refuse(f"{path}.{key}" if path else key, "is not a known key", f"known: {', '.join(known)}")


def _text(found: Mapping[str, Any], key: str, at: str, refuse: Refuse) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        refuse(f"{at}{key}", "must be text", "")
        return ""
    return value


def _mapping(found: Mapping[str, Any], key: str, at: str, refuse: Refuse) -> Mapping[str, Any]:
    value = found.get(key, {})
    if not isinstance(value, Mapping):
        refuse(f"{at}{key}", "must be a mapping", "")
        return {}
    return value


def _place(found: Mapping[str, Any], at: str, cache: str, within: float, refuse: Refuse) -> Repository:
    texts = {key: _text(found, key, at, refuse) for key in ("repository", "password_file")}
    for key in texts:
        if found.get(key, "") == "":
            refuse(f"{at}{key}", "is missing", BY_ROLE)
    if texts["password_file"] and not texts["password_file"].startswith("/"):
        refuse(f"{at}password_file", f"{texts['password_file']!r} is not an absolute path", "")
    environment, options = found.get("environment", {}), found.get("options", [])
    if not isinstance(environment, Mapping) or not all(isinstance(v, str) for v in environment.values()):
        refuse(f"{at}environment", "must map names to texts", "")
        environment = {}
    if not isinstance(options, list) or not all(isinstance(o, str) and "=" in o for o in options):
        refuse(f"{at}options", "must be a list of KEY=VALUE", "as for restic's -o")
        options = []
    return Repository(texts["repository"], texts["password_file"], dict(environment), tuple(options), cache, within)


def _beside(repository: Repository, offsite: Repository, refuse: Refuse) -> None:
    """One restic reads the one and writes the other, with one environment and one set of options."""
    if offsite.location and offsite.location == repository.location:
        refuse("offsite.repository", "is the repository itself", "name another place")
    if offsite.password_file and offsite.password_file == repository.password_file:
        refuse("offsite.password_file", "is that of the repository", "a password that is lost should not lose both")
    for name in sorted(repository.environment.keys() & offsite.environment.keys()):
        if repository.environment[name] != offsite.environment[name]:
            fix = "restic copies with one environment: name a file that fits both, as with profiles of credentials"
            refuse(f"offsite.environment.{name}", "is another one than the repository's", fix)
    ours = {option.partition("=")[0]: option for option in repository.options}
    for option in offsite.options:
        if ours.get(option.partition("=")[0], option) != option:
            fix = "restic copies with one set of options: for SFTP, write what differs into /etc/ssh/ssh_config.d"
            refuse(f"offsite.options.{option.partition('=')[0]}", "is another one than the repository's", fix)


def _schedule(found: Any, standard: Schedule, at: str, refuse: Refuse) -> Schedule:
    if not isinstance(found, Mapping):
        return standard
    return Schedule(
        _seconds(found, "every", standard.every, at, refuse),
        _seconds(found, "stale_after", standard.stale_after, at, refuse),
        _seconds(found, "unproven_after", standard.unproven_after, at, refuse),
        _rule(found, standard.rule, at, refuse),
    )


def _seconds(found: Mapping[str, Any], key: str, standard: float, at: str, refuse: Refuse) -> float:
    """A number of seconds, or a duration with its unit."""
    value = found.get(key, standard)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        told = float(value)
    else:
        try:
            told = seconds(value)
        except ValueError as error:
            refuse(f"{at}{key}", str(error), "")
            return standard
    if told < 0:
        refuse(f"{at}{key}", f"{value} is below 0", "0 for none")
    return told


def _rule(found: Mapping[str, Any], standard: Rule, at: str, refuse: Refuse) -> Rule:
    entry = _mapping(found, "retention", at, refuse)
    _close(entry, ("days", "least"), f"{at}retention", refuse)
    days, least = entry.get("days", standard.days), entry.get("least", standard.least)
    if isinstance(days, bool) or not isinstance(days, (int, float)) or days < 0:
        refuse(f"{at}retention.days", f"{days!r} is no number of days", "0 keeps all sets")
        days = standard.days
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        refuse(f"{at}retention.least", f"{least!r} is no number of sets", "at least 1")
        least = standard.least
    return Rule(float(days), least)
