# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The core decides and never acts: what would let it act is not imported there."""

from __future__ import annotations

import ast
import builtins
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "plugins/module_utils/core"
CORE_FILES = sorted(CORE.rglob("*.py"))

BANNED = {
    *("ansible", "ansible_collections", "docker", "requests", "yaml", "jinja2"),
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "signal", "subprocess", "threading", "_thread"),
    *("os", "io", "pathlib", "shutil", "tempfile", "glob", "fcntl", "mmap", "sqlite3", "logging", "sys"),
    *("socket", "ssl", "http", "urllib", "select", "selectors"),
    *("time", "datetime", "random", "secrets", "uuid", "importlib", "ctypes"),
}
CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
ALLOWED = {
    *(
        "__future__",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "copy",
        "csv",
        "dataclasses",
        "decimal",
        "difflib",
    ),
    *(
        "enum",
        "fnmatch",
        "functools",
        "hashlib",
        "heapq",
        "html",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "posixpath",
    ),
    *("re", "shlex", "string", "textwrap", "types", "typing", "unicodedata"),
}
"""what the core may import; a name in neither set wants a decision"""


def name(path: Path) -> str:
    return str(path.relative_to(CORE))


def imports(tree: ast.AST) -> set[str]:
    """The top-level packages of absolute imports, and "..x" for relative ones that go up so far."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                found.add(str(node.module).partition(".")[0])
            elif node.level > 1:
                found.add("." * node.level + str(node.module or ""))
    return found


def calls(tree: ast.AST) -> set[str]:
    return {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


@pytest.mark.parametrize("path", CORE_FILES, ids=name)
def test_the_core_imports_nothing_that_acts(path: Path) -> None:
    found = imports(ast.parse(path.read_text()))
    assert found & BANNED == set()
    depth = len(path.relative_to(CORE).parts)
    above = {name for name in found if name.startswith("." * (depth + 1))}
    assert above == set(), "the core knows nothing above itself"
    assert {n for n in found if not n.startswith(".")} <= ALLOWED, "decide whether the core may have it"


@pytest.mark.parametrize("path", CORE_FILES, ids=name)
def test_the_core_calls_nothing_that_acts(path: Path) -> None:
    assert calls(ast.parse(path.read_text())) & CALLS == set()


def test_the_ban_itself_works() -> None:
    tree = ast.parse("import os.path\nfrom time import sleep\nfrom ..ports import Engine\nprint(open('x'))")
    assert imports(tree) == {"os", "time", "..ports"}
    assert calls(tree) == {"open", "print"}
    assert {*dir(builtins), "__import__"} >= CALLS
    assert {name for name in ALLOWED if name not in sys.stdlib_module_names} == set()


def test_there_is_a_core() -> None:
    there = {name(p) for p in CORE_FILES}
    assert {"rollout/gate.py", "rollout/plan.py", "rollout/rollout.py", "compose/compose.py", "model.py"} <= there
