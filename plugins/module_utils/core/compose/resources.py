# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service may use of the host, as the engine's HostConfig fields: `deploy.resources` and older keys."""

from __future__ import annotations

from typing import Any

from .nodes import Node

_GENERIC = "generic resources belong to Docker Swarm; use devices or gpus"
_SHARES_PER_CPU = 1024


def resources(service: Node) -> dict[str, Any]:
    """HostConfig's resource fields. The same limit written twice must agree."""
    deploy = service.at("deploy").at("resources")
    limits, reservations = deploy.at("limits"), deploy.at("reservations")
    host: dict[str, Any] = {}
    cpus = _agreed(service.at("cpus"), limits.at("cpus"), lambda node: node.number(0.0, 0.0))
    memory = _agreed(service.at("mem_limit"), limits.at("memory"), lambda node: node.size())
    pids = _agreed(service.at("pids_limit"), limits.at("pids"), lambda node: node.integer(0, -1))
    reserved = _agreed(service.at("mem_reservation"), reservations.at("memory"), lambda node: node.size())
    reserved_cpus = reservations.at("cpus").number(0.0, 0.0)
    if memory and memory < 6 * 1024 * 1024:
        _given(service.at("mem_limit"), limits.at("memory")).refuse(
            f"{memory} bytes are too few", "the engine wants 6m"
        )
    if memory and reserved > memory:
        _given(service.at("mem_reservation"), reservations.at("memory")).refuse(
            f"reserves {reserved} bytes, more than the limit of {memory}", "reserve less, or raise the limit"
        )
    if cpus and reserved_cpus > cpus:
        reservations.at("cpus").refuse(f"reserves {reserved_cpus:g}, more than the limit of {cpus:g}", "reserve less")
    if cpus:
        host["NanoCpus"] = round(cpus * 1e9)
    if memory:
        host["Memory"] = memory
    if reserved:
        host["MemoryReservation"] = reserved
    if pids:
        host["PidsLimit"] = pids
    if service.has("cpu_shares"):
        host["CpuShares"] = service.at("cpu_shares").integer(0, 0)
    elif reserved_cpus:
        # one host has no scheduler to reserve with: a reservation is the share of the CPUs when all want them
        host["CpuShares"] = max(2, round(reserved_cpus * _SHARES_PER_CPU))
    for key, field in (("cpu_quota", "CpuQuota"), ("cpu_period", "CpuPeriod")):
        if service.has(key):
            host[field] = service.at(key).integer(0, 0)
            if cpus:
                service.at(key).refuse("and cpus limit the same thing", "keep cpus")
    for key, field in (("cpu_rt_period", "CpuRealtimePeriod"), ("cpu_rt_runtime", "CpuRealtimeRuntime")):
        if service.has(key):
            host[field] = _microseconds(service.at(key))
    if service.has("cpuset"):
        host["CpusetCpus"] = service.at("cpuset").text()
    if service.has("memswap_limit"):
        swap = service.at("memswap_limit")
        host["MemorySwap"] = -1 if swap.text(loose=True) == "-1" else swap.size()
        if not memory:
            swap.refuse("limits memory and swap together, and there is no mem_limit", "set mem_limit too")
        elif 0 < host["MemorySwap"] < memory:
            swap.refuse(
                f"{host['MemorySwap']} bytes are less than the memory limit of {memory}", "it includes the memory"
            )
    if service.has("mem_swappiness"):
        host["MemorySwappiness"] = service.at("mem_swappiness").integer(60, 0, 100)
    if service.has("oom_kill_disable"):
        host["OomKillDisable"] = service.at("oom_kill_disable").flag()
    if service.has("oom_score_adj"):
        host["OomScoreAdj"] = service.at("oom_score_adj").integer(0, -1000, 1000)
    requests = [_device_request(entry) for entry in reservations.at("devices").entries()] + _gpus(service.at("gpus"))
    if requests:
        host["DeviceRequests"] = requests
    host.update(_block_io(service.at("blkio_config")))
    limits.close({"devices": "reserve devices under reservations", "generic_resources": _GENERIC})
    reservations.close({"generic_resources": _GENERIC, "pids": "pids is a limit"})
    deploy.close()
    return host


def ulimits(node: Node) -> list[dict[str, Any]]:
    result = []
    for name, entry in node.items():
        if hasattr(entry.value, "keys"):
            hard = entry.at("hard").integer(-1, -1)
            soft = entry.at("soft").integer(hard, -1)
            for key in ("soft", "hard"):
                if not entry.has(key):
                    entry.refuse(f"has no {key} limit", "set soft and hard")
            entry.close()
        else:
            soft = hard = entry.integer(-1, -1)
        if hard != -1 and (soft > hard or soft == -1):
            entry.refuse(f"soft limit {soft} is above the hard limit {hard}")
        result.append({"Name": name, "Soft": soft, "Hard": hard})
    return sorted(result, key=lambda limit: str(limit["Name"]))


def _given(short: Node, long: Node) -> Node:
    return long if long.given else short


def _agreed(short: Node, long: Node, parse: Any) -> Any:
    """The value of two spellings of one limit."""
    first, second = parse(short), parse(long)
    if short.given and long.given and first != second:
        long.refuse(f"{long.value} differs from {short.path}: {short.value}", "keep one of them")
    return second if long.given else first


def _microseconds(node: Node) -> int:
    """Compose takes a bare number of microseconds or a duration."""
    if isinstance(node.value, int) or str(node.value).isdigit():
        return node.integer(0, 0)
    return round(node.seconds() * 1e6)


def _device_request(node: Node) -> dict[str, Any]:
    capabilities = node.at("capabilities").texts()
    if not capabilities:
        node.refuse("has no capabilities", "write capabilities: [gpu]")
    request = _request(node, capabilities)
    node.close()
    return request


def _gpus(node: Node) -> list[dict[str, Any]]:
    if node.value == "all":
        return [{"Count": -1, "Capabilities": [["gpu"]]}]
    result = []
    for entry in node.entries():
        result.append(_request(entry, [*entry.at("capabilities").texts(), "gpu"]))
        entry.close()
    return result


def _request(node: Node, capabilities: list[str]) -> dict[str, Any]:
    request: dict[str, Any] = {"Capabilities": [capabilities]}
    count, ids = node.at("count"), node.at("device_ids").texts()
    if count.given and ids:
        node.refuse("names both count and device_ids", "keep one")
    if ids:
        request["DeviceIDs"] = ids
    else:
        request["Count"] = -1 if count.value in (None, "all", -1) else count.integer(1, 1)
    if node.has("driver"):
        request["Driver"] = node.at("driver").text()
    options = node.at("options").table()
    return {**request, "Options": options} if options else request


def _block_io(node: Node) -> dict[str, Any]:
    host: dict[str, Any] = {}
    if node.has("weight"):
        host["BlkioWeight"] = node.at("weight").integer(0, 10, 1000)
    if node.has("weight_device"):
        host["BlkioWeightDevice"] = []
        for entry in node.at("weight_device").entries():
            weight = entry.at("weight").integer(0, 10, 1000)
            host["BlkioWeightDevice"].append({"Path": entry.at("path").text(), "Weight": weight})
            entry.close()
    for key, field in (
        ("device_read_bps", "BlkioDeviceReadBps"),
        ("device_write_bps", "BlkioDeviceWriteBps"),
        ("device_read_iops", "BlkioDeviceReadIOps"),
        ("device_write_iops", "BlkioDeviceWriteIOps"),
    ):
        if node.has(key):
            host[field] = []
            for entry in node.at(key).entries():
                host[field].append({"Path": entry.at("path").text(), "Rate": entry.at("rate").size()})
                entry.close()
    node.close()
    return host
