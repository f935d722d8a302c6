"""What the JSON API says and hears. Each `of` reads one row; nothing here decides anything."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from django.conf import settings
from django.urls import reverse
from ninja import Schema
from pydantic import BaseModel, Field, StringConstraints

from hub.accounts import models as accounts
from hub.accounts import roles
from hub.accounts.models import ApiToken
from hub.adapters import quota
from hub.adapters.models import Adapter, Release
from hub.downloads.models import MEANING
from hub.jobs.models import Job
from hub.library.models import Library
from hub.library.permissions import Visitor, may_maintain
from hub.limits import Limits


class Row(BaseModel):
    """One of thousands in an answer. A Schema could read itself from a row of the database, and asks for each
    of its fields whether it is one, when it is made and again when it is sent: most of a long answer's time.
    """


class Problem(Schema):
    """Every refusal has this shape."""

    error: str
    detail: str
    findings: list["Finding"]


class Finding(Schema):
    """One violation of one check, said so that it can be fixed."""

    check: str
    severity: Literal["error", "warning"]
    file: str
    field: str
    found: str
    expected: str
    fix: str = ""


class StorageOut(Schema):
    """Bytes that a person or an organisation keeps here, and may keep."""

    used: int
    quota: int


class WhoAmI(Schema):
    username: str
    token: str
    scopes: list[str]
    expires_at: datetime | None
    storage: StorageOut
    organisations: dict[str, str] = Field(description="those that you belong to: your role in each")

    @classmethod
    def of(cls, token: ApiToken) -> Self:
        storage = quota.storage_of(token.user)
        return cls(
            username=token.user.username,
            token=token.name,
            scopes=token.scopes,
            expires_at=token.expires_at,
            storage=StorageOut(used=storage.used, quota=storage.quota),
            organisations=dict(roles.memberships(token.user).values_list("organisation__username", "role")),
        )


class OrganisationOut(Schema):
    """An organisation as those see it who belong to it."""

    name: str
    role: str = Field(description="yours; `maintainer` and `owner` upload for it")
    storage: StorageOut

    @classmethod
    def of(cls, mine: accounts.Membership) -> Self:
        storage = quota.storage_of(mine.organisation)
        kept = StorageOut(used=storage.used, quota=storage.quota)
        return cls(name=mine.organisation.username, role=mine.role, storage=kept)


class LimitsOut(Schema):
    """What an upload may weigh, in bytes and counts."""

    archive_bytes: int
    adapter_bytes: int
    members: int
    samples_bytes: int

    @classmethod
    def of(cls, limits: Limits) -> Self:
        return cls(
            archive_bytes=limits.archive_bytes,
            adapter_bytes=limits.adapter_bytes,
            members=limits.members,
            samples_bytes=limits.samples_bytes,
        )


OUR_FAULT = "The hub could not finish this; its operator can see why and try it again."
Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]  # PostgreSQL keeps no NUL


class JobOut(Schema):
    """How far a job is. Why one failed is for the operator: the reason may name places on the machine."""

    id: int
    kind: str
    state: str
    attempt: int
    progress_done: int
    progress_total: int
    progress_note: str
    error: str
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.pk,
            kind=job.kind,
            state=job.state,
            attempt=job.attempt,
            progress_done=job.progress_done,
            progress_total=job.progress_total,
            progress_note=job.progress_note,
            error=OUR_FAULT if job.error else "",
            created_at=job.created_at,
            finished_at=job.finished_at,
        )


class LibraryOut(Schema):
    slug: str
    name: str
    description: str
    base_source: str = Field(
        description="a hub id, or the name of a folder on the workers (to a maintainer: its path)"
    )
    base_revision: str
    base_digest: str
    status: str
    policy: dict[str, Any]
    auto_promote: bool
    encoder: dict[str, Any] | None = Field(description="what reads prompts for query routers; null: the base")
    current: int | None
    serving_url: str = Field(description="where its served model answers")

    @classmethod
    def of(cls, library: Library, *, reader: Visitor) -> Self:
        open_to = may_maintain(reader, library)
        return cls(
            slug=library.slug,
            name=library.name,
            description=library.description,
            base_source=library.base_source if open_to else library.public_base,
            base_revision=library.base_revision,
            base_digest=library.base_digest,
            status=library.status,
            policy=library.policy,
            auto_promote=library.auto_promote,
            encoder=library.encoder if open_to else library.public_encoder,
            current=library.current.number if library.current else None,
            serving_url=settings.SERVING_URL,
        )


class LibraryDetail(LibraryOut):
    base_spec: dict[str, Any] | None
    jobs: list[JobOut]


class FileOut(Schema):
    path: str
    size: int
    sha256: str
    oid: str
    url: str


class ReleaseOut(Schema):
    """A release and how far it is. `versions` says in which index versions it is: from `since` until before
    `until`.
    """

    adapter: str
    library: str
    oid: str
    tree_oid: str
    parent: str | None
    number: int
    message: str
    author: str
    status: str
    created_at: datetime
    settled_at: datetime | None
    yanked_at: datetime | None
    quarantined_at: datetime | None
    reason: str
    findings: list[Finding]
    url: str

    @classmethod
    def facts(cls, release: Release) -> dict[str, Any]:
        """Everything above as keyword arguments."""
        commit, adapter = release.commit, release.adapter
        return {
            "adapter": adapter.full_name,
            "library": release.library.slug,
            "oid": commit.oid,
            "tree_oid": commit.tree_oid,
            "parent": commit.parent.oid if commit.parent else None,
            "number": release.number,
            "message": commit.message,
            "author": adapter.owner.username,
            "status": release.status,
            "created_at": release.created_at,
            "settled_at": release.settled_at,
            "yanked_at": release.yanked_at,
            "quarantined_at": release.quarantined_at,
            "reason": release.reason,
            "findings": release.findings,
            "url": reverse("api-v1:release", args=[adapter.owner.username, adapter.name, commit.oid]),
        }

    @classmethod
    def of(cls, release: Release) -> Self:
        return cls(**cls.facts(release))


class Membership(Schema):
    since: int
    until: int | None
    gates: int | None


class ReleaseDetail(ReleaseOut):
    measurements: dict[str, Any]
    statistics: dict[str, Any]
    files: list[FileOut]
    jobs: list[JobOut]
    versions: list[Membership]
    served: bool = Field(description="a member of the version that the library serves now")


class AdapterOut(Schema):
    full_name: str
    owner: str
    name: str
    library: str | None = Field(description="null until a first commit holds an adapter")
    private: bool
    gated: str = Field(description="who may download its files: '' everybody, 'auto', 'manual'")
    created_at: datetime
    downloads: int = Field(description=f"of the last 30 days; {MEANING}")
    downloads_all_time: int
    releases: list[ReleaseOut]

    @classmethod
    def of(cls, adapter: Adapter, releases: Iterable[Release]) -> Self:
        return cls(
            full_name=adapter.full_name,
            owner=adapter.owner.username,
            name=adapter.name,
            library=adapter.library.slug if adapter.library else None,
            private=adapter.private,
            gated=adapter.gating,
            created_at=adapter.created_at,
            downloads=adapter.downloads,
            downloads_all_time=adapter.downloads_all_time,
            releases=[ReleaseOut.of(release) for release in releases],
        )


class UploadForm(Schema):
    """What goes with the files of an upload."""

    message: Text = ""
    private: bool = Field(default=False, description="seen and heard by you and whom you invite")
    owner: str = Field(default="", description="an organisation that you upload for; without one, you")
    paths: list[str] = Field(default_factory=list, description="one for each of `files`, in the same order")


class Reason(Schema):
    reason: Text = ""
