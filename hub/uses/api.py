"""How often experts are chosen: reported by serving processes, read by everybody."""

from django.http import HttpRequest
from ninja import Router

from hub import schemas
from hub.uses import services
from hub.uses.schemas import ReportIn, Taken
from hub.uses.signatures import SignedReport

router = Router(tags=["uses"])
REFUSALS = dict.fromkeys((400, 401, 404), schemas.Problem)


@router.post("/uses", response={200: Taken, **REFUSALS}, auth=SignedReport(), operation_id="report_uses")
def report_uses(request: HttpRequest, body: ReportIn) -> Taken:  # noqa: ARG001
    """Add up what a serving process counted; signed with the key of `manage.py report_key`."""
    return Taken(added=services.record(body))
