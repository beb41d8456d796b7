# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack declares to be backed up, who holds still for it, and what is refused."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.items import (
    NO_BACKUP,
    BackupPlan,
    BucketItem,
    ImageItem,
    Item,
    PathItem,
    PostgresItem,
    Quiet,
    SqliteItem,
    VolumeItem,
    Writer,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid

STACK = """
services:
  api: {image: api, healthcheck: &check {test: [CMD, "true"]}, depends_on: [db, minio], volumes: ["uploads:/u"]}
  reader: {image: reader, healthcheck: *check, volumes: ["uploads:/u:ro", "./results:/r"]}
  db: {image: postgres, healthcheck: *check, volumes: ["pgdata:/var/lib/postgresql/data"]}
  minio: {image: minio, healthcheck: *check}
  migrate: {image: api, restart: "no", depends_on: [db], x-quaylock: {one_shot: true}}
volumes: {uploads: , pgdata: , spare: }
secrets: {key: , word: }
"""
CONTEXT = Context("/srv/shop", "/etc/quaylock/stacks/shop", {"key": "f1", "word": "f2"})


def test_keys_of_a_bucket_are_files_for_root_unless_a_service_mounts_them() -> None:
    model = yaml.safe_load(STACK)
    model["services"]["minio"]["secrets"] = ["word"]
    assert {f.key for f in read("shop", model, CONTEXT).files} == {"word"}
    model["x-quaylock"] = {"backup": {"items": {"lake": yaml.safe_load(LAKE)}}}
    made = read("shop", model, CONTEXT)
    assert {f.key: (f.mode, f.host_path) for f in made.files} == {
        "key": (0o400, "/etc/quaylock/stacks/shop/secrets/key-f1"),
        "word": (0o444, "/etc/quaylock/stacks/shop/secrets/word-f2"),
    }
    assert set(made.rendered["secrets"]) == {"key", "word"}


def test_keys_of_a_bucket_need_contents() -> None:
    model = yaml.safe_load(STACK)
    model["x-quaylock"] = {"backup": {"items": {"lake": yaml.safe_load(LAKE)}}}
    with pytest.raises(Invalid) as refused:
        read("shop", model, Context("/srv/shop", "/etc/quaylock/stacks/shop", {"key": "f1"}))
    assert [str(f) for f in refused.value.findings] == ["secrets.word: has no content (set stack_secrets.word)"]


def plan(backup: str) -> BackupPlan:
    model = yaml.safe_load(STACK)
    model["x-quaylock"] = {"backup": yaml.safe_load(backup)}
    return read("shop", model, CONTEXT).backup


@pytest.mark.parametrize(
    ("declared", "item"),
    [
        ("{type: postgres, service: db}", PostgresItem("it", "db")),
        ("{type: postgres, service: db, databases: shop, user: admin}", PostgresItem("it", "db", ("shop",), "admin")),
        ("{type: sqlite, volume: uploads, path: /jobs.db}", SqliteItem("it", "jobs.db", "uploads")),
        ("{type: sqlite, path: ./jobs.db}", SqliteItem("it", "/srv/shop/jobs.db")),
        ("{type: volume, volume: uploads, exclude: [tmp], every: 7d}", VolumeItem("it", "uploads", ("tmp",), 604800.0)),
        ("{type: path, path: ./results}", PathItem("it", "/srv/shop/results")),
        ("{type: image, services: [api]}", ImageItem("it", ("api",))),
        ("{type: image}", ImageItem("it", ("api", "reader", "db", "minio", "migrate"))),
        (
            "{type: bucket, bucket: lake, service: minio, port: 9000, access_key: key, secret_key: word}",
            BucketItem("it", "lake", "", "minio", 9000, "us-east-1", "key", "word"),
        ),
        (
            "{type: bucket, bucket: lake, endpoint: 'https://s3.example.org/', access_key: key, secret_key: word,"
            " region: eu-1, prefix: a/}",
            BucketItem("it", "lake", "https://s3.example.org", "", 0, "eu-1", "key", "word", "a/"),
        ),
    ],
)
def test_an_item_is_read(declared: str, item: Item) -> None:
    assert plan(f"items: {{it: {declared}}}").item("it") == item


DB, UPLOADS, RESULTS = (
    "{type: postgres, service: db}",
    "{type: volume, volume: uploads}",
    "{type: path, path: ./results}",
)
LAKE = "{type: bucket, bucket: lake, service: minio, port: 9000, access_key: key, secret_key: word}"


@pytest.mark.parametrize(
    ("items", "writers"),
    [
        # a database alone is consistent by itself, and so is a bucket's listing
        (f"db: {DB}", ""),
        (f"lake: {LAKE}", ""),
        (f"db: {DB}, images: {{type: image}}", ""),
        # two of them are not, for who writes to both
        (f"db: {DB}, lake: {LAKE}", "api"),
        # files are written by whoever mounts them, but not by who only reads
        (f"files: {UPLOADS}", "api"),
        (f"files: {RESULTS}", "reader"),
        ("files: {type: path, path: /srv/shop}", "reader"),
        ("files: {type: path, path: /srv/shopping}", ""),
        (f"db: {DB}, files: {RESULTS}", "api reader"),
        (f"db: {DB}, jobs: {{type: sqlite, volume: uploads, path: jobs.db}}", "api"),
    ],
)
def test_who_writes_holds_still(items: str, writers: str) -> None:
    assert plan(f"items: {{{items}}}").writers == tuple(Writer(name) for name in writers.split())


@pytest.mark.parametrize(
    ("quiesce", "writers"),
    [
        ("[]", ()),
        ("[reader, api]", (Writer("reader"), Writer("api"))),
        ("{api: stop}", (Writer("api", Quiet.STOP),)),
        ("{db: {hold: [a, b], go_on: [c]}}", (Writer("db", Quiet.COMMANDS, ("a", "b"), ("c",)),)),
    ],
)
def test_who_holds_still_can_be_said(quiesce: str, writers: tuple[Writer, ...]) -> None:
    assert plan(f"{{items: {{db: {DB}, files: {UPLOADS}}}, quiesce: {quiesce}}}").writers == writers


def test_no_declaration_is_no_backup() -> None:
    assert read("shop", yaml.safe_load(STACK), CONTEXT).backup == NO_BACKUP
    assert plan(f"{{items: {{db: {DB}}}, longest: 5s}}") == BackupPlan((PostgresItem("db", "db"),), longest=5.0)


@pytest.mark.parametrize(
    ("backup", "refused"),
    [
        ("{}", ["x-quaylock.backup: declares no items"]),
        ("{item: {}}", ["x-quaylock.backup.item: is not a known key (did you mean items?)", "x-quaylock.backup: declares no items"]),
        ("{items: {config: {type: image}}}", ["x-quaylock.backup.items.config: is an item of every set by itself"]),
        ("{items: {A: {type: image}}}", ["x-quaylock.backup.items.A: 'A' is not an item's name"]),
        ("{items: {a: {}}}", ["x-quaylock.backup.items.a: has no type (one of postgres, sqlite, volume, path, bucket, image)"]),
        ("{items: {a: {type: postgre}}}", ["x-quaylock.backup.items.a.type: 'postgre' is not one of"]),
        ("{items: {a: {type: postgres}}}", ["x-quaylock.backup.items.a: names no service (there are: api, db"]),
        ("{items: {a: {type: postgres, service: dbb}}}", ["items.a.service: there is no active service 'dbb'"]),
        ("{items: {a: {type: postgres, service: migrate}}}", ["items.a.service: migrate is a one-shot and ends"]),
        ("{items: {a: {type: postgres, service: db, databases: []}}}", ["items.a.databases: is empty"]),
        ("{items: {a: {type: postgres, service: db, pasword: x}}}", ["items.a.pasword: is not a known key"]),
        ("{items: {a: {type: sqlite}}}", ["items.a: has no path (name the database file)"]),
        ("{items: {a: {type: sqlite, volume: uploads, path: ../x}}}", ["items.a.path: '../x' leaves the volume"]),
        ("{items: {a: {type: volume}}}", ["items.a: names no volume (one of pgdata, spare, uploads)"]),
        ("{items: {a: {type: volume, volume: upload}}}", ["items.a.volume: volume 'upload' is not declared"]),
        ("{items: {a: {type: volume, volume: spare}}}", ["items.a.volume: no active service mounts spare"]),
        (
            f"{{items: {{a: {{type: volume, volume: pgdata}}, b: {DB}}}}}",
            ["items.a.volume: pgdata is written by db at any time, and the item b is its backup (drop this one)"],
        ),
        ("{items: {a: {type: path, path: /}}}", ["items.a.path: is the whole host"]),
        ("{items: {a: {type: path}}}", ["items.a: has no path"]),
        ("{items: {a: {type: path, path: /x, every: 7}}}", ["items.a.every: '7' is not a duration"]),
        ("{items: {a: {type: image, services: [web]}}}", ["items.a.services: there is no service 'web'"]),
        (
            "{items: {a: {type: bucket}}}",
            ["items.a: needs one place", "items.a: has no bucket", "items.a: has no access_key", "items.a: has no secret_key"],
        ),
        (
            "{items: {a: {type: bucket, bucket: b, endpoint: s3, access_key: key, secret_key: hunter2}}}",
            ["items.a.endpoint: 's3' is not an address", "items.a.secret_key: secret 'hunter2' is not declared"],
        ),
        (
            "{items: {a: {type: bucket, bucket: b, service: minio, access_key: key, secret_key: word}}}",
            ["items.a: has no port (name the one that minio listens on)"],
        ),
        (
            "{items: {a: {type: bucket, bucket: b, endpoint: 'http://s3', port: 9, access_key: key, secret_key: word}}}",
            ["items.a.port: belongs to a service"],
        ),
        (f"{{items: {{a: {DB}}}, quiesce: [web, migrate]}}", ["quiesce[0]: there is no active service 'web'", "quiesce[1]: migrate is a one-shot"]),
        (f"{{items: {{a: {DB}}}, quiesce: {{db: pause}}}}", ["quiesce.db: db has to answer for the item a"]),
        (f"{{items: {{a: {LAKE}}}, quiesce: {{minio: pause}}}}", ["quiesce.minio: minio has to answer for the item a"]),
        (f"{{items: {{a: {DB}}}, quiesce: {{api: freeze}}}}", ["quiesce.api: 'freeze' is not one of pause, stop"]),
        (f"{{items: {{a: {DB}}}, quiesce: {{api: {{hold: [x]}}}}}}", ["quiesce.api: needs both commands"]),
        (f"{{items: {{a: {DB}}}, longest: 0s}}", ["longest: 0s is too short"]),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(backup: str, refused: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        plan(backup)
    findings = [str(f) for f in caught.value.findings]
    assert len(findings) == len(refused), findings
    for wanted, finding in zip(refused, findings, strict=True):
        assert wanted in finding
