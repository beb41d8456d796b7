# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images on a real engine: pulled from a real registry, built, loaded, and the recipes as containers that run.

No registry of the world is asked. What is made is named qimg- or quaylock.local/; the recipes' images stay as a cache.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import build_contexts
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.images import Images, SourceError
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images import image_sources
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.image_run import Outcome, Run, Settings
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

docker = pytest.importorskip("docker")

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "roles/images/files/recipes"
REGISTRY = ROOT / "tests/fixtures/images/registry"
LATER = {
    "minio",
    "debian-bookworm",
    "java",
    "hive-metastore",
    "spark",
    "trino",
    "dbt",
    "superset",
    "airflow",
    "prometheus",
}
"""recipes that take long and that only tests marked `more` need, which build them"""
PORT, CLOSED = 18510, 18599
HUB = f"127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    engine = docker.from_env(timeout=120)
    yield engine
    engine.close()


def have(client: Any, images: dict[str, Any], patience: float = 3.0, **settings: Any) -> Outcome:
    """One run over images whose contexts and archives are paths of this machine."""
    names = [str(given.get(field) or "") for given in images.values() for field in ("recipe", "base")]
    packs = {f"recipe:{name}": pack for name, pack in build_contexts.recipe_packs(str(RECIPES), names).items()}
    for key, given in images.items():
        if given.get("context"):
            packs[f"context:{key}"] = build_contexts.context_pack(str(given["context"]))
        if given.get("archive"):
            packs[f"archive:{key}"] = build_contexts.archive_pack(str(given["archive"]))
    wanted = image_sources.read(images, packs)
    return Run(Images(client, patience=patience), wanted, Settings(**settings), lambda _text: None).have()


def told(outcome: Outcome, key: str) -> str:
    return "\n".join(str(attempt) for attempt in outcome.tried[key])


@pytest.fixture(scope="module")
def recipes(client: Any) -> dict[str, str]:
    """The collection's recipes as local images, and the tests' registry built on one of them."""
    names = sorted(path.name for path in RECIPES.iterdir() if path.name not in LATER)
    wanted: dict[str, Any] = {name: {"recipe": name, "source": "build"} for name in names}
    wanted["qimg-registry"] = {"context": REGISTRY, "base": "debian", "source": "build"}
    outcome = have(client, wanted, unanswered={"docker.io": "not asked by tests"})
    assert not outcome.failed, "\n".join(told(outcome, key) for key in outcome.failed)
    return {key: had.image.ref for key, had in outcome.had.items()}


@pytest.fixture(scope="module")
def hub(client: Any, recipes: dict[str, str]) -> Iterator[str]:
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get("qimg-registry").remove(force=True)
    container = client.containers.run(
        recipes["qimg-registry"],
        name="qimg-registry",
        detach=True,
        ports={"5000/tcp": ("127.0.0.1", PORT)},
        read_only=True,
        tmpfs={"/var/lib/registry": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )
    until = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 1) as connection:
            connection.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
            if b" 200 " in connection.recv(100):
                break
        assert time.monotonic() < until, container.logs().decode()
        time.sleep(0.05)
    yield HUB
    container.remove(force=True)
    for image in client.images.list():
        # an image that lost its tag is still known by the registry's digest
        if any(name.startswith((HUB, "qimg-")) for name in [*image.tags, *(image.attrs["RepoDigests"] or [])]):
            client.images.remove(image.id, force=True)


def output_of(client: Any, ref: str, command: list[str], **about: Any) -> bytes:
    """What a short container wrote. Read when it ended: an engine's followed log can end before the first line is in it."""
    container = client.containers.run(ref, command, detach=True, **about)
    try:
        ended = container.wait(timeout=60)["StatusCode"]
        written: bytes = container.logs(stdout=True, stderr=ended != 0)
        assert ended == 0, written.decode()
        return written
    finally:
        container.remove(force=True, v=True)


def small(client: Any, ref: str, content: str) -> str:
    """A tiny image of this name, and its id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("content")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content.encode()))
    name, _sign, tag = ref.rpartition(":")
    answer = client.api.import_image_from_data(buffer.getvalue(), repository=name, tag=tag)
    return str(json.loads(answer.splitlines()[-1])["status"])


def push(client: Any, ref: str, content: str) -> tuple[str, str]:
    """Have an image in the registry and not here: its id, and the digest that the registry gave it."""
    image = small(client, ref, content)
    digest = next(line["aux"]["Digest"] for line in client.api.push(ref, stream=True, decode=True) if line.get("aux"))
    client.images.remove(image, force=True)
    return image, digest


def test_a_pulled_image_comes_once_and_its_digest_is_known(client: Any, hub: str) -> None:
    ref = f"{hub}/qimg/once:1"
    image, digest = push(client, ref, "once")
    wanted = {"app": {"ref": ref, "source": "registry"}}
    first = have(client, wanted)
    assert (first.had["app"].image.id, first.had["app"].image.digest, first.changed) == (image, digest, True)
    again = have(client, wanted)
    assert (again.had["app"].source, again.changed) == ("local", False)


def test_many_images_are_pulled_side_by_side(client: Any, hub: str) -> None:
    refs = [f"{hub}/qimg/many-{n}:1" for n in range(6)]
    pushed = [push(client, ref, ref)[0] for ref in refs]
    outcome = have(client, {f"i{n}": {"ref": ref, "source": "registry"} for n, ref in enumerate(refs)})
    assert [outcome.had[f"i{n}"].image.id for n in range(6)] == pushed


def test_a_tag_that_moved_gives_the_recorded_image_until_asked_otherwise(client: Any, hub: str) -> None:
    ref = f"{hub}/qimg/moved:1"
    wanted: dict[str, Any] = {"app": {"ref": ref, "source": "registry"}}
    old, old_digest = push(client, ref, "old")
    had = have(client, wanted).had["app"]
    lock = image_sources.next_lock({}, {"app": (had.image, had.source)}, image_sources.read(wanted, {}), "now")
    client.images.remove(old, force=True)
    new, _digest = push(client, ref, "new")

    kept = have(client, wanted, lock=lock)
    assert (kept.had["app"].image.id, kept.had["app"].image.digest) == (old, old_digest)
    assert client.images.get(ref).id == old
    wanted["app"]["pull"] = "always"
    moved = have(client, wanted, lock=lock)
    assert (moved.had["app"].image.id, moved.changed) == (new, True)
    assert have(client, wanted, lock=lock).changed is False


def test_a_reference_can_pin_a_digest(client: Any, hub: str) -> None:
    image, digest = push(client, f"{hub}/qimg/pinned:1", "pinned")
    for ref in (f"{hub}/qimg/pinned@{digest}", f"{hub}/qimg/pinned:1@{digest}"):
        outcome = have(client, {"app": {"ref": ref, "source": "registry"}})
        assert outcome.had["app"].image.id == image, told(outcome, "app")


def test_a_mirror_is_asked_before_the_hub(client: Any, hub: str) -> None:
    image, digest = push(client, f"{hub}/library/qimg-mirrored:1", "mirrored")
    wanted = {"app": {"ref": "qimg-mirrored:1", "source": "registry"}}
    outcome = have(client, wanted, mirror=hub)
    had = outcome.had["app"]
    assert (had.image.ref, had.image.id, had.image.digest, had.source) == ("qimg-mirrored:1", image, digest, "mirror")
    assert have(client, wanted).changed is False


def test_a_tag_that_is_not_there_is_said_so(client: Any, hub: str) -> None:
    push(client, f"{hub}/qimg/there:1", "there")
    outcome = have(client, {"app": {"ref": f"{hub}/qimg/there:2", "source": "registry"}})
    assert outcome.failed == ["app"]
    assert "it has no such image or tag" in told(outcome, "app")


def test_a_registry_that_refuses_fails_at_once(client: Any) -> None:
    start = time.monotonic()
    outcome = have(client, {"app": {"ref": f"127.0.0.1:{CLOSED}/app:1", "source": "registry"}})
    assert "it refuses the connection" in told(outcome, "app")
    assert outcome.unanswered == {f"127.0.0.1:{CLOSED}": "it refuses the connection"}
    assert time.monotonic() - start < 2


def test_a_registry_that_stays_silent_costs_its_patience_once(client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        wanted = {f"i{n}": {"ref": f"{name}/app-{n}:1", "source": "registry"} for n in range(5)}
        start = time.monotonic()
        outcome = have(client, wanted, patience=1.5)
        assert time.monotonic() - start < 4
        assert len(outcome.failed) == 5
        assert "it did not answer within 1.5 s" in told(outcome, "i4")
        start = time.monotonic()
        have(client, wanted, patience=1.5, unanswered=outcome.unanswered)
        assert time.monotonic() - start < 1


@pytest.fixture
def context(client: Any, tmp_path: Path, recipes: dict[str, str]) -> Iterator[Callable[[str], Path]]:
    """Writes a build context; its content is this test's own, so that no image of an earlier run answers for it."""

    def write(dockerfile: str) -> Path:
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\n{dockerfile}\n")
        (folder / "note").write_text(str(tmp_path))
        return folder

    yield write
    made = tuple(f"{image_sources.OWN_REGISTRY}/{key}:" for key in ("app", "bad", "above", "good"))
    for tag in [tag for image in client.images.list() for tag in image.tags if tag.startswith(made)]:
        client.images.remove(tag, force=True)


def test_auto_builds_where_no_registry_answers_and_says_why(client: Any, context: Callable[[str], Path]) -> None:
    wanted = {"app": {"ref": f"127.0.0.1:{CLOSED}/app:1", "context": context("COPY note /note"), "base": "debian"}}
    outcome = have(client, wanted, unanswered={"docker.io": "not asked by tests"})
    assert outcome.had["app"].source == "build"
    assert "it refuses the connection" in told(outcome, "app")
    start = time.monotonic()
    again = have(client, wanted)
    assert (again.had["app"].source, again.changed) == ("local", False)
    assert time.monotonic() - start < 0.5


def test_auto_takes_the_registrys_image_where_it_answers(client: Any, hub: str, context: Callable[[str], Path]) -> None:
    image, _digest = push(client, f"{hub}/qimg/auto:1", "auto")
    outcome = have(client, {"app": {"ref": f"{hub}/qimg/auto:1", "context": context("RUN false"), "base": "debian"}})
    assert (outcome.had["app"].source, outcome.had["app"].image.id) == ("registry", image)


def test_a_changed_file_makes_a_new_image_and_a_touched_one_does_not(
    client: Any, context: Callable[[str], Path]
) -> None:
    folder = context("COPY note /note")
    wanted = {"app": {"context": folder, "base": "debian", "source": "build"}}
    first = have(client, wanted).had["app"].image
    os.utime(folder / "note", (1, 1))
    (folder / "note").chmod(0o600)
    assert have(client, wanted).changed is False
    (folder / "note").write_text("second")
    second = have(client, wanted).had["app"].image
    assert first.ref != second.ref
    assert output_of(client, second.ref, ["cat", "/note"]) == b"second"


def test_what_dockerignore_names_stays_out(client: Any, context: Callable[[str], Path]) -> None:
    folder = context("COPY . /seen")
    (folder / ".dockerignore").write_text("secret\n*.log\n")
    for name in ("secret", "a.log", "kept"):
        (folder / name).write_text(name)
    image = have(client, {"app": {"context": folder, "base": "debian", "source": "build"}}).had["app"].image
    seen = output_of(client, image.ref, ["ls", "/seen"]).decode().split()
    assert "kept" in seen
    assert not {"secret", "a.log"} & set(seen)


def test_a_build_that_fails_shows_its_last_words_and_spares_the_others(
    client: Any, context: Callable[[str], Path], tmp_path: Path
) -> None:
    bad = context("RUN echo the disk of the world is full >&2; exit 3")
    good = tmp_path / "good"
    shutil.copytree(bad, good)
    (good / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN true\n")
    outcome = have(
        client,
        {
            "bad": {"context": bad, "base": "debian", "source": "build"},
            "above": {"context": good, "base": "bad", "source": "build"},
            "good": {"context": good, "base": "debian", "source": "build"},
        },
    )
    assert outcome.failed == ["bad", "above"]
    assert "the disk of the world is full" in told(outcome, "bad")
    assert "its base bad could not be had" in told(outcome, "above")
    assert outcome.had["good"].image.id


def test_a_ca_bundle_serves_the_build_and_stays_out_of_the_image(
    client: Any, context: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = tmp_path / "proxy.pem"
    bundle.write_text("CERTIFICATES OF THE PROXY")
    folder = context(
        "ARG PIP_CERT\n"
        "COPY note ca-bundle.cr[t] /context/\n"
        "RUN if [ -n \"$PIP_CERT\" ]; then cat $PIP_CERT > /told; else echo none > /told; fi\n"
        "FROM ${BASE_IMAGE}\n"
        "COPY --from=0 /told /told"
    )  # fmt: skip
    wanted = {"app": {"context": folder, "base": "debian", "source": "build"}}
    image = have(client, wanted, ca_bundle=str(bundle)).had["app"].image
    look = ["sh", "-c", "cat /told; ls /context 2>/dev/null || true"]
    assert output_of(client, image.ref, look) == b"CERTIFICATES OF THE PROXY"
    assert have(client, wanted).changed is False, "a bundle that does not stay is no other image"
    nowhere = {"ca_bundle": str(tmp_path / "nowhere.pem")}
    assert not have(client, wanted, **nowhere).failed, "nothing was built, so nobody missed it"
    (folder / "note").write_text("changed")
    assert "nowhere.pem: No such file" in told(have(client, wanted, **nowhere), "app")


def test_an_archive_is_loaded_once(client: Any, hub: str, tmp_path: Path) -> None:
    image = small(client, "qimg-archived:1", "archived")
    archive = tmp_path / "image.tar"
    with archive.open("wb") as file:
        file.writelines(client.images.get("qimg-archived:1").save(named=True))
    client.images.remove(image, force=True)
    wanted: dict[str, Any] = {"app": {"ref": "qimg-archived:1", "archive": archive, "source": "archive"}}
    first = have(client, wanted)
    assert (first.had["app"].image.id, first.had["app"].source) == (image, "archive")
    assert have(client, wanted).changed is False

    small(client, "qimg-archived:1", "another under the same name")
    assert have(client, wanted).had["app"].image.id == image
    wanted["app"]["ref"] = "qimg-archived:2"
    with pytest.raises(Invalid, match="it holds qimg-archived:1"):
        have(client, wanted)
    archive.write_bytes(b"not a tar")
    with pytest.raises(PortError, match="image archive"):
        have(client, wanted)


def test_an_archive_that_ends_early_is_said_so(client: Any, tmp_path: Path) -> None:
    (tmp_path / "cut.tar").write_bytes(b"\0" * 300)
    with pytest.raises((SourceError, PortError), match=r"load .*cut\.tar"):
        Images(client).load(str(tmp_path / "cut.tar"), "qimg-cut:1", lambda _text: None)


# The recipes as containers


@contextlib.contextmanager
def running(client: Any, image: str, name: str, **about: Any) -> Iterator[Any]:
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get(name).remove(force=True, v=True)
    hardened = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    container = client.containers.run(image, name=name, detach=True, **{**hardened, **about})
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def healthy(container: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while True:
        container.reload()
        state = container.attrs["State"]
        if state.get("Health", {}).get("Status") == "healthy":
            return
        assert state["Status"] == "running", container.logs().decode()
        assert time.monotonic() < until, container.logs().decode()
        time.sleep(0.1)


def ended(container: Any) -> tuple[int, str]:
    return container.wait(timeout=60)["StatusCode"], container.logs().decode()


class Database:
    """PostgreSQL from the recipe, as a stack runs it."""

    def __init__(self, client: Any, image: str, folder: Path) -> None:
        self.client, self.image = client, image
        self.password = folder / "password"
        self.password.write_text('it\'s "quoted" $HOME\n')
        self.password.chmod(0o644)
        self.scripts = folder / "init"
        self.scripts.mkdir()

    def run(self, **about: Any) -> contextlib.AbstractContextManager[Any]:
        environment = {
            "POSTGRES_USER": "shop",
            "POSTGRES_DB": 'the "shop"',
            "POSTGRES_PASSWORD_FILE": "/run/secrets/password",
        }
        # the image's check runs every ten seconds
        check = {"test": ["CMD", "pg_isready", "-q", "-h", "127.0.0.1"], "interval": 300_000_000}
        return running(
            self.client,
            self.image,
            "qimg-postgres",
            **{
                "environment": environment,
                "tmpfs": {"/tmp": "", "/run/postgresql": ""},
                "volumes": [
                    "qimg-postgres:/var/lib/postgresql/data",
                    f"{self.password}:/run/secrets/password:ro",
                    f"{self.scripts}:/docker-entrypoint-initdb.d:ro",
                ],
                "healthcheck": check,
                **about,
            },
        )

    @staticmethod
    def sql(container: Any, text: str, password: str = 'it\'s "quoted" $HOME') -> str:
        code, output = container.exec_run(
            ["psql", "-h", "127.0.0.1", "-U", "shop", "-d", 'the "shop"', "-qAtc", text],
            environment={"PGPASSWORD": password},
        )
        return f"{output.decode().strip()}" if code == 0 else f"FAILED {output.decode().strip()}"


@pytest.fixture
def database(client: Any, recipes: dict[str, str], tmp_path: Path) -> Iterator[Database]:
    def forget() -> None:
        with contextlib.suppress(docker.errors.NotFound):
            client.containers.get("qimg-postgres").remove(force=True, v=True)
        with contextlib.suppress(docker.errors.NotFound):
            client.volumes.get("qimg-postgres").remove()

    forget()
    yield Database(client, recipes["postgres"], tmp_path)
    forget()


def test_postgres_serves_hardened_and_keeps_its_rows_over_restart_and_replacement(database: Database) -> None:
    (database.scripts / "10-table.sql").write_text("CREATE TABLE crates (n int);")
    (database.scripts / "20-row.sh").write_text("psql -c 'INSERT INTO crates VALUES (7)'\n")
    (database.scripts / "README").write_text("no script")
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT n FROM crates") == "7"
        assert database.sql(container, "SHOW server_encoding") == "UTF8"
        assert "authentication failed" in database.sql(container, "SELECT 1", password="guessed")
        environment = container.exec_run(["cat", "/proc/1/environ"]).output.decode()
        assert "PASSWORD" not in environment
        assert container.exec_run(["cat", "/proc/1/comm"]).output.decode().strip() == "postgres"
        assert container.exec_run(["id", "-u"]).output.decode().strip() == "999"
        database.sql(container, "INSERT INTO crates VALUES (8)")
        container.stop(timeout=20)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0
        container.start()
        healthy(container)
        assert database.sql(container, "SELECT sum(n) FROM crates") == "15"
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT sum(n) FROM crates") == "15"


def test_postgres_that_is_killed_in_its_first_start_begins_again(database: Database) -> None:
    (database.scripts / "10-table.sql").write_text("CREATE TABLE crates AS SELECT generate_series(1, 1000) AS n;")
    for pause in (0.05, 0.2, 0.4, 0.6):
        with database.run() as container:
            time.sleep(pause)
            with contextlib.suppress(docker.errors.APIError):
                container.kill()
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT count(*) FROM crates") == "1000"
        assert container.exec_run(["sh", "-c", "ls -A $PGDATA | grep -c ^.new"]).output.strip() == b"0"


def test_postgres_does_not_start_after_an_init_script_that_failed(database: Database) -> None:
    script = database.scripts / "10-bad.sql"
    script.write_text("CREATE TABLE crates (n int);\nSELECT * FROM nowhere;\n")
    with database.run() as container:
        code, log = ended(container)
        assert code != 0
        assert 'relation "nowhere" does not exist' in log
    script.write_text("CREATE TABLE crates (n int);")
    with database.run() as container:
        healthy(container)
        assert database.sql(container, "SELECT count(*) FROM crates") == "0"


REFUSALS = [
    ("no password", {"environment": {}}, "no password: set POSTGRES_PASSWORD_FILE"),
    ("both", {"environment": {"POSTGRES_PASSWORD": "x", "POSTGRES_PASSWORD_FILE": "/x"}}, "are both set"),
    ("no such file", {"environment": {"POSTGRES_PASSWORD_FILE": "/nowhere"}}, "cannot read /nowhere"),
    ("no place", {"environment": {"POSTGRES_PASSWORD": "x", "PGDATA": "/usr/share"}}, "cannot be written"),
    ("other user", {"user": "4711", "environment": {"POSTGRES_PASSWORD": "x"}}, "cannot be written by uid 4711"),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "about", "words"), REFUSALS)
def test_postgres_refuses_in_words(database: Database, _name: str, about: dict[str, Any], words: str) -> None:
    with database.run(**about) as container:
        code, log = ended(container)
        assert code == 78
        assert words in log


def test_postgres_started_as_root_drops_to_its_own_user(database: Database) -> None:
    capable = ["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "SETGID", "SETUID"]
    with database.run(user="0", cap_add=capable) as container:
        healthy(container)
        assert container.exec_run(["stat", "-c", "%u", "/proc/1"]).output.strip() == b"999"


def test_haproxy_serves_hardened_and_ends_softly(client: Any, recipes: dict[str, str]) -> None:
    with running(client, recipes["haproxy"], "qimg-haproxy", tmpfs={"/run/haproxy": ""}) as container:
        healthy(container)
        assert container.exec_run(["id", "-u"]).output.strip() == b"99"
        container.reload()
        address = container.attrs["NetworkSettings"]["IPAddress"]
        with socket.create_connection((address, 8080), 3) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b"200" in connection.recv(200)
        container.stop(timeout=10)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0


def test_python_makes_environments_without_root(client: Any, recipes: dict[str, str]) -> None:
    look = (
        "import os, ssl, venv; venv.create('/tmp/v', with_pip=True);"
        "print(os.getuid(), ssl.create_default_context().cert_store_stats()['x509_ca'] > 50)"
    )
    about = {"read_only": True, "tmpfs": {"/tmp": "exec"}, "cap_drop": ["ALL"]}
    output = output_of(client, recipes["python"], ["python3", "-c", look], **about)
    assert output.split() == [b"10001", b"True"]


# The role


PLAY = """
- name: Have images
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Include a role that includes ours
      ansible.builtin.include_role:
        name: shop
    - name: Write what it said
      ansible.builtin.copy:
        content: "{{ images_resolved | ansible.builtin.to_json }}"
        dest: "{{ playbook_dir }}/resolved.json"
        mode: "0600"
"""
TASKS = """
- name: Have the shop's images
  ansible.builtin.include_role:
    name: quaylock.stacks.images
  vars:
    images_wanted:
      app: {context: app, base: debian, source: build, args: {EDITION: "1"}}
      tool: {ref: "127.0.0.1:CLOSED/tool:1", context: app, base: debian}
    images_lock: "{{ playbook_dir }}/images.lock.json"
    images_patience: 3
""".replace("CLOSED", str(CLOSED))


class Play:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "roles/shop/tasks").mkdir(parents=True)
        (folder / "roles/shop/files/app").mkdir(parents=True)
        (folder / "play.yml").write_text(PLAY)
        (folder / "roles/shop/tasks/main.yml").write_text(TASKS)
        (folder / "roles/shop/files/app/Dockerfile").write_text(
            "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nARG EDITION=0\nCOPY note /note\n"
        )
        (folder / "roles/shop/files/app/note").write_text(f"made in {folder}")

    def run(self, *options: str) -> tuple[int, str]:
        ansible = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [ansible, "-i", "localhost,", "play.yml", "-e", f"ansible_python_interpreter={sys.executable}", *options],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_DEPRECATION_WARNINGS": "0"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def test_the_role_builds_what_another_role_brings_and_changes_nothing_twice(
    client: Any, recipes: dict[str, str], tmp_path: Path
) -> None:
    play = Play(tmp_path)
    code, output = play.run("--check", "--diff")
    assert code == 0, output
    assert "app: would build app from context app" in output
    assert "tool: would pull 127.0.0.1:18599/tool:1, else build tool from context tool" in output
    assert not (tmp_path / "images.lock.json").exists()

    code, output = play.run()
    assert code == 0, output
    assert "stands in for 127.0.0.1:18599/tool:1" in " ".join(output.split())
    resolved = json.loads((tmp_path / "resolved.json").read_text())
    assert resolved["app"]["source"] == resolved["tool"]["source"] == "build"
    said = output_of(client, resolved["app"]["ref"], ["cat", "/note"]).decode()
    assert said == f"made in {tmp_path}"
    locked = json.loads((tmp_path / "images.lock.json").read_text())["images"]
    assert locked["127.0.0.1:18599/tool:1"]["id"] == resolved["tool"]["id"]

    code, output = play.run()
    assert code == 0, output
    assert "ok: [localhost]" in output.partition("Have the images]")[2].partition("TASK")[0]
    for key in ("app", "tool"):
        client.images.remove(resolved[key]["ref"], force=True)


def test_the_role_says_everything_that_is_wrong_before_it_begins(recipes: dict[str, str], tmp_path: Path) -> None:
    play = Play(tmp_path)
    tasks = tmp_path / "roles/shop/tasks/main.yml"
    tasks.write_text(tasks.read_text().replace("base: debian, source", "base: beos, source").replace("tool:1", "tool"))
    code, output = play.run()
    assert code != 0
    text = " ".join(output.split())
    assert "2 findings" in text
    assert "images.app.base: 'beos' is neither an entry of images nor a recipe" in text
    assert "images.tool.ref: 127.0.0.1:18599/tool floats" in text
