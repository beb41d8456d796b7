# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build the images of test hosts where they are missing, and print their names as JSON: {"bare": ..., "engine": ...}.

The tag is a hash of what they are made from, so that a change makes new ones and nothing else does.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from docker import from_env

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tests" / "fixtures" / "hosts"
TARGETS = ("bare", "engine")


def say(text: str) -> None:
    print(f"test hosts: {text}", file=sys.stderr, flush=True)


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False, env=environment)


def present(image: str) -> bool:
    return docker("image", "inspect", image).returncode == 0


def base() -> str:
    """Debian, as the collection makes it where no registry is asked."""
    return recipe_image(from_env(timeout=120), "debian")


def names() -> dict[str, str]:
    content = b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()) if path.is_file())
    tag = hashlib.sha256(content).hexdigest()[:12]
    return {target: f"quaylock/test-host-{target}:{tag}" for target in TARGETS}


def main() -> None:
    images = names()
    for target, image in images.items():
        if present(image):
            continue
        say(f"building {image}")
        built = docker("build", "--target", target, "--build-arg", f"BASE={base()}", "-t", image, str(SOURCE))
        if built.returncode:
            raise SystemExit(f"test hosts: {image} could not be built:\n{built.stdout[-3000:]}{built.stderr[-3000:]}")
    print(json.dumps(images))


if __name__ == "__main__":
    main()
