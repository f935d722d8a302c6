"""Questions beside an evaluation as a visitor may read them: by member, without private experts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hub.errors import NotFound
from hub.evaluations.experts import known_experts
from hub.evaluations.models import Evaluation, MemberQuestions
from hub.library.permissions import Visitor

Only = Literal["all", "differ", "wrong"]
ONLY: tuple[Only, ...] = get_args(Only)
PRIVATE = "private"  # a name that no expert can have: theirs are owner/name
Question = Mapping[str, Any]


@dataclass(frozen=True)
class Seen:
    """The questions of one member that a visitor may see, all of them, in the order in which they came."""

    member: str
    layers: list[int]
    questions: Sequence[Question]
    kinds: Mapping[str, str]  # of ways to answer, by their names

    def only(self, which: Only, way: str) -> list[Question]:
        """Those where ways differ, or where this way was wrong."""
        if which == "differ":
            return [one for one in self.questions if self._differ(one)]
        if which == "wrong":
            return [one for one in self.questions if _is_wrong(one, way)]
        return list(self.questions)

    @property
    def ways(self) -> list[str]:
        """Everybody who answered any of them, in the order of the table."""
        answered = {answer["variant"] for one in self.questions for answer in one["answers"]}
        return [name for name in self.kinds if name in answered]

    def _differ(self, question: Question) -> bool:
        scores = {
            answer["score"] for answer in question["answers"] if self.kinds.get(answer["variant"]) != "expert"
        }
        return len(scores) > 1


def counts(found: Evaluation) -> dict[str, int]:
    """How many questions are kept of each member that has some."""
    return dict(found.questions.order_by("member").values_list("member", "count"))


def seen(found: Evaluation, member: str, visitor: Visitor) -> Seen:
    """Raises NotFound."""
    kept = MemberQuestions.objects.filter(evaluation=found, member=member).first()
    if kept is None:
        raise NotFound(f"No questions of {member[:80]!r} are kept beside evaluation {found.pk}.")
    kinds = {row["variant"]: row["kind"] for row in found.rows}
    alone = {name for name, kind in kinds.items() if kind == "expert"}
    known = known_experts(alone | _heard(kept.questions), visitor, found.version.library)
    hidden = alone - known
    questions = [_without(one, hidden, known) for one in kept.questions]
    return Seen(kept.member, kept.layers, questions, kinds)


def _heard(questions: Iterable[Question]) -> set[str]:
    return {name for one in questions for answer in one["answers"] for name in answer["shares"]}


def _without(question: Question, hidden: set[str], known: set[str]) -> Question:
    answers = [
        {
            **answer,
            "shares": _summed(answer["shares"], known),
            "by_layer": {name: row for name, row in answer["by_layer"].items() if name in known},
        }
        for answer in question["answers"]
        if answer["variant"] not in hidden
    ]
    return {**question, "answers": answers}


def _summed(shares: Mapping[str, float], known: set[str]) -> dict[str, float]:
    """With one part for all experts that must not be named."""
    private = sum(share for name, share in shares.items() if name not in known)
    named = {name: share for name, share in shares.items() if name in known}
    return {**named, PRIVATE: round(private, 4)} if private else named


def _is_wrong(question: Question, way: str) -> bool:
    """Where a metric knows more than right and wrong: whether another way did better."""
    said = next((answer for answer in question["answers"] if answer["variant"] == way), None)
    if said is None:
        return False
    if said["right"] is None:
        return bool(said["score"] < max(answer["score"] for answer in question["answers"]))
    return not said["right"]
