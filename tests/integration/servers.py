# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Servers that backups meet: a MinIO in a container, an sshd on this machine, each with keys of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.s3 import S3
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

USER = "quay"


@dataclass
class Minio:
    """`endpoint` stays the same when it starts again; another container may have got its address meanwhile."""

    container: Any
    password: str
    endpoint: str

    @property
    def s3(self) -> S3:
        return S3(self.endpoint, USER, self.password, direct=True)

    @property
    def client(self) -> Any:
        """boto3's own, to do what the product never does."""
        return self.s3._client

    def bucket(self, versioned: bool = False) -> str:
        name = f"q-{secrets.token_hex(4)}"
        self.client.create_bucket(Bucket=name)
        if versioned:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def put(self, bucket: str, **objects: bytes) -> None:
        for key, content in objects.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=content)

    def objects(self, bucket: str) -> dict[str, bytes]:
        found = self.s3.listing(bucket)
        return {o.key: self.client.get_object(Bucket=bucket, Key=o.key)["Body"].read() for o in found}

    def start(self) -> None:
        self.container.start()

        def answers() -> bool:
            return isinstance(self.client.list_buckets()["Buckets"], list)

        until(answers, lambda: self.container.logs().decode(), Exception, rest=0.2)


def free_port() -> int:
    """On the loopback, and nobody's for the moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def minio(client: Any) -> Iterator[Minio]:
    password, port = secrets.token_hex(12), free_port()
    environment = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": password}
    container = client.containers.create(
        recipe_image(client, "minio"), name=f"qb-minio-{secrets.token_hex(3)}", environment=environment,
        read_only=True, tmpfs={"/tmp": ""}, ports={"9000/tcp": ("127.0.0.1", port)},
    )  # fmt: skip
    made = Minio(container, password, f"http://127.0.0.1:{port}")
    try:
        made.start()
        yield made
    finally:
        container.remove(force=True, v=True)


@dataclass
class Sshd:
    """On a free port of the loopback; whoever has `key` comes in as the one that runs the tests."""

    folder: Path
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, key: str = "key") -> str:
        """For restic's sftp.command."""
        known = f"-o UserKnownHostsFile={self.folder}/known -o StrictHostKeyChecking=yes"
        only = "-F none -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5"
        return f"ssh {only} {known} -i {self.folder}/{key} -p {self.port} 127.0.0.1 -s sftp"

    def start(self) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "these tests need sshd: apt-get install openssh-server"
        call = [program, "-D", "-e", "-f", str(self.folder / "config")]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(call, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True

        until(answers, (self.folder / "log").read_text, OSError)

    def kill(self) -> None:
        """With all of its sessions, at once."""
        for process in self.processes:
            for child in _below(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()
        self.processes = []


def _below(pid: int) -> list[int]:
    """The process and its descendants: a session of sshd is a process group of its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = children.read_text().split() if children.exists() else []
    return [pid, *(p for child in found for p in _below(int(child)))]


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    folder.mkdir(mode=0o700)
    for name in ("host", "key", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    lines = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "key.pub",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "StrictModes": "no",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # which a service of the distribution makes otherwise
    made = Sshd(folder, port)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def refused(s3: S3, bucket: str) -> str:
    """What the server says to who may not in."""
    with pytest.raises(PortError) as error:
        s3.versioned(bucket)
    return str(error.value)
