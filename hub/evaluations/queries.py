"""Evaluations that stand: those that nobody withdrew."""

from django.db.models import Max, QuerySet

from hub.errors import NotFound
from hub.evaluations.models import Evaluation
from hub.indexes.models import IndexVersion
from hub.library.models import Library


def of_version(version: IndexVersion) -> QuerySet[Evaluation]:
    """All of a version's, newest first."""
    return _listed().filter(version=version).order_by("-pk")


def newest(library: Library) -> QuerySet[Evaluation]:
    """Of each version and suite the newest one; the newest version first."""
    standing = Evaluation.objects.filter(version__library=library, withdrawn_at=None)
    last = standing.order_by().values("version", "suite").annotate(newest=Max("pk")).values("newest")
    return _listed().filter(pk__in=last).order_by("-version__number", "suite")


def evaluation(evaluation_id: int) -> Evaluation:
    """One with all its scores. Raises NotFound."""
    standing = Evaluation.objects.filter(withdrawn_at=None).select_related("version__library", "by")
    found = standing.filter(pk=evaluation_id).first()
    if found is None:
        raise NotFound(f"there is no evaluation {evaluation_id}")
    return found


def _listed() -> QuerySet[Evaluation]:
    standing = Evaluation.objects.filter(withdrawn_at=None)
    return standing.select_related("version__library", "by").defer("scores", "members")
