"""What the JSON API hears and says of the questions that are kept beside an evaluation."""

from typing import Annotated, Self

from ninja import Schema
from pydantic import Field, StringConstraints, model_validator

from hub.evaluations.models import NAME, TERMS

MOST_OF_A_MEMBER = 50
MOST_MEMBERS = 300
MOST_ANSWERS = 32
MOST_EXPERTS = 16
MOST_LAYERS = 64
MOST_BYTES = 1 << 20  # as JSON
BOUND = 1_000_000.0
Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME, pattern=r"^[^\x00]+$")]
Terms = Annotated[str, StringConstraints(min_length=1, max_length=TERMS, pattern=r"^[^\x00]+$")]
Prompt = Annotated[str, StringConstraints(max_length=8_000, pattern=r"^[^\x00]*$")]
Text = Annotated[str, StringConstraints(max_length=1_000, pattern=r"^[^\x00]*$")]
Figure = Annotated[float, Field(ge=-BOUND, le=BOUND, allow_inf_nan=False)]
Part = Annotated[float, Field(ge=0.0, le=1.001, allow_inf_nan=False)]
Shares = Annotated[dict[Name, Part], Field(max_length=MOST_EXPERTS)]


class AnswerIO(Schema):
    """What one way answered, how it did, and who spoke while prompt and answer were read."""

    variant: Name
    score: Figure
    right: bool | None = Field(None, description="null where the metric knows more than right and wrong")
    text: Text = ""
    taken: Text = Field("", description="what of the text was compared, if that is another one")
    shares: Shares = Field({}, description="experts' parts of all mixing weight; what is missing is others'")
    by_layer: dict[Name, Annotated[list[Part], Field(max_length=MOST_LAYERS)]] = Field(
        {}, max_length=MOST_EXPERTS, description="for the first of them the mean weight at each of `layers`"
    )


class QuestionIO(Schema):
    """One question as it was asked."""

    task: Name
    question: Name = Field(description="its place in the task")
    differs: bool = Field(description="chosen because ways differ here; else by lot")
    metric: Name
    prompt: Prompt
    cut: bool = Field(default=False, description="whether the prompt was longer")
    expected: Text
    answers: list[AnswerIO] = Field(min_length=1, max_length=MOST_ANSWERS)


class QuestionsIn(Schema):
    """Some questions of some members, which anybody may read: who sends them answers for that."""

    terms: Terms = Field(description="under which licence, or of whose making, they may be shown")
    layers: list[Annotated[int, Field(ge=0, le=100_000)]] = Field([], max_length=MOST_LAYERS)
    members: dict[Name, Annotated[list[QuestionIO], Field(min_length=1, max_length=MOST_OF_A_MEMBER)]] = (
        Field(min_length=1, max_length=MOST_MEMBERS)
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for member, questions in self.members.items():
            for place, question in enumerate(questions):
                self._check(f"members.{member}.{place}", question)
        size = len(self.model_dump_json())
        if size > MOST_BYTES:
            raise ValueError(
                f"found {size:,} bytes of questions, expected at most {MOST_BYTES:,}; send fewer"
            )
        return self

    def _check(self, where: str, question: QuestionIO) -> None:
        variants = [answer.variant for answer in question.answers]
        if len(set(variants)) < len(variants):
            raise ValueError(f"{where}.answers: expected each way once")
        rows = [row for answer in question.answers for row in answer.by_layer.values()]
        if any(len(row) != len(self.layers) for row in rows):
            raise ValueError(
                f"{where}.answers: expected as many figures by layer as layers, {len(self.layers)}"
            )


class QuestionsOut(Schema):
    """The questions of one member that a visitor asked for. Experts that they may not know of are summed up
    as `private`, and their own answers left out.
    """

    member: str
    terms: str
    layers: list[int]
    count: int = Field(description="of all that are kept")
    items: list[QuestionIO]
