# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection as users install it: from a built tarball, in an empty folder, with a Compose file of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
STACK = "e2eshop"
COMPOSE = """
x-web: &web
  image: ${SHOP_IMAGE:?the image of the shop}
  healthcheck: {test: [CMD, /web, check], interval: 30s, start_period: 5s}
services:
  web:
    <<: *web
    environment: {VERSION: "${SHOP_VERSION:-1}"}
    secrets: [token]
    deploy: {replicas: 2, update_config: {monitor: 500ms}}
  worker:
    <<: *web
    depends_on: {web: {condition: service_healthy}}
    deploy: {update_config: {monitor: 500ms}}
secrets:
  token: {}
"""
OVERRIDE = "services: {worker: {environment: {ROLE: background}}}\n"


@dataclass
class Place:
    """An empty folder with the installed collection and an inventory, and nothing of the checkout on any path."""

    folder: Path
    env: dict[str, str]

    def play(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ansible-playbook", f"quaylock.stacks.{name}", "-i", "inventory.yml", *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def running() -> dict[str, str]:
    form = "{{.Names}} {{.ID}}"
    call = ["docker", "ps", "--filter", f"label=com.docker.compose.project={STACK}", "--format", form]
    lines = subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split() for line in lines)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("empty")
    build = ["ansible-galaxy", "collection", "build", "--force", "--output-path", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (tarball,) = folder.glob("quaylock-stacks-*.tar.gz")
    collections = folder / "collections"
    install = ["ansible-galaxy", "collection", "install", "--force", "--no-deps", "-p", str(collections), str(tarball)]
    subprocess.run(install, cwd=folder, check=True, capture_output=True)
    assert (collections / "ansible_collections/quaylock/stacks/playbooks/site.yml").is_file()
    # the dependencies are those of the environment; the checkout's link beside them must not be what is found
    [packages, *_others] = [Path(p) for p in sys.path if (Path(p) / "ansible_collections/community/docker").is_dir()]
    for name in ("community/docker", "community/library_inventory_filtering_v1", "ansible/posix"):
        target = collections / "ansible_collections" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(packages / "ansible_collections" / name, target)
    (folder / "stacks").mkdir()
    (folder / "stacks/compose.yaml").write_text(COMPOSE)
    (folder / "stacks/override.yaml").write_text(OVERRIDE)
    stack = {
        "name": STACK,
        "compose": "stacks/compose.yaml",
        "overrides": ["stacks/override.yaml"],
        "variables": {"SHOP_IMAGE": web_image(), "SHOP_VERSION": "{{ shop_version | default('1') }}"},
        "secrets": {"token": "for your eyes only"},
    }
    # this machine's engine stays as the development inventory has it: another setting would restart it, under other tests
    known = yaml.safe_load((ROOT / "inventories/dev/group_vars/all/main.yml").read_text())
    engine = {name: value for name, value in known.items() if name.startswith("profile_log_")}
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "stacks": [stack],
        **engine,
    }
    (folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": {"here": host}}}))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE", "PYTEST"))}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": str(folder / ".ansible")}
    env |= {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
    yield Place(folder, env)
    call = ["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={STACK}"]
    left = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()
    if left:
        subprocess.run(["docker", "rm", "-f", *left], check=True, capture_output=True)


def test_a_compose_file_of_ones_own_is_deployed_by_the_installed_playbook(place: Place) -> None:
    done = place.play("site")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert f"{STACK}: healthy" in done.stdout
    assert sorted(running()) == [f"{STACK}-web-1", f"{STACK}-web-2", f"{STACK}-worker-1"]
    shown = subprocess.run(["docker", "inspect", *running()], capture_output=True, text=True, check=True).stdout
    assert "ROLE=background" in shown, "the override counts"
    assert "for your eyes only" not in shown + done.stdout


def test_again_nothing_is_touched(place: Place) -> None:
    before = running()
    done = place.play("site")
    assert done.returncode == 0, done.stdout[-5000:]
    assert "changed=0" in done.stdout
    assert running() == before


def test_check_mode_shows_the_plan_and_only_reads(place: Place) -> None:
    before = running()
    done = place.play("site", "--check", "--diff", "-e", "shop_version=2")
    assert done.returncode == 0, done.stdout[-5000:]
    assert '-      VERSION: "1"' in done.stdout
    assert '+      VERSION: "2"' in done.stdout
    assert running() == before


def test_a_missing_variable_is_refused_before_anything_is_changed(place: Place) -> None:
    before = running()
    inventory = place.folder / "inventory.yml"
    text = inventory.read_text()
    inventory.write_text(text.replace("SHOP_IMAGE", "SHOP_PICTURE"))
    try:
        done = place.play("site", "-e", "stacks=" + STACK)
    finally:
        inventory.write_text(text)
    assert done.returncode != 0
    assert "SHOP_IMAGE" in done.stdout
    assert "the image of the shop" in done.stdout
    assert running() == before


def test_a_return_needs_no_compose_file_and_says_what_it_does_not_do(place: Place) -> None:
    """The second version is deployed; then the folder with the Compose files is out of reach."""
    done = place.play("site", "-e", "shop_version=2")
    assert done.returncode == 0, done.stdout[-5000:]
    stacks = place.folder / "stacks"
    stacks.rename(place.folder / "elsewhere")
    try:
        unknown = place.play("rollback", "-e", f"stack={STACK}", "-e", "release=r-0")
        nowhere = place.play("rollback", "-e", "stack=nobody")
        nothing = place.play("rollback")
        before = running()
        done = place.play("rollback", "-e", f"stack={STACK}", "-e", "release=previous", "-e", "yes=true")
    finally:
        (place.folder / "elsewhere").rename(stacks)
    assert unknown.returncode != 0
    assert f"{STACK} keeps no release 'r-0' (there are, newest first: r-" in unknown.stdout
    assert nowhere.returncode != 0
    assert "no host of this inventory has a release of nobody" in nowhere.stdout
    assert nothing.returncode != 0
    assert "name the stack: -e stack=NAME" in nothing.stdout
    assert done.returncode == 0, done.stdout[-5000:]
    assert "~ services.web.environment.VERSION" in done.stdout
    assert "What migrations have done to data is NOT reverted" in done.stdout
    assert f"{STACK}: healthy" in done.stdout
    after = running()
    assert {n for n in before if "-worker-" in n} == {n for n in after if "-worker-" in n}
    webs = [name for name in after if "-web-" in name]
    shown = subprocess.run(["docker", "inspect", *webs], capture_output=True, text=True, check=True).stdout
    assert shown.count('"VERSION=1"') == 2
    assert "for your eyes only" not in done.stdout


def test_releases_are_listed_and_the_page_is_fetched(place: Place) -> None:
    listed = place.play("releases", "-e", f"stack={STACK}")
    assert listed.returncode == 0, listed.stdout[-5000:]
    assert f"{STACK}: 3 releases are kept" in listed.stdout
    assert "(a return to r-" in listed.stdout
    shown = place.play("releases", "-e", f"stack={STACK}", "-e", "release=previous")
    assert "~ services.web.environment.VERSION" in shown.stdout
    detailed = place.play(
        "status", "-e", "detailed=true", "-e", f"pages={place.folder}/pages", "-e", "watch=true", "-e", "watch_for=1"
    )
    assert detailed.returncode == 0, detailed.stdout[-5000:]
    assert f"✔ here {STACK}  healthy" in detailed.stdout
    assert "deployed in " in detailed.stdout
    assert f"{STACK}" in (place.folder / "pages/here.html").read_text()
    wrong = place.play("status", "-e", "detailed=perhaps")
    assert "detailed and watch are true or false" in wrong.stdout


def test_status_and_teardown_come_with_it(place: Place) -> None:
    done = place.play("status")
    assert done.returncode == 0, done.stdout[-5000:]
    assert f"{STACK}: healthy" in done.stdout
    done = place.play("teardown", "-e", "teardown_confirm=yes", "-e", f"stacks={STACK}")
    assert done.returncode == 0, done.stdout[-5000:]
    assert running() == {}
