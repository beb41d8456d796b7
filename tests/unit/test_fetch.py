# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images before a rollout: what is lacking is had, once, and nothing else is done."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import fetch
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Image, Invalid, Service
from ansible_collections.quaylock.stacks.plugins.module_utils.ports import PortError
from ansible_collections.quaylock.stacks.plugins.module_utils.request import Request

CHECK = {"test": ["CMD", "/web", "check"], "interval": "30s"}


class Registry:
    """An engine that has some images, and can have all but one."""

    def __init__(self, *there: str) -> None:
        self.there, self.fetched = set(there), []

    def image(self, ref: str) -> Image | None:
        return Image(ref, f"sha256:{ref}") if ref in self.there else None

    def fetch(self, service: Service, say) -> Image:
        if service.image == "gone:1":
            raise PortError("gone:1 is in no registry")
        self.fetched.append(service.image)
        self.there.add(service.image)
        say(f"pulled {service.image}")
        return Image(service.image, "sha256:new")


def asked(folder: Path, *images: str) -> Request:
    services = {f"s{n}": {"image": image, "healthcheck": CHECK} for n, image in enumerate(images)}
    return Request("shop", {"services": services}, state_dir=str(folder), config_dir=str(folder))


def fetched(engine: Registry, request: Request, monkeypatch: pytest.MonkeyPatch, dry: bool = False):
    monkeypatch.setattr(fetch, "open_for", lambda _request, _wanted: (SimpleNamespace(engine=engine), None))
    return fetch.fetch(request, dry)


CASES = [
    # name              there         wanted                 dry    outcome      fetched
    ("all there", ["a:1", "b:1"], ["a:1", "b:1"], False, "unchanged", []),
    ("one lacks", ["a:1"], ["a:1", "b:1"], False, "fetched", ["b:1"]),
    ("used twice", [], ["a:1", "a:1"], False, "fetched", ["a:1"]),
    ("check mode", [], ["a:1"], True, "planned", []),
    ("check mode, all there", ["a:1"], ["a:1"], True, "unchanged", []),
]


@pytest.mark.parametrize(
    ("there", "wanted", "dry", "outcome", "had"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_what_lacks_is_had_once(there, wanted, dry, outcome, had, tmp_path, monkeypatch):
    engine = Registry(*there)
    answer = fetched(engine, asked(tmp_path, *wanted), monkeypatch, dry)
    assert (answer["outcome"], engine.fetched) == (outcome, had)
    assert answer["changed"] is (outcome != "unchanged")
    assert answer["notes"] == [f"pulled {image}" for image in had]


def test_an_image_that_cannot_be_had_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(PortError, match="gone:1 is in no registry"):
        fetched(Registry(), asked(tmp_path, "gone:1"), monkeypatch)


def test_a_definition_that_is_refused_is_refused_before_anything_is_fetched(tmp_path, monkeypatch):
    engine = Registry()
    request = Request("shop", {"services": {"web": {"image": "a:1", "colour": "red"}}}, state_dir=str(tmp_path))
    with pytest.raises(Invalid):
        fetched(engine, request, monkeypatch)
    assert engine.fetched == []
