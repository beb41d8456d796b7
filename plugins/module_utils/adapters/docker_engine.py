# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Docker engine through its SDK: the low-level client, because a create body is what the core makes."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

with contextlib.suppress(ImportError):  # docker_api.MISSING says it
    from docker.errors import NotFound

from ..core import labels
from ..core.capacity import Capacity
from ..core.compose import gates_of
from ..core.model import Build, ExecProbe, Gate, Image, Json, Network, Observed, Probe, Sample, Service, Volume
from ..ports import Port, PortError
from . import dns_names, images, probes
from .docker_api import asking
from .docker_containers import Containers
from .host import holder, listeners, overlap

LAST_OUTPUT = 400
"""characters of a failed probe that are kept"""


class DockerEngine(Containers):
    """One engine: images, networks, volumes, and a stack's replicas in them. Thread-safe."""

    def __init__(self, client: Any, proxys_network: str = "") -> None:
        super().__init__(client)
        self._proxys = proxys_network
        self._known: dict[str, Json] = {}
        self._images = images.Images(client)
        self._addresses = threading.Lock()

    # -- images ---------------------------------------------------------------

    def image(self, ref: str) -> Image | None:
        return self._images.inspect(ref)

    def tagged(self, repository: str) -> Mapping[str, str]:
        return self._images.tagged(repository)

    def names(self, image: str) -> Sequence[str]:
        return self._images.names(image)

    def tag(self, image: str, name: str) -> None:
        self._images.tag(image, name)

    def untag(self, name: str) -> None:
        self._images.untag(name)

    def save_images(self, names: Sequence[str]) -> Iterator[bytes]:
        return self._images.save(names)

    def load_images(self, content: BinaryIO) -> Sequence[str]:
        return self._images.load_all(content)

    def in_use(self, image: str) -> bool:
        return self._images.in_use(image)

    def fetch(self, service: Service, say: Callable[[str], None]) -> Image:
        if service.build is not None and service.pull_policy != "always":
            return self._built(service.image, service.build, say)
        if service.pull_policy == "never":
            raise PortError(f"{service.image} is not on this host, and pull_policy is never")
        return self._images.pull(service.image, say)

    def _built(self, ref: str, build: Build, say: Callable[[str], None]) -> Image:
        made = self._images.build(
            ref,
            build.context,
            say,
            dockerfile=build.dockerfile,
            args=build.args,
            target=build.target,
            labels=build.labels,
            fresh=build.no_cache,
            pull=build.pull,
            network_mode=build.network or None,
            extra_hosts=dict(build.extra_hosts) or None,
            shmsize=build.shm_size or None,
            cache_from=list(build.cache_from) or None,
        )
        for name in build.tags:
            self._images.tag(ref, name)
        return made

    # -- what is there ----------------------------------------------------------

    def replicas(self, stack: str) -> Sequence[Observed]:
        wanted = [f"{labels.PROJECT}={stack}", f"{labels.ONE_OFF}=False"]
        with asking(f"listing the containers of {stack}"):
            found = self.api.containers(all=True, filters={"label": wanted})
        observed = []
        for entry in found:
            with asking(f"inspecting {entry['Id'][:12]}"), contextlib.suppress(NotFound):
                observed.append(_observed(self.api.inspect_container(entry["Id"])))
        return observed

    def networks(self, names: Sequence[str]) -> Mapping[str, Json]:
        if not names:
            return {}
        with asking("listing networks"):
            found = self.api.networks(names=list(names))
        return {n["Name"]: n for n in found if n["Name"] in names}

    def volumes(self, names: Sequence[str]) -> Sequence[str]:
        if not names:
            return []
        with asking("listing volumes"):
            found = self.api.volumes()["Volumes"] or []
        return [v["Name"] for v in found if v["Name"] in names]

    def capacity(self) -> Capacity:
        with asking("asking what the host has"):
            about = self.api.info()
        return Capacity(float(about["NCPU"]), int(about["MemTotal"]))

    def port_holders(self, stack: str, ports: Sequence[Port]) -> Mapping[Port, str]:
        with asking("listing published ports"):
            containers = self.api.containers(filters={"status": "running"})
        holders: dict[Port, str] = {}
        own: set[Port] = set()
        for port in ports:
            for entry in containers:
                if not any(_publishes(p, port) for p in entry.get("Ports") or []):
                    continue
                if entry["Labels"].get(labels.PROJECT) == stack:
                    own.add(port)
                else:
                    holders[port] = f"container {entry['Names'][0].lstrip('/')}"
        free = [p for p in ports if p not in holders and p not in own]
        if free:
            for listener in listeners():
                for port in free:
                    if (listener.port, listener.protocol) == port[1:] and overlap(listener.address, port[0]):
                        pid, program = holder(listener.inode)
                        holders[port] = f"{program} (process {pid})" if pid else "another process"
        return holders

    def belongings(self, stack: str) -> tuple[list[str], list[str]]:
        """Networks and volumes that carry the stack's label, whatever its model says."""
        wanted = {"label": [f"{labels.PROJECT}={stack}"]}
        with asking(f"listing what belongs to {stack}"):
            networks = [n["Name"] for n in self.api.networks(filters=wanted)]
            volumes = [v["Name"] for v in self.api.volumes(filters=wanted)["Volumes"] or []]
        return networks, volumes

    # -- networks and volumes -----------------------------------------------------

    def create_network(self, network: Network) -> None:
        if self.networks([network.name]):
            return
        body = {**network.body, "Name": network.name, "CheckDuplicate": True}
        if (body.get("Driver") or "bridge") != "bridge":
            with asking(f"creating network {network.name}"):
                self._post("/networks/create", body)
            return
        body["Labels"] = {**(body.get("Labels") or {}), labels.FIXED_SUBNET: "fixed"}
        pools = (body.get("IPAM") or {}).get("Config") or []
        with asking(f"creating network {network.name}"):
            if not pools:
                # the engine chooses a free subnet; taken as configured, a container may come back to its address
                made = self._post("/networks/create", body)["Id"]
                pools = [{"Subnet": c["Subnet"]} for c in self.api.inspect_network(made)["IPAM"]["Config"]]
                self.api.remove_network(made)
            self._post("/networks/create", {**body, "IPAM": {**(body.get("IPAM") or {}), "Config": pools}})

    def create_volume(self, volume: Volume) -> None:
        with asking(f"creating volume {volume.name}"):
            self._post("/volumes/create", {**volume.body, "Name": volume.name})

    def remove_network(self, name: str) -> None:
        with asking(f"removing network {name}"), contextlib.suppress(NotFound):
            self.api.remove_network(name)

    def remove_volume(self, name: str) -> None:
        with asking(f"removing volume {name}"), contextlib.suppress(NotFound):
            self.api.remove_volume(name)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        api = self.api
        return api._result(api._post_json(api._url(path), data=dict(body)), True)

    # -- replicas -------------------------------------------------------------------

    def create(self, name: str, body: Json, fixed: Sequence[str] = (), quiet: bool = False) -> None:
        """Before API 1.44 a container is created on one network only; the others join before it starts."""
        rollout = body["Labels"][labels.ROLLOUT]
        there = self._inspect(name)
        if there is not None:
            if there["Config"]["Labels"].get(labels.ROLLOUT) != rollout:
                raise PortError(f"the name {name} is taken by container {there['Id'][:12]}")
            self.remove(name)
        endpoints: dict[str, Any] = dict((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        with contextlib.ExitStack() as stack:
            silent = self._silent(endpoints) if quiet else []
            if silent or any(n in endpoints for n in fixed):
                stack.enter_context(self._addresses)
                for network in (n for n in fixed if n in endpoints):
                    address = self._free_address(network)
                    endpoints[network] = {**(endpoints[network] or {}), "IPAMConfig": {"IPv4Address": address}}
                for network in silent:
                    endpoints = dns_names.without_names(endpoints, network, self._free_address(network))
            first = next(iter(endpoints), None)
            made = dict(body)
            if first is not None:
                made["HostConfig"] = {**body.get("HostConfig", {}), "NetworkMode": first}
                made["NetworkingConfig"] = {"EndpointsConfig": {first: endpoints[first]}}
            with asking(f"creating {name}"):
                self.api.create_container_from_config(made, name)
            for network, settings in endpoints.items():
                if network != first:
                    with asking(f"connecting {name} to {network}"):
                        self._connect(network, name, settings)

    def _connect(self, network: str, name: str, settings: Json | None) -> None:
        api = self.api
        body = {"Container": name, "EndpointConfig": settings or {}}
        api._raise_for_status(api._post_json(api._url("/networks/{0}/connect", network), data=body))

    def _silent(self, endpoints: Mapping[str, Any]) -> list[str]:
        """The networks in which a new container can do without its service's names for now."""
        there = self.networks([n for n, endpoint in endpoints.items() if (endpoint or {}).get("Aliases")])
        return [name for name, network in there.items() if dns_names.can_wait(network)]

    def announce(self, name: str) -> None:
        details = self._details(name)
        wanted = dns_names.promised(details)
        for network in dns_names.lacking(details):
            self._rejoin(details, network, wanted[network])

    def withdraw(self, name: str) -> None:
        details = self._details(name)
        ready = self.networks(list(dns_names.promised(details)))
        left = False
        for network in dns_names.promised(details):
            there = (details["NetworkSettings"]["Networks"] or {}).get(network) or {}
            if network in ready and dns_names.can_wait(ready[network]) and there.get("IPAddress"):
                self._rejoin(details, network, [])
                left = True
        if left and details["State"]["Running"]:
            time.sleep(dns_names.SENT_AGAIN)

    def _rejoin(self, details: Json, network: str, aliases: list[str]) -> None:
        """Leave the network and join it again with other aliases; a fixed address is kept in any case."""
        name = details["Name"].lstrip("/")
        endpoint = (details["NetworkSettings"]["Networks"] or {}).get(network)
        with asking(f"looking at network {network}"):
            subnet = self.api.inspect_network(network)["IPAM"]["Config"][0]["Subnet"]
        # one that leaves keeps any address; one that stays and has none of the fixed ones gets a new one
        body = dns_names.rejoined(endpoint, aliases, lambda a: not aliases or dns_names.is_fixed(subnet, a))
        with self._addresses:  # its address looks free meanwhile
            if endpoint is not None:
                with asking(f"taking {name} off {network}"):
                    self.api.disconnect_container_from_network(details["Id"], network)
            with asking(f"connecting {name} to {network}"):
                self._connect(network, name, body)

    def _free_address(self, network: str) -> str:
        """The lowest address that no container has or will have after a restart; stopped ones keep theirs."""
        with asking(f"looking for an address in {network}"):
            config = self.api.inspect_network(network)["IPAM"]["Config"][0]
            members = self.api.containers(all=True, filters={"network": network})
        used = {config.get("Gateway", "")}
        for entry in members:
            endpoint = entry["NetworkSettings"]["Networks"].get(network) or {}
            used |= {endpoint.get("IPAddress"), (endpoint.get("IPAMConfig") or {}).get("IPv4Address")}
        subnet = ipaddress.ip_network(config["Subnet"])
        for number in range(dns_names.first_fixed(config["Subnet"]), int(subnet.broadcast_address)):
            address = str(ipaddress.ip_address(number))
            if address not in used:
                return address
        raise PortError(f"network {network} ({subnet}) has no address left")

    def left_over(self, stack: str, label: str) -> list[str]:
        """Containers of a stack that are none of its replicas and carry a label of ours."""
        wanted = [f"{labels.PROJECT}={stack}", f"{labels.ONE_OFF}=True", label]
        with asking(f"listing what was run for {stack}"):
            found = self.api.containers(all=True, filters={"label": wanted})
        return [entry["Names"][0].lstrip("/") for entry in found]

    def request(
        self,
        name: str,
        port: int,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
        most: int,
    ) -> tuple[int, str]:
        """Status and body of a container's answer to this host."""
        try:
            return probes.request(self.reached(name), port, method, path, headers, body, timeout, most)
        except (OSError, http.client.HTTPException) as error:
            raise PortError(str(error) or type(error).__name__) from error

    def volume_folder(self, name: str) -> str:
        """Where a volume's files lie on this host. Raises PortError where that is not here, or not always."""
        with asking(f"looking at volume {name}"):
            try:
                found = self.api.inspect_volume(name)
            except NotFound:
                raise PortError(f"volume {name} does not exist") from None
        kind = (found.get("Options") or {}).get("type", "none")
        if found["Driver"] != "local" or kind not in ("none", "bind", ""):
            raise PortError(f"volume {name} is of the driver {found['Driver']}, type {kind}, and not this host's own")
        device: str = (found.get("Options") or {}).get("device", "")
        return device or str(found["Mountpoint"])

    def reached(self, name: str) -> str:
        """An address at which this host reaches a container."""
        return probes.address(self._details(name), self._proxys, self._network)

    # -- the gate's eyes --------------------------------------------------------------

    def sample(self, name: str, gate: Gate, at: float, check: bool) -> Sample:
        details = self._inspect(name)
        if details is None:
            return Sample(at, running=False, exit_code=137, output=f"{name} was removed while it was being gated")
        state = details["State"]
        running = bool(state["Running"]) and not state.get("Restarting")
        sample = Sample(
            at=at,
            running=running,
            exit_code=state.get("ExitCode") or 0,
            oom=bool(state.get("OOMKilled")),
            restarts=details.get("RestartCount") or 0,
            started_at=state.get("StartedAt") or "",
        )
        if not running or not check:
            return sample
        asked: tuple[Probe, ...] = gate.probes
        if gate.image_check:
            own = gates_of.probe(details["Config"].get("Healthcheck") or {})
            asked = (own, *asked) if own else asked
        if not asked:
            return sample
        for probe in asked:
            output = self._probe(name, details, probe)
            if output:
                return _with(sample, passed=False, output=f"{probe} -> {output}"[:LAST_OUTPUT])
        return _with(sample, passed=True, output="")

    def _probe(self, name: str, details: Json, probe: Probe) -> str:
        """What was wrong, "" when it passed."""
        try:
            if isinstance(probe, ExecProbe):
                return self._exec(name, probe)
            return probes.ask(probes.address(details, self._proxys, self._network), probe)
        except (PortError, OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__

    def _network(self, name: str) -> Json:
        """As it was when first asked for: what a probe needs to know of a network does not change."""
        if name not in self._known:
            with asking(f"inspecting network {name}"):
                self._known[name] = self.api.inspect_network(name)
        return self._known[name]

    def _exec(self, name: str, probe: ExecProbe) -> str:
        code, text = self.exec(name, probe.command, probe.timeout)
        return "" if code == 0 else f"exit code {code}" + (f": {text}" if text else "")


def _with(sample: Sample, passed: bool, output: str) -> Sample:
    return Sample(
        sample.at, sample.running, passed, output, sample.exit_code, sample.oom, sample.restarts, sample.started_at
    )


def _publishes(entry: Json, port: Port) -> bool:
    same = (entry.get("PublicPort"), entry.get("Type")) == port[1:]
    return same and overlap(entry.get("IP") or "", port[0])


def _observed(details: Json) -> Observed:
    state, config = details["State"], details["Config"]
    marks = config.get("Labels") or {}
    number = marks.get(labels.NUMBER, "")
    return Observed(
        name=details["Name"].lstrip("/"),
        id=details["Id"],
        service=marks.get(labels.SERVICE, ""),
        number=int(number) if number.isdigit() else 0,
        image=details["Image"],
        rollout=marks.get(labels.ROLLOUT, ""),
        spec=marks.get(labels.SPEC, ""),
        running=bool(state["Running"]) and not state.get("Restarting"),
        exit_code=state.get("ExitCode") or 0,
        oom=bool(state.get("OOMKilled")),
        restarts=details.get("RestartCount") or 0,
        started_at=state.get("StartedAt") or "",
        health=(state.get("Health") or {}).get("Status", ""),
        created=details.get("Created") or "",
        named=not dns_names.lacking(details),
        paused=bool(state.get("Paused")),
    )
