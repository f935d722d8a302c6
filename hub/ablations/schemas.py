"""What the JSON API says of ablations and contributions."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

from django.db.models import QuerySet
from django.urls import reverse
from ninja import Schema

from hub.ablations import queries
from hub.ablations.models import Ablation, Contribution
from hub.jobs.models import Job
from hub.library.permissions import Visitor
from hub.schemas import JobOut, Row

NAMED = ("release__adapter__owner__username", "release__adapter__name")


class ContributionOut(Row):
    """What the library scores with an expert less what it scores without it: nats per token (`gain`) and a
    share of exact answers, each with an interval of 95 %; on how many of the rows it was heard.
    """

    adapter: str
    release: str
    gain: float
    low: float
    high: float
    exact_gain: float
    exact_low: float
    exact_high: float
    heard: int
    at: datetime

    @classmethod
    def all_of(cls, rows: QuerySet[Contribution]) -> list[Self]:
        """Without their releases' rows: there are as many as experts in a version."""
        figures = ("gain", "low", "high", "exact_gain", "exact_low", "exact_high", "heard", "at")
        named = rows.values_list(*NAMED, "release__commit__oid", *figures)
        return [
            cls(adapter=f"{owner}/{name}", release=oid, **dict(zip(figures, said, strict=True)))
            for owner, name, oid, *said in named
        ]


class AblationOut(Schema):
    """One measurement: `score` and `base_score` are mean log-likelihoods in nats per token. `stale` says that
    another version is served now. Why rows were refused is for the library's maintainers: it is about
    lines of theirs.
    """

    id: int
    library: str
    version: int
    stale: bool
    name: str
    by: str | None
    at: datetime
    state: str
    note: str
    rows: int
    rows_sha256: str
    rows_kept: bool
    score: float | None
    base_score: float | None
    exact: float | None
    base_exact: float | None
    tokens: int
    seconds: float
    settled_at: datetime | None
    url: str

    @classmethod
    def of(cls, found: Ablation, visitor: Visitor) -> Self:
        return cls(**cls.said(found, visitor))

    @staticmethod
    def said(found: Ablation, visitor: Visitor) -> dict[str, Any]:
        same = ("name", "at", "state", "rows", "rows_sha256", "score", "base_score", "exact", "base_exact")
        library = found.version.library
        return {
            **{name: getattr(found, name) for name in (*same, "tokens", "seconds", "settled_at")},
            "note": queries.note(found, visitor),
            "id": found.pk,
            "library": library.slug,
            "version": found.version.number,
            "stale": library.current_id != found.version_id,
            "by": found.by.username if found.by else None,
            "rows_kept": found.rows_blob_id is not None,
            "url": reverse("api-v1:ablation", args=[found.pk]),
        }


class AblationDetail(AblationOut):
    """With what each expert contributes, the largest gain first, and the job that measures it. `experts` are
    left out in turn; `measured` of them have a figure that the reader may see, and `contributions` has all
    of these, or the part that was asked for.
    """

    experts: int
    measured: int
    contributions: list[ContributionOut]
    jobs: list[JobOut]

    @classmethod
    def whole(
        cls,
        found: Ablation,
        visitor: Visitor,
        *,
        experts: int,
        measured: int,
        contributions: QuerySet[Contribution],
        jobs: Iterable[Job],
    ) -> Self:
        return cls(
            **cls.said(found, visitor),
            experts=experts,
            measured=measured,
            contributions=ContributionOut.all_of(contributions),
            jobs=[JobOut.of(job) for job in jobs],
        )
