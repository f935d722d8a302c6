"""Blobs in an S3-compatible bucket, with verified copies in a local folder for those who need files."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage

from hub.blobs.content import CHUNK, StoredObject, names_of

READ_ONLY = 0o444
MISSING = {"404", "NoSuchKey", "NotFound"}


class S3Blobs(S3Storage):  # type: ignore[misc]
    """An object appears whole under its digest, or not at all: a put of S3 is atomic."""

    def __init__(self, cache: Path, **options: Any) -> None:
        super().__init__(**options)
        self.cache = Path(cache)

    def put(self, source: Path, sha256: str) -> None:
        if not self.has(sha256):
            self.bucket.upload_file(str(source), self._key(sha256))

    def has(self, sha256: str) -> bool:
        try:
            self.size_of(sha256)
        except FileNotFoundError:
            return False
        return True

    def size_of(self, sha256: str) -> int:
        return int(self._head(sha256)["ContentLength"])

    def read(self, sha256: str, *, start: int, length: int) -> Iterator[bytes]:
        if length <= 0:
            return
        stretch = f"bytes={start}-{start + length - 1}"
        try:
            body = self.bucket.Object(self._key(sha256)).get(Range=stretch)["Body"]
        except ClientError as error:
            raise _as_missing(error, sha256) from error
        yield from body.iter_chunks(CHUNK)

    def local_path(self, sha256: str) -> Path:
        """The copy in the cache, fetched and checked against its name first."""
        cached = self.cache / sha256[:2] / sha256
        if cached.exists():
            return cached
        cached.parent.mkdir(parents=True, exist_ok=True)
        fresh = cached.with_name(f".{sha256}-{secrets.token_hex(8)}")
        try:
            self._fetch(sha256, fresh)
            fresh.chmod(READ_ONLY)
            fresh.replace(cached)
        finally:
            fresh.unlink(missing_ok=True)
        return cached

    def remove(self, sha256: str) -> None:
        self.bucket.Object(self._key(sha256)).delete()
        (self.cache / sha256[:2] / sha256).unlink(missing_ok=True)

    def listing(self) -> Iterator[StoredObject]:
        for found in self.bucket.objects.filter(Prefix=f"{self.location}/" if self.location else ""):
            yield StoredObject(found.key.rpartition("/")[2], found.size, found.last_modified)

    def is_writable(self) -> bool:
        try:
            self.connection.meta.client.head_bucket(Bucket=self.bucket_name)
        except (BotoCoreError, ClientError):
            return False
        return True

    def _fetch(self, sha256: str, target: Path) -> None:
        try:
            self.bucket.download_file(self._key(sha256), str(target))
        except ClientError as error:
            raise _as_missing(error, sha256) from error
        found = names_of(target).sha256
        if found != sha256:
            raise OSError(f"the bucket gave other bytes for blob {sha256}: their digest is {found}")
        with target.open("rb") as file:
            os.fsync(file.fileno())

    def _head(self, sha256: str) -> dict[str, Any]:
        try:
            head: dict[str, Any] = self.connection.meta.client.head_object(
                Bucket=self.bucket_name, Key=self._key(sha256)
            )
        except ClientError as error:
            raise _as_missing(error, sha256) from error
        return head

    def _key(self, sha256: str) -> str:
        return "/".join(part for part in (self.location.strip("/"), sha256[:2], sha256) if part)


def _as_missing(error: ClientError, sha256: str) -> Exception:
    """The error that says "there is no such object" in the words of files; any other as it is."""
    return FileNotFoundError(sha256) if error.response["Error"]["Code"] in MISSING else error
