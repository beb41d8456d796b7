# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rollouts on a real engine that end well: what is made, what is touched, and what is left alone."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

from .conftest import WEB, Harbour, one_shot, web

pytestmark = pytest.mark.integration


def environment(body: dict[str, Any]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in body["Config"]["Env"])


def test_a_first_deploy_starts_in_dependency_order(harbour: Harbour, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    bind = [f"{state}:/state"]
    answer = harbour.deployed(
        {
            "web": web(deploy={"replicas": 2}, depends_on={"db": {"condition": "service_healthy"}}),
            "db": web(
                environment={"READY_AFTER": "1"},
                depends_on={"migrate": {"condition": "service_completed_successfully"}},
            ),
            "migrate": {**one_shot(STATE="/state", SECONDS="0.5"), "volumes": bind},
        },
        networks={"default": {}},
        volumes={"kept": {}},
    )
    assert answer["changed"]
    assert f"+ network {harbour.name}_default" in answer["plan"]
    assert harbour.running() == [f"{harbour.name}-db-1", f"{harbour.name}-web-1", f"{harbour.name}-web-2"]
    bodies = harbour.containers()
    ended = bodies[f"{harbour.name}-migrate-1"]["State"]
    assert (ended["Running"], ended["ExitCode"]) == (False, 0)
    started = {name: body["State"]["StartedAt"] for name, body in bodies.items()}
    assert ended["FinishedAt"] < started[f"{harbour.name}-db-1"] < started[f"{harbour.name}-web-1"]
    assert harbour.journal.release(harbour.name)[0] == answer["rollout"]  # type: ignore[index]
    assert harbour.journal.history(harbour.name)[0].outcome == "deployed"


def test_nothing_to_do_touches_nothing(harbour: Harbour) -> None:
    services = {"web": web(deploy={"replicas": 2}), "job": one_shot()}
    harbour.deployed(services)
    before = harbour.identities()
    answer = harbour.deploy(services)
    assert (answer["outcome"], answer["changed"], answer["plan"]) == ("unchanged", False, [])
    assert harbour.identities() == before


def test_a_new_image_under_the_same_tag_replaces_the_replicas(harbour: Harbour, client: Any) -> None:
    tag = "local/q-web:qr-moving"
    web_image(tag, "v1")
    services = {"web": web(image=tag), "other": web()}
    first = harbour.deployed(services)
    before = harbour.identities()
    web_image(tag, "v2")
    try:
        answer = harbour.deployed(services)
    finally:
        client.images.remove(tag, force=True)
    assert answer["plan"] == ["~ web: replace start-first, 1 new, 1 to go (image changed)"]
    assert answer["images"][tag]["id"] != first["images"][tag]["id"]
    [(name, body)] = harbour.containers("web").items()
    assert name not in before
    assert environment(body)["VERSION"] == "v2"
    assert harbour.identities("other").items() <= before.items()


def test_new_settings_replace_only_the_service_that_has_them(harbour: Harbour) -> None:
    harbour.deployed({"web": web(environment={"VERSION": "1"}), "other": web()})
    before = harbour.identities("other")
    answer = harbour.deployed({"web": web(environment={"VERSION": "2"}), "other": web()})
    assert answer["plan"] == ["~ web: replace start-first, 1 new, 1 to go (definition changed)"]
    assert harbour.identities("other") == before
    [body] = harbour.containers("web").values()
    assert environment(body)["VERSION"] == "2"


def test_scaling_up_and_down_keeps_the_replicas_that_stay(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    before = harbour.identities()
    up = harbour.deployed({"web": web(deploy={"replicas": 3})})
    assert up["plan"] == ["~ web: scale, 2 new (1 -> 3 replicas)"]
    grown = harbour.identities()
    assert len(grown) == 3
    assert before.items() <= grown.items()
    down = harbour.deployed({"web": web(deploy={"replicas": 2})})
    assert down["plan"] == ["~ web: scale, 1 to go (3 -> 2 replicas)"]
    left = harbour.identities()
    assert len(left) == 2
    assert left.items() <= grown.items()


def test_a_one_shot_runs_once_per_version(harbour: Harbour, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.mkdir()
    state.chmod(0o777)

    def services(version: str, web_version: str) -> dict[str, Any]:
        return {
            "migrate": {**one_shot(STATE="/state", VERSION=version), "volumes": [f"{state}:/state"]},
            "web": web(
                environment={"VERSION": web_version},
                depends_on={"migrate": {"condition": "service_completed_successfully"}},
            ),
        }

    def runs() -> int:
        return len(list(state.glob("oneshot-*")))

    harbour.deployed(services("1", "1"))
    assert runs() == 1
    harbour.deployed(services("1", "2"))
    assert runs() == 1
    [migrated] = harbour.containers("migrate")
    harbour.client.api.remove_container(migrated)
    assert harbour.deploy(services("1", "2"))["outcome"] == "unchanged"
    assert runs() == 1, "its container is gone, but it ended well in this release"
    harbour.deployed(services("2", "2"))
    assert runs() == 2


def test_a_service_that_left_the_file_leaves_the_host(harbour: Harbour) -> None:
    harbour.deployed({"web": web(), "extra": web()})
    before = harbour.identities("web")
    answer = harbour.deployed({"web": web()})
    assert answer["plan"] == ["- extra: remove, 1 to go (is not in the Compose file any more)"]
    assert harbour.identities() == before


def test_a_published_port_is_handed_over_stop_first(harbour: Harbour) -> None:
    def services(version: str) -> dict[str, Any]:
        return {"web": web(environment={"VERSION": version}, ports=["127.0.0.1:28731:8000"])}

    def version() -> str:
        with urllib.request.urlopen("http://127.0.0.1:28731/version", timeout=3) as answer:
            return str(json.load(answer)["version"])

    harbour.deployed(services("1"))
    assert version() == "1"
    answer = harbour.deployed(services("2"))
    assert answer["plan"] == [
        "~ web: replace stop-first because it publishes port 28731, 1 new, 1 to go (definition changed)"
    ]
    assert version() == "2"
    assert len(harbour.containers()) == 1


def test_a_fixed_name_is_handed_over(harbour: Harbour) -> None:
    name = f"{harbour.name}-fixed"
    harbour.deployed({"web": web(container_name=name, environment={"VERSION": "1"})})
    old = harbour.identities()
    harbour.deployed({"web": web(container_name=name, environment={"VERSION": "2"})})
    assert list(harbour.containers()) == [name]
    assert harbour.identities() != old


def test_secrets_are_files_and_nothing_else(harbour: Harbour) -> None:
    password, setting = "S3cret-never-shown-6b1f", "colour = sea green"

    def files(secret: str) -> dict[str, Any]:
        return {
            "secrets": {"db_password": {"environment": "X"}},
            "configs": {"settings": {"environment": "Y"}},
            "secrets_content": {"db_password": secret.encode()},
            "configs_content": {"settings": setting.encode()},
        }

    service = web(
        secrets=["db_password"],
        configs=[{"source": "settings", "target": "/etc/settings.ini"}],
        environment={"DB_PASSWORD_FILE": "/run/secrets/db_password"},
    )
    answer = harbour.deployed({"web": service}, **files(password))
    [(name, body)] = harbour.containers().items()
    address = next(iter(body["NetworkSettings"]["Networks"].values()))["IPAddress"]

    def read(path: str, at: str) -> str:
        with urllib.request.urlopen(f"http://{at}:8000/file?path={path}", timeout=3) as seen:
            return str(seen.read().decode())

    assert read("/run/secrets/db_password", address) == password
    assert read("/etc/settings.ini", address) == setting
    folder = harbour.folder / "etc/stacks" / harbour.name
    [kept] = (folder / "secrets").iterdir()
    assert kept.read_text() == password
    assert (folder / "secrets").stat().st_mode & 0o077 == 0, "only root may look for secrets"
    everywhere = {
        "docker inspect": json.dumps(body),
        "compose.yaml": (folder / "compose.yaml").read_text(),
        "the module's answer": json.dumps(answer),
        "the events": json.dumps([e.details for e in harbour.events(answer["rollout"])]),
        "file names": kept.name,
        **{
            path.name: path.read_bytes().decode(errors="replace")
            for path in (harbour.folder / "state").iterdir()
            if path.is_file()
        },
    }
    assert "journal.sqlite" in everywhere
    assert [where for where, text in everywhere.items() if password in text] == []
    assert harbour.deploy({"web": service}, **files(password))["outcome"] == "unchanged"
    changed = harbour.deployed({"web": service}, **files("another-password"))
    assert changed["plan"] == ["~ web: replace start-first, 1 new, 1 to go (definition changed)"]
    [body] = harbour.containers().values()
    address = next(iter(body["NetworkSettings"]["Networks"].values()))["IPAddress"]
    assert read("/run/secrets/db_password", address) == "another-password"
    assert name not in harbour.containers()
    harbour.remove()
    assert [p for p in folder.rglob("*") if p.is_file()] == [], "a teardown leaves no secret on the disk"


def test_two_stacks_of_the_same_services_live_side_by_side(harbours: Callable[..., Harbour]) -> None:
    one, other = harbours(), harbours()
    services = {"web": web(), "job": one_shot()}
    one.deployed(services)
    before = one.identities()
    other.deployed(services)
    assert one.identities() == before
    assert one.deploy(services)["outcome"] == "unchanged"
    other.remove()
    assert one.identities() == before
    assert other.containers() == {}


def test_a_teardown_keeps_volumes_unless_told(harbour: Harbour, client: Any) -> None:
    services = {"web": web(volumes=["kept:/kept"])}
    harbour.deployed(services, volumes={"kept": {}})
    volume = f"{harbour.name}_kept"
    planned = harbour.remove(dry=True)
    assert (planned["outcome"], planned["changed"]) == ("planned", True)
    assert len(harbour.running()) == 1
    removed = harbour.remove()
    assert (removed["outcome"], removed["volumes_removed"]) == ("removed", [])
    assert harbour.containers() == {}
    assert client.networks.list(names=[f"{harbour.name}_default"]) == []
    assert [v.name for v in client.volumes.list(filters={"name": volume})] == [volume]
    again = harbour.remove()
    assert (again["outcome"], again["changed"]) == ("unchanged", False)
    harbour.deployed(services, volumes={"kept": {}})
    assert harbour.remove(volumes=True)["volumes_removed"] == [volume]
    assert client.volumes.list(filters={"name": volume}) == []


def test_one_shots_run_again_after_a_teardown(harbour: Harbour) -> None:
    harbour.deployed({"job": one_shot(), "web": web()})
    harbour.remove()
    answer = harbour.deployed({"job": one_shot(), "web": web()})
    assert any(line.startswith("+ job: run") for line in answer["plan"])


def test_compose_sees_the_project_and_accepts_the_file(harbour: Harbour, docker_compose: str) -> None:
    harbour.deployed(
        {"web": web(deploy={"replicas": 2}, environment={"PRICE": "5$"}), "job": one_shot()}, volumes={"kept": {}}
    )
    folder = harbour.folder / "etc/stacks" / harbour.name
    asked = [docker_compose, "-p", harbour.name]
    listed = subprocess.run([*asked, "ps", "--format", "json"], capture_output=True, text=True, check=True).stdout
    entries = [json.loads(line) for line in listed.splitlines()]
    assert sorted(e["Name"] for e in entries) == [f"{harbour.name}-web-1", f"{harbour.name}-web-2"]
    assert {e["Service"] for e in entries} == {"web"}
    everything = subprocess.run([*asked, "ps", "-aq"], capture_output=True, text=True, check=True).stdout
    assert len(everything.split()) == 3
    logs = subprocess.run([*asked, "logs", "--no-color"], capture_output=True, text=True, check=True).stdout
    assert "listening on" in logs
    checked = subprocess.run(
        [docker_compose, "-f", "compose.yaml", "config", "-q"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_a_project_of_docker_compose_is_taken_over(harbour: Harbour, docker_compose: str, tmp_path: Path) -> None:
    services = {"web": web(environment={"VERSION": "theirs"})}
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": services}))
    subprocess.run(
        [docker_compose, "-p", harbour.name, "up", "-d"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    [theirs] = harbour.identities().values()
    assert len(harbour.running()) == 1
    answer = harbour.deployed({"web": web(environment={"VERSION": "ours"})})
    assert answer["plan"] == ["~ web: replace start-first, 1 new, 1 to go (was not made by Quaylock)"]
    assert theirs not in harbour.identities().values()
    assert len(harbour.containers()) == 1


def test_check_mode_changes_nothing_and_shows_everything(harbour: Harbour) -> None:
    first = deploy.check(harbour.request({"web": web()}))
    assert (first["outcome"], first["changed"]) == ("planned", True)
    assert harbour.containers() == {}
    assert not (harbour.folder / "etc").exists()
    assert harbour.journal.history(harbour.name) == []
    harbour.deployed({"web": web(environment={"VERSION": "1"})})
    before = harbour.identities()
    planned = deploy.check(harbour.request({"web": web(environment={"VERSION": "2"})}))
    assert (planned["outcome"], planned["changed"]) == ("planned", True)
    [text, replicas] = planned["diff"]
    assert 'VERSION: "1"' in text["before"]
    assert 'VERSION: "2"' in text["after"]
    assert replicas["before"] != replicas["after"]
    same = deploy.check(harbour.request({"web": web(environment={"VERSION": "1"})}))
    assert (same["outcome"], same["changed"]) == ("unchanged", False)
    assert all(part["before"] == part["after"] for part in same["diff"])
    absent = deploy.check(harbour.request({"web": web(image="local/q-absent:none")}))
    assert absent["to_fetch"] == ["local/q-absent:none"]
    assert harbour.identities() == before
    assert len(harbour.journal.history(harbour.name)) == 1


def test_an_opted_out_worker_passes_by_running(harbour: Harbour) -> None:
    worker = {
        "image": WEB,
        "x-quaylock": {"gate": {"none": "nothing to ask"}},
        "deploy": {"update_config": {"monitor": "0.5s"}},
    }
    harbour.deployed({"worker": worker})
    assert len(harbour.running()) == 1


def test_the_images_own_check_is_used(harbour: Harbour) -> None:
    web_image("local/q-web:checked", "v1", checked=True)
    service = web(image="local/q-web:checked", environment={"READY_AFTER": "2"})
    del service["healthcheck"]
    answer = harbour.deployed({"web": service})
    looks = [e for e in harbour.events(answer["rollout"]) if e.what == "done" and e.details["do"] == "Look"]
    passed = [e.details["passed"] for e in looks]
    assert (passed[0], passed[-1]) == (False, True)
