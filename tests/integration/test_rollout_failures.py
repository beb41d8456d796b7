# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rollouts on a real engine that must not go through: bad releases go back, bad input changes nothing."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.docker_engine import DockerEngine
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.local import locked
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

from .conftest import WEB, Harbour, one_shot, web
from .meanwhile import Meanwhile, has_reached, told_to

pytestmark = pytest.mark.integration

QUICK = {"test": ["CMD", "/web", "check"], "interval": "1s", "timeout": "1s", "retries": 3}


def rolled_back(harbour: Harbour, services: Mapping[str, Any], **about: Any) -> tuple[dict[str, Any], float]:
    """Deploy what must fail; the replicas that were there are the same ones afterwards and never stopped."""
    before = harbour.identities()
    running = harbour.running()
    release = harbour.journal.release(harbour.name) if (harbour.folder / "state").exists() else None
    began = time.monotonic()
    answer = harbour.deploy(services, **about)
    took = time.monotonic() - began
    assert (answer["outcome"], answer["failed"], answer["changed"]) == ("rolled back", True, True), json.dumps(answer)
    assert harbour.identities() == before
    assert harbour.running() == running
    after = harbour.journal.release(harbour.name)
    assert (after and after[0]) == (release and release[0])
    assert f"{harbour.name}: rollout {answer['rollout']} was rolled back" in answer["msg"]
    assert "\n  next    " in answer["msg"]
    return answer, took


def test_an_unhealthy_release_goes_back_and_says_why(harbour: Harbour) -> None:
    harbour.deployed({"web": web(deploy={"replicas": 2}), "other": web()})
    bad = web(environment={"READY_AFTER": "3600"}, deploy={"replicas": 2}, gate={"deadline": "4s"}, healthcheck=QUICK)
    answer, _took = rolled_back(harbour, {"web": bad, "other": web()})
    [failure] = [f for f in answer["failures"] if f["replica"]][:1]
    assert "did not pass within 4 s" in failure["reason"]
    assert "503" in failure["said"]
    assert "starting" in failure["said"]
    assert "listening on" in failure["logs"]
    assert "web did not pass its gate" in answer["msg"]
    assert f"release {harbour.journal.release(harbour.name)[0]}" in answer["msg"]  # type: ignore[index]
    assert "other x1, web x2" in answer["msg"]


def test_a_crash_is_a_verdict_at_once(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    bad = web(environment={"CRASH_AFTER": "0.1", "EXIT_CODE": "42"}, restart="unless-stopped", gate={"deadline": "90s"})
    answer, took = rolled_back(harbour, {"web": bad})
    assert took < 60, f"{took:.1f} s"
    [failure] = answer["failures"]
    assert "42" in failure["reason"] or "restarted" in failure["reason"], "as it was seen first"
    assert "crashing as asked" in failure["logs"]


def test_what_is_killed_for_memory_is_said_to_be(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    bad = web(
        environment={"HOARD_AFTER": "0"},
        deploy={"resources": {"limits": {"memory": "24M"}}},
        memswap_limit="24M",
        gate={"deadline": "90s"},
    )
    for _try in range(3):
        answer, took = rolled_back(harbour, {"web": bad})
        assert took < 60, f"{took:.1f} s"
        # on a busy machine the engine may hear of the end first, and then never says what it was
        if answer["failures"][0]["reason"] != "exited with code 137":
            break
    assert "out of memory" in answer["failures"][0]["reason"]


def test_healthy_at_first_and_dead_while_watched_is_not_released(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    bad = web(environment={"VERSION": "bad"}, monitor="20s")
    with Meanwhile(has_reached(harbour, "row"), lambda _found: told_to(harbour, "crash", "bad")):
        answer, _took = rolled_back(harbour, {"web": bad})
    assert "exited with code 1" in answer["failures"][0]["reason"]


def test_healthy_at_first_and_unhealthy_while_watched_is_not_released(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    bad = web(environment={"VERSION": "bad"}, monitor="20s")
    with Meanwhile(has_reached(harbour, "row"), lambda _found: told_to(harbour, "fail", "bad")):
        answer, _took = rolled_back(harbour, {"web": bad})
    assert "became unhealthy" in answer["failures"][0]["reason"]


def test_one_bad_replica_of_three_is_a_bad_release(harbour: Harbour, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.mkdir()
    state.chmod(0o777)
    harbour.deployed({"web": web(deploy={"replicas": 3})})
    bad = web(
        environment={"STATE": "/state", "FAIL_ON_START": "3"},
        volumes=[f"{state}:/state"],
        deploy={"replicas": 3},
        update={"order": "start-first"},
        gate={"deadline": "5s"},
        healthcheck=QUICK,
    )
    answer, _took = rolled_back(harbour, {"web": bad})
    assert len(list(state.glob("serve-*"))) == 3
    assert '"bad"' in answer["failures"][0]["said"]


def test_a_failing_one_shot_stops_what_waits_for_it(harbour: Harbour, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.mkdir()
    state.chmod(0o777)
    bind = [f"{state}:/state"]

    def services(version: str, code: str) -> dict[str, Any]:
        after = {"migrate": {"condition": "service_completed_successfully"}}
        return {
            "migrate": one_shot(VERSION=version, EXIT_CODE=code, MESSAGE=f"column {version} is missing"),
            "web": web(
                environment={"VERSION": version, "STATE": "/state"},
                volumes=bind,
                depends_on=after,
                update={"order": "start-first"},
            ),
        }

    harbour.deployed(services("1", "0"))
    answer, _took = rolled_back(harbour, services("2", "3"))
    assert "column 2 is missing" in answer["msg"]
    assert "exited with code 3" in answer["msg"]
    assert "not reverted" in answer["msg"]
    assert len(list(state.glob("serve-*"))) == 1, "the dependent was never started"
    good = harbour.deploy(services("1", "0"))
    assert good["outcome"] == "unchanged", "the failed one-shot left no trace"


def test_a_first_release_that_fails_leaves_nothing(harbour: Harbour, client: Any) -> None:
    answer = harbour.deploy(
        {"db": web(volumes=["kept:/kept"]), "web": web(environment={"CRASH_AFTER": "0"})}, volumes={"kept": {}}
    )
    assert answer["outcome"] == "rolled back"
    assert harbour.containers() == {}
    assert client.networks.list(names=[f"{harbour.name}_default"]) == []
    assert "nothing that was released" in answer["msg"]
    assert harbour.journal.release(harbour.name) is None


def test_stop_first_puts_the_old_one_back(harbour: Harbour) -> None:
    def services(**environment: str) -> dict[str, Any]:
        return {"web": web(environment=environment, ports=["127.0.0.1:28732:8000"])}

    harbour.deployed(services(VERSION="1"))
    [(name, (old, started))] = harbour.identities().items()
    answer = harbour.deploy(services(VERSION="2", CRASH_AFTER="0.2"))
    assert answer["outcome"] == "rolled back"
    [(still, (same, again))] = harbour.identities().items()
    assert (still, same) == (name, old)
    assert again > started
    with urllib.request.urlopen("http://127.0.0.1:28732/version", timeout=3) as seen:
        assert json.load(seen)["version"] == "1"
    assert harbour.deploy(services(VERSION="1"))["outcome"] == "unchanged"


def test_a_fixed_name_comes_back_with_its_old_container(harbour: Harbour) -> None:
    def services(**environment: str) -> dict[str, Any]:
        return {"web": web(environment=environment, container_name=f"{harbour.name}-fixed")}

    harbour.deployed(services(VERSION="1"))
    [(name, (old, _since))] = harbour.identities().items()
    assert harbour.deploy(services(VERSION="2", CRASH_AFTER="0.2"))["outcome"] == "rolled back"
    [(still, (same, _since))] = harbour.identities().items()
    assert (still, same) == (name, old) == (f"{harbour.name}-fixed", old)
    assert harbour.running() == [name]


# -- refused before anything is touched ---------------------------------------------


def refused(harbour: Harbour, services: Mapping[str, Any], **about: Any) -> list[str]:
    """The findings; nothing on the host is different afterwards."""
    before = (harbour.containers(), networks(harbour))
    try:
        answer = harbour.deploy(services, **about)
    except Invalid as no:
        found = [str(f) for f in no.findings]
    else:
        assert (answer["outcome"], answer["failed"], answer["changed"]) == ("refused", True, False)
        assert all(f in answer["msg"] for f in answer["findings"])
        found = answer["findings"]
    assert (harbour.containers(), networks(harbour)) == before
    return found


def networks(harbour: Harbour) -> list[str]:
    return [n.name for n in harbour.client.networks.list() if n.name.startswith(harbour.name)]


def test_an_image_that_cannot_be_had_changes_nothing(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    absent = "127.0.0.1:1/q-absent:1"
    services = {
        "web": web(environment={"VERSION": "2"}),
        "one": web(image=absent),
        "two": web(image="local/q-never:1", pull_policy="never"),
    }
    found = refused(harbour, services)
    assert len(found) == 2
    assert any(f.startswith("services.one.image") and absent in f for f in found)
    assert any(f.startswith("services.two.image") and "pull_policy is never" in f for f in found)
    latest = harbour.journal.history(harbour.name)[0]
    assert latest.outcome == "refused"
    assert latest.ended is not None


def test_everything_that_is_wrong_is_said_at_once(harbour: Harbour, tmp_path: Path) -> None:
    mount = {"type": "bind", "source": f"{tmp_path}/not-there", "target": "/x", "bind": {"create_host_path": False}}
    services = {
        "web": {"image": WEB, "volumes": [mount]},
        "db": web(networks=["elsewhere"]),
    }
    found = refused(harbour, services, networks={"elsewhere": {"external": True, "name": f"{harbour.name}-absent"}})
    text = "\n".join(found)
    assert len(found) == 3, text
    assert "has a health check" in text
    assert "not-there does not exist on the host" in text
    assert f"external network {harbour.name}-absent does not exist" in text


def test_what_compose_does_not_know_is_refused_with_its_path(harbour: Harbour) -> None:
    found = refused(harbour, {"web": web(imagee=WEB, depends_on={"web": {"condition": "service_started"}})})
    assert any(f.startswith("services.web.imagee") for f in found)
    assert any("web -> web" in f for f in found)


def test_a_port_that_is_taken_names_who_has_it(harbour: Harbour, client: Any) -> None:
    name = f"{harbour.name}-squatter"
    squatter = client.containers.run(WEB, name=name, detach=True, ports={"8000/tcp": ("127.0.0.1", 28733)})
    listener = socket.create_server(("127.0.0.1", 28734))
    try:
        ports = ["127.0.0.1:28733:8000", "127.0.0.1:28734:8001"]
        found = refused(harbour, {"web": web(ports=ports)})
    finally:
        listener.close()
        squatter.remove(force=True)
    assert len(found) == 2
    assert f"port 28733/tcp is taken by container {name}" in found[0]
    assert "port 28734/tcp is taken by" in found[1]
    assert f"(process {os.getpid()})" in found[1]


def test_what_the_host_cannot_hold_is_said_before_anything_starts(harbour: Harbour, client: Any) -> None:
    info = client.info()
    cpus, memory = info["NCPU"], info["MemTotal"]
    half = {"resources": {"reservations": {"memory": str(memory // 2 + 1)}}}
    wide = {"resources": {"limits": {"cpus": str(cpus + 1)}}}
    found = refused(harbour, {"one": web(deploy=half), "two": web(deploy=half), "three": web(deploy=wide)})
    assert len(found) == 2, found
    assert f"{cpus + 1} CPUs are more than the host's {cpus}" in found[0]
    assert "GiB are reserved in all, and the host has" in found[1]
    assert harbour.containers() == {}
    harbour.deployed({"one": web(deploy=half)})


def test_a_network_that_differs_is_not_ignored(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    found = refused(harbour, {"web": web()}, networks={"default": {"internal": True}})
    assert len(found) == 1
    assert found[0].startswith("networks.default.internal")


def test_no_health_check_is_refused_unless_opted_out_in_words(harbour: Harbour) -> None:
    found = refused(harbour, {"web": {"image": WEB}})
    assert len(found) == 1
    assert "x-quaylock.gate.none" in found[0]


def test_a_second_deployer_is_told_who_is_first(harbour: Harbour) -> None:
    request = harbour.request({"web": web()})
    with locked(request.locks, harbour.name, "jane@ci", 0):
        with pytest.raises(PortError, match=r"is being deployed by jane@ci \(pid \d+\) since"):
            harbour.deploy({"web": web()})
        with pytest.raises(PortError, match="jane@ci"):
            harbour.remove()
        assert deploy.check(request)["outcome"] == "planned", "looking is free"
    assert harbour.containers() == {}
    harbour.deployed({"web": web()})


def test_a_rollback_that_cannot_end_says_exactly_what_serves(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine refuses to remove one of the new containers, as a busy one does: the rest comes back all the same."""
    release = harbour.deployed({"web": web(deploy={"replicas": 2}), "other": web()})["rollout"]
    remove = DockerEngine.remove

    def refusing(engine: DockerEngine, name: str) -> None:
        if name == f"{harbour.name}-web-3":
            raise PortError(f"removing {name}: device or resource busy")
        remove(engine, name)

    monkeypatch.setattr(DockerEngine, "remove", refusing)
    bad = web(environment={"CRASH_AFTER": "0.1"}, deploy={"replicas": 2})
    answer = harbour.deploy({"web": bad, "other": web()})
    assert (answer["outcome"], answer["failed"]) == ("incomplete", True)
    name = harbour.name
    text = answer["msg"]
    assert f"{name}: rollout {answer['rollout']} could not be undone completely: web did not pass its gate" in text
    assert f"web: {name}-web-3 could not be removed: removing {name}-web-3: device or resource busy" in text
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  now "))
    assert lines[at].strip().endswith(f"release {release} is the last release; of it:")
    assert lines[at + 1].strip() == f"other: {name}-other-1 of release {release} serves"
    assert (
        lines[at + 2]
        .strip()
        .startswith(
            f"web: {name}-web-1 of release {release} serves; {name}-web-2 of release {release} serves;"
            f" {name}-web-3 of the rollout that failed is stopped (exit code "
        )
    )
    assert lines[at + 3] == "  next    correct it and deploy again"
    [of_web] = [s for s in answer["serving"] if s["service"] == "web"]
    assert [(r["name"], r["serves"], r["failed_rollout"]) for r in of_web["replicas"]] == [
        (f"{name}-web-1", True, False),
        (f"{name}-web-2", True, False),
        (f"{name}-web-3", False, True),
    ]
    monkeypatch.undo()
    good = harbour.deploy({"web": web(deploy={"replicas": 2}), "other": web()})
    assert any("was interrupted earlier and undone" in note for note in good["notes"])
    left = harbour.containers()
    assert len(left) == 3
    assert answer["rollout"] not in {body["Config"]["Labels"]["quaylock.rollout"] for body in left.values()}
