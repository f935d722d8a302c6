"""Uploads that were begun and are not finished: which files, under which name, for which library.

A plan is a small file beside the pieces of its files, and is swept away like them when nobody goes on with
it. It is what somebody is shown who comes back, on this machine or another; the bytes are found by digest.
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

from hub.accounts import names
from hub.accounts.models import User
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
    """What is to become a release. `rows` are sample rows, which are no file of it."""

    library: str
    name: str
    files: tuple[Planned, ...]
    rows: Planned | None = None
    message: str = ""
    private: bool = False

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
    """A plan with what came of it so far, in bytes."""

    plan: Plan
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


def begin(owner: User, plan: Plan) -> dict[str, tuple[int, bool]]:
    """Note what is to be sent, and say of each digest how much is here and whether that is all.

    Whatever can be refused without the bytes is refused now. Raises Invalid, Conflict, NotFound, BadArchive,
    TooLarge.
    """
    library = libraries.library(plan.library)
    services.check_intention(owner=owner, library=library, name=plan.name, private=plan.private)
    findings = paths.check_paths([file.path for file in plan.files])
    if findings:
        raise BadArchive("The files cannot be accepted; the findings say why.", findings)
    _check_sizes(plan)
    here = pieces.all_received(owner, plan.sizes)
    quota.check_room(owner, plan.sizes)
    _write(_place(owner, plan.name), plan)
    _forget_oldest(owner)
    return here


def finish(owner: User, plan: Plan) -> Release:
    """Make the release of what came. Raises NotFound where bytes are missing, and as `receive_upload`."""
    library = libraries.library(plan.library)
    tree = {file.path: file.sha256 for file in plan.files}
    if len(tree) != len(plan.files):
        raise Invalid("files: found a path twice, expected each once")
    rows = {ROWS: plan.rows.sha256} if plan.rows else {}
    with pieces.staged(owner, tree) as files, pieces.staged(owner, rows) as samples:
        release = services.receive_upload(
            owner=owner,
            library=library,
            name=plan.name,
            files=files,
            samples=samples[0].source if samples else None,
            message=plan.message,
            private=plan.private,
        )
    forget(owner, plan.name)
    return release


def forget(owner: User, name: str) -> None:
    """It is finished, or nobody wants it any more. Its pieces go by themselves."""
    _place(owner, name).unlink(missing_ok=True)


def unfinished(owner: User) -> list[Unfinished]:
    """What this person began, the last first."""
    found = [(at, plan) for at, path in _newest_first(owner)[:MOST] if (plan := _read(path)) is not None]
    here = pieces.all_received(owner, [sha256 for _at, plan in found for sha256 in plan.sizes])
    return [
        Unfinished(
            plan,
            datetime.fromtimestamp(at, tz=UTC),
            received=sum(here[sha256][0] for sha256 in plan.sizes),
            total=sum(plan.sizes.values()),
        )
        for at, plan in found
    ]


def _check_sizes(plan: Plan) -> None:
    limits = settings.LIMITS
    size = sum(file.size for file in plan.files)
    if size > limits.adapter_bytes:
        raise TooLarge(f"The files have {size:,} bytes; an adapter may have {limits.adapter_bytes:,}.")
    if plan.rows is not None and plan.rows.size > limits.samples_bytes:
        found = plan.rows.size
        raise TooLarge(f"The samples have {found:,} bytes; they may have {limits.samples_bytes:,}.")


def _place(owner: User, name: str) -> Path:
    """One for each name, and names hold nothing that a path could not."""
    return settings.TEMPORARY / f"plan-{owner.pk}-{names.normalised(name)}.json"


def _newest_first(owner: User) -> list[tuple[float, Path]]:
    return sorted(_noted(owner), reverse=True)


def _noted(owner: User) -> Iterator[tuple[float, Path]]:
    for path in settings.TEMPORARY.glob(f"plan-{owner.pk}-*.json"):
        with suppress(FileNotFoundError):  # finished at this moment
            yield path.stat().st_mtime, path


def _forget_oldest(owner: User) -> None:
    for _at, path in _newest_first(owner)[MOST:]:
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
