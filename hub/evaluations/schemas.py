"""What the JSON API hears of evaluations (the document of `python -m evaluation`) and says of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from django.urls import reverse
from ninja import Schema
from pydantic import Field, StringConstraints, model_validator

from hub.evaluations.models import MODEL_ARGS, NAME, Evaluation
from hub.evaluations.question_schemas import QuestionsIn

MOST_ROWS = 500
MOST_MEMBERS = 300
MOST_SCORES = 50_000  # rows times members: about a megabyte
BOUND = 1_000_000.0
Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME, pattern=r"^[^\x00]+$")]
Args = Annotated[str, StringConstraints(max_length=MODEL_ARGS, pattern=r"^[^\x00]*$")]
Figure = Annotated[float, Field(ge=-BOUND, le=BOUND, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2_000_000_000)]


class MemberIO(Schema):
    """One column of a suite's table."""

    metric: Name
    questions: Count
    held_out: bool = Field(description="whether no adapter was trained on tasks like it")


class Way(Schema):
    """One way to answer: on average, and above the base with a 95 % interval."""

    variant: Name
    kind: Literal["base", "policy", "router", "expert"]
    mean: Figure
    above_base: Figure
    low: Figure
    high: Figure


class WayIn(Way):
    members: dict[Name, Figure] = Field(max_length=MOST_MEMBERS)


class AboutIn(Schema):
    """Where the figures are from."""

    manifest: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the version that was measured")
    harness: Name = Field(description="the harness and its version")
    model_args: Args = ""
    limit: Count | None = Field(None, description="questions of each task; all if left out")


class EvaluationIn(Schema):
    """What `python -m evaluation` writes. What else its document has (routing, each question's outcome) may
    be sent along and is not kept. Of `questions` everybody reads every word.
    """

    suite: Name
    about: AboutIn
    members: dict[Name, MemberIO] = Field(min_length=1, max_length=MOST_MEMBERS)
    rows: list[WayIn] = Field(min_length=1, max_length=MOST_ROWS)
    questions: QuestionsIn | None = Field(None, description="some of them, to be read one by one")

    @model_validator(mode="after")
    def _is_a_whole_table(self) -> Self:
        if len(self.rows) * len(self.members) > MOST_SCORES:
            raise ValueError(
                f"found {len(self.rows)} rows of {len(self.members)} members; expected at most {MOST_SCORES} "
                f"scores (leave out each expert alone: --no-singles)"
            )
        kinds = Counter(row.kind for row in self.rows)
        if kinds["base"] != 1 or kinds["policy"] > 1:
            raise ValueError(
                f"found {kinds['base']} rows of the base and {kinds['policy']} of the policy; expected 1 and "
                f"at most 1"
            )
        names = Counter(row.variant for row in self.rows)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"rows: found {twice[0]!r} more than once; expected each way once")
        for place, row in enumerate(self.rows):
            if row.members.keys() != self.members.keys():
                raise ValueError(f"rows.{place}.members: expected exactly the names in members")
            if row.low > row.high:
                raise ValueError(f"rows.{place}: found low {row.low} above high {row.high}")
        self._has_what_was_asked(set(names))
        return self

    def _has_what_was_asked(self, ways: set[str]) -> None:
        """Questions are of members of the table, and answered by its ways."""
        for member, questions in (self.questions.members if self.questions else {}).items():
            if member not in self.members:
                raise ValueError(
                    f"questions.members: found {member!r}, expected some of the names in members"
                )
            answered = {answer.variant for question in questions for answer in question.answers}
            if strangers := sorted(answered - ways):
                raise ValueError(
                    f"questions.members.{member}: found answers of {strangers[0]!r}, which has no row"
                )


class EvaluationOut(Schema):
    """An evaluation in a list: how base and policy did."""

    id: int
    library: str
    version: int
    suite: str
    by: str | None
    at: datetime
    limit: int | None
    base: Way | None
    policy: Way | None
    url: str

    @classmethod
    def of(cls, found: Evaluation) -> Self:
        return cls(**cls.said(found))

    @staticmethod
    def said(found: Evaluation) -> dict[str, Any]:
        return {
            "id": found.pk,
            "library": found.version.library.slug,
            "version": found.version.number,
            "suite": found.suite,
            "by": found.by.username if found.by else None,
            "at": found.at,
            "limit": found.limit,
            "base": found.row("base"),
            "policy": found.row("policy"),
            "url": reverse("api-v1:evaluation", args=[found.pk]),
        }


class EvaluationDetail(EvaluationOut):
    """All that is kept of one. Whoever sent it says so: the hub did not measure."""

    manifest: str
    harness: str
    model_args: str
    members: dict[str, MemberIO]
    rows: list[WayIn] = Field(description="without single experts that the visitor may not know of")
    terms: str = Field(description="why its questions may be shown; empty where none were sent")
    questions: dict[str, int] = Field(description="how many of them are kept, by member")

    @classmethod
    def seen(cls, found: Evaluation, rows: Iterable[Mapping[str, Any]], questions: dict[str, int]) -> Self:
        return cls(
            **cls.said(found),
            manifest=found.version.manifest,
            harness=found.harness,
            model_args=found.model_args,
            members=found.members,
            rows=[WayIn(**row, members=found.scores[row["variant"]]) for row in rows],
            terms=found.terms,
            questions=questions,
        )
