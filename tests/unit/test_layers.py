# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who may know whom, and on which Python: the layers of docs/design.md as a test."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
ALL = sorted(PLUGINS.rglob("*.py"))
ON_THE_HOST = [p for p in ALL if p.relative_to(PLUGINS).parts[0] in ("module_utils", "modules")]
ENGINE = PLUGINS / "module_utils"
LEAST = (3, 10)


def name(path: Path) -> str:
    return str(path.relative_to(PLUGINS))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), feature_version=LEAST)


def absolute(path: Path) -> set[str]:
    """Every module that a file imports, relative ones as folder.file from plugins/ on."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1]
            inside = ".".join(folder.relative_to(PLUGINS).parts)
            found |= {f"{inside}.{node.module}"} if node.module else {f"{inside}.{a.name}" for a in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in absolute(path)}


def those_who_import(package: str, paths: list[Path]) -> set[str]:
    return {name(p) for p in paths if any(m == package or m.startswith(package + ".") for m in absolute(p))}


@pytest.mark.parametrize("path", ALL, ids=name)
def test_python_3_10_understands_it(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=LEAST)


NEWER = {
    # what came with 3.11 and later, by module; a file that runs on a host must not ask for it
    "enum": {"StrEnum", "ReprEnum", "verify", "member", "nonmember", "EnumCheck"},
    "typing": {"Self", "LiteralString", "assert_never", "Never", "Required", "NotRequired", "Unpack", "override"}
    | {"TypeVarTuple", "reveal_type", "dataclass_transform", "ReadOnly", "TypeIs", "NoDefault", "assert_type"},
    "datetime": {"UTC"},
    "hashlib": {"file_digest"},
    "contextlib": {"chdir"},
    "itertools": {"batched"},
    "warnings": {"deprecated"},
    "copy": {"replace"},
}
NEWER_MODULES = {"tomllib", "wsgiref.types", "annotationlib", "compression", "concurrent.interpreters"}


@pytest.mark.parametrize("path", ON_THE_HOST, ids=name)
def test_nothing_newer_than_3_10_is_asked_for(path: Path) -> None:
    asked = {module for module in absolute(path) if module in NEWER_MODULES}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in NEWER:
            asked |= {alias.name for alias in node.names} & NEWER[node.module]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            asked |= {node.attr} & NEWER.get(node.value.id, set())
    assert asked == set()


@pytest.mark.parametrize("path", ON_THE_HOST, ids=name)
def test_annotations_are_never_evaluated(path: Path) -> None:
    """`X | Y` in annotations of a module that is zipped and run costs nothing then."""
    if path.name == "__init__.py":
        return
    lines = [n for n in tree(path).body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    assert lines, "from __future__ import annotations"


def test_the_engine_knows_no_ansible() -> None:
    """So that timers, tests and a service can use it: only modules and what runs on the controller do."""
    inside = [p for p in ALL if p.is_relative_to(ENGINE)]
    assert those_who_import("ansible", inside) == set()
    assert those_who_import("ansible_collections", inside) == set()


def test_only_the_adapters_speak_to_the_outside() -> None:
    speaking = those_who_import("docker", ALL) - {"modules/images.py"}  # it makes the client, and asks nothing itself
    assert speaking == {
        f"module_utils/adapters/{name}.py" for name in ("docker_api", "docker_containers", "docker_engine", "images")
    }
    assert those_who_import("boto3", ALL) | those_who_import("botocore", ALL) == {"module_utils/adapters/s3.py"}
    # what the journal raises, which they outlive
    told = {"module_utils/runner.py", "module_utils/verify.py", "module_utils/backup/run.py"}
    databases = {"module_utils/journal.py", "module_utils/adapters/sqlite_copy.py", *told}
    assert those_who_import("sqlite3", ALL) <= databases
    outside = [p for p in ALL if p.is_relative_to(ENGINE) and p.parent != ENGINE / "adapters"]
    assert those_who_import("subprocess", outside) == set()
    assert those_who_import("socket", outside) == set()


def test_an_adapter_decides_nothing() -> None:
    adapters = [p for p in ALL if p.parent == ENGINE / "adapters"]
    assert adapters
    for decided in ("rollout", "shown"):
        assert those_who_import(f"module_utils.core.{decided}", adapters) == set(), decided


KNOWS = {
    "compose": set(),
    "backup": set(),
    "proxy": set(),
    "images": set(),
    "verify": set(),
    "rollout": {"compose"},
    "shown": {"rollout"},
}
"""the parts of the core, and which others each may know; what they share lies beside them"""


@pytest.mark.parametrize("part", KNOWS)
def test_a_part_of_the_core_knows_few_others(part: str) -> None:
    core = ENGINE / "core"
    assert {p.parent.name for p in core.glob("*/__init__.py")} == set(KNOWS)
    inside = [p for p in ALL if p.parent == core / part]
    for other in KNOWS.keys() - KNOWS[part] - {part}:
        assert those_who_import(f"module_utils.core.{other}", inside) == set(), other


def test_what_the_parts_share_knows_none_of_them() -> None:
    shared = [p for p in ALL if p.parent == ENGINE / "core"]
    for part in KNOWS:
        assert those_who_import(f"module_utils.core.{part}", shared) == set(), part


def test_the_host_needs_no_yaml_and_no_jinja() -> None:
    for package in ("yaml", "jinja2"):
        assert those_who_import(package, ON_THE_HOST) == set()


def test_modules_are_glue() -> None:
    """Arguments in, one call, result out: what a module knows of the collection is the engine."""
    for path in ON_THE_HOST:
        if path.parent.name == "modules":
            ours = {m for m in absolute(path) if m.startswith("ansible_collections.")}
            assert all(".plugins.module_utils" in m for m in ours), name(path)


def test_nothing_imports_a_module_or_a_test() -> None:
    for path in ALL:
        for module in absolute(path):
            assert ".plugins.modules" not in module, name(path)
            assert ".tests" not in module, name(path)


def test_an_older_python_compiles_it_too() -> None:
    """Where this machine has Pythons between the oldest and this one, they are asked as well."""
    found = []
    for minor in range(LEAST[1], 14):
        python = f"python3.{minor}"
        try:
            done = subprocess.run(
                [python, "-c", "import ast, json, sys; [ast.parse(open(p).read()) for p in json.load(sys.stdin)]"],
                input=json.dumps([str(p) for p in ON_THE_HOST]),
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            continue
        if "not installed" in done.stderr or done.returncode == 127:  # a version switcher's stand-in
            continue
        assert done.returncode == 0, f"{python}: {done.stderr}"
        found.append(python)
    if not found:
        pytest.skip("no other Python on PATH")


@pytest.mark.parametrize("folder", ["scripts", "tests/bench"])
def test_nothing_beside_a_program_has_the_name_of_a_library(folder: str) -> None:
    """The folder of a program is the first one that Python looks in."""
    assert [path.name for path in (ROOT / folder).glob("*.py") if path.stem in sys.stdlib_module_names] == []


def test_boto3_is_imported_only_where_a_bucket_is_asked_for() -> None:
    """A host without buckets need not have it, and nobody waits for its half second."""
    path = ENGINE / "adapters" / "s3.py"
    at_the_top = {name for node in tree(path).body for name in _imported(node)}
    assert not {"boto3", "botocore"} & at_the_top


def _imported(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {str(node.module).partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()
