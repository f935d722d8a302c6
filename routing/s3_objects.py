"""The object store in an S3-compatible bucket; objects are read through a verified local cache."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from routing.digests import digest_of, digest_of_file
from routing.errors import CorruptObject, MissingObject
from routing.object_cache import ObjectCache
from routing.objects import require_digest

ABSENT = ("404", "NoSuchKey", "NotFound")


class S3Store:
    """Objects and documents as keys below one prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str, cache: ObjectCache) -> None:
        # Endpoint, region and credentials are boto3's own business: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...
        self._client: Any = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._cache = cache

    def put(self, content: bytes | Path) -> str:
        digest = digest_of_file(content) if isinstance(content, Path) else digest_of(content)
        if self.exists(digest):
            return digest
        if isinstance(content, Path):
            self._client.upload_file(str(content), self._bucket, self._key(digest))
        else:
            self._client.put_object(Bucket=self._bucket, Key=self._key(digest), Body=content)
        return digest

    def read(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()

    def path(self, digest: str) -> Path:
        try:
            return self._cache.path(digest)
        except (MissingObject, CorruptObject):
            self._download(digest)
        return self._cache.path(digest)

    def exists(self, digest: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._key(digest))
        except ClientError as error:
            if error.response["Error"]["Code"] in ABSENT:
                return False
            raise
        return True

    def delete(self, digest: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._key(digest))
        self._cache.delete(digest)

    def digests(self) -> Iterator[str]:
        answers = self._pages(Prefix=f"{self._prefix}objects/")
        return (item["Key"].rsplit("/", 1)[1] for answer in answers for item in answer.get("Contents", []))

    def read_document(self, name: str) -> bytes | None:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
        except ClientError as error:
            if error.response["Error"]["Code"] in ABSENT:
                return None
            raise
        with contextlib.closing(answer["Body"]) as body:
            return bytes(body.read())

    def write_document(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def create_document(self, name: str, content: bytes) -> bool:
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=content, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "PreconditionFailed":
                return False
            raise
        return True

    def children(self, folder: str) -> list[str]:
        start = f"{self._prefix}{folder}/"
        found: list[str] = []
        for answer in self._pages(Prefix=start, Delimiter="/"):
            found += [item["Prefix"] for item in answer.get("CommonPrefixes", [])]
            found += [item["Key"] for item in answer.get("Contents", [])]
        return sorted(name.removeprefix(start).rstrip("/") for name in found)

    def _key(self, digest: str) -> str:
        require_digest(digest)
        return f"{self._prefix}objects/{digest[:2]}/{digest}"

    def _pages(self, **where: str) -> Iterator[dict[str, Any]]:
        yield from self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **where)

    def _download(self, digest: str) -> None:
        """Bring an object into the cache, if its bytes are what its name says."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(digest))
        except ClientError as error:
            if error.response["Error"]["Code"] in ABSENT:
                raise MissingObject(digest) from None
            raise
        with self._cache.scratch() as scratch, contextlib.closing(answer["Body"]) as body:
            shutil.copyfileobj(body, scratch, 2**20)
            scratch.flush()
            if (found := digest_of_file(Path(scratch.name))) != digest:
                raise CorruptObject(digest, found)
            self._cache.put(Path(scratch.name))
