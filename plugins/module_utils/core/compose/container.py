# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Compose service as the body of the Engine API's container create, API 1.41 and newer.

Annotations and Healthcheck.StartInterval are for newer engines; older ones do not read them.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..durations import nanoseconds
from .mounts import Mounts, mounts
from .nodes import Node
from .published import Port, exposed, ports
from .resources import resources, ulimits
from .scope import Scope
from .stores import inside, subnets

_NETWORK_MODES = ("host", "none", "bridge")
_OTHERS_NAMESPACE = "it shares with a container that a rollout replaces; put both on one network"
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ENV_NAME = re.compile(r"[^=\0]+")


@dataclass(frozen=True, slots=True)
class Container:
    """A create body and what the rest of the stack wants to know about it.

    `networks` are keys, the one to create the container on first. `alone` says in words why two cannot run at once.
    """

    body: dict[str, Any]
    networks: tuple[str, ...]
    mounts: Mounts
    ports: tuple[Port, ...]
    alone: tuple[str, ...]
    grace: float
    container_name: str


def container(service: Node, scope: Scope, routed: bool) -> Container:
    """Read all keys of a service that make its container. `routed` adds the proxy's network."""
    host = resources(service)
    mounted = mounts(service, scope)
    published = tuple(ports(service.at("ports")))
    mode = _network_mode(service)
    endpoints, static = _endpoints(service, scope, routed, mode)
    name = service.at("container_name").text()
    if name and not _CONTAINER_NAME.fullmatch(name):
        fix = "two or more letters, digits, ., - and _"
        service.at("container_name").refuse(f"{name!r} is not a container's name", fix)
    grace = service.at("stop_grace_period").seconds(10.0)
    host.update(_host(service))
    host["RestartPolicy"] = _restart(service)
    for field, value in (("Mounts", mounted.mounts), ("Binds", mounted.binds), ("Tmpfs", mounted.tmpfs)):
        if value:
            host[field] = value
    body = _config(service)
    if service.has("stop_grace_period"):
        body["StopTimeout"] = math.ceil(grace)
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in published:
        where = {"HostIp": port.host_ip, "HostPort": port.published}
        bindings.setdefault(f"{port.target}/{port.protocol}", []).append(where)
    exposing = sorted({*bindings, *exposed(service.at("expose"))})
    if exposing:
        body["ExposedPorts"] = {port: {} for port in exposing}
    if bindings:
        host["PortBindings"] = bindings
    if mode:
        host["NetworkMode"] = mode
    body["HostConfig"] = host
    body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    if published and mode in ("host", "none"):
        service.at("ports").refuse(f"network_mode: {mode} publishes no ports", "drop ports, or network_mode")
    return Container(
        body,
        tuple(endpoints),
        mounted,
        published,
        _alone(published, name, mode, static),
        grace,
        name,
    )


def _alone(published: tuple[Port, ...], name: str, mode: str, static: list[str]) -> tuple[str, ...]:
    reasons = [f"it publishes port {port}" for port in sorted({port.fixed for port in published if port.fixed})]
    reasons += [f"its container_name is {name}"] if name else []
    reasons += ["it uses the host's network"] if mode == "host" else []
    return (*reasons, *(f"it has the fixed address {address}" for address in static))


# -- Config -------------------------------------------------------------------


def _config(service: Node) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for key, field in (
        ("hostname", "Hostname"),
        ("domainname", "Domainname"),
        ("user", "User"),
        ("working_dir", "WorkingDir"),
        ("stop_signal", "StopSignal"),
    ):
        if service.at(key).given:
            body[field] = service.at(key).text()
    for key, field in (("tty", "Tty"), ("stdin_open", "OpenStdin")):
        if service.at(key).flag():
            body[field] = True
    for key, field in (("command", "Cmd"), ("entrypoint", "Entrypoint")):
        if service.at(key).given:
            body[field] = command(service.at(key))
    environment = service.at("environment").pairs(blank=None)
    if environment:
        for name in environment:
            if not _ENV_NAME.fullmatch(name):
                service.at("environment").refuse(f"{name!r} is not the name of a variable")
        # a name without a value takes the image's variable away
        body["Env"] = sorted(name if value is None else f"{name}={value}" for name, value in environment.items())
    labels = service_labels(service)
    if labels:
        body["Labels"] = labels
    if service.at("healthcheck").given:
        check = healthcheck(service.at("healthcheck"))
        if check:
            body["Healthcheck"] = check
    return body


def service_labels(service: Node) -> dict[str, str]:
    """A single host has no service object to label, so `deploy.labels` land on the containers too."""
    both = {**service.at("deploy").at("labels").pairs(), **service.at("labels").pairs()}
    for key in both:
        if key.startswith(("com.docker.compose.", "quaylock.")):
            service.at("labels").refuse(f"{key!r} is set by the rollout", "choose another prefix")
    return {key: both[key] or "" for key in sorted(both)}


def command(node: Node) -> list[str]:
    """A command as a list; text is split like a shell would, without running one."""
    if isinstance(node.value, (list, tuple)):
        return node.texts()
    try:
        return shlex.split(node.text())
    except ValueError as wrong:
        node.refuse(f"cannot be split into words: {wrong}", "write it as a list")
        return []


def healthcheck(node: Node) -> dict[str, Any]:
    """The engine's Healthcheck; without Test it only changes the times of the image's own."""
    if node.at("disable").flag():
        for key in ("test", "interval", "timeout", "retries", "start_period", "start_interval"):
            if node.has(key) and node.at(key).value not in (["NONE"], None):
                node.at(key).refuse("and disable: true contradict each other", "drop one of them")
        node.close()
        return {"Test": ["NONE"]}
    check: dict[str, Any] = {}
    test = node.at("test")
    if isinstance(test.value, (list, tuple)):
        words = test.texts()
        if not words or words[0] not in ("NONE", "CMD", "CMD-SHELL"):
            test.refuse("must start with CMD, CMD-SHELL or NONE", 'write ["CMD", "program", "argument"]')
        elif (words[0] == "CMD" and len(words) < 2) or (words[0] == "CMD-SHELL" and len(words) != 2):
            test.refuse(f"{words[0]} needs {'a command' if words[0] == 'CMD' else 'exactly one text'}")
        check["Test"] = words
    elif test.given:
        text = test.text()
        if not text.strip():
            test.refuse("is empty", "write the command, or disable: true")
        check["Test"] = ["CMD-SHELL", text]
    for key, field in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
    ):
        if node.at(key).given:
            value = node.at(key).seconds()
            if 0 < value < 0.001:
                node.at(key).refuse(f"{node.at(key).value} is too short", "the engine wants at least 1ms")
            check[field] = nanoseconds(value)
    if node.at("retries").given:
        check["Retries"] = node.at("retries").integer(0, 0)
    node.close()
    return check


# -- HostConfig ---------------------------------------------------------------

_TEXTS = (("cgroup_parent", "CgroupParent"), ("runtime", "Runtime"))
_FLAGS = (("privileged", "Privileged"), ("read_only", "ReadonlyRootfs"))
_LISTS = (
    ("cap_add", "CapAdd", False),
    ("cap_drop", "CapDrop", False),
    ("device_cgroup_rules", "DeviceCgroupRules", False),
    ("dns", "Dns", True),
    ("dns_opt", "DnsOptions", False),
    ("dns_search", "DnsSearch", True),
    ("group_add", "GroupAdd", False),
    ("security_opt", "SecurityOpt", False),
)
_PAIRS = (("annotations", "Annotations"), ("sysctls", "Sysctls"))
_WORDS = (
    ("cgroup", "CgroupnsMode", ("host", "private")),
    ("ipc", "IpcMode", ("host", "private", "shareable", "none")),
    ("pid", "PidMode", ("host",)),
    ("userns_mode", "UsernsMode", ("host",)),
    ("uts", "UTSMode", ("host",)),
)


def _host(service: Node) -> dict[str, Any]:
    host: dict[str, Any] = {}
    for key, field in _TEXTS:
        if service.at(key).given:
            host[field] = service.at(key).text()
    for key, field in _FLAGS:
        if service.at(key).flag():
            host[field] = True
    if service.at("init").given:
        # false is a word too: the daemon may be told to give every container an init
        host["Init"] = service.at("init").flag()
    for key, field, single in _LISTS:
        if service.at(key).given:
            host[field] = service.at(key).texts(single, loose=key == "group_add")
    for key, field in _PAIRS:
        if service.at(key).given:
            host[field] = {name: value or "" for name, value in service.at(key).pairs().items()}
    for key, field, words in _WORDS:
        node = service.at(key)
        if node.given:
            if node.text().startswith(("service:", "container:")):
                node.refuse(f"{node.text()!r} is not supported", _OTHERS_NAMESPACE)
            else:
                host[field] = node.one_of(words, words[0])
    if service.at("storage_opt").given:
        host["StorageOpt"] = service.at("storage_opt").table()
    if service.at("shm_size").given:
        host["ShmSize"] = service.at("shm_size").size()
    if service.at("ulimits").given:
        host["Ulimits"] = ulimits(service.at("ulimits"))
    if service.at("extra_hosts").given:
        host["ExtraHosts"] = extra_hosts(service.at("extra_hosts"))
    if service.at("logging").given:
        logging = service.at("logging")
        options = logging.at("options").table()
        # an empty type is the daemon's default driver
        host["LogConfig"] = {"Type": logging.at("driver").text(), "Config": options}
        logging.close()
    devices = [_device(entry) for entry in service.at("devices").entries()]
    if devices:
        host["Devices"] = devices
    return host


def _device(entry: Node) -> dict[str, str]:
    if isinstance(entry.value, Mapping):
        source = entry.at("source").text()
        target, permissions = entry.at("target").text(source), entry.at("permissions").text("rwm")
        entry.close()
    else:
        parts = entry.text().split(":")
        source = parts[0]
        target = parts[1] if len(parts) > 1 else source
        permissions = parts[2] if len(parts) > 2 else "rwm"
        if len(parts) > 3:
            entry.refuse(f"{entry.text()!r} is not a device", "write /dev/x:/dev/y:rwm")
    if "=" in source and not source.startswith("/"):
        entry.refuse(f"{source!r} is a CDI name, which needs Docker Engine 25", "name the device file")
    elif not source.startswith("/"):
        entry.refuse(f"{source!r} is not a device file", "write /dev/x:/dev/y:rwm")
    if not permissions or set(permissions) - set("rwm"):
        entry.refuse(f"{permissions!r} are not permissions of a device", "some of r, w and m")
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": permissions}


def extra_hosts(node: Node) -> list[str]:
    """NAME:ADDRESS as the engine takes them, from a list (NAME=ADDRESS, NAME:ADDRESS) or a mapping."""
    result = []
    if isinstance(node.value, Mapping):
        for name, entry in node.items():
            result += [f"{name}:{address.strip('[]')}" for address in entry.texts(single=True)]
    else:
        for entry in node.entries():
            text = entry.text()
            name, mark, address = text.partition("=") if "=" in text else text.partition(":")
            if not (name and mark and address):
                entry.refuse(f"{text!r} is not a host", 'write "name:10.0.0.5"')
            result.append(f"{name}:{address.strip('[]')}")
    return sorted(result)


def _restart(service: Node) -> dict[str, Any]:
    """`restart`, or Swarm's `deploy.restart_policy` as far as the engine has it."""
    node, policy = service.at("restart"), service.at("deploy").at("restart_policy")
    # YAML 1.1 readers turn a bare no into false
    word = "no" if node.value is False else node.text("no")
    name, colon, times = word.partition(":")
    if name not in ("no", "always", "unless-stopped", "on-failure") or (
        colon and not (name == "on-failure" and times.isdigit())
    ):
        node.refuse(f"{word!r} is not a restart policy", '"no", always, unless-stopped, on-failure or on-failure:3')
        name, times = "no", ""
    if policy.given:
        if node.given:
            policy.refuse("and restart say the same thing", "keep restart")
        condition = policy.at("condition").one_of(("none", "on-failure", "any", "unless-stopped"), "any")
        name = {"none": "no", "any": "always"}.get(condition, condition)
        times = str(policy.at("max_attempts").integer(0, 0))
        if times != "0" and name != "on-failure":
            policy.at("max_attempts").refuse(
                f"counts for on-failure only, not for {condition}", "condition: on-failure"
            )
        reason = "the engine restarts with its own growing pause; leave it out"
        policy.close({"delay": reason, "window": reason})
    return {"Name": name, "MaximumRetryCount": int(times or 0) if name == "on-failure" else 0}


# -- networks -----------------------------------------------------------------


def _network_mode(service: Node) -> str:
    node = service.at("network_mode")
    mode = node.text()
    if mode.startswith(("service:", "container:")):
        node.refuse(f"{mode!r} is not supported", _OTHERS_NAMESPACE)
        return ""
    if mode and mode not in _NETWORK_MODES:
        node.refuse(f"{mode!r} is not one of {', '.join(_NETWORK_MODES)}", "use networks for networks of your own")
        return ""
    if mode and service.at("networks").given:
        node.refuse("and networks exclude each other", "keep one of them")
    return mode


def _endpoints(service: Node, scope: Scope, routed: bool, mode: str) -> tuple[dict[str, Any], list[str]]:
    """EndpointsConfig by network key, most important first, and the addresses that only one container can have."""
    if mode:
        return {}, []
    node = service.at("networks")
    if isinstance(node.value, (list, tuple)):
        wanted = {entry.text(): (entry, Node(None, entry.path, node.findings)) for entry in node.entries()}
    else:
        wanted = {key: (entry, entry) for key, entry in node.items()}
    wanted = wanted or {"default": (node, Node(None, node.path, node.findings))}
    found: list[tuple[float, str, dict[str, Any]]] = []
    static: list[str] = []
    for key, (entry, settings) in wanted.items():
        known = scope.networks.get(key)
        if known is None:
            entry.refuse(f"network {key!r} is not declared", f"add {key}: under networks")
        endpoint: dict[str, Any] = {"Aliases": list(dict.fromkeys((_name(service), *settings.at("aliases").texts())))}
        addresses: dict[str, Any] = {}
        for option, field in (("ipv4_address", "IPv4Address"), ("ipv6_address", "IPv6Address")):
            address = settings.at(option)
            if address.given:
                addresses[field] = address.text()
                static.append(address.text())
                pools = subnets(known) if known else []
                inside(address, pools)
                if known and not known.external and not pools:
                    address.refuse("needs a subnet", f"configure networks.{key}.ipam.config")
        if settings.at("link_local_ips").given:
            addresses["LinkLocalIPs"] = settings.at("link_local_ips").texts()
        if addresses:
            endpoint["IPAMConfig"] = addresses
        options = settings.at("driver_opts").table()
        if options:
            endpoint["DriverOpts"] = options
        found.append((-settings.at("priority").number(), key, endpoint))
        newer = "it needs a newer engine than 20.10; leave it out"
        settings.close({"gw_priority": newer, "interface_name": newer, "mac_address": newer})
    ordered = {key: endpoint for _priority, key, endpoint in sorted(found, key=lambda item: item[:2])}
    if routed:
        ordered[scope.context.ingress_network] = {}
    return ordered, static


def _name(service: Node) -> str:
    return service.path.partition(".")[2]
