# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What has hurt others' rollouts. tests/pitfalls.yaml lists all of it, with the tests that are elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until
from ansible_collections.quaylock.stacks.tests.load import under

from . import proxies as real
from .conftest import WEB, Harbour, web
from .meanwhile import Meanwhile, has_done, of_version, told_to
from .test_rollout_killed import killed_at

pytestmark = pytest.mark.integration

network, image = real.network, real.image
proxy = real.proxy_of("haproxy")
routed = pytest.mark.parametrize("proxy", ["haproxy"], indirect=True)
MIX = {"keepalive": 4, "fresh": 2, "post": 2, "ws": 2}


@pytest.fixture
def behind(harbours: Callable[..., Harbour], proxy: real.Contained) -> Harbour:
    entrypoints = {"http": real.HTTP, "db": real.TCP}
    settings = IngressSettings(str(proxy.folder), proxy.container.name, proxy.network, entrypoints, proxy.driver)
    return harbours(ingress=settings)


def release(version: str, replicas: int = 2, **about: Any) -> dict[str, Any]:
    """A routed service that says goodbye to WebSockets, so that whoever counts sees what was cut."""
    route = {"entrypoint": "http", "port": 8000, "host": "shop.example.org", "check": "/version", "drain": "1s"}
    environment = {"VERSION": version, **about.pop("env", {})}
    service = web(environment=environment, deploy={"replicas": replicas}, **about)
    service["x-quaylock"]["ingress"] = [route]
    return {"web": service}


# -- others on the same engine ----------------------------------------------------------------------


def crash(harbour: Harbour, version: str) -> None:
    """What is about to start crashes as soon as it runs."""
    until(lambda: of_version(harbour, version))
    told_to(harbour, "crash", version)


def test_a_foreign_container_event_midway(harbour: Harbour, client: Any) -> None:
    """Strangers start, restart and die on the engine, even in the stack's own network and under its service's name."""
    harbour.deployed({"web": web(environment={"VERSION": "1"})})
    [old] = of_version(harbour, "1")
    strangers: list[Any] = []

    def disturb(_found: Any) -> None:
        network = f"{harbour.name}_default"
        for number in range(3):
            stranger = client.containers.create(WEB, name=f"{harbour.name}x-web-{number}")
            client.networks.get(network).connect(stranger, aliases=["web"])
            stranger.start()
            strangers.append(stranger)
        strangers[0].restart(timeout=0)
        strangers[1].kill()
        strangers[2].remove(force=True)

    with Meanwhile(lambda: of_version(harbour, "2"), disturb):
        harbour.deployed({"web": web(environment={"VERSION": "2", "READY_AFTER": "1.5"}, monitor="1s")})
    try:
        assert old not in harbour.containers()
        assert len(of_version(harbour, "2")) == 1
        strangers[0].reload()
        assert strangers[0].status == "running", "it is not ours"
        assert client.containers.get(strangers[1].id).status == "exited"
    finally:
        for stranger in strangers[:2]:
            stranger.remove(force=True)


@routed
def test_restart_always_reviving_the_old_at_reboot(behind: Harbour, proxy: real.Contained, client: Any) -> None:
    """An engine that starts again revives what was stopped but not removed yet, where its policy is always."""
    behind.deployed(release("v1", 1, restart="always"))
    [old] = behind.running()
    with under(proxy.load(seconds=60, mix=MIX)) as load:
        killed_at(behind, release("v2", 1, restart="always"), "done", "Stop")
        assert behind.containers()[old]["State"]["Status"] == "exited"
        client.containers.get(old).start()
        time.sleep(0.5)
        served = load.report.answered_by["v1"]
        load.warm(100)
        assert load.report.answered_by["v1"] == served, "it runs, and nobody is sent to it"
        answer = behind.deploy(release("v2", 1, restart="always"))
    assert any("was interrupted earlier and finished" in note for note in answer["notes"])
    assert load.report.failed == 0, load.report
    assert old not in behind.containers()
    assert len(behind.running()) == 1


def test_a_scale_up_by_somebody_during_a_rollout(harbour: Harbour, docker_compose: str, tmp_path: Path) -> None:
    """What they started is neither counted nor kept; the next run says so and clears it away."""
    services = {"web": web(environment={"VERSION": "1"})}
    harbour.deployed(services)
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps({"services": {"web": {"image": WEB, "environment": {"VERSION": "theirs"}}}}))
    call = [docker_compose, "-p", harbour.name, "-f", str(file), "up", "-d", "--no-recreate", "--scale", "web=4"]

    def scale(_found: Any) -> None:
        subprocess.run(call, capture_output=True, text=True, check=True)

    new = {"web": web(environment={"VERSION": "2", "READY_AFTER": "2.5"}, monitor="1s")}
    with Meanwhile(lambda: of_version(harbour, "2"), scale):
        harbour.deployed(new)
    assert len(of_version(harbour, "2")) == 1
    assert of_version(harbour, "theirs")
    answer = harbour.deployed(new)
    assert "was not made by Quaylock" in " ".join(answer["plan"])
    assert len(harbour.running()) == 1


@routed
def test_a_scale_down_by_somebody_during_a_rollout(behind: Harbour, proxy: real.Contained, client: Any) -> None:
    """One of the old replicas is removed by hand, and then the new release fails: back to the one that is left."""
    behind.deployed(release("v1"))
    gone, left = behind.running()

    def remove(_found: Any) -> None:
        client.containers.get(gone).remove(force=True)
        client.containers.get(of_version(behind, "v2")[0]).kill()

    with Meanwhile(has_done(behind, "Route"), remove):
        answer = behind.deploy(release("v2", monitor="4s"))
    assert answer["outcome"] == "rolled back", answer.get("msg")
    said = [e.details.get("said", "") for e in behind.events(answer["rollout"])]
    assert any(f"traffic goes to {left} alone: {gone}" in line for line in said), "it is said who is missing"
    assert behind.running() == [left]
    assert [proxy.get()[0] for _turn in range(4)] == [200] * 4
    assert '"version":"v1"' in proxy.get()[1]
    again = behind.deployed(release("v1"))
    assert "1 -> 2 replicas" in " ".join(again["plan"])


def test_a_new_replica_that_somebody_removes_is_a_verdict(harbour: Harbour, client: Any) -> None:
    harbour.deployed({"web": web(environment={"VERSION": "1"})})
    before = harbour.identities()

    def remove(found: list[str]) -> None:
        client.containers.get(found[0]).remove(force=True)

    with Meanwhile(lambda: of_version(harbour, "2"), remove):
        answer = harbour.deploy({"web": web(environment={"VERSION": "2", "READY_AFTER": "600"})})
    assert answer["outcome"] == "rolled back"
    assert "web did not pass its gate" in answer["msg"]
    assert re.search("was removed while it was being gated|exited with code 137", answer["msg"]), "as it was seen first"
    assert harbour.identities() == before


# -- volumes ----------------------------------------------------------------------------------------


def story(harbour: Harbour, since: float) -> list[tuple[str, str]]:
    """(event, container) of the stack in their order, as the engine tells them."""
    found = harbour.client.api.events(
        since=since,
        until=time.time() + 0.1,
        decode=True,
        filters={"label": f"com.docker.compose.project={harbour.name}", "event": ["start", "die"]},
    )
    return [(event["Action"], event["Actor"]["Attributes"]["name"]) for event in found]


def test_a_single_writer_volume_never_has_two_writers(harbour: Harbour) -> None:
    def services(version: str, **environment: str) -> dict[str, Any]:
        own = {"VERSION": version, "STATE": "/state", **environment}
        return {"db": web(user="0:0", volumes=["kept:/state"], environment=own)}

    volumes = {"volumes": {"kept": {}}}
    harbour.deployed(services("1"), **volumes)
    [old] = harbour.running()
    began = time.time() - 0.05
    answer = harbour.deployed(services("2"), **volumes)
    assert "stop-first" in " ".join(answer["plan"])
    [new] = harbour.running()
    assert story(harbour, began) == [("die", old), ("start", new)]
    began = time.time()
    bad = harbour.deploy(services("3", CRASH_AFTER="0.3"), **volumes)
    assert bad["outcome"] == "rolled back"
    told = story(harbour, began)
    [third] = {name for _event, name in told} - {new}
    assert told == [("die", new), ("start", third), ("die", third), ("start", new)]
    [(_name, body)] = harbour.containers().items()
    host = next(iter(body["NetworkSettings"]["Networks"].values()))["IPAddress"]

    def content() -> str:
        with urllib.request.urlopen(f"http://{host}:8000/file?path=/state/serve-4", timeout=3) as seen:
            return str(seen.read().decode())

    assert until(content, despite=OSError).startswith("2 "), "its content is that of every generation before"


def test_anonymous_volumes_begin_empty_and_do_not_pile_up(harbour: Harbour, client: Any) -> None:
    def services(version: str, **environment: str) -> dict[str, Any]:
        own = {"VERSION": version, "STATE": "/state", **environment}
        return {"web": web(user="0:0", volumes=["/state"], environment=own)}

    def volume() -> str:
        [body] = [b for b in harbour.containers().values() if b["State"]["Running"]]
        [mount] = body["Mounts"]
        return str(mount["Name"])

    def told(**filters: Any) -> list[dict[str, Any]]:
        return list(client.api.events(since=began, until=time.time() + 0.1, decode=True, filters=filters))

    def mounted() -> set[str]:
        """Volumes of the stack's containers, also of those that are gone: its neighbours on the engine have others."""
        ours = {e["id"] for e in told(label=f"com.docker.compose.project={harbour.name}", event="create")}
        return {
            e["Actor"]["ID"]
            for e in told(type="volume", event="mount")
            if e["Actor"]["Attributes"]["container"] in ours
        }

    def there() -> set[str]:
        return mounted().intersection(volume.name for volume in client.volumes.list())

    began = time.time() - 0.05
    harbour.deployed(services("1"))
    first = volume()
    bad = harbour.deploy(services("2", CRASH_AFTER="0.2"))
    assert bad["outcome"] == "rolled back"
    assert volume() == first, "the one that served keeps what it wrote"
    assert mounted() > {first}
    assert there() == {first}, "nor does the one that failed leave its own"
    harbour.deployed(services("3"))
    second = volume()
    assert second != first
    assert there() == {second}
    logs = client.containers.get(harbour.running()[0]).logs().decode()
    assert "start 1," in logs, "it began empty"


# -- images ---------------------------------------------------------------------------------------------


@pytest.fixture
def own_image(client: Any, web_built: str) -> Iterator[Callable[[str], str]]:
    """Images of this test alone, by version."""
    made: list[str] = []

    def make(version: str) -> str:
        made.append(web_image(f"local/q-web:pitfall-{version}", version))
        return made[-1]

    yield make
    for tag in made:
        subprocess.run(["docker", "image", "rm", "--force", tag], capture_output=True, check=False)


def test_a_pruned_rollback_image(harbour: Harbour, client: Any, own_image: Callable[[str], str]) -> None:
    """The image of what was there is deleted while the new one is tried: the old container comes back all the same."""
    old_image = own_image("old")

    def services(tag: str, **environment: str) -> dict[str, Any]:
        return {"web": web(image=tag, environment=environment, monitor="20s", ports=["127.0.0.1:28741:8000"])}

    harbour.deployed(services(old_image))
    [(name, (identity, _since))] = harbour.identities().items()

    def prune(_found: Any) -> None:
        client.images.remove(old_image, force=True)
        assert not client.images.list(old_image)
        crash(harbour, "new")

    with Meanwhile(has_done(harbour, "Stop"), prune):
        answer = harbour.deploy(services(WEB, VERSION="new"))
    assert answer["outcome"] == "rolled back"
    assert harbour.identities()[name][0] == identity
    with urllib.request.urlopen("http://127.0.0.1:28741/version", timeout=3) as seen:
        assert json.load(seen)["version"] == "old"


# -- what was there does not work, or does not come back ----------------------------------------------


def test_an_incumbent_that_is_already_broken_gives_way(harbour: Harbour, client: Any) -> None:
    """One of two crashed, the other is unhealthy by the engine's word: a good release replaces both."""
    quick = {"test": ["CMD", "/web", "check"], "interval": "200ms", "timeout": "1s", "retries": 1}

    def services(version: str) -> dict[str, Any]:
        return {"web": web(environment={"VERSION": version}, healthcheck=quick, deploy={"replicas": 2})}

    harbour.deployed(services("1"))
    crashed, sick = harbour.running()
    client.containers.get(crashed).kill()
    told_to(harbour, "fail", "1")
    until(lambda: harbour.containers()[sick]["State"]["Health"]["Status"] == "unhealthy")
    answer = harbour.deployed(services("2"))
    assert "definition changed" in " ".join(answer["plan"])
    assert len(of_version(harbour, "2")) == 2
    assert len(harbour.containers()) == 2


def test_an_incumbent_that_is_already_broken_is_left_as_it_was_by_a_bad_release(harbour: Harbour, client: Any) -> None:
    harbour.deployed({"web": web(environment={"VERSION": "1"}), "other": web()})
    [broken] = harbour.running("web")
    client.containers.get(broken).kill()
    before = harbour.identities()
    answer = harbour.deploy({"web": web(environment={"VERSION": "2", "CRASH_AFTER": "0.2"}), "other": web()})
    assert answer["outcome"] == "rolled back"
    assert harbour.identities() == before
    assert "running: other x1" in answer["msg"], answer["msg"]
    assert harbour.running() == [f"{harbour.name}-other-1"]


@routed
def test_an_incumbent_that_is_already_broken_behind_the_proxy_gives_way(
    behind: Harbour, proxy: real.Contained, client: Any
) -> None:
    behind.deployed(release("v1"))
    for name in behind.running():
        client.containers.get(name).kill()
    bad = behind.deploy(release("v2", env={"FAIL_FORWARDED": "1"}))
    assert bad["outcome"] == "rolled back", bad["msg"]
    assert "running: nothing" in bad["msg"]
    behind.deployed(release("v3"))
    assert '"version":"v3"' in proxy.get()[1]
    assert len(behind.containers()) == 2


def test_a_rollback_that_fails(harbour: Harbour, tmp_path: Path) -> None:
    """What was stopped cannot start again, because somebody took what it mounts: said plainly, and mended by the next run."""
    source = tmp_path / "mounted"
    source.mkdir()
    mount = {"type": "bind", "source": str(source), "target": "/mounted", "bind": {"create_host_path": False}}

    def services(version: str, **environment: str) -> dict[str, Any]:
        about = {"volumes": [mount]} if version == "1" else {}
        return {
            "web": web(
                environment={"VERSION": version, **environment}, monitor="20s", ports=["127.0.0.1:28742:8000"], **about
            ),
            "other": web(),
        }

    harbour.deployed(services("1"))

    def take(_found: Any) -> None:
        shutil.rmtree(source)
        crash(harbour, "2")

    with Meanwhile(has_done(harbour, "Stop"), take):
        answer = harbour.deploy(services("2"))
    assert answer["failed"]
    text = answer["msg"]
    assert "exited with code 1" in text, "why the release failed"
    assert f"{harbour.name}-web-1 could not be started again" in text, "and why the rollback did"
    assert str(source) in text
    assert "running: other x1" in text, "and what serves now"
    assert "\n  next    " in text
    mended = harbour.deployed(services("3"))
    assert len(of_version(harbour, "3")) == 1
    assert mended["outcome"] == "deployed"
    assert len(harbour.containers()) == 2


@routed
def test_a_rollback_that_fails_behind_the_proxy_does_not_keep_the_next_release_out(
    behind: Harbour, proxy: real.Contained, tmp_path: Path
) -> None:
    source = tmp_path / "mounted"
    source.mkdir()
    mount = {"type": "bind", "source": str(source), "target": "/mounted", "bind": {"create_host_path": False}}
    about = {"container_name": f"{behind.name}-fixed"}
    behind.deployed(release("v1", 1, volumes=[mount], **about))

    def take(_found: Any) -> None:
        shutil.rmtree(source)
        crash(behind, "v2")

    with Meanwhile(has_done(behind, "Stop"), take):
        answer = behind.deploy(release("v2", 1, monitor="20s", **about))
    assert answer["failed"]
    assert f"{behind.name}-fixed could not be started again" in answer["msg"]
    assert "running: nothing" in answer["msg"]
    behind.deployed(release("v3", 1, **about))
    assert '"version":"v3"' in proxy.get()[1]
    assert behind.running() == [f"{behind.name}-fixed"]
