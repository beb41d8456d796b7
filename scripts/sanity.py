# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""ansible-test sanity over the tracked files as they are now, without Docker; says only what is wrong.

ansible-test wants a folder ansible_collections/NAMESPACE/NAME, and keeps its own environments under $HOME: both are in
.cache/sanity, so that the user's are left alone and a second run is quick. Words are handed on to ansible-test:
scripts/sanity.py --test pylint
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "sanity"
TREE = CACHE / "ansible_collections" / "quaylock" / "stacks"
HOME = CACHE / "home"
BIN = Path(sys.executable).parent
PIP_URL = "https://ci-files.testing.ansible.com/ansible-test/get-pip-{}.py"
PIP_STAND_IN = """\
# Where ansible-test's own host does not answer: Python's pip brings the pip that was asked for.
import subprocess
import sys

words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *words], check=False).returncode)
"""


def copy_tracked() -> None:
    """ansible-test looks for a .git from here upwards, and would find the one that ignores .cache."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(TREE, ignore_errors=True)
    for name in filter(None, names.split("\0")):
        source, target = ROOT / name, TREE / name
        if not os.path.lexists(source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    subprocess.run(["git", "init", "--quiet"], cwd=TREE, check=True)


def have_pip_script() -> None:
    """What makes pip in an empty environment is fetched from one host, which some networks do not reach."""
    source = Path(sysconfig.get_path("purelib"), "ansible_test", "_internal", "python_requirements.py")
    version = re.search(r"pip='([\d.]+)'", source.read_text())
    if not version:
        return
    script = HOME / ".ansible" / "test" / "cache" / f"get_pip_{version[1].replace('.', '_')}.py"
    if script.exists():
        return
    try:
        with urllib.request.urlopen(PIP_URL.format(version[1]), timeout=5) as answer:
            text = answer.read().decode()
    except (OSError, ValueError):
        text = PIP_STAND_IN
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text)


def hand_on_pip_settings() -> None:
    """ansible-test clears the environment; what PIP_INDEX_URL, PIP_CERT and others say goes through pip's file."""
    settings = {k[4:].lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("PIP_") and v}
    settings.pop("config-file", None)
    lines = ["[global]", *(f"{key} = {' '.join(value.split())}" for key, value in sorted(settings.items()))]
    file = HOME / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)  # the address of an index may hold a password
    file.write_text("\n".join(lines) + "\n")


def main(words: list[str]) -> int:
    copy_tracked()
    have_pip_script()
    hand_on_pip_settings()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = subprocess.run(
        [str(BIN / "ansible-test"), "sanity", "--local", "--python", python, "--color", "no", *words],
        cwd=TREE, env={**os.environ, "HOME": str(HOME), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    rc = done.returncode or int("All targets skipped" in done.stdout)
    if rc:
        wrong = [line for line in done.stdout.splitlines() if line.startswith("ERROR:")]
        print("\n".join(wrong) or done.stdout)
    return rc


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
