"""Who am I?"""

from django.http import HttpRequest
from ninja import Router

from hub import schemas
from hub.accounts.models import ApiToken, Scope
from hub.accounts.visitors import Bearer
from hub.errors import NotSignedIn

router = Router(tags=["accounts"])


@router.get("/whoami", response=schemas.WhoAmI, auth=Bearer(Scope.READ), operation_id="whoami")
def whoami(request: HttpRequest) -> schemas.WhoAmI:
    """The owner and the scopes of the token."""
    token = getattr(request, "auth", None)
    if not isinstance(token, ApiToken):
        raise NotSignedIn
    return schemas.WhoAmI.of(token)
