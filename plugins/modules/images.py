#!/usr/bin/python
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Have images on a Docker host: from a registry, an archive, or built."""

from __future__ import annotations

DOCUMENTATION = r"""
module: images
author: the Quaylock developers (@quaylock)
version_added: 0.1.0
short_description: Have images on a Docker host, from a registry, an archive, or built from a recipe
description:
  - Brings all images of a stack to a host before anything else changes. Pulls and loads run side by side, builds
    follow in the order of their bases.
  - A built image is named by its content, C(quaylock.local/<name>:<hash of files, arguments and base>). Nothing is
    built or sent to the host where an image of that name is there.
  - Recipes and build contexts are read on the controller and reach the host only for a build.
  - When an image cannot be had, the failure names every image and, for each, every source with its answer.
options:
  images:
    description:
      - Images by a key of yours. Each is a dictionary of the keys below.
      - C(ref) is the image's reference in a registry; a recipe has one of its own.
      - C(source) is V(registry), V(build), V(archive) or V(auto); see O(source).
      - C(recipe) is the name of a recipe in O(recipes_dir).
      - C(context) is a directory to build. A relative path is looked for below C(files) of the roles and the playbook
        that include this. C(dockerfile) (Dockerfile), C(target) and C(args) go with it.
      - C(archive) is the output of C(docker save); C(ref) names the image in it.
      - C(on_host) says that C(context) and C(archive) are paths on the Docker host, not on the controller.
      - C(base) is the key of another image or the name of a recipe; it is built on that by its argument C(BASE_IMAGE).
      - C(pull) is V(missing) or V(always). V(always) asks the registry again, and builds without the cache.
      - C(keep_ca) leaves the CA bundle in the image's trust store, for a Dockerfile with the argument C(KEEP_CA).
      - C(allow_floating) allows this image what O(allow_floating) allows all.
    type: dict
    required: true
  source:
    description:
      - Where images come from whose entry does not say it.
      - V(registry) pulls. V(build) builds. V(archive) loads.
      - V(auto) takes what is there, else the archive, the registry if it answers, and then the recipe or context. It
        warns where that is not the image that was named.
    type: str
    choices: [registry, build, archive, auto]
    default: auto
  recipes_dir:
    description: Directory with recipes on the controller; empty for those of this collection.
    type: str
    default: ""
  ca_bundle:
    description:
      - A file on the Docker host with the certificates that programs in a build trust. It does not stay in images.
    type: str
    default: ""
  mirror:
    description: A mirror of Docker Hub, C(host:port) or C(host/path), that is asked before it.
    type: str
    default: ""
  allow_floating:
    description: Allow references without a tag or with C(latest).
    type: bool
    default: false
  parallel:
    description: How many pulls run side by side. Of builds it is never more than two.
    type: int
    default: 8
  patience:
    description: Seconds that a registry has for its first answer.
    type: float
    default: 8
  lock:
    description:
      - A file on the host that records what each reference was, with its digest. A reference that was pulled before is
        pulled by that digest again, unless its entry says C(pull=always).
      - Empty for none.
    type: str
    default: ""
  unanswered:
    description: Registries that did not answer a moment ago, registry to reason. They are not asked again.
    type: dict
    default: {}
  report_needs:
    description: Return programs that a build needs and the host lacks in RV(needs), instead of failing.
    type: bool
    default: false
  packs:
    description: What the controller knows of recipes, contexts and archives. It is filled in, not given.
    type: dict
    default: {}
  docker_host:
    description: Address of the engine.
    type: str
    default: unix:///var/run/docker.sock
requirements:
  - docker (SDK for Python) 7 or newer on the Docker host
attributes:
  check_mode:
    support: full
    description: It looks at the engine, asks no registry, and says what it would do.
  diff_mode:
    support: full
    description: The images' identities before and after.
  action:
    support: full
    description: The action plugin reads recipes, contexts and archives on the controller and sends what is lacking.
"""

EXAMPLES = r"""
- name: Have PostgreSQL, from a registry or from the collection's recipe
  quaylock.stacks.images:
    images:
      postgres: {recipe: postgres}

- name: Have what a stack needs
  quaylock.stacks.images:
    images:
      db: {ref: "postgres:17.6", source: registry}
      api: {context: app, base: python, args: {APP_VERSION: 1.4.2}}
      tool: {ref: "tool:3", archive: images/tool-3.tar}
    ca_bundle: /etc/ssl/certs/ca-certificates.crt
    lock: /var/lib/quaylock/images.lock.json
"""

RETURN = r"""
images:
  description: What to write into a Compose file, by key, for every image that is there.
  returned: always
  type: dict
  sample:
    postgres: {ref: "postgres:17", id: "sha256:1f2e...", digest: "sha256:9a8b...", source: registry, said: "pulled"}
said:
  description: What was done, line by line.
  returned: always
  type: list
  elements: str
tried:
  description: Sources that said no, by image.
  returned: always
  type: dict
needs:
  description: Programs that have to be installed before the rest can be built.
  returned: always
  type: list
  elements: str
lacking:
  description: Packs that have to be brought to the host; the action plugin does that and asks again.
  returned: always
  type: list
  elements: str
unanswered:
  description: Registries that did not answer, registry to reason.
  returned: always
  type: dict
"""

import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import build_contexts
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters.images import Images, connected
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images import image_sources
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.module_utils.glue import require_sdk
from ansible_collections.quaylock.stacks.plugins.module_utils.image_run import Outcome, Run, Settings
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

SPEC = {
    "images": {"type": "dict", "required": True},
    "source": {"type": "str", "choices": ["registry", "build", "archive", "auto"], "default": "auto"},
    "recipes_dir": {"type": "str", "default": ""},
    "ca_bundle": {"type": "str", "default": ""},
    "mirror": {"type": "str", "default": ""},
    "allow_floating": {"type": "bool", "default": False},
    "parallel": {"type": "int", "default": 8},
    "patience": {"type": "float", "default": 8},
    "lock": {"type": "str", "default": ""},
    "unanswered": {"type": "dict", "default": {}},
    "report_needs": {"type": "bool", "default": False},
    "packs": {"type": "dict", "default": {}},
    "docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"},
}


def packs_of(params: Mapping[str, Any]) -> dict[str, image_sources.Pack]:
    """What the controller packed, and what is on this host already."""
    known = {field.name for field in fields(image_sources.Pack)}
    packs = {}
    for name, given in params["packs"].items():
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in known}
        packs[name] = image_sources.Pack(**values)
    for key, given in params["images"].items():
        if given.get("on_host") and given.get("context") and os.path.isdir(given["context"]):
            packs[f"context:{key}"] = build_contexts.context_pack(
                given["context"], given.get("dockerfile") or "Dockerfile"
            )
        if given.get("on_host") and given.get("archive"):
            packs[f"archive:{key}"] = build_contexts.archive_pack(given["archive"])
    return packs


def read_lock(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            read = json.load(file)
        return read if isinstance(read, dict) else {}
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise PortError(f"image lock {path}: {error}; repair it, or remove it to record digests anew") from error


def write_lock(module: AnsibleModule, path: str, lock: Mapping[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    part = f"{path}.new"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(lock, file, indent=2, sort_keys=True)
        file.write("\n")
    module.atomic_move(part, path)


def described(outcome: Outcome, wanted: Mapping[str, image_sources.Wanted], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The answer per image that somebody asked for; where it was there, the lock knows where it came from."""
    result = {}
    for key, had in outcome.had.items():
        if wanted[key].implied:
            continue
        entry = (lock.get("images") or {}).get(wanted[key].lock_key) or {}
        source = had.source
        if source == "local":
            built = had.image.ref.startswith(f"{image_sources.OWN_REGISTRY}/")
            known = str(entry.get("source") or "") if entry.get("id") == had.image.id else ""
            source = "build" if built else known
        words = {"local": "was there", "build": "built", "archive": "loaded"}.get(had.source, "pulled")
        result[key] = {
            "ref": had.image.ref,
            "id": had.image.id,
            "digest": had.image.digest,
            "source": source or "local",
            "said": words,
        }
    return result


def intentions(outcome: Outcome, wanted: Mapping[str, image_sources.Wanted], mirror: str) -> list[str]:
    return [
        f"{key}: would " + ", else ".join(str(attempt) for attempt in image_sources.attempts(entry, mirror))
        for key, entry in wanted.items()
        if key not in outcome.had and not entry.implied
    ]


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    require_sdk(module)
    params = module.params
    try:
        wanted = image_sources.read(params["images"], packs_of(params), params["source"], params["allow_floating"])
        answer = have(module, params, wanted)
    except Invalid as error:
        module.fail_json(
            msg=f"the images are not described soundly, {len(error.findings)} findings:\n{error}",
            findings=[asdict(finding) for finding in error.findings],
        )
    except PortError as error:
        module.fail_json(msg=str(error))
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


def have(
    module: AnsibleModule, params: Mapping[str, Any], wanted: Mapping[str, image_sources.Wanted]
) -> dict[str, Any]:
    client = connected(params["docker_host"])
    lock = read_lock(params["lock"]) if params["lock"] else {}
    said: list[str] = []
    settings = Settings(
        mirror=params["mirror"],
        ca_bundle=params["ca_bundle"],
        parallel=params["parallel"],
        lock=lock,
        unanswered=params["unanswered"],
    )
    run = Run(Images(client, patience=params["patience"]), wanted, settings, said.append)
    before = {key: had.image for key, had in run.look().had.items()}
    if module.check_mode:
        outcome, would = run.outcome, intentions(run.outcome, wanted, params["mirror"])
        said += would
    else:
        outcome, would = run.have(), []
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        fresh = {key: (h.image, h.source) for key, h in outcome.had.items() if h.source != "local"}
        locked = image_sources.next_lock(lock, fresh, wanted, now)
        if params["lock"] and fresh and locked != lock:
            write_lock(module, params["lock"], locked)
            lock = locked
    for key, had in outcome.had.items():
        entry = wanted[key]
        if entry.ref and had.image.ref != entry.ref:
            word = image_sources.fell_back(entry, had.image.ref, outcome.tried[key])
            said.append(word)
            if had.source == "build":
                module.warn(word)
    answer: dict[str, Any] = {
        "changed": outcome.changed or bool(would),
        "images": described(outcome, wanted, lock),
        "said": said,
        "tried": {key: [str(a) for a in tried] for key, tried in outcome.tried.items() if tried},
        "needs": outcome.needs,
        "lacking": outcome.lacking,
        "unanswered": outcome.unanswered,
        "diff": diff(before, outcome, wanted, would),
    }
    if outcome.needs and not params["report_needs"]:
        return {**answer, "failed": True, "msg": f"to build, this host lacks {', '.join(outcome.needs)}: install it"}
    if outcome.failed:
        failed = {key: outcome.tried[key] for key in outcome.failed}
        return {**answer, "failed": True, "msg": image_sources.refusal(failed, wanted)}
    return answer


def diff(
    before: Mapping[str, Any], outcome: Outcome, wanted: Mapping[str, image_sources.Wanted], would: list[str]
) -> dict[str, str]:
    def lines(rows: Mapping[str, str]) -> str:
        return "".join(f"{key}: {rows[key]}\n" for key in wanted if key in rows)

    after = {key: f"{had.image.ref} {had.image.id}" for key, had in outcome.had.items()}
    after.update({line.partition(": ")[0]: line.partition(": ")[2] for line in would})
    return {"before": lines({k: f"{i.ref} {i.id}" for k, i in before.items()}), "after": lines(after)}


if __name__ == "__main__":
    main()
