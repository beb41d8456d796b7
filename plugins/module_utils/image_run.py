# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Have all images that are wanted: look, load and pull side by side, then build from the bases up."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from .adapters.images import Images, SourceError, no_bundle, tool_path
from .core.images import image_sources as sources
from .core.images.image_sources import Attempt, Pack, Wanted
from .core.model import Image, Json
from .ports import PortError


@dataclass(frozen=True, slots=True)
class Settings:
    """`parallel` bounds pulls and loads, `builds` builds; `unanswered` is registry -> why, from a run a moment ago."""

    mirror: str = ""
    ca_bundle: str = ""
    parallel: int = 8
    builds: int = 2
    lock: Json = field(default_factory=dict)
    unanswered: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Had:
    """One image that is there now. `source` is where it came from now, "local" where it was there."""

    image: Image
    source: str
    changed: bool = False


@dataclass
class Outcome:
    had: dict[str, Had] = field(default_factory=dict)
    tried: dict[str, list[Attempt]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """keys that could not be had, bases of the others too"""
    lacking: list[str] = field(default_factory=list)
    """ids of packs that have to be brought to the host first"""
    needs: list[str] = field(default_factory=list)
    """programs that have to be installed first"""
    unanswered: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return any(had.changed for had in self.had.values())

    @property
    def unfinished(self) -> bool:
        return bool(self.lacking or self.needs)


class Run:
    def __init__(
        self, images: Images, wanted: Mapping[str, Wanted], settings: Settings, say: Callable[[str], None]
    ) -> None:
        self._images = images
        self._wanted = wanted
        self._settings = settings
        self._lock = threading.Lock()
        self._say = self._one_at_a_time(say)
        # a bundle that does not stay in an image is none of its identity, and need not be there when nothing is built
        self._ca = _hash(settings.ca_bundle) if any(entry.keep_ca for entry in wanted.values()) else ""
        self.outcome = Outcome(tried={key: [] for key in wanted})
        images.known_gone(settings.unanswered)

    def _one_at_a_time(self, say: Callable[[str], None]) -> Callable[[str], None]:
        def said(text: str) -> None:
            with self._lock:
                say(text)

        return said

    def look(self) -> Outcome:
        """What is there already; asks only the engine."""
        for key, wanted in self._wanted.items():
            found = self._local(wanted)
            if found:
                self.outcome.had[key] = Had(found, "local")
        return self.outcome

    def have(self) -> Outcome:
        """Everything, from whatever source has it. Stops before the first build where something has to be brought."""
        self.look()
        asked = [key for key, wanted in self._wanted.items() if not wanted.implied]
        self._fetch(key for key in asked if key not in self.outcome.had)
        # a base is asked for only when somebody has to be built on it
        building = self._to_build(asked)
        while not self.outcome.lacking and (
            missing := [key for key in building if key not in self.outcome.had and not self._was_asked(key)]
        ):
            self._fetch(missing)
            building = self._to_build(asked)
        self.outcome.unanswered = self._images.unanswered()
        builds = [key for key in building if key not in self.outcome.had]
        self._require(builds)
        if not self.outcome.unfinished:
            self._build(builds)
            # what was tried in vain for a base is part of why
            self.outcome.failed = [key for key in dict.fromkeys([*asked, *builds]) if key not in self.outcome.had]
        return self.outcome

    def _local(self, wanted: Wanted) -> Image | None:
        if wanted.always and not (wanted.archive and wanted.source == sources.Source.ARCHIVE):
            return None
        if wanted.ref and wanted.source != sources.Source.BUILD:
            found = self._images.inspect(wanted.ref)
            if found and (wanted.source != sources.Source.ARCHIVE or _in_archive(found, wanted)):
                return found
        if wanted.build and wanted.source in (sources.Source.BUILD, sources.Source.AUTO):
            if wanted.base and wanted.base not in self.outcome.had:
                return None
            return self._images.inspect(self._tag(wanted))
        return None

    def _tag(self, wanted: Wanted) -> str:
        base = self.outcome.had[wanted.base].image.id if wanted.base else ""
        return sources.content_tag(wanted, base, self._ca)

    def _was_asked(self, key: str) -> bool:
        """Every source but the build said no."""
        return len(self.outcome.tried[key]) == len([a for a in self._attempts(key) if a.source != "build"])

    def _attempts(self, key: str) -> tuple[Attempt, ...]:
        return sources.attempts(self._wanted[key], self._settings.mirror)

    def _to_build(self, asked: Iterable[str]) -> list[str]:
        """Keys that nothing but a build can give now, each below those that are built on it."""
        result: dict[str, None] = {}
        for key in asked:
            # down to the first base that is there
            chain: list[str] = []
            at = key
            while at and at not in self.outcome.had and any(a.source == "build" for a in self._attempts(at)):
                chain.append(at)
                at = self._wanted[at].base
            if at and at not in self.outcome.had and at != key:
                chain.append(at)
            result.update(dict.fromkeys(reversed(chain)))
        return list(result)

    def _fetch(self, keys: Iterable[str]) -> None:
        with ThreadPoolExecutor(max_workers=max(1, self._settings.parallel)) as pool:
            list(pool.map(self._fetch_one, keys))

    def _fetch_one(self, key: str) -> None:
        wanted = self._wanted[key]
        before = self._images.inspect(wanted.ref) if wanted.ref else None
        for attempt in self._attempts(key):
            if attempt.source == "build":
                return
            try:
                image = self._from(attempt, wanted)
            except PortError as error:
                self._no(key, attempt, error)
                continue
            if image:
                self.outcome.had[key] = Had(image, attempt.source, changed=not before or before.id != image.id)
                self._say(f"{key}: {image.ref} {image.digest or image.id}")
                return
            # its archive has to be brought first; what comes after it is not asked before that
            return

    def _from(self, attempt: Attempt, wanted: Wanted) -> Image | None:
        if attempt.source == "archive":
            if not wanted.archive or not os.path.isfile(wanted.archive.path):
                self._lacks(wanted.archive)
                return None
            return self._images.load(wanted.archive.path, wanted.ref, self._say)
        digest = "" if wanted.always else sources.locked(self._settings.lock, wanted)
        return self._images.pull(attempt.what, self._say, digest=digest, tag=wanted.ref)

    def _lacks(self, pack: Pack | None) -> None:
        if pack and pack.id not in self.outcome.lacking:
            self.outcome.lacking.append(pack.id)

    def _no(self, key: str, attempt: Attempt, error: PortError) -> None:
        hint = error.reason.hint if isinstance(error, SourceError) else ""
        # the error begins with what was asked; the attempt says that already
        self.outcome.tried[key].append(replace(attempt, why=str(error).partition(": ")[2] or str(error), hint=hint))

    def _require(self, builds: Iterable[str]) -> None:
        """What the host lacks for these builds: files that were not brought yet, programs."""
        for key in builds:
            wanted = self._wanted[key]
            if not wanted.build:
                continue
            if not os.path.exists(wanted.build.path):
                self._lacks(wanted.build)
            for program in wanted.needs:
                if not shutil.which(program, path=tool_path()) and program not in self.outcome.needs:
                    self.outcome.needs.append(program)

    def _build(self, keys: list[str]) -> None:
        waiting = list(keys)
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(max_workers=max(1, self._settings.builds)) as pool:
            while waiting or running:
                for key in list(waiting):
                    base = self._wanted[key].base
                    if base in waiting or base in running.values():
                        continue
                    waiting.remove(key)
                    running[pool.submit(self._build_one, key)] = key
                done, _rest = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    future.result()

    def _build_one(self, key: str) -> None:
        wanted = self._wanted[key]
        attempt = next((a for a in self._attempts(key) if a.source == "build"), None)
        if attempt is None or wanted.build is None:
            return
        base = self.outcome.had.get(wanted.base)
        if wanted.base and not base:
            why = Attempt("build", attempt.what, f"its base {wanted.base} could not be had, see there")
            self.outcome.tried[key].append(why)
            return
        tag = self._tag(wanted)
        before = self._images.inspect(tag)
        try:
            if before and not wanted.always:
                # its base came from a registry just now, and was built upon before
                self.outcome.had[key] = Had(before, "local")
                return
            image = self._made(wanted, tag, base.image.ref if base else "")
        except PortError as error:
            self._no(key, attempt, error)
            return
        self.outcome.had[key] = Had(image, "build", changed=not before or before.id != image.id)
        self._say(f"{key}: {tag} is built")

    def _made(self, wanted: Wanted, tag: str, base: str) -> Image:
        pack = wanted.build
        if pack is None:
            raise PortError(f"{wanted.key} has nothing to build")
        if pack.script:
            return self._images.assemble(tag, pack.path, {k: str(v) for k, v in wanted.args.items()}, self._say)
        return self._images.build(
            tag,
            pack.path,
            self._say,
            dockerfile=wanted.dockerfile,
            args=sources.build_args(wanted, base),
            target=wanted.target,
            ca_bundle=self._settings.ca_bundle,
            labels={"quaylock.recipe": wanted.name, "quaylock.content": pack.id},
            fresh=wanted.always,
        )


def _in_archive(image: Image, wanted: Wanted) -> bool:
    return bool(wanted.archive and image.id in wanted.archive.images)


def _hash(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise no_bundle(path, error) from error
