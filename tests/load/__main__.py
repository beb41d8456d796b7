# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python -m tests.load 127.0.0.1:8080 --host shop.example.org --seconds 10 --mix keepalive=8,fresh=4,post=4,slow=2"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from .clients import LONGEST, MIX, Load


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("target", help="IP:port; loopback or private addresses only")
    parser.add_argument("--host", default="", help="Host header")
    parser.add_argument("--path", default="/")
    parser.add_argument("--post-path", default="/echo")
    parser.add_argument("--slow-path", default="/slow?seconds=0.5")
    parser.add_argument("--seconds", type=float, default=10.0, help=f"at most {LONGEST:.0f}")
    parser.add_argument("--requests", type=int, default=0, help="stop after so many (0: by time alone)")
    parser.add_argument("--pause", type=float, default=0.002, help="seconds between two requests of one client")
    parser.add_argument("--mix", default=",".join(f"{k}={n}" for k, n in MIX.items()), help="clients of each kind")
    parser.add_argument("--stream-path", default="/stream?seconds=1")
    parser.add_argument("--ws-path", default="/ws")
    parser.add_argument("--largest", type=int, default=20000, help="bytes of a POST's body, at most")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--answers", metavar="FILE", help="write every answer and loss with its time, as JSON")
    given = parser.parse_args()
    mix = {kind: int(number) for kind, _sign, number in (part.partition("=") for part in given.mix.split(","))}
    load = Load(
        given.target,
        host=given.host,
        mix=mix,
        path=given.path,
        post_path=given.post_path,
        slow_path=given.slow_path,
        stream_path=given.stream_path,
        ws_path=given.ws_path,
        seconds=given.seconds,
        requests=given.requests,
        pause=given.pause,
        largest=given.largest,
    )
    # whoever runs this beside something else ends it early; what is under way gets its answer
    signal.signal(signal.SIGTERM, lambda *_of: load.end())
    report = load.run()
    if given.answers:
        Path(given.answers).write_text(json.dumps({"answers": report.answers, "losses": report.losses}))
    print(json.dumps(report.as_dict(), indent=1) if given.json else report)
    return 1 if report.failed else 0


sys.exit(main())
