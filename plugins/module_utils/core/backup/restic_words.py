# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""restic's language, 0.14 and newer: the words of each call, and what its answers and its complaints mean."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .repository import Key, Lock, Repository, Snapshot

OLDEST = (0, 14)
WHOLE = 64
"""characters of a whole id"""
PARTIAL = 3
"""the exit code for a snapshot that was made although something could not be read"""
STALE = 1800.0
"""seconds after which restic takes any lock for abandoned; the living renew theirs every 5 minutes"""


class Cause(str, Enum):
    """Why restic refused, as far as its words tell."""

    PASSWORD = "the password is wrong"  # noqa: S105
    PASSWORD_FILE = "the password file cannot be read"  # noqa: S105
    NO_REPOSITORY = "there is no repository"
    THERE_ALREADY = "there is a repository already"
    LOCKED = "the repository is locked"
    FULL = "there is no space left"
    READ_ONLY = "the repository cannot be written to"
    NO_SNAPSHOT = "there is no such snapshot"
    NO_PATH = "the snapshot does not hold it"
    DAMAGED = "the repository is damaged"
    UNREACHABLE = "the repository does not answer"
    KEPT_OUT = "the server does not let us in"
    UNREADABLE = "something could not be read"
    INTERRUPTED = "it was interrupted"
    UNKNOWN = "it failed"


SIGNS: tuple[tuple[Cause, str], ...] = (
    # the first that is found counts: a full disk also damages, a missing repository also cannot be read
    (Cause.FULL, r"no space left on device|disk quota exceeded|file too large"),
    (Cause.READ_ONLY, r"read-only file system|repository is read-only"),
    (Cause.LOCKED, r"repository is already locked"),
    (Cause.PASSWORD_FILE, r"resolving password failed|an empty password is not|open password file"),
    (Cause.PASSWORD, r"wrong password or no key found"),
    (Cause.THERE_ALREADY, r"config file already exists|config already initialized"),
    # restic asks whether there is a repository whatever kept it from looking
    (
        Cause.KEPT_OUT,
        r"access key id you provided|request signature we calculated|permission denied \(publickey"
        r"|(?:stat|bucketexists): access denied",
    ),
    (
        Cause.UNREACHABLE,
        r"connection refused|connection timed out|connection lost|ssh command exited|no such host|no route to host"
        r"|i/o timeout|host key verification|unable to start the sftp|name or service not known|name resolution",
    ),
    (Cause.NO_REPOSITORY, r"is there a repository at the following location|repository does not exist"),
    (Cause.NO_SNAPSHOT, r"no matching id found|no snapshot found|invalid id |failed to find snapshot"),
    (Cause.NO_PATH, r"not found in snapshot"),
    (
        Cause.DAMAGED,
        r"ciphertext verification failed|does not match id|repository contains errors|not found in (?:the )?index"
        r"|pack .* does not exist|invalid data returned|hash mismatch|invalid repository"
        r"|<(?:data|index|snapshot)/\w+>.*no such file"
        r"|content hash|not found in repository|error loading (?:blob|tree)|failed to load (?:blob|tree)",
    ),
    (Cause.READ_ONLY, r"permission denied|operation not permitted|access denied"),
)

NEVER_HEALS = re.compile(
    r"retrying after .*(?:no space left|quota exceeded|file too large|read-only file|no such file|permission denied)",
    re.IGNORECASE,
)
"""restic tries for a quarter of an hour what only a person can mend"""


TRACE = re.compile(r"\t.*\.go:\d+|(?:main|runtime|net|os|(?:github\.com|golang\.org)/\S+)\.[\w.()*]+")


def is_trace(line: str) -> bool:
    """A line of the stack that restic prints below some of its complaints, and that would push them out of sight."""
    return TRACE.fullmatch(line.rstrip()) is not None


def hopeless(line: str) -> bool:
    """Whether restic says that it tries again what will not go better."""
    return NEVER_HEALS.search(line) is not None


# -- the calls ------------------------------------------------------------------


def environment(repository: Repository, path: str, home: str) -> dict[str, str]:
    """All that restic gets to know of ours. The location is here, for one of a REST server may hold a password."""
    own = {"RESTIC_REPOSITORY": repository.location, "RESTIC_PASSWORD_FILE": repository.password_file}
    # once a second: when its listener has died, restic dies of its next word
    return {"PATH": path, "HOME": home, "LANG": "C", "RESTIC_PROGRESS_FPS": "1", **own, **repository.environment}


def common(repository: Repository) -> list[str]:
    cache = [f"--cache-dir={repository.cache}"] if repository.cache else []
    return [*cache, *(word for option in repository.options for word in ("-o", option))]


def backup(host: str, tags: Iterable[str]) -> list[str]:
    return ["backup", "--json", f"--host={host}", *(f"--tag={tag}" for tag in sorted(tags))]


def of_stdin(name: str) -> list[str]:
    return ["--stdin", f"--stdin-filename={name}"]


def of_tree(folder: str, exclude: Iterable[str], parent: str = "") -> list[str]:
    patterns = [f"--exclude={anchored(folder, pattern)}" for pattern in exclude]
    return [*patterns, *([f"--parent={parent}"] if parent else []), "--", folder]


def anchored(folder: str, pattern: str) -> str:
    """A pattern that begins with "/" starts at the tree, as whoever writes it knows no path of a volume."""
    if not pattern.startswith("/") or pattern == folder or pattern.startswith(folder + "/"):
        return pattern
    return literal(folder) + pattern


def literal(path: str) -> str:
    """A pattern that means this path only."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", path)


def copying(source: Repository) -> dict[str, str]:
    """What restic is told of the repository that it copies from; `settings` sees to it that the rest fits both."""
    from_ = {"RESTIC_FROM_REPOSITORY": source.location, "RESTIC_FROM_PASSWORD_FILE": source.password_file}
    return {**from_, **source.environment}


def snapshots(tags: Iterable[str] = ()) -> list[str]:
    wanted = ",".join(sorted(tags))
    return ["snapshots", "--json", *([f"--tag={wanted}"] if wanted else [])]


def by_hand(repository: Repository, *words: str) -> str:
    """The same for a person's shell; a password in the location is not shown."""
    location = ["-r", hidden(repository.location, {}), "-p", repository.password_file]
    return shlex.join(["restic", *location, *common(repository), *words])


def flaw_of_tag(tag: str) -> str:
    return f"a tag is one word without a comma: {tag!r}" if not tag or "," in tag or tag != tag.strip() else ""


# -- the answers ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a backup. `id` has 8 characters before restic 0.15, and 64 since."""

    id: str
    size: int
    files: int


def version(text: str) -> tuple[int, ...]:
    """() where this is not restic speaking."""
    found = re.match(r"restic (\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(number) for number in found.groups() if number is not None) if found else ()


def is_progress(line: str) -> bool:
    return line.startswith('{"message_type":"status"')


def summary(lines: Iterable[str]) -> Summary | None:
    for line in lines:
        entry = _object(line)
        if entry.get("message_type") == "summary":
            size, files = entry.get("total_bytes_processed", 0), entry.get("total_files_processed", 0)
            return Summary(str(entry.get("snapshot_id", "")), int(size), int(files))
    return None


def listed(text: str) -> list[Snapshot]:
    """Raises ValueError where it is no list of snapshots."""
    entries = json.loads(text) or []
    try:
        return [
            Snapshot(
                id=entry["id"],
                at=epoch(entry["time"]),
                tags=frozenset(entry.get("tags") or ()),
                paths=tuple(entry.get("paths") or ()),
                host=entry.get("hostname", ""),
                original=entry.get("original") or "",
            )
            for entry in entries
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of snapshots: {error}") from error


def keys(text: str) -> list[Key]:
    """Raises ValueError where it is no list of keys."""
    try:
        return [Key(str(k["id"]), str(k.get("hostName", "")), str(k.get("userName", ""))) for k in json.loads(text)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of keys: {error}") from error


def lock(id: str, text: str) -> Lock:  # noqa: A002
    """Raises ValueError where it is no lock."""
    entry = _object(text)
    if "pid" not in entry or "time" not in entry:
        raise ValueError(f"no lock: {text[:80]!r}")
    host, who = str(entry.get("hostname", "")), str(entry.get("username", ""))
    return Lock(id, host, int(entry["pid"]), epoch(entry["time"]), bool(entry.get("exclusive")), who)


TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(?:Z|([+-])(\d\d):(\d\d))")


def epoch(text: str) -> float:
    """Seconds since the epoch of a time with up to nine decimals (RFC 3339). Raises ValueError."""
    found = TIME.fullmatch(text)
    if not found:
        raise ValueError(f"no time: {text!r}")
    year, month, day, hour, minute, second = (int(found[n]) for n in range(1, 7))
    # a year begins in March, so that the day of the leap year is its last; 719468 days lie between 0000-03-01 and 1970
    moved, shifted = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = moved * 365 + moved // 4 - moved // 100 + moved // 400 + (153 * shifted + 2) // 5 + day - 1 - 719468
    east = (int(found[9]) * 60 + int(found[10])) * 60 * (-1 if found[8] == "-" else 1) if found[8] else 0
    return days * 86400 + hour * 3600 + minute * 60 + second - east + float(found[7] or 0)


# -- the complaints -------------------------------------------------------------


def unreadable(lines: Iterable[str]) -> list[str]:
    """The files that a backup could not read, with the reason each."""
    found = []
    for line in lines:
        entry = _object(line)
        if entry.get("message_type") == "error" and entry.get("item"):
            found.append(f"{entry['item']}: {_reason(entry.get('error'), str(entry['item']))}")
    return found


ERRNO = {
    2: "no such file",
    5: "input/output error",
    13: "permission denied",
    22: "invalid argument",
    104: "connection reset",
    116: "stale file handle",
}
"""Linux's numbers, which the core cannot ask for"""


def _reason(error: object, item: str) -> str:
    """restic 0.14 writes Go's own structure, a number of Linux in it; newer ones write a sentence."""
    if not isinstance(error, Mapping):
        return "unreadable"
    if message := error.get("message"):
        return str(message).replace(f" {item}:", ":")
    number = error.get("Err")
    asked = str(error.get("Op") or "read")
    return f"{asked}: {ERRNO.get(number, f'error {number}')}" if isinstance(number, int) else f"{asked} failed"


def plain(lines: Iterable[str]) -> list[str]:
    """Complaints as text, without JSON, colours and empty lines."""
    found: list[str] = []
    for line in lines:
        entry = _object(line)
        text = str(entry.get("message") or "") if entry.get("message_type") == "exit_error" else line
        if entry.get("message_type") == "error":
            text = (unreadable([line]) or [_reason(entry.get("error"), "")])[0]
        # the end of a progress line is drawn over, and not part of the words
        clean = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
        found += [part.strip().removeprefix("Fatal: ") for part in clean.splitlines() if part.strip()]
    return found


def cause(lines: Iterable[str]) -> Cause:
    text = "\n".join(plain(lines))
    for found, signs in SIGNS:
        if re.search(signs, text, re.IGNORECASE):
            return found
    return Cause.INTERRUPTED if "signal interrupt received" in text else Cause.UNKNOWN


SAYS_NOTHING = ("storage ID", "the `unlock` command", "Is there a repository", "signal interrupt")
LOCKED_BY = re.compile(r"already locked(?P<exclusive> exclusively)? by PID (?P<pid>\d+) on (?P<host>\S+)(?: by (\S+))?")
LOCKED_SINCE = re.compile(r"lock was created at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")


def explained(why: Cause, lines: Sequence[str], repository: Repository) -> str:
    """One sentence of what is wrong, and the next command. `lines` are restic's last words."""
    where = hidden(repository.location, repository.environment)
    if why is Cause.LOCKED:
        return f"{where} is locked{_holder(lines)}; {_after_lock(repository)}"
    next_ = {
        Cause.PASSWORD: f"{repository.password_file} does not open {where}: its password is another; "
        "next: put the password that the repository was made with into that file",
        Cause.PASSWORD_FILE: f"the password file {repository.password_file} cannot be read; "
        f"next: write it, for root only: install -m 600 /dev/stdin {shlex.quote(repository.password_file)}",
        Cause.NO_REPOSITORY: f"there is no repository at {where}; next: mount it if it should be there, "
        f"or make one: {by_hand(repository, 'init')}",
        Cause.THERE_ALREADY: f"there is a repository at {where} already",
        Cause.FULL: f"there is no space left at {where}; next: make room, or drop what retention no longer keeps: "
        f"{by_hand(repository, 'prune', '--max-repack-size=0')}",
        Cause.READ_ONLY: f"{where} cannot be written to; next: look at its mount and its owner",
        Cause.NO_SNAPSHOT: f"{where} has no such snapshot; next: see what it has: {by_hand(repository, 'snapshots')}",
        Cause.NO_PATH: "the snapshot does not hold that path",
        Cause.DAMAGED: f"what lies at {where} is damaged; next: see how much of it: "
        f"{by_hand(repository, 'check', '--read-data')}",
        Cause.UNREACHABLE: f"{where} does not answer; next: try it by hand: {by_hand(repository, 'cat', 'config')}",
        Cause.KEPT_OUT: f"the server does not let us in to {where}; next: mend the key that the backup settings name "
        "(S3: AWS_SHARED_CREDENTIALS_FILE in environment; SFTP: sftp.command in options)",
        Cause.INTERRUPTED: "restic was interrupted",
    }.get(why, "")
    said = last_words(lines, repository)
    return next_ + (f" (restic: {said})" if next_ and said else said)


def silent(repository: Repository, seconds: float) -> str:
    """The same sentence for one that says nothing at all."""
    where = hidden(repository.location, repository.environment)
    by_hand_ = by_hand(repository, "cat", "config")
    return f"{where} does not answer, and was waited for for {seconds:g} s; next: try it by hand: {by_hand_}"


def locked_by(lock: Lock, since: str, repository: Repository) -> str:
    """The same sentence for a lock that was read; `since` is its time for people."""
    how = "exclusively " if lock.exclusive else ""
    who = f" by {lock.who}" if lock.who else ""
    where = hidden(repository.location, repository.environment)
    return f"{where} is locked {how}by process {lock.pid} on {lock.host}{who} since {since}; {_after_lock(repository)}"


def _after_lock(repository: Repository) -> str:
    return f"next: wait for its end, or, where it has died: {by_hand(repository, 'unlock')}"


def _holder(lines: Iterable[str]) -> str:
    text = "\n".join(plain(lines))
    by, since = LOCKED_BY.search(text), LOCKED_SINCE.search(text)
    if not by:
        return ""
    who = f" by {by[4]}" if by[4] else ""
    said = f"{by['exclusive'] or ''} by process {by['pid']} on {by['host']}{who}"
    return said + (f" since {since[1]}" if since else "")


def last_words(lines: Iterable[str], repository: Repository, most: int = 3) -> str:
    """The last lines that say something, with no secret in them."""
    said = [line for line in plain(lines) if not line.startswith(SAYS_NOTHING) and line != repository.location]
    return hidden(" | ".join(said[-most:]), repository.environment)


def hidden(text: str, environment: Mapping[str, str]) -> str:
    """Without the user and password of a URL, and without what the backend's environment holds but paths."""
    for value in sorted(environment.values(), key=len, reverse=True):
        if len(value) > 3 and not value.startswith("/"):
            text = text.replace(value, "***")
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", text)


def _object(line: str) -> dict[str, Any]:
    """{} for what is no JSON object."""
    if not line.lstrip().startswith("{"):
        return {}
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
