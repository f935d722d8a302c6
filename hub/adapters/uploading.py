"""Receiving a multipart upload: onto disk, counted, and stopped at the cap."""

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler
from django.http import HttpRequest

from hub import faults
from hub.blobs import space
from hub.errors import HubError, StorageFull, TooLarge

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
    """Raises what made the upload stop: TooLarge or StorageFull."""
    request.FILES  # noqa: B018  parsing happens at the first look
    refusal = getattr(request, REFUSAL, None)
    if refusal is not None:
        raise refusal


def _check_size(size: int) -> None:
    if size > settings.LIMITS.request_bytes:
        raise TooLarge(
            f"This upload has more than {settings.LIMITS.request_bytes:,} bytes, the most that is accepted."
        )
