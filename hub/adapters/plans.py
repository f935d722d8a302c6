"""Uploads that were begun and are not finished: which files, under which name, for which library.

A plan is a small file beside the pieces of its files, and is swept away like them when nobody goes on with
it. It is what somebody is shown who comes back, on this machine or another; the bytes are found by digest.
What is to be an organisation's is shown to all who belong to it. Whether one's role allows it is asked anew
at each step; whoever lost it keeps the plan and the pieces, and may go on under their own name.
"""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from django.conf import settings
from pydantic import Field, TypeAdapter, ValidationError

from hub.accounts import names, roles
from hub.accounts.models import User
from hub.accounts.roles import Role
from hub.adapters import paths, pieces, quota, services
from hub.adapters.models import Release
from hub.errors import BadArchive, Invalid, TooLarge
from hub.library import queries as libraries

MOST = 20  # of one person; the oldest give way
ROWS = "the sample rows"


@dataclass(frozen=True)
class Planned:
    """A file that is to be sent."""

    path: str
    sha256: str
    size: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Plan:
    """What is to become a release. `rows` are sample rows, which are no file of it; `owner` names an
    organisation where it is not for the person who sends it, `mends` the release of which it is a mending:
    then `files` are the new ones among many.
    """

    library: str
    name: str
    files: tuple[Planned, ...]
    rows: Planned | None = None
    message: str = ""
    private: bool = False
    owner: str = ""
    mends: str = ""

    @property
    def everything(self) -> tuple[Planned, ...]:
        return self.files if self.rows is None else (*self.files, self.rows)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by digest: what is there twice is sent once."""
        return {file.sha256: file.size for file in self.everything}


PLAN = TypeAdapter(Plan)


@dataclass(frozen=True)
class Unfinished:
    """A plan with whose it is, under which account, and what came of it so far, in bytes."""

    plan: Plan
    person: User
    owner: User
    begun_at: datetime
    received: int
    total: int


def parsed(document: bytes) -> Plan:
    """A plan as a browser says it, in JSON. Raises Invalid."""
    try:
        return PLAN.validate_json(document)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
        raise Invalid(f"this is no plan of an upload: {said}") from error


def begin(person: User, plan: Plan) -> dict[str, tuple[int, bool]]:
    """Note what is to be sent, and say of each digest how much is here and whether that is all.

    Whatever can be refused without the bytes is refused now. Raises NotAllowed, Invalid, Conflict, NotFound,
    BadArchive, TooLarge.
    """
    owner = roles.namespace(person, plan.owner)
    library = libraries.library(plan.library)
    services.check_intention(owner=owner, library=library, name=plan.name, private=plan.private)
    findings = paths.check_paths([file.path for file in plan.files])
    if findings:
        raise BadArchive("The files cannot be accepted; the findings say why.", findings)
    _check_sizes(plan)
    here = pieces.all_received(pieces.piece(person, sha256, owner) for sha256 in plan.sizes)
    quota.check_room(owner, plan.sizes)
    _write(_place(person, owner.username, plan.name), plan)
    _forget_oldest(person)
    return {one.sha256: found for one, found in here.items()}


def finish(person: User, plan: Plan) -> Release:
    """Make the release of what came. Raises NotFound where bytes are missing, and as `receive_upload`."""
    owner = roles.namespace(person, plan.owner)
    library = libraries.library(plan.library)
    if plan.mends:
        raise Invalid(f"mends: found {plan.mends[:80]}, expected nothing; a mending is finished on its page")
    tree = {file.path: file.sha256 for file in plan.files}
    if len(tree) != len(plan.files):
        raise Invalid("files: found a path twice, expected each once")
    rows = {ROWS: plan.rows.sha256} if plan.rows else {}
    with pieces.staged(person, tree, owner) as files, pieces.staged(person, rows, owner) as samples:
        release = services.receive_upload(
            owner=owner,
            by=person,
            library=library,
            name=plan.name,
            files=files,
            samples=samples[0].source if samples else None,
            message=plan.message,
            private=plan.private,
        )
    forget(person, plan.name, plan.owner)
    return release


def forget(person: User, name: str, owner: str = "") -> None:
    """It is finished, or nobody wants it any more. Its pieces go by themselves."""
    _place(person, owner, name).unlink(missing_ok=True)


def unfinished(person: User) -> list[Unfinished]:
    """What this person began, for themselves and for organisations, the last first."""
    return _found(f"plan-{person.pk}@*.json")


def under_way(organisation: User) -> list[Unfinished]:
    """What people who may began for this organisation, the last first."""
    allowed = {one.pk for one in roles.people_of(organisation, Role.MAINTAINER)}
    return [one for one in _found(f"plan-*@{organisation.username}@*.json") if one.person.pk in allowed]


def _check_sizes(plan: Plan) -> None:
    limits = settings.LIMITS
    size = sum(file.size for file in plan.files)
    if size > limits.adapter_bytes:
        raise TooLarge(f"The files have {size:,} bytes; an adapter may have {limits.adapter_bytes:,}.")
    if plan.rows is not None and plan.rows.size > limits.samples_bytes:
        found = plan.rows.size
        raise TooLarge(f"The samples have {found:,} bytes; they may have {limits.samples_bytes:,}.")


def _place(person: User, owner: str, name: str) -> Path:
    """One for each name. Names hold nothing that a path could not, and no @."""
    whose = owner.lower() or person.username
    if not names.USERNAME.match(whose):
        raise Invalid(f"owner is {owner[:80]!r}; expected the name of an organisation")
    return settings.TEMPORARY / f"plan-{person.pk}@{whose}@{names.normalised(name)}.json"


def _found(pattern: str) -> list[Unfinished]:
    """The newest plans whose places are like this, with three questions to the database."""
    noted = [
        (at, path, plan) for at, path in _newest_first(pattern)[:MOST] if (plan := _read(path)) is not None
    ]
    persons = User.objects.in_bulk([_person_of(path) for _at, path, _plan in noted])
    owners = User.objects.in_bulk({_owner_of(path) for _at, path, _plan in noted}, field_name="username")
    found = [
        (at, plan, persons[_person_of(path)], owners[_owner_of(path)])
        for at, path, plan in noted
        if _person_of(path) in persons and _owner_of(path) in owners
    ]
    sent = [
        [pieces.piece(person, sha256, owner) for sha256 in plan.sizes] for _at, plan, person, owner in found
    ]
    here = pieces.all_received(one for files in sent for one in files)
    return [
        Unfinished(
            plan,
            person,
            owner,
            datetime.fromtimestamp(at, tz=UTC),
            received=sum(here[one][0] for one in files),
            total=sum(plan.sizes.values()),
        )
        for (at, plan, person, owner), files in zip(found, sent, strict=True)
    ]


def _person_of(path: Path) -> int:
    return int(path.name.split("@")[0].removeprefix("plan-"))


def _owner_of(path: Path) -> str:
    return path.name.split("@")[1]


def _newest_first(pattern: str) -> list[tuple[float, Path]]:
    return sorted(_noted(pattern), reverse=True)


def _noted(pattern: str) -> Iterator[tuple[float, Path]]:
    for path in settings.TEMPORARY.glob(pattern):
        with suppress(FileNotFoundError):  # finished at this moment
            yield path.stat().st_mtime, path


def _forget_oldest(person: User) -> None:
    for _at, path in _newest_first(f"plan-{person.pk}@*.json")[MOST:]:
        path.unlink(missing_ok=True)


def _write(path: Path, plan: Plan) -> None:
    """Beside its place and then renamed: nobody reads half of it."""
    draft = path.with_name(f"scratch-{secrets.token_hex(16)}")
    draft.write_bytes(PLAN.dump_json(plan))
    draft.replace(path)


def _read(path: Path) -> Plan | None:
    """None where it was finished or swept away at this moment."""
    with suppress(FileNotFoundError):
        return PLAN.validate_json(path.read_bytes())
    return None
