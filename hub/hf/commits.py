"""Before a commit, and the commit itself: a stream of lines, each a file or a deletion."""

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Literal

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from hub.accounts.models import User
from hub.adapters import commits, history, paths, quota
from hub.adapters.cards import read_card
from hub.adapters.commits import Change, Put, Remove, RemoveFolder
from hub.adapters.models import Adapter, Commit
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.errors import BadArchive, Invalid, NoSuchRevision, NotOffered, TooLarge
from hub.hf import bodies, describing, stock
from hub.hf.door import body, is_true
from hub.hf.repositories import writable
from hub.library.queries import fits_somewhere
from hub.limits import MIB

LONGEST_LINE = 8 * MIB
MOST_CHANGES = 10_000


class Announced(BaseModel):
    path: str
    size: int = Field(ge=0)


class Announcement(BaseModel):
    """The files that are about to be sent."""

    files: list[Announced] = Field(max_length=MOST_CHANGES)


class Header(BaseModel):
    """What is said of a commit."""

    summary: str = ""
    description: str = ""
    parentCommit: str = ""  # noqa: N815  the protocol's word

    @property
    def message(self) -> str:
        return f"{self.summary}\n\n{self.description}".strip()


class SmallFile(BaseModel):
    path: str
    content: str
    encoding: Literal["base64", "utf-8"] = "base64"


class LargeFile(BaseModel):
    path: str
    oid: str
    algo: Literal["sha256"] = "sha256"


class Place(BaseModel):
    path: str


class HeaderLine(BaseModel):
    key: Literal["header"]
    value: Header


class FileLine(BaseModel):
    key: Literal["file"]
    value: SmallFile


class LargeFileLine(BaseModel):
    key: Literal["lfsFile"]
    value: LargeFile


class DeletedFileLine(BaseModel):
    key: Literal["deletedFile"]
    value: Place


class DeletedFolderLine(BaseModel):
    key: Literal["deletedFolder"]
    value: Place


Line = HeaderLine | FileLine | LargeFileLine | DeletedFileLine | DeletedFolderLine
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="key")])


class Card(BaseModel):
    content: str


def validate_yaml(request: HttpRequest) -> JsonResponse:
    """What will be read of a card, said before it is sent. Anybody may ask, and the answer is always JSON."""
    card = read_card(body(request, Card).content.encode(errors="replace"))
    if card.complaint:
        return JsonResponse({"errors": [{"message": card.complaint}], "warnings": []}, status=400)
    said = [*([card.note] if card.note else []), *_doubts(card.front_matter)]
    warnings = [{"message": f"README.md: {each}"} for each in said]
    return JsonResponse({"errors": [], "warnings": warnings})


def _doubts(front_matter: dict[str, object]) -> Iterator[str]:
    base = front_matter.get("base_model")
    bases = [name for name in (base if isinstance(base, list) else [base]) if isinstance(name, str)]
    if bases and not fits_somewhere(bases):
        yield f"base_model is {', '.join(bases)}, and no library of this hub grows on a base of that name"


def preupload(request: HttpRequest, owner: str, name: str, revision: str) -> JsonResponse:
    """How each file is to be sent, and what is there now, so that clients send nothing twice."""
    _refuse_pull_requests(request)
    _, found = writable(request, owner, name)
    head = _head(found, revision)
    wanted = body(request, Announcement)
    _check_announced(wanted)
    tree = history.tree_of(head)
    # clients say no digest: what has the same size is taken for the same, until the commit
    new = [file for file in wanted.files if file.path not in tree or tree[file.path].size != file.size]
    quota.check_room_for(found.owner, sum(file.size for file in new))
    return JsonResponse({"files": [_advice(file, tree.get(file.path)) for file in wanted.files]})


def _check_announced(wanted: Announcement) -> None:
    """Raises BadArchive, TooLarge before anything is sent."""
    findings = [finding for file in wanted.files for finding in paths.check_path(file.path)]
    if findings:
        raise BadArchive("These files cannot be accepted.", findings)
    size, most = sum(file.size for file in wanted.files), settings.LIMITS.adapter_bytes
    if size > most:
        raise TooLarge(f"The files have {size:,} bytes; an adapter may have {most:,}.")


def _advice(file: Announced, there: Blob | None) -> dict[str, object]:
    mode = "lfs" if file.size >= describing.LARGE else "regular"
    known = {"oid": describing.etag(there)} if there else {}
    return {"path": file.path, "uploadMode": mode, "shouldIgnore": False, **known}


def commit(request: HttpRequest, owner: str, name: str, revision: str) -> JsonResponse:
    """Take a commit line by line; small files are stored as they come. Raises what `commits.commit` does."""
    _refuse_pull_requests(request)
    who, found = writable(request, owner, name)
    _head(found, revision)
    header, changes = _read(request, who)
    made = commits.commit(
        adapter=found,
        by=who,
        branch=_branch(revision),
        changes=changes,
        message=header.message,
        parent=header.parentCommit,
    )
    return JsonResponse(
        {
            "success": True,
            "commitOid": made.oid,
            "commitUrl": request.build_absolute_uri(f"/{found.full_name}/commit/{made.oid}"),
            "hookOutput": "",
        }
    )


def _read(request: HttpRequest, who: User) -> tuple[Header, list[Change]]:
    header, changes = Header(), list[Change]()
    most = settings.LIMITS.request_bytes
    for number, line in enumerate(bodies.lines(request, longest=LONGEST_LINE, most=most), start=1):
        if not line.strip():
            continue
        parsed = _parsed(line, number)
        if isinstance(parsed, HeaderLine):
            header = parsed.value
        else:
            changes.append(_change(parsed, who))
        if len(changes) > MOST_CHANGES:
            raise TooLarge(f"A commit may change {MOST_CHANGES:,} files; this one changes more.")
    return header, changes


def _parsed(line: bytes, number: int) -> Line:
    try:
        return LINE.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Invalid(f"line {number} of the commit, {where or 'as a whole'}: {first['msg']}") from error


def _change(line: FileLine | LargeFileLine | DeletedFileLine | DeletedFolderLine, who: User) -> Change:
    path = line.value.path
    match line:
        case FileLine(value=file):
            findings = paths.check_path(path)
            if findings:
                raise BadArchive("This file cannot be accepted.", findings)
            return Put(path, _stored(file))
        case LargeFileLine(value=large):
            blob = stock.known(who, large.oid)
            if blob is None:
                raise Invalid(f"{path}: no file with the sha256 {large.oid} was sent by you; send it first")
            return Put(path, blob)
        case DeletedFileLine():
            return Remove(path)
        case DeletedFolderLine():
            return RemoveFolder(path)


def _stored(file: SmallFile) -> Blob:
    try:
        content = (
            file.content.encode()
            if file.encoding == "utf-8"
            else base64.b64decode(file.content, validate=True)
        )
    except binascii.Error as error:
        raise Invalid(f"{file.path}: field content is not base64: {error}") from error
    with blobs.scratch_file() as place:
        place.write_bytes(content)
        return blobs.store_file(place)


def _head(found: Adapter, revision: str) -> Commit:
    """What the branch of an address points at. Raises NoSuchRevision."""
    head = history.head(found, _branch(revision))
    if head is None:
        raise NoSuchRevision(f"{found.full_name} has no branch {revision}; commits are made on branches")
    return head


def _branch(revision: str) -> str:
    return revision.removeprefix("refs/heads/")


def _refuse_pull_requests(request: HttpRequest) -> None:
    if is_true(request, "create_pr"):
        raise NotOffered("There are no pull requests here: commit to a branch of your own adapter instead.")
