# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which control group is frozen, on hosts with either version; the kernel's side is in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import freezer
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

HERE, CONTAINER = "http+docker://localhost", "c0ffee" * 8


class Host:
    """Files as a kernel has them, which take what is written and do nothing else."""

    def __init__(self, folder: Path, line: str, files: dict[str, str]) -> None:
        self.proc, self.groups = folder / "proc", folder / "groups"
        (self.proc / "42").mkdir(parents=True)
        (self.proc / "42" / "cgroup").write_text(f"12:cpu:/docker/{CONTAINER}\n{line}\n")
        for name, content in files.items():
            (self.groups / name).parent.mkdir(parents=True, exist_ok=True)
            (self.groups / name).write_text(content)

    def ask(self, what: str, base_url: str = HERE, pid: int = 42, container: str = CONTAINER) -> bool:
        act = {"freeze": freezer.freeze, "thaw": freezer.thaw}[what]
        return act(base_url, pid, container, str(self.proc), str(self.groups))


ONE = f"freezer/docker/{CONTAINER}/freezer.state"
TWO = f"system.slice/docker-{CONTAINER}.scope"


def test_version_1(tmp_path: Path) -> None:
    host = Host(tmp_path, f"7:freezer:/docker/{CONTAINER}", {ONE: "THAWED"})
    assert host.ask("freeze")
    assert (host.groups / ONE).read_text() == "FROZEN"
    assert host.ask("thaw")
    assert (host.groups / ONE).read_text() == "THAWED"


def test_version_2(tmp_path: Path) -> None:
    host = Host(tmp_path, f"0::/{TWO}", {f"{TWO}/cgroup.freeze": "0", f"{TWO}/cgroup.events": "populated 1\nfrozen 1"})
    assert host.ask("freeze")
    assert (host.groups / TWO / "cgroup.freeze").read_text() == "1"
    assert host.ask("thaw")
    assert (host.groups / TWO / "cgroup.freeze").read_text() == "0"


def test_what_does_not_stand_still_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezer, "PATIENCE", 0.05)
    host = Host(tmp_path, f"0::/{TWO}", {f"{TWO}/cgroup.freeze": "0", f"{TWO}/cgroup.events": "frozen 0"})
    with pytest.raises(PortError, match="did not stand still"):
        host.ask("freeze")
    assert (host.groups / TWO / "cgroup.freeze").read_text() == "0"


@pytest.mark.parametrize(
    "about",
    [{"base_url": "https://elsewhere:2376"}, {"pid": 0}, {"pid": 43}, {"container": "beef" * 12}, {"container": ""}],
)
def test_what_is_not_this_hosts_is_left_to_the_engine(tmp_path: Path, about: dict[str, object]) -> None:
    host = Host(tmp_path, f"7:freezer:/docker/{CONTAINER}", {ONE: "THAWED"})
    assert not host.ask("freeze", **about)  # type: ignore[arg-type]
    assert not host.ask("thaw", **about)  # type: ignore[arg-type]
    assert (host.groups / ONE).read_text() == "THAWED"


def test_a_host_without_a_freezer(tmp_path: Path) -> None:
    host = Host(tmp_path, f"0::/{TWO}", {})
    assert not host.ask("freeze")
