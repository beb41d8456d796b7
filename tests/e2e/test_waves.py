# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Three hosts over SSH, each with its own engine: waves behind a canary host, and two controllers at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.quaylock.stacks.tests.fixtures import systemd
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
HOSTS = ("web-1", "web-2", "web-3")
IMAGES = ("local/q-web:wave1", "local/q-web:wave2")
PREFIX = "quaylock-e2e-wave-"
LOCK = "/var/lib/quaylock/locks/shop.lock"
SHOP = {
    "services": {
        "web": {
            "image": "local/q-web:${TAG:?}",
            "pull_policy": "never",
            "environment": {"CRASH_AFTER": "${CRASH:-}", "READY_AFTER": "${SLOW:-0}"},
            "healthcheck": {"test": ["CMD", "/web", "check"], "interval": "30s", "timeout": "5s"},
            "deploy": {"update_config": {"monitor": "1s"}},
            "stop_grace_period": "1s",
            "x-quaylock": {"gate": {"deadline": "180s", "cadence": "200ms"}},
        }
    }
}
VARIABLES = {
    "TAG": "{{ (shop_tags | default({}))[inventory_hostname] | default(shop_tag | default('wave1')) }}",
    "CRASH": "{{ '0.3' if inventory_hostname in shop_breaks_on | default('') else '' }}",
    "SLOW": "{{ shop_slow | default('0') }}",
}


def run(*call: str | Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(word) for word in call],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def done(*call: str | Path) -> str:
    rc, said = run(*call)
    assert rc == 0, f"{' '.join(map(str, call))} -> {rc}\n{said[-4000:]}"
    return said.strip()


def on(host: str, command: str) -> str:
    return done("docker", "exec", f"{PREFIX}{host}", "sh", "-c", command)


def replicas(host: str) -> list[tuple[str, str, str]]:
    """(id, started at, image) of what runs there: the same only where nobody touched it."""
    ids = on(host, "docker ps -q --no-trunc --filter label=com.docker.compose.project=shop").split()
    bodies = json.loads(on(host, f"docker inspect {' '.join(ids)}")) if ids else []
    return sorted((body["Id"], body["State"]["StartedAt"], body["Config"]["Image"]) for body in bodies)


def images_of(host: str) -> list[str]:
    """Of one answer of the engine, because a rollout may remove what it named before it is asked about."""
    return on(host, "docker ps --filter label=com.docker.compose.project=shop --format '{{.Image}}'").split()


@dataclass
class Fleet:
    inventory: Path

    def site(self, *more: str, ok: bool = True, who: str = "alice", play: str | Path = "site.yml") -> str:
        program = shutil.which(
            "ansible-playbook", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        rc, said = run(program or "ansible-playbook", play, "-i", self.inventory, *more, LOGNAME=who)
        assert (rc == 0) is ok, f"{more} -> {rc}\n{said[-8000:]}"
        return said


def start(host: str, image: str, keys: Path) -> tuple[str, str]:
    """One machine with systemd, SSH and an engine that has the images; its address and host key."""
    name = f"{PREFIX}{host}"
    run("docker", "rm", "-fv", name)
    rights = [f"--cap-add={cap}" for cap in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE")]
    rights += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--cgroupns=private"]
    places = ["--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec", "-v", "/var/lib/docker"]
    done("docker", "run", "-d", "--name", name, "--hostname", host, *rights, *places, image)
    on(host, systemd.UP)
    on(host, "install -d -m 700 /root/.ssh && ssh-keygen -A && systemctl start ssh docker")
    done("docker", "cp", str(keys / "id.pub"), f"{name}:/root/.ssh/authorized_keys")
    on(host, "chown root:root /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys")
    done("sh", "-c", f"docker save {' '.join(IMAGES)} | docker exec -i {name} docker load")
    address = done("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
    kind, key = on(host, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    return address, f"{address} {kind} {key}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    done("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id")
    for tag in IMAGES:
        web_image(tag)
    image = json.loads(done(sys.executable, "scripts/test_hosts.py").splitlines()[-1])["engine"]
    try:
        with ThreadPoolExecutor(len(HOSTS)) as pool:
            places = list(pool.map(lambda host: start(host, image, folder), HOSTS))
        (folder / "known_hosts").write_text("".join(f"{key}\n" for _address, key in places))
        (folder / "shop.yaml").write_text(yaml.safe_dump(SHOP))
        options = f"-o UserKnownHostsFile={folder}/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
        about = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(folder / "id"),
            "ansible_ssh_common_args": options,
            "preflight_disk_free_mb": 512,
            "stacks": [{"name": "shop", "compose": str(folder / "shop.yaml"), "variables": VARIABLES}],
        }
        hosts = {host: {"ansible_host": address} for host, (address, _key) in zip(HOSTS, places, strict=True)}
        inventory = folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": about}}))
        yield Fleet(inventory)
    finally:
        for host in HOSTS:
            run("docker", "rm", "-fv", f"{PREFIX}{host}")


def rows(said: str) -> dict[str, tuple[str, str]]:
    """Host -> (outcome, what serves now), from the table at the end."""
    lines = [line.strip() for line in said.splitlines()]
    found = {}
    for line in lines:
        parts = [part.strip() for part in line.split("  ") if part.strip()]
        if len(parts) == 4 and parts[0] in HOSTS and parts[1] == "shop":
            found[parts[0]] = (parts[2], parts[3])
    return found


def test_bad_waves_are_refused_before_anything_is_changed(fleet: Fleet) -> None:
    said = fleet.site("-e", '{"rollout_waves": [1, "0%"], "rollout_wave_pause": 5, "rollout_wave": 1}', ok=False)
    assert "rollout_waves[1]: '0%' is no wave" in said
    assert "rollout_wave_pause: '5' is not a duration" in said
    assert "rollout_wave: unknown" in said
    assert "nothing was changed" in said
    assert all(replicas(host) == [] for host in HOSTS)


def test_a_good_release_goes_over_all_hosts(fleet: Fleet) -> None:
    said = fleet.site()
    assert {host: row[0] for host, row in rows(said).items()} == dict.fromkeys(HOSTS, "deployed")
    assert all(images_of(host) == [IMAGES[0]] for host in HOSTS)


def test_a_bad_release_ends_at_the_canary_host(fleet: Fleet) -> None:
    before = {host: replicas(host) for host in HOSTS}
    said = fleet.site(
        "-e", "rollout_waves=1,100%", "-e", "shop_tag=wave2", "-e", "shop_breaks_on=web-1,web-2,web-3", ok=False
    )
    assert {host: replicas(host) for host in HOSTS} == before
    table = rows(said)
    assert [table[host][0] for host in HOSTS] == ["rolled back", "not reached", "not reached"]
    assert all("healthy, release r-" in now and "web 1/1 local/q-web:wave1" in now for _outcome, now in table.values())
    assert "failed       web-1: shop: rollout r-" in said
    assert "not reached  web-2, web-3" in said
    assert "ansible-playbook site.yml -i" in said


def test_an_image_that_a_later_host_cannot_have_ends_the_run_before_the_first_wave(fleet: Fleet) -> None:
    before = {host: replicas(host) for host in HOSTS}
    said = fleet.site(
        "-e", "rollout_waves=1", "-e", '{"shop_tags": {"web-3": "unknown"}, "shop_tag": "wave2"}', ok=False
    )
    assert "local/q-web:unknown is not on this host, and pull_policy is never" in said
    assert {host: replicas(host) for host in HOSTS} == before


def test_hosts_of_the_failed_wave_finish_and_later_ones_stay(fleet: Fleet) -> None:
    """The first wave has a host that fails and one that does not; neither is left half."""
    before = {host: replicas(host) for host in HOSTS}
    said = fleet.site("-e", "rollout_waves=2", "-e", "shop_tag=wave2", "-e", "shop_breaks_on=web-1", ok=False)
    table = rows(said)
    assert [table[host][0] for host in HOSTS] == ["rolled back", "deployed", "not reached"]
    assert (replicas("web-1"), replicas("web-3")) == (before["web-1"], before["web-3"])
    assert images_of("web-2") == [IMAGES[1]]


def test_a_mended_release_goes_on_in_waves_that_are_watched(fleet: Fleet) -> None:
    second = replicas("web-2")
    said = fleet.site("-e", "rollout_waves=1", "-e", "rollout_wave_pause=1s", "-e", "shop_tag=wave2")
    assert [rows(said)[host][0] for host in HOSTS] == ["deployed", "unchanged", "deployed"]
    assert replicas("web-2") == second
    assert all(images_of(host) == [IMAGES[1]] for host in HOSTS)
    assert replicas("web-1")[0][1] < replicas("web-3")[0][1]


def test_a_return_goes_in_waves_too(fleet: Fleet) -> None:
    back = ("-e", "stack=shop", "-e", "yes=true", "-e", "rollout_waves=1,100%")
    fleet.site(*back, play="playbooks/rollback.yml")
    assert all(images_of(host) == [IMAGES[0]] for host in HOSTS)
    started = [replicas(host)[0][1] for host in HOSTS]
    assert started[0] < min(started[1:])
    said = fleet.site(*back[:-1], "rollout_waves=0", play="playbooks/rollback.yml", ok=False)
    assert "rollout_waves[0]: '0' is no wave" in said


def held(host: str) -> str:
    """Who has the lock of the stack, "free" where nobody does."""
    return on(host, f"flock -n {LOCK} echo free || cat {LOCK}")


def until_it_rolls(host: str) -> str:
    """The rollout that has begun there."""

    def rollout() -> str:
        found = held(host)
        return str(json.loads(found)["rollout"]) if '"rollout": "r-' in found else ""

    return until(rollout, lambda: held(host), rest=0.2)


@pytest.mark.more  # two minutes of it are the time until a host counts as lost
def test_a_host_that_is_lost_in_its_wave_ends_the_run_there_and_its_rollout_by_itself(fleet: Fleet) -> None:
    """web-2 cannot be reached any more while it rolls out; what was begun there comes to its end."""
    others = {host: replicas(host) for host in ("web-1", "web-3")}
    new = ("-e", "rollout_waves=1,1,1", "-e", "shop_tag=wave2", "-e", "shop_slow=6")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fleet.site, *new, ok=False)
        until_it_rolls("web-2")
        try:
            on("web-2", "systemctl stop ssh.socket ssh; pkill -9 '^sshd'; :")
            said = first.result()
            until(lambda: "free" in held("web-2"), lambda: held("web-2"), rest=0.2)
        finally:
            on("web-2", "systemctl start ssh")
    table = rows(said)
    assert table["web-1"][0] == "deployed"
    assert table["web-3"][0] == "not reached"
    assert "failed       web-2: shop: the host is not reached any more" in said
    assert replicas("web-1") != others["web-1"]
    assert replicas("web-3") == others["web-3"]
    assert images_of("web-2") == [IMAGES[1]], "the rollout there needed nobody"
    second = replicas("web-2")
    again = rows(fleet.site(*new))
    assert [again[host][0] for host in HOSTS] == ["unchanged", "unchanged", "deployed"]
    assert replicas("web-2") == second


def test_a_host_that_falls_ill_after_its_wave_ends_the_run(fleet: Fleet) -> None:
    """It was well when it was deployed; the pause is there to see that it stays so."""
    third = replicas("web-3")
    new = "wave1" if images_of("web-1") != [IMAGES[0]] else "wave2"
    with ThreadPoolExecutor(1) as pool:
        call = ("-e", "rollout_waves=2", "-e", "rollout_wave_pause=15s", "-e", f"shop_tag={new}")
        first = pool.submit(fleet.site, *call, ok=False)
        wanted = [IMAGES[new == "wave2"]]
        until(lambda: images_of("web-1") == wanted and "free" in held("web-1"), seconds=120, rest=0.2)
        on("web-1", "docker kill $(docker ps -q --filter label=com.docker.compose.project=shop)")
        said = first.result()
    assert "shop not healthy any more after 15" in said
    assert rows(said)["web-3"][0] == "not reached"
    assert replicas("web-3") == third


def test_of_two_controllers_one_is_refused_or_waits(fleet: Fleet) -> None:
    """The role alone, so that the others come while the first one's replica is still getting ready."""
    only = {"name": "quaylock.stacks.stack"}
    shop = {
        "stack_name": "shop",
        "stack_compose": "{{ stacks[0].compose }}",
        "stack_variables": "{{ stacks[0].variables }}",
    }
    play = fleet.inventory.parent / "shop.yml"
    tasks = [{"ansible.builtin.include_role": only, "vars": shop}]
    play.write_text(yaml.safe_dump([{"hosts": "web-1", "gather_facts": False, "tasks": tasks}]))
    slow = ("-e", "shop_tag=wave1", "-e", "shop_slow=told")
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(fleet.site, *slow, play=play, who="alice")
        rollout = until_it_rolls("web-1")
        hasty = pool.submit(fleet.site, *slow, play=play, ok=False, who="bob")
        patient = pool.submit(fleet.site, *slow, "-e", "stack_wait=90", play=play, who="carol")
        refused = hasty.result()
        time.sleep(8)  # by now the third one waits, which came together with the second
        on("web-1", "docker exec $(docker ps -qn1 --filter label=com.docker.compose.project=shop) /web tell go")
        first.result()
        waited = patient.result()
    assert "shop is being deployed by alice@" in refused
    assert f"rollout {rollout}) since 20" in refused
    assert "-e stack_wait=SECONDS" in refused
    assert "shop is being deployed by alice@" in waited
    assert "waiting up to 90 s for the end of it" in waited
    assert "changed=0 " in waited.split("PLAY RECAP")[1]
