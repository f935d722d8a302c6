"""Large files by Git LFS: a question which are needed, then each whole or in parts.

Clients send the bytes without a token, so the addresses themselves are signed; they are good for a day.
"""

import math
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from pydantic import BaseModel, Field

from hub.accounts.models import User
from hub.adapters import quota
from hub.blobs import services as blobs
from hub.blobs import space
from hub.errors import Invalid, NotOffered, NotSignedIn
from hub.hf import bodies, stock
from hub.hf.door import body
from hub.hf.models import Part
from hub.hf.repositories import writable
from hub.limits import MIB

PART = 64 * MIB
A_DAY = 24 * 60 * 60
SPELLINGS = ("sha256", "sha_256")  # the latter is JavaScript's
SALT = "hub.hf.lfs"
SHA256 = r"^[0-9a-f]{64}$"
MEDIA_TYPE = "application/vnd.git-lfs+json"


class Object(BaseModel):
    oid: str = Field(pattern=SHA256)
    size: int = Field(ge=0)


class Batch(BaseModel):
    """Which files somebody is about to send."""

    operation: str
    transfers: list[str] = ["basic"]
    objects: list[Object] = Field(max_length=1000)
    hash_algo: str = "sha256"


class SentPart(BaseModel):
    partNumber: int  # noqa: N815  the protocol's word
    etag: str


class Sent(BaseModel):
    """Which parts a file consists of."""

    oid: str
    parts: list[SentPart]


class Permit(BaseModel):
    """What a signed address allows: this person may send these bytes."""

    user: int
    oid: str
    size: int
    part: int = 0

    def signed(self) -> str:
        return signing.dumps(self.model_dump(), salt=SALT, compress=True)

    @classmethod
    def read(cls, token: str) -> "Permit":
        """Raises NotSignedIn."""
        try:
            return cls(**signing.loads(token, salt=SALT, max_age=A_DAY))
        except signing.BadSignature as error:
            raise NotSignedIn(
                "this upload address is a day old or was altered; start the upload again"
            ) from error


def batch(request: HttpRequest, owner: str, name: str) -> JsonResponse:
    who, found = writable(request, owner, name)
    wanted = body(request, Batch)
    if wanted.operation != "upload" or wanted.hash_algo not in SPELLINGS:
        raise NotOffered("Large files are downloaded from /resolve/, and named by their sha256.")
    quota.check_room(found.owner, {one.oid: one.size for one in wanted.objects})
    in_parts = "multipart" in wanted.transfers
    objects = [
        _answer(request, who, one, in_parts=in_parts, repository=f"{owner}/{name}") for one in wanted.objects
    ]
    answer = {"transfer": "multipart" if in_parts else "basic", "objects": objects}
    return JsonResponse(answer, content_type=MEDIA_TYPE)


def _answer(
    request: HttpRequest, who: User, wanted: Object, *, in_parts: bool, repository: str
) -> dict[str, Any]:
    said = {"oid": wanted.oid, "size": wanted.size}
    if stock.known(who, wanted.oid):
        return said
    most = settings.LIMITS.adapter_bytes
    if wanted.size > most:
        message = f"This file has {wanted.size:,} bytes; an adapter may have {most:,}."
        return {**said, "error": {"code": 413, "message": message}}
    permit = Permit(user=who.pk, oid=wanted.oid, size=wanted.size)
    upload = _in_parts(request, permit) if in_parts and wanted.size > PART else _whole(request, permit)
    verify = {"href": request.build_absolute_uri(f"/{repository}.git/info/lfs/objects/verify")}
    return {**said, "authenticated": True, "actions": {"upload": upload, "verify": verify}}


def _whole(request: HttpRequest, permit: Permit) -> dict[str, Any]:
    return {"href": request.build_absolute_uri(reverse("lfs_object", args=[permit.signed()]))}


def _in_parts(request: HttpRequest, permit: Permit) -> dict[str, Any]:
    header = {"chunk_size": str(PART)}
    for number in range(1, math.ceil(permit.size / PART) + 1):
        size = min(PART, permit.size - (number - 1) * PART)
        part = permit.model_copy(update={"part": number, "size": size})
        header[str(number)] = request.build_absolute_uri(reverse("lfs_part", args=[part.signed()]))
    return {
        "href": request.build_absolute_uri(reverse("lfs_complete", args=[permit.signed()])),
        "header": header,
    }


def put_object(request: HttpRequest, token: str) -> HttpResponse:
    """A whole file. Raises Invalid unless it is the one that was announced."""
    permit = Permit.read(token)
    with bodies.received(request, most=permit.size) as path:
        blob = blobs.store_file(path, expected=permit.oid)
    stock.bring(User.objects.get(pk=permit.user), blob)
    return HttpResponse()


def put_part(request: HttpRequest, token: str) -> HttpResponse:
    """A part of a file; it may be sent again."""
    permit = Permit.read(token)
    with bodies.received(request, most=permit.size) as path:
        if path.stat().st_size != permit.size:
            raise Invalid(f"part {permit.part} has {path.stat().st_size:,} bytes, expected {permit.size:,}")
        blob = blobs.store_file(path)
    Part.objects.update_or_create(
        user_id=permit.user, sha256=permit.oid, number=permit.part, defaults={"blob": blob}
    )
    return HttpResponse(headers={"ETag": f'"{blob.sha256}"'})


def complete(request: HttpRequest, token: str) -> JsonResponse:
    """Put the parts together. Raises Invalid unless they make what was announced."""
    permit = Permit.read(token)
    sent = body(request, Sent)
    parts = Part.objects.filter(user=permit.user, sha256=permit.oid)
    known = {part.number: part.blob for part in parts.select_related("blob")}
    numbers = [part.partNumber for part in sent.parts]
    if numbers != list(range(1, len(numbers) + 1)) or not set(numbers) <= known.keys():
        raise Invalid(f"parts are {numbers}; expected 1 to {len(known)}, each of them sent before")
    space.check_room_for(permit.size)
    with blobs.scratch_file() as path:
        with path.open("xb") as file:
            for chunk in _joined(known[number] for number in numbers):
                file.write(chunk)
        blob = blobs.store_file(path, expected=permit.oid)
    stock.bring(User.objects.get(pk=permit.user), blob)
    parts.delete()
    return JsonResponse({}, content_type=MEDIA_TYPE)


def _joined(parts: Any) -> Iterator[bytes]:
    for blob in parts:
        yield from blobs.read(blob)


def verify(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Whether a file arrived. Raises Invalid."""
    who, _ = writable(request, owner, name)
    wanted = body(request, Object)
    blob = stock.known(who, wanted.oid)
    if blob is None or blob.size != wanted.size:
        raise Invalid(f"{wanted.oid}: {wanted.size:,} bytes of this sha256 did not arrive; send them again")
    return HttpResponse()
