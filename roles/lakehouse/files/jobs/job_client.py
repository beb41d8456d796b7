# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a job server for a run and waits for its result.

    python job_client.py http://ingestor:8090 bronze RUN_ID day=2024-01-01 rows=3000

prints the result as one line of JSON. The token is in JOBS_TOKEN_FILE (/run/secrets/jobs_token).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

TOKEN_FILE = "/run/secrets/jobs_token"  # noqa: S105 - where it is, not what
AWAY = (OSError, http.client.HTTPException, ValueError)
"""a server that is not there, not there yet, or that went away in the middle of a sentence"""
PAUSE, LONGEST_PAUSE = 0.5, 2.0


class JobFailed(Exception):
    """The run failed, was stopped, was refused, or did not end in time."""


def own_token() -> str:
    return Path(os.environ.get("JOBS_TOKEN_FILE", TOKEN_FILE)).read_text().strip()


def run(url: str, job: str, run_id: str, parameters: Mapping[str, Any], token: str, deadline: float) -> dict[str, Any]:
    """The result of this run, which is started unless it goes on or has succeeded already; `deadline` in seconds.

    A server that is away or has forgotten the run is asked again, until the deadline. A run that failed before this
    call is started anew; one that fails during it raises JobFailed with the end of its output.
    """
    until = time.monotonic() + deadline
    known, accepted, pause, heard = False, False, PAUSE, "nothing"
    path = f"/runs/{quote(job, safe='')}/{quote(run_id, safe='')}"
    body = json.dumps(dict(parameters))
    while True:
        try:
            if known:
                status, answer = _asked(url, "GET", path, token, None)
            else:
                status, answer = _asked(url, "PUT", path + ("" if accepted else "?again=failed"), token, body)
        except AWAY as error:
            known, heard = False, f"{type(error).__name__}: {error}"
        else:
            heard = answer.get("state") or answer.get("error") or f"status {status}"
            if status == 200:
                if not known:
                    known, accepted, pause = True, True, PAUSE
                if answer["state"] == "succeeded":
                    return answer["result"] or {}
                if answer["state"] in ("failed", "stopped"):
                    about = f"{answer['state']} after {answer['seconds']} s with exit code {answer['exit_code']}"
                    # in front: whoever shows logs may sort the lines of others by the times in them
                    about += f": {answer['why']}" if answer["why"] else ""
                    raise JobFailed(f"{job}/{run_id} {about}; its last lines:\n{answer['output']}")
            elif status >= 500 or (known and status == 404):
                known = False
            else:
                raise JobFailed(f"{job}/{run_id} was refused with {status}: {heard}")
        if time.monotonic() + pause > until:
            raise JobFailed(f"{job}/{run_id} did not end within {deadline:g} s; last heard of it: {heard}")
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.25)


def _asked(url: str, method: str, path: str, token: str, body: str | None) -> tuple[int, dict[str, Any]]:
    address = urlsplit(url)
    if address.scheme != "http" or not address.hostname:
        raise JobFailed(f"{url} is not the address of a job server")
    connection = http.client.HTTPConnection(address.hostname, address.port or 80, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Connection": "close"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        read = json.loads(answer.read())
        if not isinstance(read, dict):
            raise ValueError("it answers with something else than a run")
        return answer.status, read
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Ask a job server for a run and wait for its result.")
    parser.add_argument("--deadline", type=float, default=3600, help="seconds (3600)")
    parser.add_argument("url")
    parser.add_argument("job")
    parser.add_argument("run_id")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    parameters = dict(each.partition("=")[::2] for each in given.parameters)
    try:
        print(json.dumps(run(given.url, given.job, given.run_id, parameters, own_token(), given.deadline)))
    except (JobFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
