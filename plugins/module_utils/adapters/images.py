# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images by the Docker SDK: pull, build, import, load, inspect. Every call ends, and says why when it says no."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

try:
    import docker
    import docker.errors
    import requests.exceptions
    import urllib3.exceptions

    _BROKEN: tuple[type[Exception], ...] = (
        docker.errors.DockerException,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
    )
except ImportError:  # docker_api.MISSING says it, and glue.require_sdk tells the user
    _BROKEN = (OSError,)

from ..core.images.image_sources import CA_FILE, Reason, build_reason, full, reason, reference
from ..core.model import Image
from ..ports import PortError
from . import build_contexts

Say = Callable[[str], None]

PIECE = 1 << 20
SAVING = 1800.0
"""seconds of silence from an engine that gathers an image before it writes the first byte"""
LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)")

CA_PATH = f"/context/{CA_FILE}"
CA_ARGS = (
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
"""build arguments that tell the programs in a build where the bundle is, for a Dockerfile that declares them"""


class SourceError(PortError):
    """A source said no; `reason` is what that means."""

    def __init__(self, message: str, reason: Reason) -> None:
        self.reason = reason
        super().__init__(message)


def connected(address: str) -> docker.DockerClient:
    """The SDK's client of the engine at an address, with the newest API that both know. Raises PortError."""
    try:
        return docker.DockerClient(base_url=address, version="auto", timeout=60)
    except docker.errors.DockerException as error:
        raise PortError(f"the engine at {address} does not answer: {error}") from error


class Images:
    """The images of one engine.

    `patience` is how many seconds a registry has for its first answer; `stall` how long a pull or a build may be
    silent before it is given up.
    """

    def __init__(
        self, client: docker.DockerClient, patience: float = 8.0, stall: float = 300.0, build_stall: float = 1800.0
    ) -> None:
        self._api = client.api
        self._asking = _bounded(client.api, patience)
        self._pulling = _bounded(client.api, stall)
        self._building = _bounded(client.api, build_stall)
        self._patience = patience
        self._answers: dict[str, Reason | None] = {}
        self._first: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def inspect(self, ref: str) -> Image | None:
        """The image as it is here, None where it is not."""
        try:
            found = self._api.inspect_image(ref)
        except docker.errors.ImageNotFound:
            return None
        except _BROKEN as error:
            raise PortError(f"image {ref}: the engine does not say whether it is there: {_answer(error)}") from error
        return Image(
            ref=ref,
            id=found["Id"],
            digest=_digest(ref, found.get("RepoDigests") or []),
            check=(found.get("Config") or {}).get("Healthcheck"),
        )

    def known_gone(self, unanswered: Mapping[str, str]) -> None:
        """Registries that were found unreachable a moment ago, registry -> why: they are not asked again."""
        self._answers.update({registry: Reason(words, gone=True) for registry, words in unanswered.items()})

    def unanswered(self) -> dict[str, str]:
        return {registry: why.words for registry, why in sorted(self._answers.items()) if why and why.gone}

    def pull(self, ref: str, say: Say, digest: str = "", tag: str = "") -> Image:
        """Pull a reference; `digest` pins what must come, `tag` is a name it gets besides (a mirror's image).

        Raises SourceError. A registry that does not answer costs `patience` once, whatever it is asked for.
        """
        parsed = reference(ref)
        self._ask(ref, parsed.registry)
        version = digest or parsed.version
        say(f"{ref}: pulling" + (f" {version}" if digest else ""))
        progress = _Progress(ref, say)
        with self._refusing(f"pull {ref} from {parsed.registry}"):
            for line in self._pulling.pull(parsed.name, tag=version, stream=True, decode=True):
                if "error" in line:
                    raise docker.errors.APIError(str(line["error"]))
                progress.see(line)
            pulled = f"{parsed.name}@{version}" if version.startswith("sha256:") else f"{parsed.name}:{version}"
            wanted = tag or (ref if parsed.tag or not parsed.digest else "")
            if wanted and full(wanted) != full(pulled):
                self.tag(pulled, wanted)
        image = self.inspect(wanted or ref)
        if image is None:
            raise PortError(f"pull {ref}: the engine said done, and does not have it; look into its log")
        return image

    def _ask(self, ref: str, registry: str) -> None:
        """Have the registry answer at all. The first image asks, the others wait for what it learns."""
        with self._lock:
            first = self._first.setdefault(registry, threading.Lock())
        with first:
            if registry not in self._answers:
                self._answers[registry] = self._probe(ref)
            why = self._answers[registry]
        if why:
            raise SourceError(f"pull {ref}: {registry}: {why.words}", why)

    def _probe(self, ref: str) -> Reason | None:
        try:
            self._asking.inspect_distribution(full(ref))
        except docker.errors.APIError as error:
            why = reason(_answer(error))
            # denied or unknown is an answer; the pull itself hears it again and judges
            return why if why.gone else None
        except _BROKEN:
            words = f"it did not answer within {self._patience:g} s"
            return Reason(words, "check the host's network, firewall and proxy, or raise the patience", gone=True)
        return None

    def build(
        self,
        tag: str,
        context: str,
        say: Say,
        dockerfile: str = "Dockerfile",
        args: Mapping[str, str] | None = None,
        target: str = "",
        ca_bundle: str = "",
        labels: Mapping[str, str] | None = None,
        fresh: bool = False,
        **more: Any,
    ) -> Image:
        """Build a directory, or a tar of one, on the host. `fresh` uses no cache. Raises SourceError.

        `more` are the SDK's own: network_mode, extra_hosts, shmsize, cache_from, pull.

        `ca_bundle` is a file on the host: it is in the context as ca-bundle.crt where the Dockerfile speaks of it.
        """
        say(f"{tag}: building")
        output: list[str] = []
        try:
            with (
                _packed(context, dockerfile, ca_bundle) as (content, takes_ca, declared),
                self._refusing(f"build {tag}"),
            ):
                given = dict(args or {})
                if takes_ca:
                    given = {**{name: CA_PATH for name in CA_ARGS if name in declared}, **given}
                for line in self._building.build(
                    fileobj=content,
                    custom_context=True,
                    dockerfile=dockerfile,
                    tag=tag,
                    buildargs=given,
                    target=target or None,
                    labels=dict(labels or {}),
                    nocache=fresh,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    use_config_proxy=True,
                    **more,
                ):
                    if "error" in line:
                        raise docker.errors.APIError(str(line["error"]).strip())
                    _hear(str(line.get("stream", "")), tag, output, say)
        except SourceError as error:
            said = "\n".join(_last(output))
            # the builder's own words are "returned a non-zero code"; why is in what the step said
            raise SourceError(f"{error}\n{said}" if said else str(error), build_reason(f"{error} {said}")) from error
        return self._built(tag)

    def assemble(self, tag: str, context: str, environment: Mapping[str, str], say: Say) -> Image:
        """Make a root file system with the context's base.sh and import it. Raises SourceError."""
        say(f"{tag}: making a root file system")
        with tempfile.TemporaryDirectory(prefix="quaylock-", dir=_roomy()) as work:
            recipe = context
            if os.path.isfile(context):
                recipe = os.path.join(work, "recipe")
                with tarfile.open(context) as tar:
                    tar.extractall(recipe, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(recipe)  # noqa: S202
            rootfs = os.path.join(work, "rootfs.tar")
            log = os.path.join(work, "log")
            with open(rootfs, "wb") as out, open(log, "wb") as err:
                # run_command would hold a whole root file system in memory, and there is no module here
                done = subprocess.run(  # pylint: disable=ansible-bad-function
                    ["/bin/sh", os.path.join(recipe, build_contexts.SCRIPT)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, "PATH": tool_path(), "TMPDIR": work, **environment},
                    check=False,
                )
            if done.returncode:
                with open(log, encoding="utf-8", errors="replace") as said:
                    last = "\n".join(_last(said.read().splitlines()))
                raise SourceError(f"build {tag}: base.sh ended with {done.returncode}\n{last}", build_reason(last))
            say(f"{tag}: importing {os.path.getsize(rootfs) >> 20} MB")
            repository, _sign, version = tag.rpartition(":")
            with open(rootfs, "rb") as content, self._refusing(f"import {tag}"):
                answer = self._building.import_image_from_data(
                    content, repository=repository, tag=version, changes=['CMD ["bash"]', "ENV LANG=C.UTF-8"]
                )
                for line in str(answer).splitlines():
                    if "error" in (read := json.loads(line)):
                        raise docker.errors.APIError(str(read["error"]))
        return self._built(tag)

    def _built(self, tag: str) -> Image:
        image = self.inspect(tag)
        if image is None:
            raise PortError(f"build {tag}: the engine said done, and does not have it; look into its log")
        return image

    def load(self, archive: str, ref: str, say: Say) -> Image:
        """Load the output of docker save; `ref` must be in it. Raises SourceError."""
        say(f"{ref}: loading {archive}")
        with self._refusing(f"load {archive}"), open(archive, "rb") as content:
            for line in self._building.load_image(content):
                if "error" in line:
                    raise docker.errors.APIError(str(line["error"]))
        image = self.inspect(ref)
        if image is None:
            raise PortError(f"load {archive}: {ref} is not in it")
        return image

    def save(self, names: Sequence[str]) -> Iterator[bytes]:
        """What `docker save` of these ids and names writes, piece by piece. Whoever takes it has to look at its end:

        an engine that fails midway writes its complaint there, as if that belonged to the archive.
        """
        api: Any = self._building
        with self._refusing(f"save {', '.join(names)}"):
            url = api._url("/images/get")
            with api._get(url, params={"names": list(names)}, stream=True, timeout=SAVING) as answer:
                api._raise_for_status(answer)
                yield from answer.iter_content(PIECE)

    def load_all(self, content: BinaryIO) -> tuple[str, ...]:
        """Load all that `docker save` wrote; the ids of what the engine then says that it has."""
        said = []
        with self._refusing("load images"):
            for line in self._building.load_image(iter(lambda: content.read(PIECE), b"")):
                if "error" in line:
                    raise docker.errors.APIError(str(line["error"]))
                said += LOADED.findall(str(line.get("stream", "")))
        found = (self.inspect(name) for name in said)
        return tuple(sorted({image.id for image in found if image is not None}))

    def tag(self, image: str, ref: str) -> None:
        parsed = reference(ref)
        with self._refusing(f"name {image[:19]} {ref}"):
            self._api.tag(image, parsed.name, tag=parsed.tag or "latest")

    # -- names ------------------------------------------------------------------

    def tagged(self, repository: str) -> dict[str, str]:
        """Every name in a repository, with the image it is of."""
        with self._refusing(f"list the images of {repository}"):
            found = self._api.images(repository)
        return {n: i["Id"] for i in found for n in i.get("RepoTags") or [] if n.startswith(f"{repository}:")}

    def names(self, image: str) -> list[str]:
        try:
            return [n for n in self._api.inspect_image(image).get("RepoTags") or [] if n != "<none>:<none>"]
        except docker.errors.ImageNotFound:
            return []
        except _BROKEN as error:
            raise PortError(f"image {image}: the engine does not say its names: {_answer(error)}") from error

    def untag(self, name: str) -> None:
        """Take a name away. With its last name the image goes, unless a container or another image needs it."""
        with self._refusing(f"remove the name {name}"), contextlib.suppress(docker.errors.ImageNotFound):
            self._api.remove_image(name)

    def in_use(self, image: str) -> bool:
        """Whether any container, running or not, was made from it or from an image on top of it."""
        with self._refusing(f"look who uses {image[:19]}"):
            return bool(self._api.containers(all=True, filters={"ancestor": image}))

    @contextlib.contextmanager
    def _refusing(self, asked: str) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            answer = _answer(error)
            why = reason(answer)
            raise SourceError(f"{asked}: {why.words}" + (f": {answer}" if why.words != answer else ""), why) from error


def _bounded(api: docker.APIClient, seconds: float) -> docker.APIClient:
    """The same connection with another limit between two answers; the SDK gives pulls no limit at all."""
    # requests' own way of copying a session loses everything that the SDK added to it
    copy = object.__new__(type(api))
    copy.__dict__.update(api.__dict__)
    copy.timeout = seconds  # type: ignore[assignment]

    def post(url: str, **kwargs: Any) -> Any:
        kwargs["timeout"] = kwargs.get("timeout") or seconds
        return copy.post(url, **kwargs)

    copy._post = post  # type: ignore[attr-defined]
    return copy


@contextlib.contextmanager
def _packed(context: str, dockerfile: str, ca_bundle: str) -> Iterator[tuple[BinaryIO, bool, tuple[str, ...]]]:
    """A context as a tar, whether the CA bundle is in it, and what the Dockerfile declares."""
    with tempfile.TemporaryDirectory(prefix="quaylock-", dir=_roomy()) as work:
        path = context
        if os.path.isdir(context):
            path = os.path.join(work, "context.tar")
            with open(path, "wb") as file:
                build_contexts.write_tar(context, file, dockerfile)
        try:
            with tarfile.open(path) as tar:
                member = tar.extractfile(dockerfile)
                text = member.read().decode() if member else ""
            pack = build_contexts.read_dockerfile(text)
            if not (ca_bundle and pack.wants_ca):
                with open(path, "rb") as file:
                    yield file, False, pack.args
                return
            with build_contexts.with_file(path, CA_FILE, _bundle(ca_bundle)) as file:
                yield file, True, pack.args
        except (KeyError, tarfile.TarError) as error:
            raise PortError(f"build context {context}: {dockerfile}: {error}") from error


def _bundle(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise no_bundle(path, error) from error


def no_bundle(path: str, error: OSError) -> PortError:
    why = f"{path}: {error.strerror}; images_ca_bundle names a file on the Docker host, or is empty"
    return PortError(f"CA bundle: {why}")


def tool_path() -> str:
    """Where programs of an administrator are too: a login without them is common."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def _roomy() -> str:
    # /tmp is often a small tmpfs, and this can be hundreds of megabytes
    return "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()  # noqa: S108


def _digest(ref: str, digests: list[str]) -> str:
    """The digest under which a registry gave it: of the reference's own repository, else of any (a mirror's)."""
    name = reference(ref).name if not ref.startswith("sha256:") else ""
    ours = [d for d in digests if d.partition("@")[0] == name] or digests
    return ours[0].partition("@")[2] if ours else ""


def _answer(error: BaseException) -> str:
    if isinstance(error, docker.errors.APIError):
        return " ".join(str(error.explanation or error).split())
    return " ".join(str(error).split()) or type(error).__name__


def _hear(text: str, tag: str, output: list[str], say: Say) -> None:
    for line in text.splitlines():
        # a progress bar comes as many parts of one line
        line = line.rpartition("\r")[2].strip()
        if line:
            output.append(line)
            del output[:-200]
            if line.startswith("Step "):
                say(f"{tag}: {line[:160]}")


def _last(lines: list[str], count: int = 12) -> list[str]:
    kept = [line for line in lines if not line.startswith(("--->", "Removing intermediate container"))]
    return ["  | " + line[:400] for line in kept[-count:]]


class _Progress:
    """What a pull says, at most once in two seconds."""

    def __init__(self, ref: str, say: Say) -> None:
        self._ref, self._say = ref, say
        self._layers: dict[str, tuple[int, int]] = {}
        self._done: set[str] = set()
        self._said = time.monotonic()

    def see(self, line: Mapping[str, Any]) -> None:
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        detail = line.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif status in ("Pulling fs layer", "Waiting"):
            self._layers.setdefault(layer, (0, 0))
        elif status in ("Download complete", "Pull complete", "Already exists"):
            self._done.add(layer)
            got = self._layers.get(layer, (0, 0))[1]
            self._layers[layer] = (got, got)
        now = time.monotonic()
        if self._layers and now - self._said >= 2.0:
            self._said = now
            current, total = (sum(part) >> 20 for part in zip(*self._layers.values(), strict=True))
            self._say(f"{self._ref}: {len(self._done)} of {len(self._layers)} layers, {current} of {total} MB")
