"""Evaluations of index versions: sent and withdrawn by maintainers, read by everybody."""

from django.http import HttpRequest
from ninja import P, QueryEx, Router, Schema, Status

from hub import schemas
from hub.accounts.models import Scope
from hub.accounts.visitors import AnyVisitor, Bearer, author, reader
from hub.evaluations import queries, questions, services
from hub.evaluations.experts import known_experts, visible_rows
from hub.evaluations.models import NAME
from hub.evaluations.question_schemas import QuestionIO, QuestionsOut
from hub.evaluations.questions import Only
from hub.evaluations.schemas import EvaluationDetail, EvaluationIn, EvaluationOut
from hub.indexes import queries as indexes
from hub.library import permissions
from hub.library import queries as libraries
from hub.library.permissions import Visitor

router = Router(tags=["evaluations"], auth=AnyVisitor())
OF_VERSION = "/libraries/{slug}/versions/{number}/evaluations"
ONE = "/evaluations/{evaluation_id}"
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409), schemas.Problem)
NONE = {404: schemas.Problem}
PAGE = 50
FURTHEST = 1_000_000


class EvaluationsOut(Schema):
    """A page of them; `count` says how many there are."""

    items: list[EvaluationOut]
    count: int


@router.post(
    OF_VERSION,
    response={201: EvaluationDetail, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="send_evaluation",
)
def send_evaluation(
    request: HttpRequest, slug: str, number: int, body: EvaluationIn
) -> Status[EvaluationDetail]:
    """Record what `python -m evaluation` measured of this version, as the library's maintainer."""
    library, user = libraries.library(slug), author(request)
    permissions.require_maintain(user, library)
    made = services.record(version=indexes.version(library, number), by=user, said=body)
    return Status(201, _detail(user, made.pk))


@router.get(OF_VERSION, response={200: list[EvaluationOut], **NONE}, operation_id="evaluations")
def evaluations(request: HttpRequest, slug: str, number: int) -> list[EvaluationOut]:  # noqa: ARG001
    """What was measured of a version, newest first: a hundred at most are kept."""
    version = indexes.version(libraries.library(slug), number)
    return [EvaluationOut.of(found) for found in queries.of_version(version)]


@router.get(
    "/libraries/{slug}/evaluations",
    response={200: EvaluationsOut, **NONE},
    operation_id="library_evaluations",
)
def library_evaluations(
    request: HttpRequest,  # noqa: ARG001
    slug: str,
    limit: QueryEx[int, P(ge=1, le=PAGE)] = PAGE,
    offset: QueryEx[int, P(ge=0, le=FURTHEST)] = 0,
) -> EvaluationsOut:
    """Of each version and suite the newest evaluation, the newest version first."""
    found = queries.newest(libraries.library(slug))
    items = [EvaluationOut.of(one) for one in found[offset : offset + limit]]
    return EvaluationsOut(items=items, count=found.count())


@router.get(ONE, response={200: EvaluationDetail, **NONE}, operation_id="evaluation", url_name="evaluation")
def evaluation(request: HttpRequest, evaluation_id: int) -> EvaluationDetail:
    """One with each score of each way to answer."""
    return _detail(reader(request), evaluation_id)


@router.get(
    f"{ONE}/questions",
    response={200: QuestionsOut, **NONE},
    operation_id="evaluation_questions",
    url_name="evaluation_questions",
)
def evaluation_questions(
    request: HttpRequest,
    evaluation_id: int,
    member: QueryEx[str, P(max_length=NAME, description="of the suite")],
    only: QueryEx[Only, P(description="those where ways differ, or where `variant` was wrong")] = "all",
    variant: QueryEx[str | None, P(max_length=NAME, description="the policy, if left out")] = None,
) -> QuestionsOut:
    """Some questions of one member, each with its prompt, what each way answered, and who spoke."""
    found = queries.evaluation(evaluation_id)
    seen = questions.seen(found, member, reader(request))
    policy = found.row("policy") or found.rows[0]
    return QuestionsOut(
        member=seen.member,
        terms=found.terms,
        layers=seen.layers,
        count=len(seen.questions),
        items=[QuestionIO(**one) for one in seen.only(only, variant or policy["variant"])],
    )


@router.delete(
    f"{ONE}/questions",
    response={204: None, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="delete_evaluation_questions",
)
def delete_evaluation_questions(request: HttpRequest, evaluation_id: int) -> Status[None]:
    """Delete its questions for good, as the library's maintainer; the table stays."""
    found = queries.evaluation(evaluation_id)
    permissions.require_maintain(author(request), found.version.library)
    services.delete_questions(found)
    return Status(204, None)


@router.delete(
    ONE, response={204: None, **REFUSALS}, auth=Bearer(Scope.ADMIN), operation_id="withdraw_evaluation"
)
def withdraw_evaluation(request: HttpRequest, evaluation_id: int) -> Status[None]:
    """Withdraw it, as the library's maintainer: nobody is shown it, and its questions are gone."""
    found = queries.evaluation(evaluation_id)
    permissions.require_maintain(author(request), found.version.library)
    services.withdraw(found)
    return Status(204, None)


def _detail(visitor: Visitor, evaluation_id: int) -> EvaluationDetail:
    found = queries.evaluation(evaluation_id)
    alone = [row["variant"] for row in found.rows if row["kind"] == "expert"]
    known = known_experts(alone, visitor, found.version.library)
    return EvaluationDetail.seen(found, visible_rows(found.rows, known), questions.counts(found))
