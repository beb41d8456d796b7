# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An object of a bucket: as a listing shows it, and what belongs to it besides its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Listed:
    """One object at one moment. `etag` is as the server writes it, `modified` in seconds since the epoch."""

    key: str
    size: int
    etag: str
    modified: float = 0.0
    version: str = ""
    """"" where the bucket keeps none: then the object is gone once it is written again"""


@dataclass(frozen=True, slots=True)
class Described:
    """What a client gave with an object. `headers` are HTTP's, their names in lower case."""

    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
"""those that belong to an object, and not to the answer that it came with"""

NAMED = 8
"""objects that a message names"""


def named(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def differing(put: Mapping[str, tuple[int, str]], there: Mapping[str, tuple[int, str]]) -> tuple[str, ...]:
    """What was put, as key -> (size, etag), beside what a bucket lists; what is there besides is not looked at."""
    missing = sorted(put.keys() - there.keys())
    other = sorted(key for key in put.keys() & there.keys() if put[key] != there[key])
    said = [f"not there: {named(missing)}"] if missing else []
    return tuple(said + ([f"another size or content: {named(other)}"] if other else []))
