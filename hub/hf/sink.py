"""The write side of Xet: takes what the clients send and keeps whole files. Nothing is ever read from here.

Clients remember which chunks an address has, so the address holds a person and an epoch: what somebody sent
is kept for two epochs, and counted on by nobody else (docs/decisions/0018-write-only-xet.md).
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO

from django.conf import settings
from django.core import signing
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.accounts.models import User
from hub.adapters import quota
from hub.blobs import services as blobs
from hub.blobs import space
from hub.errors import Invalid, NotSignedIn, TooLarge
from hub.hf import bodies, stock, xorbs
from hub.hf.models import Xorb
from hub.hf.repositories import writable
from hub.hf.xorbs import Chunk, SentFile
from hub.limits import MIB

A_DAY = 24 * 60 * 60
SALT = "hub.hf.sink"
SCHEME = "bearer "
LARGEST_XORB = 80 * MIB
LARGEST_SHARD = 16 * MIB


def epoch() -> int:
    """Days, as long as a client's memory of what it sent is to last."""
    return int(time.time()) // A_DAY


def live() -> QuerySet[Xorb]:
    """Xorbs that clients may still count on: of this epoch and of the one before."""
    return Xorb.objects.filter(epoch__gte=epoch() - 1)


def write_token(request: HttpRequest, owner: str, name: str, revision: str) -> JsonResponse:  # noqa: ARG001
    """Where to send files to, and by what right."""
    who, _ = writable(request, owner, name)
    return JsonResponse(
        {
            "accessToken": signing.dumps(who.pk, salt=SALT),
            "exp": int(time.time()) + A_DAY,
            "casUrl": request.build_absolute_uri(f"/blobs/cas/{who.pk}/{epoch()}"),
        }
    )


def put_xorb(request: HttpRequest, user: int, age: int, name: str) -> JsonResponse:
    """Keep a bundle of chunks until the shard comes that says what they make. Raises Invalid, TooLarge."""
    sender = _sender(request, user, age)
    with bodies.received(request, most=LARGEST_XORB) as path:
        with path.open("rb") as file:
            chunks = list(xorbs.chunks_of(file))
        if not chunks or chunks[-1].end > path.stat().st_size:
            raise Invalid(f"xorb {name} ends in the middle of a chunk; please send it again")
        blob = blobs.store_file(path)
    _, is_new = Xorb.objects.update_or_create(user=sender, epoch=age, name=name, defaults={"blob": blob})
    return JsonResponse({"was_inserted": is_new})


def put_shard(request: HttpRequest, user: int, age: int) -> JsonResponse:
    """Make whole files of the chunks, and keep those. Raises Invalid, TooLarge."""
    _take(request, user, age)
    return JsonResponse({"result": 1})


def put_shard_line_by_line(request: HttpRequest, user: int, age: int) -> HttpResponse:
    """The same for clients that read how far it is, line by line; here it is done before the first line, so
    that a refusal is a status.
    """
    count = _take(request, user, age)
    lines = [{"type": "validating", "verified": count, "total": count}, {"type": "result"}]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    return HttpResponse(content, content_type="application/x-ndjson")


def _take(request: HttpRequest, user: int, age: int) -> int:
    sender = _sender(request, user, age)
    files = xorbs.files_of(b"".join(bodies.pieces(request, most=LARGEST_SHARD)))
    size, most = sum(file.size for file in files), settings.LIMITS.adapter_bytes
    if size > most:
        raise TooLarge(f"The files have {size:,} bytes; an adapter may have {most:,}.")
    # one without a digest is compared when it is named in a commit
    quota.check_room(sender, {file.sha256: file.size for file in files if file.sha256})
    space.check_room_for(size)
    with ExitStack() as opened:
        bundles = _Bundles(sender, age, opened)
        for file in files:
            _keep(sender, file, bundles)
    return len(files)


@dataclass(frozen=True)
class _Bundles:
    """The xorbs of one sender, each opened and looked through once."""

    sender: User
    age: int
    opened: ExitStack
    known: dict[str, tuple[BinaryIO, list[Chunk]]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[BinaryIO, list[Chunk]]:
        """Raises Invalid when the sender never sent it here."""
        if name not in self.known:
            xorb = Xorb.objects.filter(user=self.sender, epoch=self.age, name=name).first()
            if xorb is None:
                raise Invalid(f"xorb {name} was not sent to this address; please start the upload again")
            file: BinaryIO = self.opened.enter_context(blobs.local_path(xorb.blob_id).open("rb"))
            self.known[name] = (file, list(xorbs.chunks_of(file)))
        return self.known[name]


def _keep(sender: User, file: SentFile, bundles: _Bundles) -> None:
    with blobs.scratch_file() as path:
        with path.open("xb") as whole:
            for piece in _pieces(file, bundles):
                whole.write(piece)
        blob = blobs.store_file(path, expected=file.sha256)
    stock.bring(sender, blob)


def _pieces(file: SentFile, bundles: _Bundles) -> Iterator[bytes]:
    for segment in file.segments:
        bundle, chunks = bundles.of(segment.xorb)
        wanted = chunks[segment.first : segment.end]
        found = sum(chunk.size for chunk in wanted)
        if found != segment.size:
            raise Invalid(f"xorb {segment.xorb} gives {found:,} bytes of a file, expected {segment.size:,}")
        for chunk in wanted:
            yield xorbs.unpacked(bundle, chunk)


def no_chunks(request: HttpRequest, **names: object) -> HttpResponse:  # noqa: ARG001
    """What others sent is not told; clients then send their own."""
    return HttpResponse(status=404)


def _sender(request: HttpRequest, user: int, age: int) -> User:
    """Whose token was made for this address. Raises NotSignedIn, Invalid."""
    token = request.headers.get("Authorization", "")
    try:
        signed = signing.loads(token[len(SCHEME) :].strip(), salt=SALT, max_age=A_DAY)
    except signing.BadSignature as error:
        raise NotSignedIn("this token for sending files is a day old or was altered; upload again") from error
    sender = User.objects.filter(pk=user, is_active=True).first()
    if signed != user or sender is None:
        raise NotSignedIn("this token for sending files is somebody else's")
    if not epoch() - 1 <= age <= epoch():
        raise Invalid("this address for sending files is too old; please start the upload again")
    return sender
