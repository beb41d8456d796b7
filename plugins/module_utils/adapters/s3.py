# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Buckets of an S3 API through boto3, which is imported where a stack has a bucket to back up, and nowhere else."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..core.backup.objects import HEADERS, Described, Listed
from ..ports import Content, NoBucket, ObjectChanged, PortError

PIECE = 1 << 20
PART = 8 << 20
"""bytes of an object that are in memory while it is written; a larger one goes in parts"""
MOST_PARTS = 10000
CONNECT, READ, TRIES = 10.0, 60.0, 3
_CHANGED = {"NoSuchKey", "NoSuchVersion", "PreconditionFailed", "404", "412", "MethodNotAllowed"}
_NEXT = {
    "InvalidAccessKeyId": "the server does not know the access key; next: mend the stack's secret and deploy it",
    "SignatureDoesNotMatch": "the secret key is another; next: mend the stack's secret and deploy it",
    "AccessDenied": "the key may not do that; next: let it list and read the bucket",
    "InvalidObjectState": "it is archived; next: bring it back from the archive, or keep it out with prefix",
}


def missing() -> tuple[str, str]:
    """Why boto3 cannot be used and what brings it, ("", "") where it can."""
    try:
        import boto3  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        ours = sys.prefix != sys.base_prefix
        fix = f"{sys.executable} -m pip install boto3" if ours else "apt-get install python3-boto3"
        return str(error), fix
    return "", ""


def endpoint(address: str, port: int) -> str:
    """Of a container, by its address."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


class S3:
    """One server. The keys are in here and in what boto3 signs, and nowhere else."""

    def __init__(
        self, endpoint: str, access_key: str, secret_key: str, region: str = "us-east-1", direct: bool = False
    ) -> None:
        """`direct` goes past the proxy that this host may have, as to a container's address. Raises PortError."""
        self.endpoint = endpoint
        self._hidden = (secret_key, access_key)
        try:
            import boto3
            import botocore.exceptions  # type: ignore[import-untyped]
        except ImportError as error:
            raise PortError(f"{missing()[0]}; next: {missing()[1]}") from error
        self._refusal: type[Exception] = botocore.exceptions.ClientError
        self._failure: tuple[type[Exception], ...] = (
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.HTTPClientError,
            OSError,
        )
        with self._asking("connecting"):
            session = boto3.session.Session(access_key, secret_key, region_name=region)
            self._client = session.client("s3", endpoint_url=endpoint, config=_config(endpoint, direct))

    # -- buckets ----------------------------------------------------------------

    def versioned(self, bucket: str) -> bool:
        """Whether it keeps what is overwritten; False, too, where that is not for us to know. Raises NoBucket."""
        with self._asking("opening", bucket):
            self._client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        try:
            with self._asking("opening", bucket):
                found: Mapping[str, Any] = self._client.get_bucket_versioning(Bucket=bucket)
        except PortError:
            return False
        return found.get("Status") == "Enabled"

    def make(self, bucket: str) -> bool:
        """Whether it had to be made."""
        with contextlib.suppress(NoBucket):
            self.versioned(bucket)
            return False
        region = self._client.meta.region_name
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with self._asking("making", bucket):
            self._client.create_bucket(Bucket=bucket, **where)
        return True

    def listing(self, bucket: str, prefix: str = "", versions: bool = False) -> Iterator[Listed]:
        """The objects that are there now, in the order of their keys."""
        call, entries = ("list_object_versions", "Versions") if versions else ("list_objects_v2", "Contents")
        with self._asking("listing", bucket):
            for page in self._client.get_paginator(call).paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get(entries, ()):
                    if entry.get("IsLatest", True):
                        yield Listed(
                            entry["Key"],
                            entry["Size"],
                            entry["ETag"],
                            entry["LastModified"].timestamp(),
                            entry.get("VersionId", ""),
                        )

    # -- objects ----------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self, bucket: str, listed: Listed) -> Iterator[tuple[Described, Content]]:
        """An object as it was listed, to be read inside the context. Raises ObjectChanged where it is no more."""
        version = {"VersionId": listed.version} if listed.version else {}
        with self._asking("reading", bucket, listed.key):
            found = self._client.get_object(Bucket=bucket, Key=listed.key, IfMatch=listed.etag, **version)
            body = found["Body"]
            try:
                if found["ContentLength"] != listed.size:
                    there = found["ContentLength"]
                    raise ObjectChanged(f"{bucket}/{listed.key} has {there} bytes, and was listed with {listed.size}")
                tags = self._tags(bucket, listed.key, version) if found.get("TagCount") else {}
                yield _described(found, tags), body
            finally:
                body.close()

    def _tags(self, bucket: str, key: str, version: Mapping[str, str]) -> dict[str, str]:
        found = self._client.get_object_tagging(Bucket=bucket, Key=key, **version)
        return {entry["Key"]: entry["Value"] for entry in found["TagSet"]}

    def write(self, bucket: str, listed: Listed, about: Described, content: Content) -> str:
        """Write as many bytes as were listed; the server compares each part's MD5. Returns the object's new ETag."""
        given: dict[str, Any] = {"Bucket": bucket, "Key": listed.key}
        extra = {_parameter(name): value for name, value in about.headers.items()} | {"Metadata": dict(about.metadata)}
        if about.tags:
            extra["Tagging"] = urlencode(about.tags)
        with self._asking("writing", bucket, listed.key):
            if listed.size <= PART:
                data = _exactly(content, listed.size, listed.key)
                digest = _md5(data)
                found = self._client.put_object(**given, **extra, Body=data, ContentMD5=_sent(digest))
                expected = digest.hex()
            else:
                found, expected = self._in_parts(given, extra, listed, content)
        encrypted = str(found.get("ServerSideEncryption", "")).startswith("aws:kms")
        if not encrypted and found["ETag"].strip('"') != expected:
            raise PortError(
                f"{bucket}/{listed.key} was written, and {self.endpoint} has another content: {found['ETag']}"
            )
        return str(found["ETag"])

    def _in_parts(
        self, given: dict[str, Any], extra: dict[str, Any], listed: Listed, content: Content
    ) -> tuple[Mapping[str, Any], str]:
        whole = max(PART, -(-listed.size // MOST_PARTS))
        upload = {**given, "UploadId": self._client.create_multipart_upload(**given, **extra)["UploadId"]}
        parts: list[dict[str, Any]] = []
        digests, left = b"", listed.size
        try:
            while left:
                data = _exactly(content, min(whole, left), listed.key)
                digest, number = _md5(data), len(parts) + 1
                answer = self._client.upload_part(**upload, PartNumber=number, Body=data, ContentMD5=_sent(digest))
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
                digests, left = digests + digest, left - len(data)
            found: Mapping[str, Any] = self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            with contextlib.suppress(self._refusal, *self._failure):
                self._client.abort_multipart_upload(**upload)
            raise
        return found, f"{_md5(digests).hex()}-{len(parts)}"

    @contextlib.contextmanager
    def _asking(self, what: str, bucket: str = "", key: str = "") -> Iterator[None]:
        """The server's refusals as PortError: what was asked, and its answer."""
        name = f"{bucket}/{key}" if key else bucket
        asked = " ".join(filter(None, (what, name, "at" if name else "", self.endpoint)))
        try:
            yield
        except self._refusal as error:
            answer: Mapping[str, Any] = getattr(error, "response", {}).get("Error", {})
            code, words = str(answer.get("Code", "")), str(answer.get("Message") or error)
            if code == "NoSuchBucket":
                raise NoBucket(f"there is no bucket {bucket} at {self.endpoint}") from None
            if what == "reading" and code in _CHANGED:
                raise ObjectChanged(f"{name} is not any more what it was when it was listed") from None
            raise PortError(f"{asked}: {self._plain(_NEXT.get(code, ''))} ({code}: {self._plain(words)})") from None
        except self._failure as error:
            raise PortError(f"{asked}: the server does not answer, or broke off ({self._plain(str(error))})") from None

    def _plain(self, text: str) -> str:
        for word in self._hidden:
            text = text.replace(word, "***") if word else text
        return text


def _config(endpoint: str, direct: bool) -> Any:
    import botocore.config  # type: ignore[import-untyped]

    host = urlsplit(endpoint).hostname or ""
    # a name in front of the host is Amazon's own way; others rarely have the DNS for it
    style = "auto" if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else "path"
    given: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": style},
        "connect_timeout": CONNECT,
        "read_timeout": READ,
        "retries": {"mode": "standard", "max_attempts": TRIES},
        "proxies": {} if direct else None,
    }
    needed = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
    try:
        # since 1.36 it sends checksums that not every server knows; we send MD5
        return botocore.config.Config(**given, **needed)
    except TypeError:
        return botocore.config.Config(**given)


def _described(found: Mapping[str, Any], tags: Mapping[str, str]) -> Described:
    headers = found["ResponseMetadata"]["HTTPHeaders"]
    return Described({n: headers[n] for n in HEADERS if headers.get(n)}, dict(found.get("Metadata") or {}), tags)


def _parameter(header: str) -> str:
    """content-type -> ContentType, as boto3 calls it"""
    return "".join(word.capitalize() for word in header.split("-"))


def _exactly(content: Content, size: int, key: str) -> bytearray:
    data = bytearray(size)
    at = 0
    while at < size and (piece := content.read(min(PIECE, size - at))):
        data[at : at + len(piece)] = piece
        at += len(piece)
    if at < size:
        raise PortError(f"{key}: the archive breaks off {size - at} bytes before the object's end")
    return data


def _md5(data: bytes | bytearray) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _sent(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
