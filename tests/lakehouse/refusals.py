# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a lakehouse is refused for, before anything of it has started: secrets, ports, CPUs and memory of the real host."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fixtures.stacks import lakehouse
from tests.fixtures.stacks.roles import ROOT
from tests.lakehouse.real import Platform
from tests.lakehouse.rolling import need

STRONG = "the same strong words of two"


@contextlib.contextmanager
def occupied(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def refused(platform: Platform, **given: Any) -> str:
    """The findings of a deployment; what runs goes on."""
    before = {name: body["Id"] for name, body in platform.containers().items()}
    platform.want(verified=False, **given)
    answer = platform.deploy()
    need(answer["outcome"] == "refused", f"{answer['outcome']}: {answer.get('msg')}")
    need({n: b["Id"] for n, b in platform.containers().items()} == before, "something was changed")
    return str(answer["msg"])


def played(**given: str) -> str:
    """What the play says, with these variables."""
    words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    call = ["ansible-playbook", "site.yml", "-i", "inventories/dev", "--check", "-e", "stacks=lakehouse", *words]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    need(done.returncode != 0, f"the play went through with {sorted(given)}")
    return done.stdout + done.stderr


def refusals(platform: Platform, _folder: Path) -> str:
    """Each placeholder, each taken port, and a host that is too small."""
    names = [f"vault_lakehouse_{name}" for name in lakehouse.SECRETS]
    said = played(preflight_placeholders="refuse", **dict.fromkeys(names, "CHANGE_THIS"))
    silent = [name for name in names if f"{name} still holds CHANGE_THIS" not in said]
    need(not silent, f"not named: {silent}: {said[-3000:]}")
    said = played(preflight_repeated_secrets="refuse", **dict.fromkeys(names[:2], STRONG))
    need("have the same value" in said and STRONG not in said, said[-3000:])

    ports = {name: 21000 + number for number, name in enumerate(platform.known["lakehouse_ports"])}
    # what is not there without it is not published
    published = [port for name, port in ports.items() if name != "prometheus"]
    for port in published:
        with occupied(port):
            found = refused(platform, lakehouse_published=True, lakehouse_ports=ports)
        need(f"port {port}/tcp is taken by" in found, found)

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    tables, services = platform.known["lakehouse_limits"], platform.model["services"]
    total = sum(
        lakehouse.gibibytes(tables[name.replace("-", "_")]["memory"]) * service["deploy"].get("replicas", 1)
        for name, service in services.items()
        if "one_shot" not in service.get("x-quaylock", {})
    )
    # what would fit into a host of this size is reserved twice: for it, this host has half the memory
    times = 2 * memory / total
    larger = {n: {**row, "memory": f"{lakehouse.gibibytes(row['memory']) * times:.3f}G"} for n, row in tables.items()}
    found = refused(platform, lakehouse_limits=larger, lakehouse_reserved=1.0)
    need("GiB are reserved in all, and the host has" in found, found)
    cores = {name: {**row, "cpus": 2.0 * (os.cpu_count() or 1)} for name, row in tables.items()}
    found = refused(platform, lakehouse_limits=cores)
    need(found.count("CPUs are more than the host's") == len(services), found)
    return (
        f"{len(names)} placeholders at once, each by its name; two secrets that are the same; {len(published)} ports, each taken by "
        "somebody; twice the memory and twice the CPUs of this host"
    )
