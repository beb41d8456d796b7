# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the test host: the module's own process, whose performing of commands a fault is tied to.

`python3 -m ansible_collections.quaylock.stacks.tests.faults.inside` reads one JSON order from its standard input and
answers with JSON lines. The engine's code is the installed one; only the function that the runner performs a command
by is wrapped, from here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.quaylock.stacks.plugins.module_utils import deploy, proxy, runner
from ansible_collections.quaylock.stacks.plugins.module_utils.core.events import as_json
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.commands import Command
from ansible_collections.quaylock.stacks.plugins.module_utils.core.rollout.state import Rollout
from ansible_collections.quaylock.stacks.plugins.module_utils.detached import in_background
from ansible_collections.quaylock.stacks.plugins.module_utils.host import open_host
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.perform import perform
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings, Request
from ansible_collections.quaylock.stacks.tests.faults import releases

DOOR = 18080
PROXY = "qf-proxy"
NETWORK, SUBNET, ADDRESS = "qf_ingress", "172.29.0.0/24", "172.29.0.2"
FOLDER = "/var/lib/quaylock/ingress"
STRUCK = Path("/var/lib/quaylock/struck")
SMALL = "/small"
"""a file system of a few MiB: the state of the stack whose disk fills"""
FILL = Path(SMALL, "filling")
CHUNK = 65536


def say(**about: Any) -> None:
    sys.stdout.write(json.dumps(about) + "\n")
    sys.stdout.flush()


def request(order: dict[str, Any], version: int, bad: str = "") -> Request:
    stack = order["stack"]
    base = SMALL if order.get("small") else "/var/lib/quaylock"
    return Request(
        name=stack,
        definition=releases.definition(stack, version, bad),
        secrets=releases.secrets(version),
        ingress=IngressSettings(FOLDER, PROXY, NETWORK, {"http": DOOR}),
        who="faults",
        state_dir=f"{base}/{stack}/state",
        config_dir=f"{base}/{stack}/etc",
        wait=order.get("wait", 0.0),
    )


# -- faults -------------------------------------------------------------------------------


@dataclass
class Strike:
    """One fault at the first command that fits. `way`: forward, back (before the commit), after (it)."""

    command: str
    about: str
    way: str
    fault: str
    session: int
    """the process group of whoever started this, which is what a cut connection takes along"""
    done: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def fits(self, state: Rollout, command: Command) -> bool:
        way = "forward" if not state.goals else "after" if state.committed else "back"
        told = as_json(command)
        about = told.get("service") or told.get("kind") or told.get("key") or ""
        return (told["do"], way) == (self.command, self.way) and self.about in ("", about)

    def perform(self, host: Any, state: Rollout, command: Command, *more: Any) -> Any:
        with self._lock:
            mine = not self.done and self.fits(state, command)
            self.done = self.done or mine
        if not mine:
            return perform(host, state, command, *more)
        STRUCK.touch()
        if self.fault == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "kill after":
            perform(host, state, command, *more)
            os.kill(os.getpid(), signal.SIGKILL)
        FAULTS[self.fault](self)
        return perform(host, state, command, *more)


def call(*words: str) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")


def restart_engine(_strike: Strike) -> None:
    call("systemctl", "restart", "docker")


def restart_proxy(_strike: Strike) -> None:
    call("docker", "kill", PROXY)
    call("docker", "start", PROXY)


def reboot(_strike: Strike) -> None:
    say(reboot=True)
    time.sleep(120)


def cut(strike: Strike) -> None:
    os.killpg(strike.session, signal.SIGKILL)


def fill(_strike: Strike) -> None:
    with contextlib.suppress(OSError), FILL.open("wb") as file:
        while True:
            file.write(bytes(CHUNK))
            file.flush()
    with contextlib.suppress(OSError), Path(SMALL, "filling.rest").open("wb") as file:
        while True:
            file.write(b"x" * 64)
            file.flush()


def free() -> None:
    for path in Path(SMALL).glob("filling*"):
        path.unlink()


FAULTS: dict[str, Callable[[Strike], None]] = {
    "engine restart": restart_engine,
    "proxy restart": restart_proxy,
    "host reboot": reboot,
    "ssh cut": cut,
    "disk full": fill,
}


# -- orders -------------------------------------------------------------------------------


def setup(order: dict[str, Any]) -> None:
    """The proxy of this host, as the role ingress has it."""
    subnet = f"--subnet={SUBNET}"
    call("docker", "network", "create", subnet, NETWORK)
    entrypoints = {"http": {"port": DOOR}}
    wanted = proxy.Wanted(folder=FOLDER, container=PROXY, address=ADDRESS, entrypoints=entrypoints)
    proxy.configure(wanted)
    place = ["-v", f"{FOLDER}/conf:/usr/local/etc/haproxy:ro", "-v", f"{FOLDER}/run:/run/haproxy"]
    safe = ["--user=99:99", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/tmp"]
    about = [f"--name={PROXY}", f"--network={NETWORK}", f"--ip={ADDRESS}", f"-p{DOOR}:{DOOR}"]
    words = "haproxy -W -db -S /run/haproxy/master.sock,mode,660 -f /usr/local/etc/haproxy/haproxy.cfg"
    call("docker", "run", "-d", "--restart=unless-stopped", *about, *safe, *place, order["image"], *words.split())
    say(ready=True)


def run(order: dict[str, Any]) -> None:
    """One deployment, struck where it says so."""
    asked = request(order, order["version"], order.get("bad", ""))
    strike = Strike(**order["strike"], session=os.getpgid(0)) if order.get("strike") else None
    if strike is not None:
        deploy.run = lambda host, state: runner.run(host, state, perform=strike.perform)  # type: ignore[assignment]
    STRUCK.unlink(missing_ok=True)
    began = time.time()
    try:
        answer = deploy.deploy(asked, in_background if order.get("detach") else None)
        if order.get("detach"):
            time.sleep(120)  # whoever waits for it is cut off
    except Exception as error:
        answer = {"outcome": "broke off", "msg": f"{type(error).__name__}: {error}"}
    say(answer={k: answer.get(k) for k in ("outcome", "msg", "notes", "rollout")}, began=began, ended=time.time())


def settle(order: dict[str, Any]) -> None:
    """The next run and the one after it, with what was struck before and what is there in the end."""
    free()
    small = request(order, 1)
    until = time.monotonic() + 60
    while deploy.in_progress(small) and time.monotonic() < until:
        time.sleep(0.05)
    journal = SqliteJournal(small.journal_path)
    release = journal.release(order["stack"])
    serving = releases_version(release[1]) if release else 0
    version = order["desired"] or serving or order["fallback"]
    struck = STRUCK.exists()
    asked = request({**order, "wait": 30.0}, version)
    first = deploy.deploy(asked)
    again = deploy.deploy(asked)
    kept = {k: first.get(k) for k in ("outcome", "msg", "notes")}
    once_more = {k: again.get(k) for k in ("outcome", "changed", "notes")}
    say(struck=struck, serving=serving, version=version, next=kept, again=once_more, **look(asked))


def releases_version(model: Any) -> int:
    return int(model["definition"]["services"]["web"]["environment"]["VERSION"].removeprefix("v"))


def look(asked: Request) -> dict[str, Any]:
    """Containers, what the proxy sends traffic to, and what else there is of the stack."""
    host, _journal = open_host(asked)
    seen = {}
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={asked.name}"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    if listed:
        bodies = json.loads(subprocess.run(["docker", "inspect", *listed], capture_output=True, check=True).stdout)
        for body in bodies:
            environment = dict(e.split("=", 1) for e in body["Config"]["Env"])
            service = body["Config"]["Labels"]["com.docker.compose.service"]
            seen[body["Name"].lstrip("/")] = (service, environment["VERSION"], body["State"]["Running"])
    routed = {s: sorted(names) for s, names in host.ingress.routed(asked.name).items()} if host.ingress else {}
    names = subprocess.run(
        ["docker", "network", "ls", "--format={{.Name}}"], capture_output=True, text=True, check=True
    )
    networks = [n for n in names.stdout.split() if n.startswith(f"{asked.name}_work")]
    return {"containers": seen, "routed": routed, "networks": networks}


def prune(order: dict[str, Any]) -> None:
    """Networks and volumes of earlier versions, which nobody removes for good reason."""
    for kind in ("network", "volume"):
        names = subprocess.run(["docker", kind, "ls", "--format={{.Name}}"], capture_output=True, text=True, check=True)
        for name in names.stdout.split():
            if name.startswith(f"{order['stack']}_work"):
                subprocess.run(["docker", kind, "rm", name], capture_output=True, check=False)
    say(ready=True)


def leave(order: dict[str, Any]) -> None:
    """The stack goes."""
    say(left=deploy.remove(request(order, order["version"]), remove_volumes=True, dry=False)["outcome"])


ORDERS = {"setup": setup, "leave": leave, "run": run, "settle": settle, "prune": prune}

if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    ORDERS[given["do"]](given)
