"""Reports as those read them who decide about them."""

from django.db.models import Q, QuerySet

from hub.library.permissions import Visitor
from hub.reports.models import Report


def for_desk(visitor: Visitor) -> QuerySet[Report]:
    """Those of the libraries that this visitor maintains; all of them for the hub's staff. Of an adapter
    without a library yet only the staff decides.
    """
    if not visitor.is_authenticated:
        return Report.objects.none()
    mine = Q() if visitor.is_staff else Q(adapter__library__maintainer=visitor)
    return Report.objects.filter(mine).select_related(
        "adapter__owner", "adapter__library", "by", "resolved_by"
    )
