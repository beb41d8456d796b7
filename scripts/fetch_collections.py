# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give the running virtual environment its collections: this checkout as a link, others from Galaxy or from PyPI.

Galaxy is asked first, for a few seconds. Where it does not answer, the wanted collections are unpacked from the
wheel of the `ansible` package, whose hash is pinned in requirements-collections.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
GALAXY = os.environ.get("ANSIBLE_GALAXY_SERVER", "https://galaxy.ansible.com")
PATIENCE = 4.0
"""seconds until Galaxy counts as absent"""


def say(text: str) -> None:
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def link_checkout(site: Path) -> None:
    link = site / "ansible_collections" / "quaylock" / "stacks"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(ROOT, target_is_directory=True)


def galaxy_answers() -> bool:
    try:
        with urllib.request.urlopen(f"{GALAXY.rstrip('/')}/api/", timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def from_galaxy(site: Path) -> bool:
    """Galaxy may answer and still fail us (a proxy, an outage): then False, and PyPI is asked."""
    galaxy = Path(sys.prefix) / "bin" / "ansible-galaxy"
    wanted = ["-r", ROOT / "requirements.yml", "-p", site]
    call = [galaxy, "collection", "install", "--upgrade", "--server", GALAXY, *wanted]
    return subprocess.run(call, stdout=subprocess.DEVNULL, check=False).returncode == 0


def from_pypi(site: Path, names: list[str]) -> None:
    """pip checks the hash. The wheel may want a newer Python than ours: it is only unpacked."""
    with tempfile.TemporaryDirectory(prefix="quaylock-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary", ":all:", "--python-version", "3.13", "--require-hashes"]
        subprocess.run([*pip, "-r", ROOT / "requirements-collections.txt", "-d", folder], check=True)
        wheel = next(Path(folder).glob("ansible-*.whl"))
        wanted = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in names)
        with zipfile.ZipFile(wheel) as archive:
            members = [m for m in archive.namelist() if m.startswith(wanted) and "/tests/" not in m]
            archive.extractall(site, members)
    absent = [name for name, prefix in zip(names, wanted) if not any(m.startswith(prefix) for m in members)]  # noqa: B905
    if absent:
        raise SystemExit(f"bootstrap: the ansible wheel has no collection {', '.join(absent)}")


def main() -> None:
    site = next(p for p in map(Path, sys.path) if p.name == "site-packages" and p.is_relative_to(sys.prefix))
    link_checkout(site)
    wanted = [entry["name"] for entry in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]]
    if galaxy_answers() and from_galaxy(site):
        say(f"{', '.join(wanted)} from {GALAXY}")
        return
    say(f"Galaxy does not answer; {', '.join(wanted)} from PyPI")
    try:
        from_pypi(site, wanted)
    except subprocess.CalledProcessError:
        raise SystemExit(
            "bootstrap: refused: no source has the collections of requirements.yml\n"
            f"  {GALAXY}: no answer within {PATIENCE:.0f} s, or the installation failed\n"
            "  PyPI, package ansible: pip's words are above"
        ) from None


if __name__ == "__main__":
    main()
