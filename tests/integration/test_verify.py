# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release is verified by the stack's own checks on a real engine: what passes, what does not, and what follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy, verify
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid

from .conftest import WEB, Harbour, one_shot, web
from .test_rollout_killed import killed_at, killed_when

pytestmark = pytest.mark.integration

PAGE = {"http": {"service": "web", "port": 8000, "path": "/version"}, "deadline": "0s"}
HEALTHY = {"exec": {"service": "web", "command": ["/web", "check"]}, "matches": r"^(?P<status>\d+) "}


def declared(failure: str = "", **checks: Any) -> dict[str, Any]:
    return {"verify": checks, **({"verify_failure": failure} if failure else {})}


def job(**environment: str) -> dict[str, Any]:
    return {"image": WEB, "command": ["oneshot"], "environment": environment, "profiles": ["verify"]}


def outcomes(answer: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in answer["verification"]["checks"]}


def check(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in answer["verification"]["checks"] if c["name"] == name)
    return found


def test_each_kind_of_check_passes_and_the_evidence_is_kept(harbour: Harbour) -> None:
    answer = harbour.deployed(
        {"web": web(environment={"VERSION": "7"}), "job": job(MESSAGE="total=200.0")},
        **{
            "x-quaylock": declared(
                healthy=HEALTHY,
                page={**PAGE, "json": {"version": "7"}},
                writes={"run": {"service": "job"}, "matches": r"total=(?P<total>[\d.]+)"},
                again={"run": {"service": "web", "command": ["check"], "exit_code": 1}},
                reads={**HEALTHY, "equals": {"status": "writes.total"}},
                quiet={"logs": {}},
            )
        },
    )
    verification = answer["verification"]
    assert verification["outcome"] == "verified", json.dumps(verification, indent=2)
    assert verification["release"] == answer["rollout"]
    assert set(outcomes(answer).values()) == {"passed"}
    assert check(answer, "writes")["values"] == {"total": "200.0"}
    assert check(answer, "page")["asked"] == "GET web:8000/version"
    # nothing of it is left, and nothing of it was taken for a replica
    assert list(harbour.containers()) == [f"{harbour.name}-web-1"]
    kept = harbour.journal.verification(harbour.name, answer["rollout"])
    assert kept == verification
    told = [e.details["name"] for e in harbour.events(answer["rollout"]) if e.what == "check" and e.details["outcome"]]
    assert told[-1] == "quiet"
    assert told.index("writes") < told.index("reads")


def test_nothing_to_do_is_not_verified_again_unless_somebody_asks(harbour: Harbour) -> None:
    services = {"web": web()}
    about = {"x-quaylock": declared(healthy=HEALTHY)}
    first = harbour.deployed(services, **about)
    again = harbour.deploy(services, **about)
    assert (again["outcome"], again["changed"]) == ("unchanged", False)
    assert "verification" not in again
    asked = verify.verify(harbour.request(services), dry=False)
    assert (asked["outcome"], asked["changed"], asked["release"]) == ("verified", False, first["rollout"])
    planned = verify.verify(harbour.request(services), dry=True)
    assert planned["checks"] == [{"name": "healthy", "asked": "in web: /web check"}]
    assert harbour.journal.verification(harbour.name, first["rollout"])["id"] == asked["id"]


def test_a_release_that_does_not_pass_is_undone(harbour: Harbour) -> None:
    good = {"web": web(environment={"VERSION": "1"}), "job": job()}
    about = {"x-quaylock": declared(page={**PAGE, "json": {"version": "1"}}, after_it={**HEALTHY, "after": "page"})}
    first = harbour.deployed(good, **about)
    answer = harbour.deploy({"web": web(environment={"VERSION": "2"}), "job": job()}, **about)
    assert (answer["outcome"], answer["failed"], answer["changed"]) == ("rolled back", True, True)
    assert outcomes(answer) == {"page": "failed", "after_it": "not asked"}
    assert check(answer, "page")["said"] == 'version is "2", not "1"'
    assert "2 of 2 checks of its verification did not pass" in answer["msg"]
    assert f"what release {first['rollout']} was serves again" in answer["msg"]
    assert "verified: 2 checks" in answer["msg"]
    [body] = harbour.containers("web").values()
    assert "VERSION=1" in body["Config"]["Env"]
    serving = harbour.journal.release(harbour.name)
    assert serving is not None
    assert serving[0] == answer["returned_to"]
    # what did not pass is in the history, and none of the releases that can be returned to
    assert [r.id for r in harbour.journal.releases(harbour.name)] == [answer["returned_to"], first["rollout"]]
    history = {s.id: s.outcome for s in harbour.journal.history(harbour.name)}
    assert history[answer["rollout"]] == "rolled back"
    follow = [e.details["follow"] for e in harbour.events(answer["rollout"]) if "follow" in e.details]
    assert follow == [answer["returned_to"]]
    # asked for again, the good one is there already
    assert harbour.deploy(good, **about)["outcome"] == "unchanged"


def test_a_release_stays_where_the_stack_wants_a_report(harbour: Harbour) -> None:
    about = {"x-quaylock": declared("report", page={**PAGE, "json": {"version": "1"}})}
    harbour.deployed({"web": web(environment={"VERSION": "1"})}, **about)
    answer = harbour.deploy({"web": web(environment={"VERSION": "2"})}, **about)
    assert (answer["outcome"], answer["failed"]) == ("not verified", True)
    assert "serves, because x-quaylock.verify_failure is report" in answer["msg"]
    [body] = harbour.containers("web").values()
    assert "VERSION=2" in body["Config"]["Env"]
    # run again, it is verified again: what was wrong may have been outside
    again = harbour.deploy({"web": web(environment={"VERSION": "2"})}, **about)
    assert (again["outcome"], again["failed"]) == ("not verified", True)


def test_a_first_release_that_does_not_pass_stays(harbour: Harbour) -> None:
    answer = harbour.deploy({"web": web()}, **{"x-quaylock": declared(page={**PAGE, "matches": "nowhere"})})
    assert (answer["outcome"], answer["failed"]) == ("not verified", True)
    assert "there is no release before it to return to" in answer["msg"]
    assert harbour.running("web")


def test_each_kind_of_failure_is_told_with_its_evidence(harbour: Harbour) -> None:
    answer = harbour.deploy(
        {
            "web": web(),
            "job": job(EXIT_CODE="3", MESSAGE="no rows"),
            "slow": job(SECONDS="20"),
            "noisy": one_shot(MESSAGE="ERROR: disk is full"),
        },
        **{
            "x-quaylock": declared(
                "report",
                exits={"run": {"service": "job"}},
                late={"run": {"service": "slow"}, "timeout": "500ms"},
                missing={"exec": {"service": "web", "command": ["/nothing"]}, "deadline": "0s"},
                refused={"http": {"service": "web", "port": 9}, "deadline": "2s", "interval": "300ms"},
                status={"http": {"service": "web", "port": 8000, "path": "/health", "status": 404}, "deadline": "0s"},
                quiet={"logs": {}},
                calm={"logs": {"allowed": {"noisy": ["disk is full"]}}},
            )
        },
    )
    assert answer["outcome"] == "not verified"
    said = {c["name"]: c["said"] for c in answer["verification"]["checks"] if c["outcome"] != "passed"}
    assert said.pop("exits") == "exit code 3"
    assert "no rows" in check(answer, "exits")["output"]
    assert said.pop("late") == "did not end within 0.5 s"
    assert "/nothing" in check(answer, "missing")["output"] + said.pop("missing")
    assert "refused" in said.pop("refused")
    assert check(answer, "refused")["tries"] > 2
    assert said.pop("status") == "status 200, not 404"
    assert said.pop("quiet") == "1 line"
    assert check(answer, "quiet")["output"] == f"{harbour.name}-noisy-1: ERROR: disk is full"
    assert said == {}
    assert "check   exits: a run of job -> exit code 3" in answer["msg"]
    assert not [n for n in harbour.containers() if "v-2" in n]


def test_a_check_is_asked_until_it_passes(harbour: Harbour) -> None:
    later = {"PORT": "8001"}
    answer = harbour.deployed(
        {
            "web": web(
                environment=later,
                healthcheck={"disable": True},
                gate={"none": "it is asked by the verification"},
            )
        },
        **{
            "x-quaylock": declared(
                goes={
                    "http": {"service": "web", "port": 8001, "path": "/turn?wanted=3"},
                    "interval": "200ms",
                    "deadline": "10s",
                }
            )
        },
    )
    assert check(answer, "goes")["tries"] == 3


def test_secrets_are_sent_and_never_shown(harbour: Harbour) -> None:
    secret = "s3cret/of=the test"
    path = "/run/secrets/key"
    answer = harbour.deployed(
        {"web": {**web(), "secrets": ["key"]}},
        secrets={"key": {}, "own": {}},
        secrets_content={"key": secret.encode(), "own": b"only-for-checks"},
        **{
            "x-quaylock": declared(
                shows={"http": {"service": "web", "port": 8000, "path": f"/file?path={path}"}, "matches": "(?P<it>.*)"},
                sent={
                    "http": {
                        "service": "web",
                        "port": 8000,
                        "path": "/echo",
                        "method": "POST",
                        "headers": {"X-Token": {"secret": "own", "prefix": "Bearer "}},
                        "data": {"name": "admin", "password": {"secret": "own"}, "list": [1, {"secret": "key"}]},
                    },
                    "json": {"name": "admin", "list.0": 1},
                },
            )
        },
    )
    assert answer["verification"]["outcome"] == "verified", json.dumps(answer["verification"], indent=2)
    whole = json.dumps(answer) + json.dumps([e.details for e in harbour.events(answer["rollout"])])
    journal = harbour.journal
    whole += "\n".join(journal._db.iterdump())
    for text in (secret, "only-for-checks"):
        assert text not in whole
        assert json.dumps(text)[1:-1] not in whole
    assert check(answer, "sent")["output"] == '{"name": "admin", "password": "********", "list": [1, "********"]}'
    assert check(answer, "shows")["output"] == "********"
    assert check(answer, "shows")["values"] == {"it": "********"}
    bodies = json.dumps(list(harbour.containers().values()))
    assert "only-for-checks" not in bodies


def test_killed_in_its_verification_the_next_run_verifies(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    services = {"web": web(), "slow": job(SECONDS="4")}
    about = {"x-quaylock": declared(slow={"run": {"service": "slow"}})}
    killed_when(harbour, lambda: _left(harbour), services, **about)
    assert [e["Names"] for e in _left(harbour)], "it was killed while its container ran"
    state = harbour.journal.release(harbour.name)
    assert state is not None
    assert harbour.journal.verification(harbour.name, state[0]) == {}
    before = harbour.identities("web")
    answer = harbour.deploy(services, **about)
    assert (answer["outcome"], answer["verification"]["outcome"]) == ("unchanged", "verified")
    assert answer["verification"]["release"] == state[0]
    assert harbour.identities("web") == before
    assert _left(harbour) == []
    history = harbour.journal.history(harbour.name, kinds=("verify",))
    assert [s.outcome for s in history] == ["verified", "interrupted"]


def _left(harbour: Harbour) -> list[Any]:
    found: list[Any] = harbour.client.api.containers(
        all=True, filters={"label": [f"com.docker.compose.project={harbour.name}", "quaylock.verify"]}
    )
    return found


def test_killed_in_the_return_the_next_run_goes_back(harbour: Harbour) -> None:
    about = {"x-quaylock": declared(page={**PAGE, "json": {"version": "1"}})}
    harbour.deployed({"web": web(environment={"VERSION": "1"})}, **about)
    bad = {"web": web(environment={"VERSION": "2"})}
    # the bad release is the second container that is made here, and the one it returns to the next
    killed_at(harbour, bad, "done", "Create", nth=2, **about)
    answer = harbour.deploy(bad, **about)
    assert answer["outcome"] == "rolled back", json.dumps(answer, indent=2)
    assert any("was interrupted earlier and undone" in note for note in answer["notes"])
    [body] = harbour.containers("web").values()
    assert "VERSION=1" in body["Config"]["Env"]


def test_what_it_needs_is_had_before_anything_changes(harbour: Harbour) -> None:
    answer = harbour.deploy(
        {"web": web(), "job": {**job(), "image": "local/q-nowhere:none", "pull_policy": "never"}},
        **{"x-quaylock": declared(it={"run": {"service": "job"}})},
    )
    assert (answer["outcome"], answer["failed"]) == ("refused", True)
    assert "services.job.image: local/q-nowhere:none cannot be had" in answer["msg"]
    assert harbour.containers() == {}


def test_check_mode_says_what_would_be_asked(harbour: Harbour) -> None:
    services, about = {"web": web()}, {"x-quaylock": declared(healthy=HEALTHY)}
    answer = deploy.check(harbour.request(services, **about))
    assert answer["to_verify"] == ["healthy"]
    assert harbour.containers() == {}
    harbour.deployed(services, **about)
    assert "to_verify" not in deploy.check(harbour.request(services, **about))


def test_a_return_that_does_not_pass_is_told_and_stays(harbour: Harbour) -> None:
    about = {"x-quaylock": declared("report", page={**PAGE, "json": {"version": "2"}})}
    first = harbour.deploy({"web": web(environment={"VERSION": "1"})}, **about)
    assert first["outcome"] == "not verified"
    about = {"x-quaylock": declared(page={**PAGE, "json": {"version": "2"}})}
    harbour.deployed({"web": web(environment={"VERSION": "2"})}, **about)
    answer = harbour.deploy({}, release="previous")
    assert answer["outcome"] == "not verified"
    [body] = harbour.containers("web").values()
    assert "VERSION=1" in body["Config"]["Env"]


def test_a_return_that_fails_leaves_what_serves(harbour: Harbour, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.mkdir(mode=0o777)
    state.chmod(0o777)

    def services(version: str) -> dict[str, Any]:
        # the third start is the return, and never becomes healthy
        environment = {"VERSION": version, "STATE": "/state", "FAIL_ON_START": "3"}
        return {"web": web(environment=environment, volumes=[f"{state}:/state"], gate={"deadline": "8s"})}

    about = {"x-quaylock": declared(page={**PAGE, "json": {"version": "1"}})}
    harbour.deployed(services("1"), **about)
    answer = harbour.deploy(services("2"), **about)
    assert (answer["outcome"], answer["failed"]) == ("not verified", True)
    assert "could not be undone" in answer["msg"]
    assert "did not pass its gate" in answer["msg"]
    [body] = harbour.containers("web").values()
    assert "VERSION=2" in body["Config"]["Env"]
    assert harbour.journal.releases(harbour.name)[0].id == answer["rollout"]
    assert harbour.journal.history(harbour.name)[1].outcome == "not verified"


def test_a_stack_without_checks_has_nothing_to_verify(harbour: Harbour) -> None:
    with pytest.raises(Invalid, match="no release of"):
        verify.verify(harbour.request({}), dry=False)
    harbour.deployed({"web": web()})
    with pytest.raises(Invalid, match="declares no checks"):
        verify.verify(harbour.request({}), dry=False)
