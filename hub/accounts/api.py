"""Who am I, and what am I to an organisation?"""

from django.http import HttpRequest
from ninja import Router

from hub import schemas
from hub.accounts import roles
from hub.accounts.models import ApiToken, Scope
from hub.accounts.visitors import Bearer, author
from hub.errors import NotAllowed, NotSignedIn

router = Router(tags=["accounts"])


@router.get("/whoami", response=schemas.WhoAmI, auth=Bearer(Scope.READ), operation_id="whoami")
def whoami(request: HttpRequest) -> schemas.WhoAmI:
    """The owner and the scopes of the token."""
    token = getattr(request, "auth", None)
    if not isinstance(token, ApiToken):
        raise NotSignedIn
    return schemas.WhoAmI.of(token)


@router.get(
    "/organisations/{name}",
    response={200: schemas.OrganisationOut, 401: schemas.Problem, 403: schemas.Problem},
    auth=Bearer(Scope.READ),
    operation_id="organisation",
)
def organisation(request: HttpRequest, name: str) -> schemas.OrganisationOut:
    """An organisation that you belong to: your role in it, and what it keeps here."""
    found = roles.memberships(author(request)).filter(organisation__username=name.lower())
    mine = found.select_related("organisation").first()
    if mine is None:
        raise NotAllowed(f"you do not belong to an organisation {name[:80]}")
    return schemas.OrganisationOut.of(mine)
