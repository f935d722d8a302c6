"""Who am I, and the small questions that clients ask of every hub."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.accounts import visitors
from hub.accounts.models import ApiToken, Scope
from hub.errors import NotSignedIn


def whoami(request: HttpRequest) -> JsonResponse:
    token = visitors.bearer(request, Scope.READ)
    if token is None:
        raise NotSignedIn
    user = token.user
    return JsonResponse(
        {
            "type": "user",
            "id": str(user.pk),
            "name": user.username,
            "fullname": user.get_full_name() or user.username,
            "email": user.email,
            "emailVerified": False,
            "canPay": False,
            "isPro": False,
            "avatarUrl": "",
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": _described(token)},
        }
    )


def _described(token: ApiToken) -> dict[str, str]:
    may_write = {Scope.WRITE, Scope.ADMIN} & set(token.scopes)
    role = "write" if may_write else "read"
    return {"displayName": token.name, "role": role, "createdAt": token.created_at.isoformat()}


def agent_harnesses(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """Which programs drive a client is nothing that this hub asks."""
    return JsonResponse({"standardEnvVars": [], "harnesses": {}})


def telemetry(request: HttpRequest, rest: str = "") -> HttpResponse:  # noqa: ARG001
    """Taken and forgotten."""
    return HttpResponse(status=204)
