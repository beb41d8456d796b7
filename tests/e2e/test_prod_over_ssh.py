# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""inventories/prod against one bare host over SSH: refused while placeholders are there, then deployed and gated.

The host is a container with systemd and an SSH server. Images come from a registry beside it, by pinned tags, as in
production.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.tests.fixtures import systemd
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
HOST, REGISTRY = "quaylock-e2e-prod", "quaylock-e2e-registry"
DOMAIN = "calminer.example.org"
PASSWORD = "correct-horse-battery"
WANTED = {
    "debian": {"recipe": "debian"},
    "registry": {"context": str(ROOT / "tests/fixtures/images/registry"), "base": "debian", "source": "build"},
    "haproxy": {"recipe": "haproxy"},
    "postgres": {"recipe": "postgres"},
    "calminer": {
        "context": str(ROOT / "roles/calminer/files/app"),
        "base": "python",
        "source": "build",
        "args": {"APP_VERSION": "1.0.0"},
    },
}
PUSHED = {"haproxy": "haproxy:3.0.12", "postgres": "postgres:17.6", "calminer": "calminer:1.0.0"}


def run(*call: str | Path, folder: Path = ROOT, ok: bool = True, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in call],
        cwd=folder,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is ok, f"{' '.join(map(str, call))} -> {done.returncode}\n{done.stdout[-8000:]}"
    return done.stdout


def docker(*call: str) -> str:
    return run("docker", *call).strip()


def ansible(program: str) -> str:
    return shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or program


def address(container: str) -> str:
    return docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """References of images on this machine's engine, made by the role that makes them for users."""
    folder = tmp_path_factory.mktemp("images")
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE") or ""
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "images_wanted": WANTED,
            "images_ca_bundle": bundle,
            "images_lock": "",
            "images_python": sys.executable,
            "ansible_python_interpreter": sys.executable,
        },
        "tasks": [
            {"ansible.builtin.include_role": {"name": "quaylock.stacks.images"}},
            {"ansible.builtin.copy": {"content": "{{ images_resolved | to_json }}", "dest": str(folder / "refs.json")}},
        ],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    run(ansible("ansible-playbook"), "-i", "localhost,", folder / "play.yml")
    return {name: image["ref"] for name, image in json.loads((folder / "refs.json").read_text()).items()}


@pytest.fixture(scope="module")
def registry(images: dict[str, str]) -> Iterator[str]:
    """A registry that has the images; its address as hosts see it."""
    subprocess.run(["docker", "rm", "-fv", REGISTRY], capture_output=True, check=False)
    docker(
        "run",
        "-d",
        "--name",
        REGISTRY,
        "-p",
        "127.0.0.1::5000",
        "--tmpfs",
        "/var/lib/registry:mode=1777",
        images["registry"],
    )
    here = docker("port", REGISTRY, "5000/tcp").splitlines()[0].replace("0.0.0.0", "127.0.0.1")
    until(lambda: urllib.request.urlopen(f"http://{here}/v2/", timeout=1), lambda: docker("logs", REGISTRY), OSError)
    for name, tag in PUSHED.items():
        docker("tag", images[name], f"{here}/{tag}")
        docker("push", "-q", f"{here}/{tag}")
        docker("rmi", f"{here}/{tag}")
    yield f"{address(REGISTRY)}:5000"
    docker("rm", "-fv", REGISTRY)


@dataclass
class Machine:
    """A bare Debian with systemd, an SSH server and a user who may use sudo."""

    name: str
    address: str
    keys: Path

    def __call__(self, command: str, ok: bool = True) -> str:
        return run("docker", "exec", self.name, "sh", "-c", command, ok=ok)

    def variables(self) -> dict[str, Any]:
        options = f"-o UserKnownHostsFile={self.keys}/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
        return {
            "ansible_host": self.address,
            "ansible_ssh_private_key_file": str(self.keys / "id"),
            "ansible_ssh_common_args": options,
        }


@contextlib.contextmanager
def bare(name: str, hostname: str, keys: Path) -> Iterator[Machine]:
    """`keys` is a folder for the key of who logs in, and for what the host is known by."""
    if not (keys / "id").exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / "id")
    image = json.loads(run(sys.executable, "scripts/test_hosts.py").splitlines()[-1])["bare"]
    subprocess.run(["docker", "rm", "-fv", name], capture_output=True, check=False)
    rights = [f"--cap-add={cap}" for cap in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE")]
    rights += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--cgroupns=private"]
    places = ["--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec", "-v", "/var/lib/docker"]
    docker("run", "-d", "--name", name, "--hostname", hostname, *rights, *places, image)
    made = Machine(name, address(name), keys)
    try:
        made(systemd.UP)
        made("useradd -m -s /bin/bash deploy && install -d -m 700 -o deploy /home/deploy/.ssh")
        made("echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy && ssh-keygen -A && systemctl start ssh")
        docker("cp", str(keys / "id.pub"), f"{name}:/home/deploy/.ssh/authorized_keys")
        made("chown deploy /home/deploy/.ssh/authorized_keys && chmod 600 /home/deploy/.ssh/authorized_keys")
        kind, key = made("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
        (keys / "known_hosts").write_text(f"{made.address} {kind} {key}\n")
        yield made
    finally:
        docker("rm", "-fv", name)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with bare(HOST, "prod-1", tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={DOMAIN}",
        "-addext", f"subjectAltName=DNS:{DOMAIN}", "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
    )  # fmt: skip
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return folder / "both.pem"


@pytest.fixture(scope="module")
def inventory(machine: Machine, certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """inventories/prod with this host's address. Its vault still has the placeholders."""
    folder = tmp_path_factory.mktemp("inventory") / "prod"
    shutil.copytree(ROOT / "inventories/prod", folder)
    (folder / "host_vars").mkdir()
    about = {**machine.variables(), "preflight_disk_free_mb": 2048, "preflight_memory_mb": 1024}
    (folder / "host_vars/prod-1.yml").write_text(yaml.safe_dump(about))
    return folder


def filled(inventory: Path, registry: str, certificate: Path, key: Path, **about: Any) -> None:
    """Everything that the placeholders stood for; secrets in a vault whose password is in `key`."""
    host = inventory / "host_vars/prod-1.yml"
    known = yaml.safe_load(host.read_text()) | about
    known |= {
        "docker_insecure_registries": [registry],
        "ingress_image": f"{registry}/{PUSHED['haproxy']}",
        "calminer_image": f"{registry}/{PUSHED['calminer']}",
        "calminer_postgres_image": f"{registry}/{PUSHED['postgres']}",
    }
    host.write_text(yaml.safe_dump(known))
    secrets = {
        "vault_calminer_db_password": PASSWORD,
        "vault_ingress_certificates": {"main": certificate.read_text()},
    }
    vault = inventory / "group_vars/all/vault.yml"
    key.write_text("of the test\n")
    vault.write_text(yaml.safe_dump(secrets))
    run(ansible("ansible-vault"), "encrypt", "--vault-password-file", key, vault)


def site(inventory: Path, *more: str | Path, ok: bool = True) -> str:
    return run(ansible("ansible-playbook"), "site.yml", "-i", inventory, *more, ok=ok)


def get(machine: Machine, path: str, certificate: Path) -> tuple[int, str, dict[str, str]]:
    """What a browser gets for https://DOMAIN, with DOMAIN being this host."""
    trust = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection(DOMAIN, timeout=10)
    plain = socket.create_connection((machine.address, 443), timeout=10)
    connection.sock = trust.wrap_socket(plain, server_hostname=DOMAIN)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def test_placeholders_are_refused_before_anything_is_changed(machine: Machine, inventory: Path) -> None:
    said = site(inventory, ok=False)
    assert "vault_calminer_db_password still holds CHANGE_THIS" in said
    assert "vault_ingress_certificates.main still holds CHANGE_THIS" in said
    assert "nothing was changed" in said
    machine("! command -v dockerd && ! test -e /etc/quaylock && ! test -e /opt/quaylock")


def test_a_bare_host_becomes_a_gated_calminer(
    machine: Machine, inventory: Path, registry: str, certificate: Path, tmp_path: Path
) -> None:
    key = tmp_path / "vault-password"
    filled(inventory, registry, certificate, key)

    said = site(inventory, "--vault-password-file", key)
    assert "calminer: healthy" in said
    assert f"https://{DOMAIN}/" in said
    assert PASSWORD not in said

    status, body, headers = get(machine, "/health", certificate)
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    assert "max-age=31536000" in headers["strict-transport-security"]
    plain = http.client.HTTPConnection(machine.address, 80, timeout=10)
    plain.request("GET", "/health", headers={"Host": DOMAIN})
    answer = plain.getresponse()
    assert (answer.status, answer.getheader("location")) == (308, f"https://{DOMAIN}/health")

    # production: two replicas, nothing of the database outside, no password in what an operator sees
    containers = json.loads(
        machine("docker inspect $(docker ps -q --filter label=com.docker.compose.project=calminer)")
    )
    services = [container["Config"]["Labels"]["com.docker.compose.service"] for container in containers]
    assert sorted(services) == ["api", "api", "postgres"]
    assert PASSWORD not in json.dumps(containers)
    assert PASSWORD not in machine("cat /etc/quaylock/stacks/calminer/compose.yaml")
    assert not [c["Name"] for c in containers if any((c["NetworkSettings"]["Ports"] or {}).values())]
    assert all(c["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped" for c in containers)
    lock = machine("cat /var/lib/quaylock/images.lock.json")
    assert all(tag in lock for tag in PUSHED.values())
    assert lock.count("sha256:") >= len(PUSHED)

    again = site(inventory, "--vault-password-file", key)
    assert "changed=0 " in again.split("PLAY RECAP")[1]

    checked = site(inventory, "--vault-password-file", key, "--check", "--diff", "-e", "stacks=calminer")
    assert "changed=0 " in checked.split("PLAY RECAP")[1]
