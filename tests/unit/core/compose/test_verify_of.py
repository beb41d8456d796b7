# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a stack declares to be verified, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.quaylock.stacks.plugins.module_utils.core.checks import (
    NOISE,
    NOTHING,
    Ask,
    Check,
    Equal,
    Exec,
    Http,
    Logs,
    Run,
    Secret,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.core.compose.compose import Context, read
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid, Stack

STACK = """
services:
  api: {image: api, healthcheck: &check {test: [CMD, "true"]}, depends_on: [db]}
  db: {image: postgres, healthcheck: *check}
  lonely: {image: api, network_mode: none, healthcheck: *check}
  migrate: {image: api, restart: "no", x-quaylock: {one_shot: true}}
  job:
    image: spark
    profiles: [verify]
    restart: unless-stopped
    depends_on: {db: {condition: service_healthy}}
    networks: [lake]
    volumes: ["results:/r"]
    secrets: [word]
  other: {image: other, profiles: [debug]}
networks: {lake: }
volumes: {results: }
secrets: {key: , word: , lost: }
"""
CONTEXT = Context("/srv/shop", "/etc/quaylock/stacks/shop", {"key": "f1", "word": "f2"})
ALL = ("api", "db", "lonely", "migrate")


def stack(verify: Any, **extra: Any) -> Stack:
    model = yaml.safe_load(STACK)
    model["x-quaylock"] = {"verify": yaml.safe_load(verify) if isinstance(verify, str) else verify, **extra}
    return read("shop", model, CONTEXT)


def test_nothing_declared_is_nothing() -> None:
    assert read("shop", yaml.safe_load(STACK), CONTEXT).verify == NOTHING


def test_a_failure_goes_back_unless_it_is_to_be_reported() -> None:
    declared = "{it: {logs: {}}}"
    assert stack(declared).verify.go_back
    assert not stack(declared, verify_failure="report").verify.go_back


ASKED: list[tuple[str, Ask]] = [
    ("exec: {service: db, command: [pg_isready]}", Exec("db", ("pg_isready",))),
    ("exec: {service: db, command: [x], exit_code: 3}", Exec("db", ("x",), 3)),
    ("run: {service: job}", Run("job")),
    ("run: {service: api, command: [check, -v]}", Run("api", ("check", "-v"))),
    ("http: {service: api, port: 8000}", Http("api", 8000)),
    ("http: {service: api, port: 8000, path: /x, status: [200, 204]}", Http("api", 8000, "/x", statuses=(200, 204))),
    (
        "http: {service: api, port: 1, headers: {Accept: '*/*', X-Count: 3, Authorization: {secret: key, prefix: 'Bearer '}}}",
        Http("api", 1, headers=(("Accept", "*/*"), ("X-Count", "3"), ("Authorization", Secret("key", "Bearer ")))),
    ),
    ("http: {service: api, port: 1, user: admin, password: key}", Http("api", 1, user="admin", password="key")),
    (
        "http: {service: api, port: 1, method: POST, data: {user: admin, n: 1, in: [{secret: key}]}}",
        Http("api", 1, method="POST", data={"user": "admin", "n": 1, "in": [Secret("key")]}),
    ),
    ("http: {service: api, port: 1, method: PUT, data: a text}", Http("api", 1, method="PUT", data="a text")),
    ("logs: {}", Logs(ALL)),
    ("logs: {services: db}", Logs(("db",))),
    (
        "logs: {services: [api, db], patterns: [BAD], allowed: {db: not so BAD}}",
        Logs(("api", "db"), ("BAD",), (("db", ("not so BAD",)),)),
    ),
]


@pytest.mark.parametrize(("declared", "ask"), ASKED)
def test_what_is_asked(declared: str, ask: Ask) -> None:
    assert stack(f"{{it: {{{declared}}}}}").verify.check("it").ask == ask


def test_when_it_is_asked_and_what_is_expected() -> None:
    found = stack(
        """
        writes: {run: {service: job}, timeout: 5m, matches: 'sum=(?P<sum>\\d+)'}
        reads:
          exec: {service: db, command: [x]}
          timeout: 1s
          interval: 100ms
          deadline: 2m
          matches: '(?P<n>\\d+)'
          json: {a.0: x, b: 1.5, c: true}
          equals: {n: writes.sum}
          after: [page]
        page: {http: {service: api, port: 8000}, after: writes}
        """
    ).verify
    assert found.check("writes") == Check("writes", Run("job"), 300, 2, 0, "sum=(?P<sum>\\d+)")
    assert found.check("reads") == Check(
        "reads",
        Exec("db", ("x",)),
        timeout=1,
        interval=0.1,
        deadline=120,
        matches="(?P<n>\\d+)",
        json=(("a.0", "x"), ("b", 1.5), ("c", True)),
        equals=(Equal("n", "writes", "sum"),),
        after=("page", "writes"),
    )
    page = found.check("page")
    assert (page.timeout, page.interval, page.deadline, page.after) == (10, 2, 30, ("writes",))
    assert found.check("writes").timeout == 300
    assert stack("{it: {run: {service: job}}}").verify.check("it").timeout == 600


def test_a_service_that_is_only_run_is_no_service_of_the_stack() -> None:
    without = read("shop", yaml.safe_load(STACK), CONTEXT)
    found = stack("{it: {run: {service: job}}}")
    assert {s.name for s in found.services} == set(ALL)
    assert [s.name for s in found.jobs] == ["job"]
    assert [n.name for n in found.networks] == ["shop_lake", "shop_default"]
    assert [v.name for v in found.volumes] == ["shop_results"]
    assert [f.key for f in found.files] == ["word"]
    assert (without.jobs, without.volumes, without.files) == ((), (), ())
    assert found.rendered["services"]["job"]["profiles"] == ["verify"]
    assert "other" not in found.rendered["services"]
    assert [s.spec for s in found.services] == [s.spec for s in without.services]


def test_secrets_of_requests_are_files_for_root() -> None:
    found = stack("{it: {http: {service: api, port: 1, user: admin, password: key}}}")
    assert {f.key: f.mode for f in found.files} == {"key": 0o400}


REFUSED: list[tuple[str, str]] = [
    ("[]", "x-quaylock.verify: must be a mapping, not a list"),
    ("{It: {logs: {}}}", "x-quaylock.verify.It: 'It' is not a check's name (lower case letters, digits, - and _)"),
    ("{it: x}", "x-quaylock.verify.it: must be a mapping"),
    ("{it: {}}", "x-quaylock.verify.it: must have exactly one of exec, run, http, logs"),
    ("{it: {logs: {}, run: {service: job}}}", "x-quaylock.verify.it: must have exactly one of exec, run, http, logs"),
    ("{it: {logs: {}, tests: 1}}", "x-quaylock.verify.it.tests: is not a known key"),
    ("{it: {logs: {}, retries: 1}}", "x-quaylock.verify.it.retries: is not supported (write deadline"),
    (
        "{it: {exec: {service: db, comand: [x]}}}",
        "x-quaylock.verify.it.exec.comand: is not a known key (did you mean command?)",
    ),
    ("{it: {exec: {service: db}}}", "x-quaylock.verify.it.exec: has no command"),
    ("{it: {exec: {command: [x]}}}", "x-quaylock.verify.it.exec: names no service (there are: api, db, lonely)"),
    ("{it: {exec: {service: bd, command: [x]}}}", "x-quaylock.verify.it.exec.service: there is no active service 'bd'"),
    (
        "{it: {exec: {service: job, command: [x]}}}",
        "x-quaylock.verify.it.exec.service: there is no active service 'job'",
    ),
    (
        "{it: {exec: {service: migrate, command: [x]}}}",
        "x-quaylock.verify.it.exec.service: migrate is a one-shot and has ended",
    ),
    (
        "{it: {exec: {service: db, command: [x], exit_code: 300}}}",
        "x-quaylock.verify.it.exec.exit_code: 300 is out of range",
    ),
    ("{it: {run: {service: bjo}}}", "x-quaylock.verify.it.run.service: there is no service 'bjo'"),
    ("{it: {http: {service: api}}}", "x-quaylock.verify.it.http: has no port"),
    ("{it: {http: {service: lonely, port: 1}}}", "x-quaylock.verify.it.http.service: lonely has no address to ask"),
    ("{it: {http: {service: api, port: 1, path: x}}}", "x-quaylock.verify.it.http.path: 'x' is not a path"),
    ("{it: {http: {service: api, port: 1, method: post}}}", "x-quaylock.verify.it.http.method: 'post' is not one of"),
    ("{it: {http: {service: api, port: 1, user: u}}}", "x-quaylock.verify.it.http: needs both user and password"),
    (
        "{it: {http: {service: api, port: 1, user: u, password: w}}}",
        "x-quaylock.verify.it.http.password: secret 'w' is not declared",
    ),
    ("{it: {http: {service: api, port: 1, user: u, password: lost}}}", "secrets.lost: has no content"),
    (
        "{it: {http: {service: api, port: 1, headers: {A: {secret: w}}}}}",
        "x-quaylock.verify.it.http.headers.A.secret: secret 'w'",
    ),
    (
        "{it: {http: {service: api, port: 1, headers: {'A b': x}}}}",
        "x-quaylock.verify.it.http.headers.A b: 'A b' is not a header",
    ),
    ("{it: {http: {service: api, port: 1, data: x}}}", "x-quaylock.verify.it.http.data: a GET sends nothing"),
    ("{it: {logs: {services: [nobody]}}}", "x-quaylock.verify.it.logs.services: there is no active service 'nobody'"),
    ("{it: {logs: {patterns: ['(']}}}", "x-quaylock.verify.it.logs.patterns[0]: is not a regular expression"),
    (
        "{it: {logs: {services: [db], allowed: {api: x}}}}",
        "x-quaylock.verify.it.logs.allowed.api: 'api' is none of the services",
    ),
    ("{it: {logs: {}, matches: x}}", "x-quaylock.verify.it.matches: means nothing for logs"),
    (
        "{it: {run: {service: job}, matches: '('}}",
        "x-quaylock.verify.it.matches: is not a regular expression: missing )",
    ),
    (
        "{it: {run: {service: job}, matches: 'a{99999999999999999999}'}}",
        "x-quaylock.verify.it.matches: is not a regular expression: the repetition number is too large",
    ),
    ("{it: {run: {service: job}, matches: ''}}", "x-quaylock.verify.it.matches: is empty, which everything matches"),
    (
        "{it: {run: {service: job}, json: {a: [1]}}}",
        "x-quaylock.verify.it.json.a: must be a text, a number, true or false",
    ),
    ("{it: {run: {service: job}, timeout: 10}}", "x-quaylock.verify.it.timeout: '10' is not a duration"),
    ("{it: {run: {service: job}, after: [ti]}}", "x-quaylock.verify.it.after: there is no check 'ti' (there are: it)"),
    (
        "{a: {run: {service: job}, after: b}, b: {run: {service: job}, after: a}}",
        "x-quaylock.verify.a.after: checks wait for each other: a -> b -> a",
    ),
    (
        "{a: {logs: {}}, b: {run: {service: job}, after: a}}",
        "x-quaylock.verify.b.after: a reads logs, which is done last",
    ),
    ("{it: {run: {service: job}, equals: {n: total}}}", "x-quaylock.verify.it.equals.n: 'total' names no value"),
    (
        "{a: {run: {service: job}}, b: {run: {service: job}, matches: '(?P<n>.)', equals: {n: a.m}}}",
        "x-quaylock.verify.b.equals.n: the check a has no value 'm'",
    ),
    (
        "{a: {run: {service: job}, matches: '(?P<m>.)'}, b: {run: {service: job}, equals: {n: a.m}}}",
        "x-quaylock.verify.b.equals.n: the check b has no value 'n'",
    ),
]


@pytest.mark.parametrize(("declared", "said"), REFUSED, ids=[r[1][:70] for r in REFUSED])
def test_what_is_wrong_is_said_with_its_path(declared: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        stack(declared)
    found = [str(f) for f in refused.value.findings]
    assert [f for f in found if f.startswith(said)], found


def test_all_of_it_is_said_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        stack(
            "{a: {exec: {service: x, command: [x]}}, b: {http: {service: api}}, c: {logs: {patterns: ['[']}}}",
            verify_failure="x",
        )
    assert {f.path for f in refused.value.findings} == {
        "x-quaylock.verify_failure",
        "x-quaylock.verify.a.exec.service",
        "x-quaylock.verify.b.http",
        "x-quaylock.verify.c.logs.patterns[0]",
    }


def test_what_a_failure_does_needs_something_that_can_fail() -> None:
    with pytest.raises(Invalid, match="verify_failure: there is nothing to verify"):
        stack({}, verify_failure="report")


def test_the_usual_patterns_are_the_default() -> None:
    ask = stack("{it: {logs: {}}}").verify.check("it").ask
    assert isinstance(ask, Logs)
    assert ask.patterns == NOISE
