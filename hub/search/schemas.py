"""What the JSON API hears and says of a search."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Self

from ninja import Schema
from pydantic import Field

from hub.adapters.models import Adapter
from hub.search.asking import TAG
from hub.search.facets import BANDS, COUNTED, OWNER
from hub.search.finding import Found

Kind = Literal["lora", "dora", "ia3"]
Status = Literal["ready", "examined", "rejected", "quarantined", "yanked", "empty"]
By = Literal["", "words", "meaning"]
Sort = Literal["", "best", "new", "used", "downloads", "likes", "name"]


class SearchIn(Schema):
    """A search. What may be said several times means any of it; several tags mean all of them."""

    search: str = Field(default="", description="each of these words begins one of name, owner, tags or card")
    by: By = Field(
        default="",
        description="`meaning`, where the operator named an encoder: the words narrow nothing, and what is "
        "nearest to them in meaning or has them comes first, whatever `sort` says",
    )
    library: list[str] = []
    task: list[str] = []
    kind: list[Kind] = []
    rank: list[str] = Field(default=[], description=f"any of {', '.join(band.value for band in BANDS)}")
    licence: list[str] = []
    status: list[Status] = []
    owner: list[str] = []
    tag: list[str] = []
    sort: Sort = Field(default="", description="by default the best match, and without words the newest")
    page: int = Field(default=1, ge=1)
    limit: int = Field(default=30, ge=1, le=100, description="adapters of a page")


class AdapterFound(Schema):
    """An adapter as a list shows it."""

    full_name: str
    owner: str
    name: str
    library: str | None
    about: str = Field(description="the first sentences of its card")
    task: str
    kind: str = Field(description="lora, dora, ia3, or nothing before anybody knows")
    rank: int | None = Field(description="the largest of any target module")
    licence: str
    status: str = Field(description="what became of its newest release")
    private: bool
    gated: str
    downloads: int
    likes: int
    newest_at: datetime | None = Field(description="when its newest release came")

    @classmethod
    def of(cls, adapter: Adapter) -> Self:
        entry = adapter.entry
        return cls(
            full_name=adapter.full_name,
            owner=adapter.owner.username,
            name=adapter.name,
            library=adapter.library.slug if adapter.library else None,
            about=entry.about,
            task=entry.task,
            kind=entry.kind,
            rank=entry.rank,
            licence=entry.licence,
            status=entry.standing,
            private=adapter.private,
            gated=adapter.gating,
            downloads=adapter.downloads,
            likes=entry.likes,
            newest_at=entry.newest_at,
        )


class ValueCount(Schema):
    value: str
    count: int


class AdaptersFound(Schema):
    """A page of what a search finds. Counts are of what all but the facet's own choices leave. A search wants
    all tags that it names: those counts are of what each one more would leave.
    """

    total: int
    by: Literal["words", "meaning"] = Field(description="in which way these were found")
    note: str = Field(
        description="of a search by meaning: why it was by words after all, or how many are not read yet"
    )
    page: int
    pages: int
    adapters: list[AdapterFound]
    facets: dict[str, list[ValueCount]]

    @classmethod
    def of(cls, found: Found, adapters: Iterable[Adapter], *, page: int, pages: int) -> Self:
        counts = {facet.name: found.counts.of[facet.name].most_common() for facet in COUNTED}
        counts |= {OWNER: found.owners, TAG: found.tags}
        return cls(
            total=found.total,
            by="meaning" if found.is_by_meaning else "words",
            note=found.note,
            page=page,
            pages=pages,
            adapters=[AdapterFound.of(adapter) for adapter in adapters],
            facets={
                name: [ValueCount(value=value, count=count) for value, count in rows if value]
                for name, rows in counts.items()
            },
        )
