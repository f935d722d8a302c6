"""What the JSON API says and hears of exports."""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from ninja import Schema
from pydantic import Field, SecretStr

from hub.exports.models import Export
from hub.exports.services import Wish
from hub.jobs.models import Job
from hub.schemas import JobOut


class ExportIn(Schema):
    """A repository of another hub and a token that may write to it, which is forgotten when this has ended.
    Without `to`: the first hub to which this one exports.
    """

    repo: str = Field(description="owner/name there")
    token: SecretStr
    to: str = ""
    private: bool = Field(default=False, description="only into a private repository; so it is for what is")

    @property
    def wish(self) -> Wish:
        return Wish(self.repo, self.token.get_secret_value(), self.to, self.private)


class ReleaseExportIn(ExportIn):
    revision: str = Field(default="main", description="a release by its oid, or the newest")


class ExportOut(Schema):
    """What is exported, a release or a checkpoint, where to, how far it is, and what came of it."""

    id: int
    adapter: str | None
    release: str | None
    checkpoint: int | None
    endpoint: str
    repo: str
    private: bool
    status: str
    commit: str
    url: str
    note: str
    created_at: datetime
    ended_at: datetime | None
    jobs: list[JobOut]

    @classmethod
    def of(cls, export: Export, *, jobs: Iterable[Job]) -> Self:
        return cls(
            id=export.pk,
            adapter=export.release.adapter.full_name if export.release else None,
            release=export.release.oid if export.release else None,
            checkpoint=export.checkpoint_id,
            endpoint=export.endpoint,
            repo=export.repo,
            private=export.private,
            status=export.status,
            commit=export.commit,
            url=export.address,
            note=export.note,
            created_at=export.created_at,
            ended_at=export.ended_at,
            jobs=[JobOut.of(job) for job in jobs],
        )
