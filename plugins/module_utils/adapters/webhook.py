# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A URL that is told: JSON by POST, a few times, each with an end. The URL may be a secret and is never said."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.model import Json
from ..ports import PortError

TIMEOUT = 10.0
"""seconds without a byte from the other side"""
PAUSES = (1.0, 5.0)
"""seconds before each further try"""
WORTH_ANOTHER = (408, 425, 429, 500, 502, 503, 504)


class _Stays(urllib.request.HTTPRedirectHandler):
    """A redirect would be followed without what was posted, and may lead anywhere."""

    def redirect_request(self, *_: Any, **_about: Any) -> None:
        return None


class Webhook:
    """`path` is a file that has the URL in its first line."""

    def __init__(self, path: str, timeout: float = TIMEOUT, pauses: Sequence[float] = PAUSES) -> None:
        self._path, self._timeout, self._pauses = path, timeout, pauses

    def post(self, message: Json) -> None:
        """Raises PortError with what the other side said, when it did not take it after the last try."""
        url = self._url()
        body = json.dumps(message).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "quaylock-backup"}
        opener = urllib.request.build_opener(_Stays)
        said = ""
        for pause in (*self._pauses, None):
            request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - its scheme was looked at
            try:
                with opener.open(request, timeout=self._timeout):
                    return
            except urllib.error.HTTPError as error:
                said = f"HTTP {error.code}"
                error.close()
                if error.code not in WORTH_ANOTHER:
                    break
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = getattr(error, "reason", "") or error
                said = f"{type(error).__name__}: {reason}".replace(url, "the URL")
            if pause is not None:
                time.sleep(pause)
        raise PortError(f"the webhook did not take it: {said}")

    def _url(self) -> str:
        try:
            lines = Path(self._path).read_text(encoding="utf-8").split()
        except (OSError, ValueError) as error:
            raise PortError(f"the webhook's URL cannot be read from {self._path}: {type(error).__name__}") from error
        if not lines or not lines[0].startswith(("http://", "https://")):
            raise PortError(f"{self._path} has no http:// or https:// URL in its first line")
        return lines[0]
