"""Recording and withdrawing evaluations."""

from django.db import transaction
from django.db.models.functions import Now

from hub.accounts.models import User
from hub.errors import Conflict
from hub.evaluations.models import Evaluation
from hub.evaluations.schemas import EvaluationIn
from hub.indexes.models import IndexVersion
from hub.library.models import Library

MOST_OF_A_VERSION = 100


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
    return Evaluation.objects.create(
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
    )


def withdraw(found: Evaluation) -> None:
    """Show it to nobody any more; the operator still sees it."""
    Evaluation.objects.filter(pk=found.pk, withdrawn_at=None).update(withdrawn_at=Now())
