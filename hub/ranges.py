"""Answering with bytes: whole, in part, or only their description (RFC 9110 sections 13 and 14, RFC 9530)."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Protocol

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header, parse_etags

ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")
PLAIN_TEXT = "text/plain; charset=utf-8"
TYPES = {".json": "application/json", ".md": PLAIN_TEXT, ".txt": PLAIN_TEXT, ".tar": "application/x-tar"}
A_YEAR = "public, max-age=31536000, immutable"


class Reader(Protocol):
    def __call__(self, *, start: int, length: int) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Download:
    """Immutable bytes that can be asked for in part, known by their sha256 or by another name of them."""

    filename: str
    sha256: str
    size: int
    read: Reader
    known_as: str = ""

    @property
    def etag(self) -> str:
        return f'"{self.known_as or self.sha256}"'


@dataclass(frozen=True)
class Part:
    """A stretch of bytes."""

    start: int
    length: int


def answer(request: HttpRequest, download: Download, *, cache: str = "no-cache") -> HttpResponseBase:
    """200, 206, 304 or 416, for GET and HEAD alike; HEAD reads nothing."""
    if download.etag in parse_etags(request.headers.get("If-None-Match", "")):
        return _described(HttpResponse(status=HTTPStatus.NOT_MODIFIED), download, cache=cache)
    part = _wanted(request, download)
    if part is None:
        refusal = HttpResponse(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        refusal["Content-Range"] = f"bytes */{download.size}"
        return _described(refusal, download, cache=cache)
    is_whole = part.length == download.size
    status = HTTPStatus.OK if is_whole else HTTPStatus.PARTIAL_CONTENT
    response = _body(request, download, part, status=status)
    response["Content-Type"] = TYPES.get(
        PurePosixPath(download.filename).suffix.lower(), "application/octet-stream"
    )
    response["Content-Length"] = str(part.length)
    if not is_whole:
        response["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{download.size}"
    return _described(response, download, cache=cache)


def _body(request: HttpRequest, download: Download, part: Part, *, status: int) -> HttpResponseBase:
    if request.method == "HEAD":
        return HttpResponse(status=status)
    return StreamingHttpResponse(download.read(start=part.start, length=part.length), status=status)


def _described(response: HttpResponseBase, download: Download, *, cache: str) -> HttpResponseBase:
    digest = base64.b64encode(bytes.fromhex(download.sha256)).decode()
    response["ETag"] = download.etag
    response["Accept-Ranges"] = "bytes"
    response["Repr-Digest"] = f"sha-256=:{digest}:"
    response["Digest"] = f"sha-256={digest}"
    response["Cache-Control"] = cache
    return as_a_stranger(response, download.filename)


def as_a_stranger(response: HttpResponseBase, filename: str) -> HttpResponseBase:
    """So that no browser takes a file of somebody for a page of this hub."""
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    disposition = content_disposition_header(as_attachment=True, filename=filename)
    response["Content-Disposition"] = disposition or "attachment"
    return response


def _wanted(request: HttpRequest, download: Download) -> Part | None:
    """The part that is asked for; all of it without a range that we understand; None when there is no such
    part.
    """
    everything = Part(0, download.size)
    match = ONE_RANGE.match(request.headers.get("Range", ""))
    condition = request.headers.get("If-Range", download.etag)
    if match is None or condition != download.etag or match.groups() == ("", ""):
        return everything
    first, last = match.groups()
    if not first:
        length = min(int(last), download.size)
        return Part(download.size - length, length) if length else None
    start, end = int(first), min(int(last or download.size - 1), download.size - 1)
    if last and int(last) < start:
        return everything
    return Part(start, end - start + 1) if start < download.size else None
