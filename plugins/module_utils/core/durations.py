# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Durations and sizes as Compose writes them. A ValueError says what a right one looks like."""

from __future__ import annotations

import re

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_STEP = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgtp])i?)?b?", re.IGNORECASE)


def seconds(value: object) -> float:
    """Seconds of a Go duration such as "1m30s" or "500ms". A bare number other than 0 has no unit and is refused."""
    text = str(value).strip()
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest in ("0", "0.0"):
        return 0.0
    steps = _STEP.findall(rest)
    if isinstance(value, bool) or not steps or "".join(n + u for n, u in steps) != rest:
        raise ValueError(f"{text!r} is not a duration: write a number with its unit, such as 30s, 1m30s or 500ms")
    return sign * round(sum(float(number) * _SECONDS[unit] for number, unit in steps), 9)


def nanoseconds(value: float) -> int:
    """The Engine API counts health check times in nanoseconds."""
    return round(value * 1_000_000_000)


def size(value: object) -> int:
    """Bytes of "512m", "1.5gb", "64MiB" or a bare number of bytes. Units are powers of 1024, as in Docker."""
    text = str(value).strip()
    match = _SIZE.fullmatch(text)
    if isinstance(value, bool) or not match:
        raise ValueError(f"{text!r} is not a size: write bytes or a number with its unit, such as 512m or 2g")
    number, unit = match.groups()
    return int(float(number) * 1024 ** (" kmgtp".index(unit.lower()) if unit else 0))


def spoken(value: float) -> str:
    """Seconds as people write them: 0.25s, 30s, 2m, 1m30s."""
    if value < 60 or value != int(value):
        return f"{value:g}s"
    minutes, rest = divmod(int(value), 60)
    return f"{minutes}m{rest}s" if rest else f"{minutes}m"
