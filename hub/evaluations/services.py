"""Recording and withdrawing evaluations."""

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from hub.accounts.models import User
from hub.errors import Conflict
from hub.evaluations.models import Evaluation, MemberQuestions
from hub.evaluations.question_schemas import QuestionsIn
from hub.evaluations.schemas import EvaluationIn
from hub.indexes.models import IndexVersion
from hub.library.models import Library

MOST_OF_A_VERSION = 100
MOST_WITH_QUESTIONS = 20  # of a library's evaluations, the newest


@transaction.atomic
def record(*, version: IndexVersion, by: User, said: EvaluationIn) -> Evaluation:
    """Keep what was measured of a published version. Raises Conflict for figures of another one, and where
    there are too many already.
    """
    if said.about.manifest != version.manifest:
        raise Conflict(
            f"about.manifest: found {said.about.manifest}, expected {version.manifest}, {version}'s: "
            f"these figures are of another version"
        )
    Library.objects.select_for_update(no_key=True).get(pk=version.library_id)
    if version.evaluations.filter(withdrawn_at=None).count() >= MOST_OF_A_VERSION:
        raise Conflict(
            f"{version} has {MOST_OF_A_VERSION} evaluations, as many as are kept; withdraw one first"
        )
    made = Evaluation.objects.create(
        version=version,
        suite=said.suite,
        by=by,
        limit=said.about.limit,
        harness=said.about.harness,
        model_args=said.about.model_args,
        members={name: member.dict() for name, member in said.members.items()},
        rows=[row.dict(exclude={"members"}) for row in said.rows],
        scores={row.variant: row.members for row in said.rows},
        policy_mean=next((row.mean for row in said.rows if row.kind == "policy"), None),
        terms=said.questions.terms if said.questions else "",
    )
    if said.questions is not None:
        _keep(made, said.questions)
    return made


@transaction.atomic
def withdraw(found: Evaluation) -> None:
    """Show it to nobody any more. The operator still sees its table; its questions are gone."""
    Evaluation.objects.filter(pk=found.pk, withdrawn_at=None).update(withdrawn_at=Now())
    delete_questions(found)


def delete_questions(found: Evaluation) -> bool:
    """Delete prompts and answers for good. False where there are none."""
    return bool(MemberQuestions.objects.filter(evaluation=found).delete()[0])


def _keep(made: Evaluation, said: QuestionsIn) -> None:
    """Beside the newest evaluations of a library there are questions; beside older ones they go."""
    MemberQuestions.objects.bulk_create(
        MemberQuestions(
            evaluation=made,
            member=member,
            layers=said.layers,
            questions=[question.dict() for question in questions],
            count=len(questions),
        )
        for member, questions in said.members.items()
    )
    with_some = Evaluation.objects.filter(
        Exists(MemberQuestions.objects.filter(evaluation=OuterRef("pk"))),
        version__library=made.version.library_id,
    )
    older = with_some.order_by("-pk").values_list("pk", flat=True)[MOST_WITH_QUESTIONS:]
    MemberQuestions.objects.filter(evaluation__in=list(older)).delete()
