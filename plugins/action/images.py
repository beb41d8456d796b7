# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of the module: names recipes, contexts and archives by content, and sends what is lacking."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.quaylock.stacks.plugins.module_utils.adapters import build_contexts
from ansible_collections.quaylock.stacks.plugins.module_utils.core.images.image_sources import Pack
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError

RECIPES = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles", "images", "files", "recipes"
)


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        images = args.get("images")
        if not isinstance(images, dict) or not all(isinstance(given, dict) for given in images.values()):
            raise AnsibleActionFail("images is a dictionary of dictionaries: a key of yours to what the image is")
        packs, wrong = self._packs(images, args.get("recipes_dir") or RECIPES)
        if wrong:
            raise AnsibleActionFail("\n".join(wrong))

        def ask() -> dict[str, Any]:
            # a path of the controller says nothing on the host
            sent = {name: {**asdict(pack), "path": there.get(pack.id, "")} for name, pack in packs.items()}
            answer: dict[str, Any] = self._execute_module(
                module_name="quaylock.stacks.images", module_args={**args, "packs": sent}, task_vars=task_vars
            )
            return answer

        there: dict[str, str] = {}
        result = ask()
        said, changed = list(result.get("said") or []), bool(result.get("changed"))
        warnings = list(result.get("warnings") or [])
        try:
            while result.get("lacking") and not result.get("failed"):
                new = [name for name in result["lacking"] if name not in there]
                if not new:
                    raise AnsibleActionFail(f"the host still lacks what was sent to it: {', '.join(result['lacking'])}")
                there.update(self._send({pack.id: pack for pack in packs.values()}, new))
                args["unanswered"] = result.get("unanswered") or {}
                result = ask()
                said += result.get("said") or []
                changed = changed or bool(result.get("changed"))
        finally:
            if there:
                self._remove_tmp_path(self._connection._shell.tmpdir)
        if "said" in result:
            result.update(said=said, changed=changed)
        if warnings:
            result["warnings"] = list(dict.fromkeys(warnings + list(result.get("warnings") or [])))
        return result

    def _packs(self, images: dict[str, Any], recipes: str) -> tuple[dict[str, Pack], list[str]]:
        """Everything that the images can be made of and that is on the controller, and what is wrong with it."""
        names = [str(given.get(field) or "") for given in images.values() for field in ("recipe", "base")]
        packs, wrong = {}, []
        try:
            packs = {f"recipe:{name}": pack for name, pack in build_contexts.recipe_packs(recipes, names).items()}
        except PortError as error:
            wrong.append(str(error))
        for key, given in images.items():
            for field in ("context", "archive"):
                if given.get("on_host") or not given.get(field):
                    continue
                try:
                    path = str(self._find_needle("files", given[field]))
                    packs[f"{field}:{key}"] = (
                        build_contexts.context_pack(path, given.get("dockerfile") or "Dockerfile")
                        if field == "context"
                        else build_contexts.archive_pack(path)
                    )
                except (AnsibleError, PortError) as error:
                    wrong.append(f"images.{key}.{field}: {error}")
        return packs, wrong

    def _send(self, packs: dict[str, Pack], names: list[str]) -> dict[str, str]:
        """Bring packs to the host, id -> path there."""
        folder = self._connection._shell.tmpdir or self._make_tmp_path()
        sent = {}
        with tempfile.TemporaryDirectory(prefix="quaylock-") as work:
            for name in names:
                pack = packs[name]
                local = pack.path
                if os.path.isdir(pack.path):
                    local = os.path.join(work, f"{name}.tar")
                    with open(local, "wb") as file:
                        build_contexts.write_tar(pack.path, file, pack.dockerfile)
                sent[name] = self._transfer_file(local, self._connection._shell.join_path(folder, f"{name[:24]}.tar"))
        self._fixup_perms2((folder, *sent.values()))
        return sent
