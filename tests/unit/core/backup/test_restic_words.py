# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What restic 0.14 and 0.18 were heard to say, and what we make of it."""

from __future__ import annotations

import json

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup import restic_words as words
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.repository import Lock, Repository, Snapshot
from ansible_collections.quaylock.stacks.plugins.module_utils.core.backup.restic_words import Cause

HERE = Repository("/srv/backup", "/etc/q/pw")
ID = "cc4707805c76ce52d738831a8d43c8804c7c911901e854edf6c09c09fef8ddf3"

LOCKED = """unable to create lock in backend: repository is already locked exclusively by PID 14909 on vm by root (UID 0, GID 0)
lock was created at 2026-11-21 23:34:43 (876.311956ms ago)
storage ID 7423be12
the `unlock` command can be used to remove stale locks
"""
ASKS = "Is there a repository at the following location?\n/srv/backup"
MISSING = f"unable to open config file: stat /srv/backup/config: no such file or directory\n{ASKS}"


def as_json(code: int, message: str) -> str:
    """As restic 0.17 and newer say it under --json."""
    return json.dumps({"message_type": "exit_error", "code": code, "message": message})


CAUSES = [
    # what was said, what it is, what a person reads of it
    ("Fatal: wrong password or no key found", Cause.PASSWORD, "/etc/q/pw does not open /srv/backup"),
    (as_json(12, "Fatal: wrong password or no key found"), Cause.PASSWORD, "its password is another"),
    ("Fatal: " + MISSING, Cause.NO_REPOSITORY, "make one: restic -r /srv/backup -p /etc/q/pw init"),
    (as_json(10, "Fatal: repository does not exist: " + MISSING), Cause.NO_REPOSITORY, "no repository at /srv/backup"),
    ("Resolving password failed: Fatal: /etc/q/pw does not exist", Cause.PASSWORD_FILE, "install -m 600 /dev/stdin"),
    (LOCKED, Cause.LOCKED, "is locked exclusively by process 14909 on vm by root since 2026-11-21 23:34:43; next: wait"),
    (as_json(11, LOCKED), Cause.LOCKED, "where it has died: restic -r /srv/backup -p /etc/q/pw unlock"),
    (LOCKED.replace(" exclusively", ""), Cause.LOCKED, "is locked by process 14909 on vm"),
    ("Save(<data/1f>) returned error, retrying after 552ms: write: no space left on device", Cause.FULL, "make room"),
    ("unable to create lock in backend: open /srv/backup/locks/1: read-only file system", Cause.READ_ONLY, "its mount"),
    ('Fatal: create key in repository failed: mkdir: permission denied', Cause.READ_ONLY, "its owner"),
    ('invalid id "deadbeef": no matching ID found for prefix "deadbeef"', Cause.NO_SNAPSHOT, "pw snapshots"),
    ('Fatal: failed to find snapshot: no matching ID found for prefix "0b"', Cause.NO_SNAPSHOT, "no such snapshot"),
    ('Fatal: cannot dump file: path "/x" not found in snapshot', Cause.NO_PATH, "does not hold that path"),
    ("Fatal: repository contains errors", Cause.DAMAGED, "check --read-data"),
    ("Load(<data/8a7c>, 0, 0) failed: open /srv/backup/data/8a/8a7c: no such file or directory", Cause.DAMAGED, "damaged"),
    ("ciphertext verification failed", Cause.DAMAGED, "is damaged"),
    ("Fatal: unable to open repository: dial tcp: connect: connection refused", Cause.UNREACHABLE, "does not answer"),
    ("Fatal: unable to open config file: Stat: Get http://m:9/r: dial tcp: connect: connection refused\n" + ASKS, Cause.UNREACHABLE, "does not answer"),
    ("subprocess ssh: client_loop: send disconnect: Broken pipe\nFatal: unable to save: ssh command exited: exit status 255", Cause.UNREACHABLE, "255"),
    ("Fatal: unable to open config file: Stat: The request signature we calculated does not match\n" + ASKS, Cause.KEPT_OUT, "mend the key"),
    ("Fatal: unable to open config file: Stat: The Access Key Id you provided does not exist in our records.\n" + ASKS, Cause.KEPT_OUT, "not let us in"),
    ("Fatal: create repository failed: client.BucketExists: Access Denied.", Cause.KEPT_OUT, "AWS_SHARED_CREDENTIALS_FILE"),
    ("subprocess ssh: root@h: Permission denied (publickey).\nFatal: unable to start the sftp session, error: EOF", Cause.KEPT_OUT, "sftp.command"),
    ("Fatal: unable to open config file: Stat: The specified bucket does not exist\n" + ASKS, Cause.NO_REPOSITORY, "make one"),
    ("create repository failed: config file already exists", Cause.THERE_ALREADY, "already"),
    ("\x1b[2Ksignal interrupt received, cleaning up", Cause.INTERRUPTED, "was interrupted"),
    ("Fatal: the moon is full", Cause.UNKNOWN, "the moon is full"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "why", "read"), CAUSES)
def test_a_complaint_is_understood(said: str, why: Cause, read: str) -> None:
    lines = said.splitlines()
    assert words.cause(lines) is why
    assert read in words.explained(why, lines, HERE)


def test_the_holder_of_a_lock_is_named_with_its_age_and_the_next_command() -> None:
    lock = Lock(ID, "q1", 77, 0.0, True, "root")
    said = words.locked_by(lock, "2026-11-21 23:34:43 UTC", HERE)
    assert said.startswith(
        "/srv/backup is locked exclusively by process 77 on q1 by root since 2026-11-21 23:34:43 UTC"
    )
    assert said.endswith("restic -r /srv/backup -p /etc/q/pw unlock")


SECRET = Repository(
    "rest:https://ops:hunter22@vault:8000/q",
    "/etc/q/pw",
    {"AWS_SECRET_ACCESS_KEY": "wJalrXUtn", "AWS_CONFIG_FILE": "/a"},
)


@pytest.mark.parametrize("why", Cause)
def test_no_secret_gets_into_a_complaint(why: Cause) -> None:
    lines = ["Fatal: https://ops:hunter22@vault:8000/q said 401 to wJalrXUtn", "again: /a"]
    said = words.explained(why, lines, SECRET)
    assert "hunter22" not in said
    assert "wJalrXUtn" not in said


def test_no_secret_gets_into_arguments() -> None:
    calls = [
        words.common(SECRET),
        words.backup("q1", {"a"}),
        words.of_stdin("/d"),
        words.of_tree("/srv", ()),
        words.snapshots(),
    ]
    assert "hunter22" not in str(calls)
    assert "hunter22" not in words.by_hand(SECRET, "check")


def test_restic_gets_to_know_what_it_needs_and_no_more() -> None:
    found = words.environment(SECRET, "/usr/bin", "/root")
    assert found == {
        "PATH": "/usr/bin",
        "HOME": "/root",
        "LANG": "C",
        "RESTIC_PROGRESS_FPS": "1",
        "RESTIC_REPOSITORY": SECRET.location,
        "RESTIC_PASSWORD_FILE": "/etc/q/pw",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtn",
        "AWS_CONFIG_FILE": "/a",
    }


def test_the_words_of_a_backup() -> None:
    repository = Repository("/r", "/p", options=("sftp.command=ssh -p 2222 q@h -s sftp",), cache="/var/cache/q")
    assert words.common(repository) == ["--cache-dir=/var/cache/q", "-o", "sftp.command=ssh -p 2222 q@h -s sftp"]
    assert words.backup("q1", {"b", "a"}) == ["backup", "--json", "--host=q1", "--tag=a", "--tag=b"]
    assert words.of_tree("-odd", ("*.tmp",), ID) == ["--exclude=*.tmp", f"--parent={ID}", "--", "-odd"]
    assert words.snapshots({"b", "a"}) == ["snapshots", "--json", "--tag=a,b"]


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("*.tmp", "*.tmp"),
        ("cache/*", "cache/*"),
        ("/cache", "/srv/\\[v\\]/cache"),
        ("/srv/[v]/cache", "/srv/[v]/cache"),
        ("/srv", "/srv/\\[v\\]/srv"),
    ],
)
def test_an_exclusion_begins_at_the_tree(pattern: str, asked: str) -> None:
    assert words.anchored("/srv/[v]", pattern) == asked


@pytest.mark.parametrize(("tag", "fine"), [("set=s-1", True), ("a,b", False), ("", False), (" a", False), ("ü", True)])
def test_a_tag_that_restic_would_take_apart_is_refused(tag: str, fine: bool) -> None:
    assert (words.flaw_of_tag(tag) == "") is fine


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("restic 0.14.0 compiled with go1.19.8 on linux/amd64", (0, 14, 0)),
        ("restic 0.18 (v0.18-dirty) compiled manually", (0, 18)),
        ("rest-server 0.14", ()),
        ("", ()),
    ],
)
def test_the_version(text: str, found: tuple[int, ...]) -> None:
    assert words.version(text) == found


def test_the_summary_is_found_among_the_lines() -> None:
    status = '{"message_type":"status","percent_done":0,"total_files":1}'
    end = '{"message_type":"summary","files_new":1,"total_files_processed":1,"total_bytes_processed":3000000,"snapshot_id":"cc470780"}'
    assert words.is_progress(status)
    assert words.summary(["no json", "{broken", status, end]) == words.Summary("cc470780", 3000000, 1)
    assert words.summary([status]) is None


def test_a_copy_tells_the_id_that_it_was_made_with() -> None:
    entry = {"id": ID, "time": "2026-01-01T00:00:00Z", "original": "ab" * 32}
    assert [(s.id, s.original) for s in words.listed(json.dumps([entry]))] == [(ID, "ab" * 32)]


def test_the_source_of_a_copy_is_in_no_argument() -> None:
    source = Repository("rest:https://u:hunter2@h/r", "/p", {"AWS_PROFILE": "near"})
    told = {"RESTIC_FROM_REPOSITORY": source.location, "RESTIC_FROM_PASSWORD_FILE": "/p", "AWS_PROFILE": "near"}
    assert words.copying(source) == told


def test_keys_are_read() -> None:
    entry = {"id": "0d77515f", "userName": "quaylock", "hostName": "recovery", "current": False}
    [key] = words.keys(json.dumps([entry]))
    assert (key.id, key.host, key.user) == ("0d77515f", "recovery", "quaylock")
    for broken in ("{}x", "[3]", '[{"userName": "a"}]'):
        with pytest.raises(ValueError, match=r".+"):
            words.keys(broken)


def test_snapshots_are_read() -> None:
    entry = {"time": "2026-11-21T23:24:31.25Z", "paths": ["/d"], "hostname": "q1", "tags": ["a", "b x"], "id": ID}
    bare = {"time": "2026-11-21T23:24:31Z", "id": ID, "tags": None}
    at = 1795303471.0
    assert words.listed(json.dumps([entry, bare])) == [
        Snapshot(ID, at + 0.25, frozenset({"a", "b x"}), ("/d",), "q1"),
        Snapshot(ID, at),
    ]
    assert words.listed("null") == []
    for broken in ("", "[{}]", "[3]", '[{"id": "x", "time": "noon"}]'):
        with pytest.raises(ValueError, match=r".+"):
            words.listed(broken)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T00:00:00.000000001Z", 1e-9),
        ("2000-02-29T12:00:00Z", 951825600.0),
        ("2100-03-01T00:00:00Z", 4107542400.0),
        ("2026-11-21T23:34:43.347723363Z", 1795304083.347723363),
        ("2026-11-22T00:34:43.5+01:00", 1795304083.5),
        ("2026-11-21T18:04:43-05:30", 1795304083.0),
        ("1969-12-31T23:59:59Z", -1.0),
    ],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert words.epoch(text) == pytest.approx(seconds, abs=1e-6)


def test_a_lock_is_read() -> None:
    text = '{\n  "time": "1970-01-01T00:01:00Z",\n  "exclusive": true,\n  "hostname": "vm",\n  "username": "root",\n  "pid": 14909\n}\n'
    assert words.lock(ID, text) == Lock(ID, "vm", 14909, 60.0, True, "root")
    with pytest.raises(ValueError, match="no lock"):
        words.lock(ID, "nothing")


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ('{"message_type":"error","error":{"Op":"read","Path":"/d/x","Err":5},"during":"archival","item":"/d/x"}', "/d/x: read: input/output error"),
        ('{"message_type":"error","error":{"Op":"lstat","Path":"/d/x","Err":2},"during":"archival","item":"/d/x"}', "/d/x: lstat: no such file"),
        ('{"message_type":"error","error":{"Op":"read","Path":"/d/x","Err":{}},"during":"archival","item":"/d/x"}', "/d/x: read failed"),
        ('{"message_type":"error","error":{"message":"lstat /d/x: no such file or directory"},"during":"scan","item":"/d/x"}', "/d/x: lstat: no such file or directory"),
        ('{"message_type":"error","error":3,"item":"/d/x"}', "/d/x: unreadable"),
        ('{"message_type":"status","item":"/d/x"}', ""),
        ("Warning: at least one source file could not be read", ""),
    ],
)  # fmt: skip
def test_files_that_could_not_be_read_are_named(line: str, file: str) -> None:
    assert words.unreadable([line]) == ([file] if file else [])


@pytest.mark.parametrize(
    ("line", "trace"),
    [
        ("main.open", True),
        ("main.glob..func9", True),
        ("\tgithub.com/restic/restic/cmd/restic/global.go:760", True),
        ("github.com/spf13/cobra.(*Command).ExecuteC", True),
        ("runtime.goexit", True),
        ("config file has zero size, invalid repository?", False),
        ("Fatal: main.open", False),
        ("unable to create lock in backend", False),
    ],
)
def test_a_stack_is_no_complaint(line: str, trace: bool) -> None:
    assert words.is_trace(line) is trace


@pytest.mark.parametrize(
    ("line", "never"),
    [
        ("Save(<data/1f>) returned error, retrying after 552.33ms: write /r/data/1f: no space left on device", True),
        (
            "Load(<data/1f>, 0, 0) returned error, retrying after 720ms: open /r/data/1f: no such file or directory",
            True,
        ),
        ("Save(<lock/1f>) returned error, retrying after 1s: open /r/locks/1f: read-only file system", True),
        ("List(data) returned error, retrying after 1s: dial tcp: i/o timeout", False),
        ("no space left on device", False),
    ],
)
def test_trying_again_what_will_not_heal_is_seen(line: str, never: bool) -> None:
    assert words.hopeless(line) is never
