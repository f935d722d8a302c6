"""Who am I, and the small questions that clients ask of every hub."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.accounts import roles, visitors
from hub.accounts.models import ApiToken, Membership, Scope
from hub.accounts.roles import Role
from hub.errors import NotSignedIn

ROLES = {Role.MEMBER: "read", Role.MAINTAINER: "write", Role.OWNER: "admin"}


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
            "orgs": [_organisation(one) for one in roles.memberships(user).select_related("organisation")],
            "auth": {"type": "access_token", "accessToken": _described(token)},
        }
    )


def _organisation(one: Membership) -> dict[str, object]:
    """With the protocol's word for the role."""
    return {
        "type": "org",
        "id": str(one.organisation_id),
        "name": one.organisation.username,
        "fullname": one.organisation.username,
        "email": None,
        "canPay": False,
        "isEnterprise": False,
        "avatarUrl": "",
        "roleInOrg": ROLES[Role(one.role)],
    }


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
