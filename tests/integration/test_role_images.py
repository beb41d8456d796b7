# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role images by a play of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .images import CLOSED, output_of

docker = pytest.importorskip("docker")

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
