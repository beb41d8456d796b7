# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is refused, with the path of the key and what to do instead. A case names all findings of its stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid

CONTEXT = Context("/srv/shop", "/etc/quaylock/stacks/shop", {"given": "f1"}, {}, entrypoints={"http": 80, "db": 5432})

FOLDER = Path(__file__).parents[3] / "fixtures" / "compose" / "refusals"
TOPICS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
STACKS = TOPICS.pop("stacks")
SERVICES = [case for cases in TOPICS.values() for case in cases]


@pytest.mark.parametrize("case", SERVICES, ids=lambda case: case["case"])
def test_a_service_is_refused_with_path_and_fix(case: dict[str, Any]) -> None:
    findings = refused({"services": {"api": {"image": "api:1", **case["service"]}}, "secrets": {"given": None}})
    agree(findings, case["refused"], "services.api.")


@pytest.mark.parametrize("case", STACKS, ids=lambda case: case["case"])
def test_a_stack_is_refused_with_path_and_fix(case: dict[str, Any]) -> None:
    agree(refused(case["stack"]), case["refused"], "")


def test_everything_wrong_is_said_at_once() -> None:
    findings = refused(
        yaml.safe_load("""
        services:
          api: {image: a, comand: x, depends_on: [nobody], ports: ["http"], secrets: [pw], restart: often}
          db: {volumes: [data:/data], healthcheck: {disable: true}, deploy: {update_config: {parallelism: -1}}}
        secrets: {pw: }
        networks: {n: {drivr: x}}
        vols: {}
        """)
    )
    assert {path for path, _problem, _fix in findings} == {
        "networks.n.drivr",
        "vols",
        "services.api.comand",
        "services.api.depends_on[0]",
        "services.api.ports[0]",
        "services.api.restart",
        "secrets.pw",
        "services.db",
        "services.db.volumes[0]",
        "services.db.healthcheck",
        "services.db.deploy.update_config.parallelism",
    }


def test_routes_need_a_proxy() -> None:
    stack = {"services": {"a": {"image": "a", "x-quaylock": {"ingress": [{"entrypoint": "http", "port": 1}]}}}}
    [(path, problem, _fix)] = refused(stack, Context())
    assert path == "services.a.x-quaylock.ingress[0].entrypoint"
    assert "no proxy" in problem


@pytest.mark.parametrize("name", ["Shop", "-shop", "sh op", ""])
def test_a_stack_s_name_is_one_that_compose_takes(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(name, {"services": {"a": {"image": "a"}}}, CONTEXT)
    assert [finding.path for finding in refusal.value.findings] == ["name"]


@pytest.mark.parametrize("value", [None, [], "text", 3, {"services": [1]}, {"services": {1: {"image": "a"}}}, {1: 2}])
def test_whatever_comes_in_there_is_a_finding_and_no_crash(value: object) -> None:
    with pytest.raises(Invalid):
        read("shop", value, CONTEXT)  # type: ignore[arg-type]


def refused(definition: object, context: Context = CONTEXT) -> list[tuple[str, str, str]]:
    with pytest.raises(Invalid) as refusal:
        read("shop", definition, context)  # type: ignore[arg-type]
    return [(finding.path, finding.problem, finding.fix) for finding in refusal.value.findings]


def agree(findings: list[tuple[str, str, str]], expected: list[dict[str, str]], below: str) -> None:
    assert [path for path, _problem, _fix in findings] == [below + finding["path"] for finding in expected]
    for (_path, problem, fix), finding in zip(findings, expected, strict=True):
        assert finding["says"] in problem
        assert finding.get("fix", "") in fix
