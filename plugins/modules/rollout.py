#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Roll a stack out behind its gates, take it down, or follow a rollout that goes on by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Roll out a stack of containers behind health gates, or take it down
description:
  - Brings a stack, described by a Compose model, from its observed state to the desired one. Nothing takes traffic
    before it passed its gate, and a rollout that fails goes back to the replicas that were there.
  - A release is then verified by the checks of its C(x-quaylock.verify), on what serves by then. Where they do not
    pass, the release before serves again (C(x-quaylock.verify_failure)), and the task fails.
  - One deployer per stack and host at a time. A rollout that was killed is finished or undone by the next one.
  - The action plugin of the same name runs on the controller. It starts the work detached on the host, so that a lost
    connection stops nothing, and shows its progress from the host's journal.
options:
  name:
    description: The stack's name. It is the Compose project as well.
    type: str
    required: true
  state:
    description:
      - V(present) rolls out.
      - V(absent) removes the stack's containers and networks, dependents first.
      - V(fetched) has the images on the host and touches nothing else.
    type: str
    choices: [present, absent, fetched]
    default: present
  definition:
    description: The Compose model. Either this or O(compose) is required for O(state=present).
    type: dict
  compose:
    description: A Compose file on the controller, or several that are merged by Compose's rules.
    type: raw
  overrides:
    description: More Compose files, or mappings, that are merged on top.
    type: list
    elements: raw
    default: []
  variables:
    description: Values for C(${VARIABLE}) in the Compose files.
    type: dict
    default: {}
  secrets:
    description:
      - Contents of the Compose secrets by key. They reach the containers as files and are seen nowhere else.
      - They travel to the host in base64, so that a short password does not blacken unrelated words of the output.
    type: dict
    default: {}
  configs:
    description: Contents of the Compose configs by key.
    type: dict
    default: {}
  profiles:
    description: Compose profiles that are on.
    type: list
    elements: str
    default: []
  project_directory:
    description: The folder on the host that relative paths start from. The stack's own folder by default.
    type: str
    default: ""
  ingress:
    description: The host's proxy. Without it no service may have routes.
    type: dict
    suboptions:
      folder:
        description: The folder of the proxy's configuration and sockets.
        type: path
        default: /var/lib/quaylock/ingress
      container:
        description: The proxy's container, that of the host's driver where it is empty.
        type: str
        default: ""
      network:
        description: The network on which the proxy reaches replicas.
        type: str
        default: quaylock_ingress
      entrypoints:
        description: The entrypoints by name, with their ports.
        type: dict
        default: {}
  release:
    description:
      - A kept release to return to, by its id, or V(previous) for the one before the serving one. It takes the place of
        O(definition) and O(compose), and needs nothing from the controller.
      - It is a rollout like any other. What migrations did to data is not reverted, and one-shots that ended well in
        that release are not run again.
    type: str
    default: ""
  against:
    description: In check mode, the kept release that RV(differences) compares with. The serving one by default.
    type: str
    default: ""
  releases_kept:
    description:
      - How many releases are kept, the serving one among them. Their images have a second name on the host
        (C(quaylock.kept/image)), so that C(docker image prune) leaves them; their secrets and configs stay as files.
    type: int
    default: 5
  journal_days:
    description: Days after which the journal forgets rollouts. Kept releases stay.
    type: int
    default: 90
  page:
    description: The host's page, an HTML file that is written after each rollout. Empty for none.
    type: str
    default: ""
  remove_volumes:
    description: With O(state=absent), also remove the stack's volumes and all that is in them.
    type: bool
    default: false
  wait:
    description:
      - Seconds to wait for another deployer of the same stack before giving up, a day at most. The action plugin says
        for whom it waits.
    type: float
    default: 0
  who:
    description: Who deploys, for the journal.
    type: str
    default: ""
  deployer:
    description: From where, for the journal. The action plugin fills it with what it knows. Secrets do not belong here.
    type: dict
    suboptions:
      user:
        description: The user on the controller.
        type: str
        default: ""
      controller:
        description: The controller's name.
        type: str
        default: ""
      commit:
        description: The commit that CI deploys.
        type: str
        default: ""
      ref:
        description: Its branch or tag.
        type: str
        default: ""
      repository:
        description: The repository.
        type: str
        default: ""
      run:
        description: The number of the CI run.
        type: str
        default: ""
  again:
    description: The command to run after a failure was mended, for the message.
    type: str
    default: correct it and deploy again
  detach:
    description: Answer as soon as the work has begun; it goes on in a process of its own.
    type: bool
    default: false
  follow:
    description: Instead of deploying, wait for news of a rollout that was detached. The action plugin's business.
    type: dict
    suboptions:
      rollout:
        description: The rollout.
        type: str
        required: true
      since:
        description: The last entry of the log that is known already.
        type: int
        default: 0
      timeout:
        description: Seconds to wait for news at most.
        type: float
        default: 5
extends_documentation_fragment:
  - quaylock.stacks.host
  - quaylock.stacks.host.config
  - quaylock.stacks.host.state
attributes:
  check_mode:
    support: full
    description: It only reads, and answers with the plan.
  diff_mode:
    support: full
    description: The rendered Compose file and the replicas, before and after.
"""

EXAMPLES = r"""
- name: Roll out a web application
  quaylock.stacks.rollout:
    name: shop
    definition:
      services:
        web:
          image: registry.example.org/shop:1.4.2
          healthcheck:
            test: [CMD, wget, -qO-, "http://127.0.0.1:8000/health"]

- name: Roll out a Compose file of your own
  quaylock.stacks.rollout:
    name: shop
    compose: stacks/shop/compose.yaml
    variables:
      SHOP_TAG: 1.4.2

- name: Return to the release before
  quaylock.stacks.rollout:
    name: shop
    release: previous

- name: Take it down and keep its volumes
  quaylock.stacks.rollout:
    name: shop
    state: absent
"""

RETURN = r"""
outcome:
  description: >-
    unchanged, deployed, rolled back, refused, removed, fetched, incomplete, or planned in check mode; paused and
    deployed in part where a service stayed as it was by its C(failure_action); not verified where a release serves that
    did not pass its verification.
  returned: always
  type: str
rollout:
  description: The rollout's id in the journal; a release where it was deployed.
  returned: always
  type: str
plan:
  description: One line per change.
  returned: always
  type: list
  elements: str
images:
  description: What each image reference resolved to, its id and digest.
  returned: when state is present
  type: dict
notes:
  description: What else is worth knowing, such as an interrupted rollout that was recovered first.
  returned: always
  type: list
  elements: str
restore_points:
  description: The restore points that were taken before anything changed, by service, as their commands name them.
  returned: when state is present
  type: dict
failures:
  description: Why the rollout failed, with the failed probe's output and the last log lines.
  returned: when state is present
  type: list
  elements: dict
holder:
  description: Who deploys the stack already, with C(who), C(pid), C(since) in seconds since 1970, and the C(rollout).
  returned: when it was refused for that
  type: dict
verification:
  description:
    - The verification of the release by its C(x-quaylock.verify), as M(quaylock.stacks.verify) returns it. Where it
      failed and the release before serves again, it is still that of the release which did not pass.
  returned: when the release was verified
  type: dict
returned_to:
  description: The release that serves again after a verification that failed.
  returned: when that was so
  type: str
to_verify:
  description: The checks that would be asked.
  returned: in check mode, where some would be
  type: list
  elements: str
findings:
  description: Why it was refused.
  returned: when state is present
  type: list
  elements: str
differences:
  description: What is different from the release that serves (or from O(against)), a line each.
  returned: in check mode, and where nothing had to be done
  type: list
  elements: str
serving:
  description:
    - Per service the replicas that are there, with C(name), C(release), C(failed_rollout), C(running), C(exit_code) and
      C(serves), and in C(routed) where the proxy sends its traffic.
  returned: after a failure
  type: list
  elements: dict
to_fetch:
  description: Images that are not on the host yet.
  returned: in check mode
  type: list
  elements: str
"""

import base64
import functools
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils import audit, deploy, fetch, page
from ansible_collections.quaylock.stacks.plugins.module_utils.detached import in_background
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import (
    CONFIG_SPEC,
    ENGINE_SPEC,
    STATE_SPEC,
    answering,
    asker,
    require_sdk,
)
from ansible_collections.quaylock.stacks.plugins.module_utils.journal import SqliteJournal
from ansible_collections.quaylock.stacks.plugins.module_utils.request import IngressSettings, Request

SPEC: dict[str, Any] = {
    **ENGINE_SPEC,
    **CONFIG_SPEC,
    **STATE_SPEC,
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "fetched"], "default": "present"},
    "definition": {"type": "dict"},
    "compose": {"type": "raw"},
    "overrides": {"type": "list", "elements": "raw", "default": []},
    "variables": {"type": "dict", "default": {}},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "configs": {"type": "dict", "default": {}},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "project_directory": {"type": "str", "default": ""},
    "ingress": {
        "type": "dict",
        "options": {
            "folder": {"type": "path", "default": "/var/lib/quaylock/ingress"},
            "container": {"type": "str", "default": ""},
            "network": {"type": "str", "default": "quaylock_ingress"},
            "entrypoints": {"type": "dict", "default": {}},
        },
    },
    "release": {"type": "str", "default": ""},
    "against": {"type": "str", "default": ""},
    "releases_kept": {"type": "int", "default": 5},
    "journal_days": {"type": "int", "default": 90},
    "page": {"type": "str", "default": ""},
    "remove_volumes": {"type": "bool", "default": False},
    "wait": {"type": "float", "default": 0},
    "who": {"type": "str", "default": ""},
    "deployer": {
        "type": "dict",
        "options": {key: {"type": "str", "default": ""} for key in audit.KEYS},
    },
    "again": {"type": "str", "default": "correct it and deploy again"},
    "detach": {"type": "bool", "default": False},
    "follow": {
        "type": "dict",
        "options": {
            "rollout": {"type": "str", "required": True},
            "since": {"type": "int", "default": 0},
            "timeout": {"type": "float", "default": 5},
        },
    },
}


def request_of(params: dict[str, Any]) -> Request:
    """The module's arguments as the engine takes them."""
    ingress = params["ingress"]
    return Request(
        name=params["name"],
        definition=params["definition"] or {},
        secrets={key: base64.b64decode(value) for key, value in params["secrets"].items()},
        configs={key: base64.b64decode(value) for key, value in params["configs"].items()},
        profiles=tuple(params["profiles"]),
        project_directory=params["project_directory"],
        ingress=IngressSettings(**ingress) if ingress and ingress["entrypoints"] else None,
        who=asker(params),
        asked=audit.asked(params["deployer"] or {}, os.environ),
        release=params["release"],
        against=params["against"],
        releases_kept=params["releases_kept"],
        journal_days=params["journal_days"],
        show=functools.partial(page.write, params["page"]) if params["page"] else None,
        wait=params["wait"],
        again=params["again"],
        state_dir=params["state_dir"],
        config_dir=params["config_dir"],
        docker_host=params["docker_host"],
    )


def news(request: Request, rollout: str, since: int, timeout: float) -> dict[str, Any]:
    """New entries of a rollout's log, as soon as there are any; `answer` once it has ended."""
    journal = SqliteJournal(request.journal_path)
    until = time.monotonic() + timeout
    while True:
        answer = journal.result_of(rollout)
        entries = journal.events(rollout, since)
        alive = answer is not None or deploy.in_progress(request)
        if entries or answer is not None or not alive or time.monotonic() >= until:
            break
        time.sleep(0.05)
    shown = [{"seq": e.seq, "at": e.at, "what": e.what, "details": e.details} for e in entries]
    if not alive and journal.result_of(rollout) is None:
        text = f"{request.name}: rollout {rollout} was interrupted; the next run finishes or undoes it"
        answer = {"failed": True, "changed": True, "rollout": rollout, "msg": f"{text}\n  next    {request.again}"}
    return {"changed": False, "events": shown, "answer": answer}


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        supports_check_mode=True,
        required_if=[
            ("state", "present", ("definition", "compose", "follow", "release"), True),
            ("state", "fetched", ("definition", "compose"), True),
        ],
        mutually_exclusive=[("release", "definition"), ("release", "compose"), ("release", "against")],
    )
    require_sdk(module)
    params = module.params
    request = request_of(params)
    with answering(module):
        if params["follow"]:
            answer = news(request, params["follow"]["rollout"], params["follow"]["since"], params["follow"]["timeout"])
        elif params["state"] == "absent":
            answer = deploy.remove(request, params["remove_volumes"], module.check_mode)
        elif params["state"] == "fetched":
            answer = fetch.fetch(request, module.check_mode)
        elif module.check_mode:
            answer = deploy.check(request)
        else:
            answer = deploy.deploy(request, in_background if params["detach"] else None)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
