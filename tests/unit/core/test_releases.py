# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which release is meant, by which names images are kept, and what tells two releases apart."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core import releases
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose import compose
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.core.releases import Release, Version, chosen, compare

ID = "sha256:" + "ab" * 32


def release(name: str, stack: str = "shop", **images: str) -> Release:
    refs = {ref: {"id": identity, "digest": ""} for ref, identity in images.items()}
    return Release(name, stack, "jane", 1.0, {}, {}, {"images": refs})


CHOSEN = [
    # wanted        kept, newest first     the one, or the refusal
    ("previous",    ["r3", "r2", "r1"],    "r2"),
    ("r1",          ["r3", "r2", "r1"],    "r1"),
    ("r3",          ["r3", "r2"],          "r3"),
    ("previous",    ["r1"],                "release: there is none before r1, which serves (deploy the version that you want)"),
    ("r9",          ["r3", "r2"],          "release: shop keeps no release 'r9' (there are, newest first: r3, r2)"),
    ("r",           ["r3", "r2"],          "release: shop keeps no release 'r' (there are, newest first: r3, r2)"),
    ("previous",    [],                    "release: shop has no release on this host (deploy it)"),
    ("r1",          [],                    "release: shop has no release on this host (deploy it)"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "kept", "expected"), CHOSEN)
def test_the_release_that_is_meant(wanted: str, kept: list[str], expected: str) -> None:
    there = [release(name) for name in kept]
    if ":" not in expected:
        assert chosen("shop", wanted, there).id == expected
        return
    with pytest.raises(Invalid) as refused:
        chosen("shop", wanted, there)
    assert str(refused.value) == expected


def test_names_of_kept_images() -> None:
    kept = [release("r2", web=ID), release("r1", web=ID, db="sha256:" + "cd" * 32)]
    assert releases.tags(kept) == {
        "quaylock.kept/image:shop.abababababab": ID,
        "quaylock.kept/image:shop.cdcdcdcdcdcd": "sha256:" + "cd" * 32,
    }
    assert releases.tags([release("r1", web="")]) == {}, "what was never fetched has no name"


@pytest.mark.parametrize(
    ("name", "stack", "expected"),
    [
        ("quaylock.kept/image:shop.abab", "shop", True),
        ("quaylock.kept/image:shop2.abab", "shop", False),
        ("quaylock.kept/image:shop.abab", "sho", False),
        ("quaylock.local/image:shop.abab", "shop", False),
    ],
)
def test_whose_name_it_is(name: str, stack: str, expected: bool) -> None:
    assert releases.belongs(name, stack) is expected


def version(services: dict[str, Any], images: dict[str, str] | None = None, **about: Any) -> Version:
    contents = {kind: about.pop(f"{kind}_prints", {}) for kind in ("secrets", "configs")}
    context = compose.Context(project_directory="/srv", config_dir="/etc/quaylock/stacks/shop", **contents)
    made = compose.read("shop", {"services": services, **about}, context)
    return Version(made, {ref: {"id": identity, "digest": ""} for ref, identity in (images or {}).items()})


def web(**about: Any) -> dict[str, Any]:
    return {"image": "web:1", "healthcheck": {"test": ["CMD", "true"]}, **about}


def reading(**about: Any) -> dict[str, Any]:
    return {"web": web(**about)}


DIFFERENCES = [
    # name, before, after, lines
    ("nothing", reading(), reading(), []),
    ("an image", reading(), reading(image="web:2"), ["~ services.web.image: web:1 -> web:2"]),
    ("a variable's value is not shown", reading(environment={"A": "hunter1", "B": "x"}), reading(environment={"A": "hunter2", "C": "y", "B": "x"}),
     ["~ services.web.environment.A", "+ services.web.environment.C"]),
    ("and not where the whole mapping is new", reading(), reading(environment=["A=hunter2"]), ["+ services.web.environment.A"]),
    ("and not where it goes", reading(environment={"A": "hunter2"}), reading(), ["- services.web.environment.A"]),
    ("a list of variables is a mapping", reading(environment=["A=1"]), reading(environment={"A": "1", "B": "hunter2"}),
     ["~ services.web.environment.A", "+ services.web.environment.B"]),
    ("replicas", reading(deploy={"replicas": 1}), reading(deploy={"replicas": 3}), ["~ services.web.deploy.replicas: 1 -> 3"]),
    ("mounts", reading(volumes=["/srv/a:/a"]), reading(volumes=["/srv/b:/b"]),
     ["- services.web.volumes: /srv/a:/a", "+ services.web.volumes: /srv/b:/b"]),
    ("a command is one thing", reading(command=["a", "b"]), reading(command=["a", "c"]),
     ['~ services.web.command: ["a", "b"] -> ["a", "c"]']),
    ("a service that comes", reading(), {**reading(), "db": web(image="db:1")}, ["+ services.db: db:1"]),
    ("one that goes", {**reading(), "db": web(image="db:1")}, reading(), ["- services.db: db:1"]),
    ("a limit", reading(), reading(mem_limit="64m"), ["+ services.web.mem_limit: 64m"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), [c[1:] for c in DIFFERENCES], ids=[c[0] for c in DIFFERENCES])
def test_what_tells_two_releases_apart(before: dict, after: dict, expected: list[str]) -> None:
    lines = [str(d) for d in compare(version(before), version(after))]
    assert lines == expected
    assert "hunter" not in "\n".join(lines)


def test_a_tag_that_moved_is_an_other_image() -> None:
    [line] = compare(version(reading(), {"web:1": ID}), version(reading(), {"web:1": "sha256:" + "cd" * 32}))
    assert str(line) == "~ services.web.image: web:1 (sha256:abababababab) -> web:1 (sha256:cdcdcdcdcdcd)"


def test_build_arguments_are_names_only_also_in_what_is_new() -> None:
    before = version(reading())
    after = version({"web": web(build={"context": ".", "args": {"TOKEN": "hunter2"}})})
    [line] = [str(d) for d in compare(before, after)]
    assert "TOKEN" in line
    assert "hunter2" not in line


def test_secrets_are_known_by_their_names() -> None:
    top = {"secrets": {"token": {}}}
    services = reading(secrets=["token"])
    one = version(services, secrets_prints={"token": "aaaa"}, **top)
    other = version(services, secrets_prints={"token": "bbbb"}, **top)
    none = version(reading())
    assert [str(d) for d in compare(one, other)] == ["~ secrets.token: another content"]
    assert "+ secrets.token" in [str(d) for d in compare(none, one)]
    assert "- secrets.token" in [str(d) for d in compare(one, none)]


def test_long_values_are_cut() -> None:
    [line] = [str(d) for d in compare(version(reading()), version(reading(command=["x" * 500])))]
    assert line.endswith("...")
    assert len(line) < 200
