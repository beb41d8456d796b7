# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where an image comes from, what it is called, and what is said when nobody has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images import image_sources as sources
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images.image_sources import Attempt, Pack, reference
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Image, Invalid

DIGEST = "sha256:" + "0123456789abcdef" * 4

REFERENCES = [
    # written, in full, pulled as, floating
    ("postgres", "docker.io/library/postgres:latest", ("postgres", "latest"), True),
    ("postgres:17", "docker.io/library/postgres:17", ("postgres", "17"), False),
    ("postgres:latest", "docker.io/library/postgres:latest", ("postgres", "latest"), True),
    ("docker.io/library/postgres:17", "docker.io/library/postgres:17", ("postgres", "17"), False),
    ("apache/spark:3.5.8", "docker.io/apache/spark:3.5.8", ("apache/spark", "3.5.8"), False),
    ("localhost/app:1", "localhost/app:1", ("localhost/app", "1"), False),
    ("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1", ("127.0.0.1:5000/app", "1"), False),
    ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest", ("ghcr.io/a/b/c", "latest"), True),
    (f"postgres@{DIGEST}", f"docker.io/library/postgres@{DIGEST}", ("postgres", DIGEST), False),
    (f"postgres:17@{DIGEST}", f"docker.io/library/postgres:17@{DIGEST}", ("postgres", DIGEST), False),
]


@pytest.mark.parametrize(("text", "full", "pulled", "floating"), REFERENCES)
def test_a_reference_is_read_as_the_engine_reads_it(
    text: str, full: str, pulled: tuple[str, str], floating: bool
) -> None:
    parsed = reference(text)
    assert sources.full(text) == full
    assert (parsed.name, parsed.version) == pulled
    assert parsed.floating is floating


@pytest.mark.parametrize(
    "text", ["Postgres:17", "postgres:", "postgres:1 7", "postgres@sha256:12", "a//b:1", "", "-a:1"]
)
def test_a_reference_that_no_engine_takes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        reference(text)


@pytest.mark.parametrize(
    ("text", "mirror", "there"),
    [
        ("postgres:17", "127.0.0.1:5000", "127.0.0.1:5000/library/postgres:17"),
        ("apache/spark:3", "mirror.example.org/hub/", "mirror.example.org/hub/apache/spark:3"),
    ],
)
def test_a_mirror_has_the_same_path(text: str, mirror: str, there: str) -> None:
    assert sources.full(text, mirror) == there


DEBIAN = {"ref": "debian:trixie-slim", "args": {"SUITE": "trixie"}, "needs": ["debootstrap"]}
PACKS = {
    "recipe:debian": Pack("d" * 64, script=True, args=("SUITE",), recipe=DEBIAN),
    "recipe:python": Pack("p" * 64, args=("BASE_IMAGE", "KEEP_CA"), recipe={"ref": "python:3.13", "base": "debian"}),
    "recipe:postgres": Pack("b" * 64, args=("BASE_IMAGE",), recipe={"ref": "postgres:17", "base": "debian"}),
    "context:api": Pack("a" * 64, args=("BASE_IMAGE", "APP_VERSION")),
    "context:fixed": Pack("f" * 64),
    "archive:tool": Pack("t" * 64, images=("sha256:1",), refs=("tool:3",)),
}  # fmt: skip


def read(images: dict[str, dict[str, Any]], **more: Any) -> dict[str, sources.Wanted]:
    return sources.read(images, PACKS, **more)


ORDERS = [
    # name                 entry                                                    mirror  what is asked
    ("auto", {"recipe": "postgres"}, "", "registry postgres:17, build"),
    ("auto with mirror", {"recipe": "postgres"}, "m:1", "mirror m:1/library/postgres:17, registry postgres:17, build"),
    ("own reference", {"recipe": "postgres", "ref": "postgres:16"}, "", "registry postgres:16, build"),
    ("registry", {"recipe": "postgres", "source": "registry"}, "", "registry postgres:17"),
    ("no mirror for others", {"ref": "quay.io/a/b:1"}, "m:1", "registry quay.io/a/b:1"),
    ("build", {"recipe": "postgres", "source": "build"}, "m:1", "build"),
    ("archive", {"ref": "tool:3", "archive": "tool.tar", "source": "archive"}, "", "archive tool.tar"),
    ("auto with archive", {"ref": "tool:3", "archive": "tool.tar"}, "", "archive tool.tar, registry tool:3"),
]


@pytest.mark.parametrize(("_name", "entry", "mirror", "asked"), ORDERS)
def test_sources_are_asked_in_this_order(_name: str, entry: dict[str, Any], mirror: str, asked: str) -> None:
    wanted = read({"tool": entry})["tool"]
    tried = sources.attempts(wanted, mirror)
    assert ", ".join(a.source if a.source == "build" else f"{a.source} {a.what}" for a in tried) == asked


def test_bases_come_first_and_only_for_builds() -> None:
    wanted = read({"api": {"context": "app", "base": "python"}, "db": {"ref": "postgres:17", "source": "registry"}})
    assert list(wanted) == ["debian", "python", "api", "db"]
    assert [key for key, entry in wanted.items() if entry.implied] == ["debian", "python"]
    assert sources.bases(["api"], wanted) == ("debian", "python", "api")
    assert wanted["debian"].needs == ("debootstrap",)


@pytest.mark.parametrize(("default", "base"), [("auto", "auto"), ("build", "auto"), ("registry", "registry")])
def test_where_only_registries_are_trusted_a_base_comes_from_one(default: str, base: str) -> None:
    wanted = read({"api": {"context": "app", "base": "python", "source": "build"}}, default=default)
    assert wanted["python"].source == base


REFUSED = [
    # name, entries, path, part of the words
    ("unknown key", {"a": {"ref": "x:1", "form": "y"}}, "images.a.form", "not known"),
    ("unknown source", {"a": {"ref": "x:1", "source": "hub"}}, "images.a.source", "'hub'"),
    ("unknown pull", {"a": {"ref": "x:1", "pull": "never"}}, "images.a.pull", "missing or always"),
    ("bad key", {"A b": {"ref": "x:1"}}, "images.A b", "not a key"),
    ("bad reference", {"a": {"ref": "X:1"}}, "images.a.ref", "lower-case"),
    ("nothing", {"a": {}}, "images.a", "no source"),
    ("floating", {"a": {"ref": "x"}}, "images.a.ref", "floats"),
    ("latest", {"a": {"ref": "x:latest", "source": "registry"}}, "images.a.ref", "floats"),
    ("registry without ref", {"a": {"source": "registry"}}, "images.a.ref", "missing"),
    ("nothing to build", {"a": {"source": "build", "ref": "x:1"}}, "images.a.source", "nothing to build"),
    ("no such recipe", {"a": {"recipe": "oracle"}}, "images.a.recipe", "debian, postgres, python"),
    ("no such context", {"b": {"context": "nowhere"}}, "images.b.context", "not a directory"),
    ("both", {"api": {"context": "app", "recipe": "python"}}, "images.api.recipe", "beside context"),
    ("archive without ref", {"tool": {"archive": "t.tar"}}, "images.tool.ref", "missing"),
    ("not in the archive", {"tool": {"archive": "t.tar", "ref": "tool:4"}}, "images.tool.ref", "it holds tool:3"),
    ("no archive", {"a": {"ref": "x:1", "archive": "no.tar"}}, "images.a.archive", "docker save"),
    ("no such argument", {"api": {"context": "app", "args": {"VERSION": 1}}}, "images.api.args.VERSION", "APP_VERSION"),
    ("no such base", {"api": {"context": "app", "base": "alpine"}}, "images.api.base", "neither"),
    ("no place for a base", {"fixed": {"context": "x", "base": "python"}}, "images.fixed.base", "ARG BASE_IMAGE"),
    ("base without build", {"a": {"ref": "x:1", "base": "python"}}, "images.a.base", "not built"),
    ("no place for a bundle", {"api": {"context": "app", "keep_ca": True}}, "images.api.keep_ca", "ARG KEEP_CA"),
    ("cycle", {k: {"recipe": "python", "base": b} for k, b in ("ab", "ba")}, "images", "a -> b -> a"),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "images", "path", "words"), REFUSED)
def test_unsound_entries_are_refused(_name: str, images: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(images)
    assert [f.path for f in refused.value.findings] == [path]
    assert words in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        read({"a": {"ref": "x", "pull": "no"}, "b": {"recipe": "oracle"}, "c": {"source": "registry"}})
    assert {f.path for f in refused.value.findings} == {
        "images.a.ref",
        "images.a.pull",
        "images.b.recipe",
        "images.c.ref",
    }


@pytest.mark.parametrize("allowed", [{"allow_floating": True}, {}])
def test_floating_tags_can_be_allowed(allowed: dict[str, bool]) -> None:
    entry: dict[str, Any] = {"ref": "x:latest", **({} if allowed else {"allow_floating": True})}
    assert read({"a": entry}, **allowed)["a"].ref == "x:latest"


def test_predefined_arguments_need_no_arg() -> None:
    wanted = read({"api": {"context": "app", "args": {"http_proxy": "http://proxy:3128"}}})["api"]
    assert sources.build_args(wanted, "base:1") == {"http_proxy": "http://proxy:3128", "BASE_IMAGE": "base:1"}


CHANGES = [
    ("files", {"build": Pack("other")}, {}),
    ("arguments", {"args": {"APP_VERSION": "2"}}, {}),
    ("target", {"target": "test"}, {}),
    ("dockerfile", {"dockerfile": "Dockerfile.test"}, {}),
    ("base", {}, {"base_id": "sha256:2"}),
    ("bundle that stays", {"keep_ca": True}, {"ca": "c2"}),
]


@pytest.mark.parametrize(("_what", "wanted", "call"), CHANGES)
def test_what_makes_an_image_another_one_changes_its_name(
    _what: str, wanted: dict[str, Any], call: dict[str, Any]
) -> None:
    api = read({"api": {"context": "app", "source": "build"}})["api"]
    before = sources.content_tag(api, "sha256:1", ca="c1")
    assert sources.content_tag(replace(api, **wanted), **{"base_id": "sha256:1", "ca": "c1", **call}) != before


def test_a_bundle_that_does_not_stay_changes_no_name() -> None:
    api = read({"api": {"context": "app", "source": "build"}})["api"]
    name = sources.content_tag(api, "sha256:1", ca="one")
    assert name == sources.content_tag(api, "sha256:1", ca="another")
    assert name.startswith("quaylock.local/api:")


ANSWERS = [
    # what the engine says                                                                         means            gone
    ("dial tcp: lookup registry-1.docker.io on 10.0.0.53:53: no such host", "not known to DNS", True),
    ("dial tcp 127.0.0.1:5999: connect: connection refused", "refuses the connection", True),
    ("dial tcp 10.0.0.9:443: i/o timeout", "did not answer", True),
    ("net/http: request canceled while waiting for connection (Client.Timeout exceeded)", "did not answer", True),
    ("dial tcp 10.0.0.9:443: connect: no route to host", "no route", True),
    ("http: server gave HTTP response to HTTPS client", "speaks HTTP", True),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "not trusted", True),
    ("manifest for postgres:99 not found: manifest unknown: manifest unknown", "no such image", False),
    (
        "pull access denied for x, repository does not exist or may require 'docker login': denied",
        "no such image",
        False,
    ),
    ("unauthorized: authentication required", "refuses access", False),
    ("toomanyrequests: You have reached your pull rate limit.", "enough", False),
    ("failed to register layer: write /usr/lib/x: no space left on device", "disk is full", False),
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", "other platforms", False),
    ("something new", "something new", False),
]


@pytest.mark.parametrize(("answer", "means", "gone"), ANSWERS)
def test_an_answer_is_told_in_words(answer: str, means: str, gone: bool) -> None:
    why = sources.reason(answer)
    assert means in why.words
    assert why.gone is gone


BUILDS = [
    ("E: Temporary failure resolving 'deb.debian.org'", "DNS"),
    ("curl: (60) SSL certificate problem: unable to get local issuer certificate", "not trusted"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "not trusted"),
    ("installing ca-certificates: Error 1", ""),
    ("pull access denied for base", "FROM"),
]


@pytest.mark.parametrize(("output", "means"), BUILDS)
def test_a_build_that_failed_is_explained_where_we_know_why(output: str, means: str) -> None:
    why = sources.build_reason(output)
    assert means in why.words
    assert bool(why.hint) is bool(means)


def test_a_refusal_names_every_image_and_every_source() -> None:
    wanted = read(
        {"db": {"recipe": "postgres"}, "web": {"ref": "nginx:1.27", "source": "registry"}, "ok": {"ref": "x:1"}}
    )
    gone = Attempt("registry", "postgres:17", "docker.io: it refuses the connection", "start it")
    told = sources.refusal(
        {
            "db": [
                gone,
                Attempt("build", "postgres from recipe postgres", "its base debian could not be had, see there"),
            ],
            "web": [Attempt("registry", "nginx:1.27", "it refuses access")],
            "debian": [Attempt("build", "debian from recipe debian", "base.sh ended with 3\n  | no root", "be root")],
        },
        wanted,
    )
    assert told.splitlines() == [
        "2 of 3 images could not be had:",
        "  db (postgres:17)",
        "    pull postgres:17: docker.io: it refuses the connection (start it)",
        "    build postgres from recipe postgres: its base debian could not be had, see there",
        "  web (nginx:1.27)",
        "    pull nginx:1.27: it refuses access",
        "  debian (debian:trixie-slim, the base of others)",
        "    build debian from recipe debian: base.sh ended with 3 (be root)",
        "      | no root",
        "The others are here, and no container was touched. Run it again when a source answers.",
    ]


LOCKS = [
    # name                what was recorded                                         digest that is pulled again
    ("nothing", {}, ""),
    ("pulled", {"source": "registry", "digest": DIGEST}, DIGEST),
    ("from a mirror", {"source": "mirror", "digest": DIGEST}, DIGEST),
    ("built", {"source": "build", "digest": "", "id": "sha256:1"}, ""),
    ("loaded", {"source": "archive", "digest": DIGEST}, ""),
]


@pytest.mark.parametrize(("_name", "entry", "digest"), LOCKS)
def test_what_was_pulled_comes_again_by_its_digest(_name: str, entry: dict[str, str], digest: str) -> None:
    wanted = read({"db": {"ref": "postgres:17"}})["db"]
    assert sources.locked({"images": {"postgres:17": entry}}, wanted) == digest


def test_a_lock_keeps_the_time_of_what_did_not_change() -> None:
    wanted = read({"db": {"ref": "postgres:17"}, "web": {"ref": "nginx:1.27"}})
    db, web = Image("postgres:17", "sha256:1", DIGEST), Image("nginx:1.27", "sha256:2", DIGEST)
    first = sources.next_lock({}, {"db": (db, "registry")}, wanted, "monday")
    again = sources.next_lock(first, {"db": (db, "mirror"), "web": (web, "registry")}, wanted, "tuesday")
    assert again["images"]["postgres:17"] == {
        "ref": "postgres:17",
        "id": "sha256:1",
        "digest": DIGEST,
        "source": "registry",
        "when": "monday",
    }
    assert again["images"]["nginx:1.27"]["when"] == "tuesday"
    moved = sources.next_lock(again, {"db": (replace(db, id="sha256:3"), "registry")}, wanted, "friday")
    assert moved["images"]["postgres:17"]["when"] == "friday"
