# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long a new release that crashes goes unnoticed, and how long until the old one is all there is again."""

from __future__ import annotations

import secrets
import statistics
import tempfile
import threading
import time
from typing import Any

import docker
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request
from ansible_collections.quaylock.stacks.tests.fixtures.stacks.web_image import web_image

from tests.bench.figures import Figure

CRASHES = (0.6, 1.5, 2.5, 3.1, 4.2)
"""seconds after its start that the new release dies: before it passed, and at odd moments while it is held"""


def _service(version: str, **environment: str) -> dict[str, Any]:
    return {
        "image": web_image(),
        "healthcheck": {"test": ["CMD", "/web", "check"], "interval": "30s", "timeout": "5s"},
        "environment": {"VERSION": version, **environment},
        "deploy": {"update_config": {"monitor": "6s"}},
    }


def verdict(only: str = "") -> list[Figure]:
    """There is nobody to compare with: Compose does not notice."""
    if only == "peer":
        return []
    name = f"qb-{secrets.token_hex(3)}"
    seen, back = [], []
    client = docker.from_env()
    with tempfile.TemporaryDirectory() as folder:

        def request(**service: Any) -> Request:
            places = {"state_dir": f"{folder}/state", "config_dir": f"{folder}/etc"}
            return Request(name=name, definition={"services": {"web": service}}, who="bench", **places)

        deploy.deploy(request(**_service("v1")))
        try:
            for crash in CRASHES:
                died: list[float] = []
                label = f"com.docker.compose.project={name}"
                stream = client.events(decode=True, filters={"label": label, "event": "die"})
                listening = threading.Thread(target=lambda s=stream, d=died: d.extend([next(s)["timeNano"] / 1e9]))
                listening.start()
                answer = deploy.deploy(request(**_service("v2", CRASH_AFTER=str(crash))))
                ended = time.time()
                listening.join(5)
                stream.close()
                if answer["outcome"] != "rolled back":
                    raise RuntimeError(f"a release that crashes was {answer['outcome']}")
                events = SqliteJournal(f"{folder}/state/journal.sqlite").events(answer["rollout"])
                explains = (e.at for e in events if (e.what, e.details.get("do")) == ("do", "Explain"))
                seen.append(next(explains) - died[0])
                back.append(ended - died[0])
        finally:
            deploy.remove(request(), remove_volumes=True, dry=False)
    return [
        Figure("from a crash of a new release to the verdict, median", statistics.median(seen), 2.0, 1.0),
        Figure(f"the same, the worst of {len(seen)}", max(seen), 2.0, 1.0),
        Figure("from the crash to the answer, everything undone, median", statistics.median(back), None, None),
    ]
