# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of a host after real rollouts, in a real browser: what it shows, and that its picture is not blank."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import page

from .conftest import Harbour, one_shot, web

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
def browser() -> str:
    """Debian's chromium; installed where it is not there, which takes root."""
    if not shutil.which("chromium"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for call in (
            ["apt-get", "-qq", "update"],
            ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium"],
        ):
            subprocess.run(call, check=True, env=env, stdout=subprocess.DEVNULL)
    return str(shutil.which("chromium"))


def browse(browser: str, folder: Path, *words: str) -> str:
    call = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder}/profile",
    ]
    done = subprocess.run([*call, *words], capture_output=True, text=True, timeout=90, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def pixels(png: Path) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of an 8-bit RGB or RGBA picture."""
    data, position, size, packed, depth = png.read_bytes(), 8, (0, 0), b"", 3
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
            depth = {2: 3, 6: 4}[body[9]]
        elif kind == b"IDAT":
            packed += body
        position += length + 12
    raw, width = zlib.decompress(packed), size[0] * depth
    rows: list[bytes] = []
    last = bytes(width)
    for number in range(size[1]):
        line = bytearray(raw[number * (width + 1) + 1 : (number + 1) * (width + 1)])
        kind = raw[number * (width + 1)]
        for i in range(width):
            left, up, corner = (line[i - depth] if i >= depth else 0), last[i], (last[i - depth] if i >= depth else 0)
            if kind == 1:
                line[i] = (line[i] + left) & 255
            elif kind == 2:
                line[i] = (line[i] + up) & 255
            elif kind == 3:
                line[i] = (line[i] + (left + up) // 2) & 255
            elif kind == 4:
                guess = left + up - corner
                near = min((left, up, corner), key=lambda v: abs(guess - v))
                line[i] = (line[i] + near) & 255
        last = bytes(line)
        rows.append(last)
    return size[0], depth, rows


def count(rows: list[bytes], depth: int, wanted: str) -> int:
    """How many pixels have one of the page's colours."""
    colour = bytes.fromhex(wanted)
    return sum(row[i : i + 3] == colour for row in rows for i in range(0, len(row), depth))


def test_a_browser_shows_the_last_rollouts(harbour: Harbour, browser: str, tmp_path: Path) -> None:
    file = tmp_path / "page/index.html"
    about = {"show": partial(page.write, str(file))}
    services: dict[str, Any] = {
        "migrate": one_shot(SECONDS="0.3"),
        "web": web(deploy={"replicas": 2}, depends_on={"migrate": {"condition": "service_completed_successfully"}}),
    }
    harbour.deployed(services, asked={"commit": "c0ffee123456"}, **about)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o644, 0o755)
    good = browse(browser, tmp_path, "--dump-dom", file.as_uri())
    assert 'class="verdict good"' in good
    assert f"{harbour.name} is healthy" in good
    assert "commit c0ffee123456" in good
    assert good.count('class="switched"') == 1, "only the key has the sign: nothing is routed here"
    bad = web(environment={"CRASH_AFTER": "0.2", "EXIT_CODE": "42"}, deploy={"replicas": 2})
    failed = harbour.deploy({**services, "web": bad}, **about)
    assert failed["outcome"] == "rolled back"
    dom = browse(browser, tmp_path, "--dump-dom", file.as_uri())
    assert "is healthy, but a rollout failed" in dom
    assert "exited with code 42" in dom
    assert "crashing as asked" in dom, "its last words are the evidence"
    assert f"{harbour.name}-web-3: created at" in dom, "the picture says in words what it shows"
    assert "Content-Security-Policy" in dom
    for name, size, scheme, paper in (
        ("wide", "1100,1400", 1, "f6f7f9"),
        ("phone", "400,1800", 1, "f6f7f9"),
        ("dark", "1100,1400", 0, "10161c"),
    ):
        shot = tmp_path / f"{name}.png"
        words = [
            "--hide-scrollbars",
            f"--window-size={size}",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--screenshot={shot}",
        ]
        browse(browser, tmp_path, *words, file.as_uri())
        width, depth, rows = pixels(shot)
        assert width == int(size.partition(",")[0])
        assert count(rows, depth, paper) > 5000, f"{name}: the style sheet is let through by the page's own policy"
        # bars, signs and words of the picture, in the colours of the scheme
        assert count(rows, depth, "b3261e" if scheme else "ff8a80") > 200, f"{name}: a failure is to be seen"
        assert count(rows, depth, "9fb0c0" if scheme else "526475") > 200, (
            f"{name}: replicas that started are to be seen"
        )


def test_hostile_names_do_nothing_in_a_browser(harbour: Harbour, browser: str, tmp_path: Path) -> None:
    """Who may deploy writes names, labels and log lines; the page of the person on call must not run them."""
    file = tmp_path / "index.html"
    evil = "</pre><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    about = {"show": partial(page.write, str(file)), "who": evil, "asked": {"commit": evil}, "again": evil}
    answer = harbour.deploy({"web": web(command=["/web", evil], environment={"CRASH_AFTER": "0"})}, **about)
    assert answer["outcome"] == "rolled back"
    dom = browse(browser, tmp_path, "--dump-dom", file.as_uri())
    assert "<script" not in dom
    assert "<img" not in dom
    assert "<title>run" not in dom
    assert "&lt;script&gt;document.title" in dom


def test_a_page_that_cannot_be_written_is_a_note_and_no_failure(harbour: Harbour, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = harbour.deployed({"web": web()}, show=partial(page.write, str(tmp_path / "file/index.html")))
    [note] = [n for n in answer["notes"] if "page" in n]
    assert f"the page {tmp_path}/file/index.html was not written" in note
    assert harbour.journal.result_of(answer["rollout"])["notes"] == answer["notes"]  # type: ignore[index]


def test_in_detail_it_is_plain_values(harbour: Harbour) -> None:
    harbour.deployed({"web": web()})
    found = page.detailed(harbour.request({}), {}, "host")
    assert json.loads(json.dumps(found)) == found
    assert [r["serving"] for r in found["releases"]] == [True]
    assert [r["outcome"] for r in found["rollouts"]] == ["deployed"]
    assert found["log"] == []
