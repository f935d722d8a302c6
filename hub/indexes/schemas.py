"""What the JSON API says and hears of index versions, promotions and composed checkpoints."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from django.urls import reverse
from ninja import Schema
from pydantic import Field, StringConstraints

from hub.adapters.models import Release
from hub.indexes import guests, passes
from hub.indexes.models import ComposedCheckpoint, IndexMember, IndexVersion, Promotion
from hub.jobs.models import Job
from hub.library.models import public_encoder
from hub.schemas import FileOut, JobOut, Row, Text


class Member(Row):
    adapter: str
    release: str
    number: int

    @classmethod
    def of(cls, release: Release) -> Self:
        return cls(adapter=release.adapter.full_name, release=release.oid, number=release.number)


class VersionOut(Schema):
    library: str
    number: int
    status: str
    policy: dict[str, Any]
    encoder: dict[str, Any] | None = Field(description="what reads prompts for query routers; null: the base")
    base_digest: str
    manifest: str
    size: int
    expert_count: int
    published_at: datetime | None

    @classmethod
    def of(cls, version: IndexVersion) -> Self:
        return cls(
            library=version.library.slug,
            number=version.number,
            status=version.status,
            policy=version.policy,
            encoder=public_encoder(version.encoder),
            base_digest=version.base_digest,
            manifest=version.manifest,
            size=version.size,
            expert_count=version.expert_count,
            published_at=version.published_at,
        )


class VersionsOut(Schema):
    """A page of them; `count` says how many there are."""

    items: list[VersionOut]
    count: int


class VersionDetail(VersionOut):
    experts: list[Member]
    classifier: dict[str, Any] | None


class ChangeOut(Schema):
    """A member that became another release, or the same one with other gates (by number; null: none) or
    another introduction to query routers.
    """

    adapter: str
    old: str
    new: str
    old_gates: int | None
    new_gates: int | None
    introduced_anew: bool

    @classmethod
    def of(cls, before: IndexMember, after: IndexMember) -> Self:
        return cls(
            adapter=after.release.adapter.full_name,
            old=before.release.oid,
            new=after.release.oid,
            old_gates=before.gates_number,
            new_gates=after.gates_number,
            introduced_anew=before.profile_digest != after.profile_digest,
        )


class DiffOut(Schema):
    old: int
    new: int
    added: list[Member]
    removed: list[Member]
    changed: list[ChangeOut]


class PromoteIn(Schema):
    """Which version is to be served, and why: whoever reads the record later has only that."""

    number: int = Field(ge=1, le=2_000_000_000)
    reason: Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1)]


class PromotionOut(Schema):
    library: str
    number: int
    by: str | None
    reason: str
    at: datetime

    @classmethod
    def of(cls, promotion: Promotion) -> Self:
        return cls(
            library=promotion.version.library.slug,
            number=promotion.version.number,
            by=promotion.by.username if promotion.by else None,
            reason=promotion.reason,
            at=promotion.at,
        )


class GuestsIn(Schema):
    experts: list[Text] = Field(
        default_factory=list, max_length=guests.MOST, description="by owner/name; all if left out"
    )


class GuestsOut(Schema):
    """Private experts of a library that the caller may ask its model with, and the list that says so."""

    token: str | None = Field(description="for the header X-Fletch-Private; null where there are none")
    expires_at: datetime
    experts: list[Member]

    @classmethod
    def of(cls, found: guests.GuestList) -> Self:
        experts = [Member.of(release) for release in found.releases]
        return cls(token=found.token, expires_at=found.expires_at, experts=experts)


class PassIn(Schema):
    everywhere: bool = Field(default=False, description="for every library of this hub, not this one alone")


class PassOut(Schema):
    """A pass for the serving processes, and what it says."""

    token: str = Field(description="for the header X-Fletch-Pass, or as the API key of a client of OpenAI's")
    expires_at: datetime
    libraries: list[str] | None = Field(description="null: all of this hub")
    answers_at_once: int | None = Field(description="null: no limit")
    tokens_per_minute: int | None = Field(description="read and written; null: no limit")

    @classmethod
    def of(cls, found: passes.Pass) -> Self:
        return cls(
            token=found.token,
            expires_at=found.expires_at,
            libraries=None if found.libraries is None else list(found.libraries),
            answers_at_once=found.answers,
            tokens_per_minute=found.tokens_per_minute,
        )


class CheckpointIn(Schema):
    kind: Literal["routed", "adapter", "merged"]
    version: int | None = Field(None, ge=1, le=2_000_000_000, description="the served one if left out")
    experts: list[str] = Field(default_factory=list, max_length=10_000, description="all if left out")
    policy: dict[str, Any] | None = Field(
        None,
        description="for the kind routed: router, top_k, shortlist, where they are not the version's own",
    )
    rank: int | None = Field(None, description="for the kind adapter")
    bits: int | None = Field(
        None,
        description="for the kind merged, 8 or 4: of each weight, rounded; as the base has it if left out",
    )
    method: str | None = Field(None, description="how adapter and merged are merged; mean if left out")
    weights: dict[str, float] | None = Field(None, description="by expert; equal shares if left out")
    scale: float | None = Field(None, description="multiplies the merged update; 1 if left out")
    density: float | None = Field(None, description="share of entries kept (magnitude, ties, dare-...)")
    seed: int | None = Field(None, description="draws which entries are kept (dare-...); 0 if left out")


class DifferenceOut(Schema):
    """Of a rounded model from the unrounded one, over tokens that the latter drew from itself."""

    tokens: int
    kl_mean: float = Field(description="Kullback-Leibler divergence of what comes next, in nats, a token")
    kl_largest: float
    same_likeliest: float = Field(
        description="of tokens: the share after which the same next one is likeliest"
    )


class RoundingOut(Schema):
    """How the weights of a merged checkpoint were rounded, and what that changed."""

    bits: int
    group: int | None = Field(description="numbers of a row that share a scale; null: the whole row")
    format: str
    bytes: int
    unquantised_bytes: int
    difference: DifferenceOut


class CheckpointOut(Schema):
    id: int
    library: str
    version: int
    kind: str
    options: dict[str, Any]
    status: str
    archive_digest: str
    archive_size: int
    rounding: RoundingOut | None = Field(description="null where no weights were rounded, or not yet")
    expires_at: datetime | None
    files: list[FileOut]
    jobs: list[JobOut]
    url: str
    download_url: str | None

    @classmethod
    def of(cls, checkpoint: ComposedCheckpoint, *, jobs: Iterable[Job]) -> Self:
        key = checkpoint.pk
        is_ready = checkpoint.status == ComposedCheckpoint.Status.READY
        files = checkpoint.files.select_related("blob")
        return cls(
            id=key,
            library=checkpoint.library.slug,
            version=checkpoint.version.number,
            kind=checkpoint.kind,
            options=checkpoint.options,
            status=checkpoint.status,
            archive_digest=checkpoint.archive_digest,
            archive_size=checkpoint.archive_size,
            rounding=checkpoint.rounding,
            expires_at=checkpoint.expires_at,
            files=[
                FileOut(
                    path=file.path,
                    size=file.blob.size,
                    sha256=file.blob.sha256,
                    oid=file.blob.git_oid,
                    url=reverse("checkpoint_file", args=[key, file.path]),
                )
                for file in files
            ],
            jobs=[JobOut.of(job) for job in jobs],
            url=reverse("api-v1:checkpoint", args=[key]),
            download_url=reverse("checkpoint_download", args=[key]) if is_ready else None,
        )
