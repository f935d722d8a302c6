"""Receiving a multipart upload: onto disk, counted, and stopped at the cap."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler
from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest

from hub import faults
from hub.accounts import roles, visitors
from hub.accounts.models import User
from hub.adapters import archives, paths, quota
from hub.adapters.staging import StagedFile
from hub.blobs import space
from hub.errors import (
    BadArchive,
    HubError,
    Invalid,
    NotAllowed,
    NotSignedIn,
    OverQuota,
    StorageFull,
    TooLarge,
)
from hub.limits import MIB

REFUSAL = "_upload_refusal"


class CountingUploadHandler(TemporaryFileUploadHandler):
    """Django bounds form fields but not files. This one bounds the whole request, by the bytes that really
    come.

    Parsing may happen inside the CSRF middleware, where an exception would become a plain 500: so the refusal
    is kept
    on the request, and `refuse_if_stopped` raises it where the files are used.
    """

    received = 0
    refusal: HubError | None = None

    def handle_raw_input(
        self,
        input_data: Any,  # noqa: ARG002
        META: Any,  # noqa: ARG002, N803  Django's name
        content_length: int,
        boundary: Any,  # noqa: ARG002
        encoding: Any = None,  # noqa: ARG002
    ) -> None:
        try:
            _check_size(content_length)
            space.check_room_for(content_length)
            _check_quota(self.request, content_length)
        except (TooLarge, StorageFull) as error:
            self.refusal = error

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        if self.refusal is not None:
            self._stop(self.refusal)
        super().new_file(*args, **kwargs)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self.received += len(raw_data)
        try:
            _check_size(self.received)
        except TooLarge as error:
            self._stop(error)
        faults.reach("upload.half_received")
        super().receive_data_chunk(raw_data, start)
        return None

    def _stop(self, error: HubError) -> None:
        if self.request is not None:
            setattr(self.request, REFUSAL, error)
        raise StopUpload(connection_reset=True) from error


def refuse_if_stopped(request: HttpRequest) -> None:
    """Raises what made the upload stop: TooLarge, StorageFull, or Invalid for one that ended early."""
    request.FILES  # noqa: B018  parsing happens at the first look
    refusal = getattr(request, REFUSAL, None)
    if refusal is not None:
        raise refusal
    check_whole(request)


def check_whole(request: HttpRequest) -> None:
    """Django takes a body that ends early for a complete one, whose last file is short and whose next is
    missing. Raises Invalid.
    """
    stream = getattr(request, "_stream", None)
    if not isinstance(stream, LimitedStream):
        return
    came: int = vars(stream)["_pos"]  # nothing public says it
    if came < stream.limit:
        raise Invalid(
            f"the upload ended after {came:,} of {stream.limit:,} bytes, so nothing of it was kept; "
            "please send it again"
        )


def _check_size(size: int) -> None:
    if size > settings.LIMITS.request_bytes:
        raise TooLarge(
            f"This upload has more than {settings.LIMITS.request_bytes:,} bytes, the most that is accepted."
        )


def _check_quota(request: HttpRequest | None, size: int) -> None:
    """Whoever may not upload at all is told so later, by what the address asks for."""
    if request is None or not hasattr(request, "user"):
        return
    with suppress(NotSignedIn, NotAllowed):
        sender = visitors.visitor(request)
        if isinstance(sender, User):
            _check_room(sender, size - MIB)  # the form around the files


def _check_room(sender: User, size: int) -> None:
    """For whom it is stands in the form, which is not read yet: one of them must have the room, and whether
    it is the right one is asked when the files are kept. Raises OverQuota.
    """
    own, *organisations = roles.namespaces(sender)
    try:
        quota.check_room_for(own, size)
    except OverQuota:
        if not any(storage.left >= size for storage in quota.storages_of(organisations).values()):
            raise


@dataclass(frozen=True)
class StagedUpload:
    """What a form brought: the adapter's files, and the sample rows if there are any."""

    files: list[StagedFile]
    samples: Path | None


@contextmanager
def staged_files(request: HttpRequest) -> Iterator[StagedUpload]:
    """The files of a multipart form: `archive`, or `files` with their `paths` in the same order; and
    `samples`.

    They are on disk inside the `with` and gone afterwards, unless something took them.
    Raises TooLarge, StorageFull, BadArchive.
    """
    refuse_if_stopped(request)
    files = request.FILES.getlist("archive") or request.FILES.getlist("files")
    samples = request.FILES.get("samples")
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=settings.TEMPORARY) as folder:
        if len(files) == 1 and archives.kind_of(files[0].name or ""):
            staged = archives.unpack(cast("BinaryIO", files[0].file), files[0].name or "", into=Path(folder))
        else:
            staged = _single_files(files, request.POST.getlist("paths"))
        yield StagedUpload(staged, place_of(samples) if samples else None)


def _single_files(files: "Sequence[UploadedFile[Any]]", names: Sequence[str]) -> list[StagedFile]:
    """Browsers tell folders only in a field of their own: Django keeps no folder in a file's name."""
    if names and len(names) != len(files):
        raise Invalid(
            f"there are {len(files)} files but {len(names)} paths; send one `paths` for each of `files`"
        )
    paths_given = list(names) or [file.name or "" for file in files]
    kept = [(path, file) for path, file in zip(paths_given, files, strict=True) if not paths.is_litter(path)]
    findings = [finding for path, _ in kept for finding in paths.check_path(path)]
    if findings:
        raise BadArchive("A file cannot be accepted: its name is not safe.", findings)
    inside = paths.without_common_folder([path for path, _ in kept])
    return [StagedFile(path, place_of(file)) for path, (_, file) in zip(inside, kept, strict=True)]


def place_of(file: "UploadedFile[Any]") -> Path:
    """Every uploaded file lies on disk: the handler above knows no other place."""
    return Path(cast("TemporaryUploadedFile", file).temporary_file_path())
