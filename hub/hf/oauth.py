"""`hf auth login`: the two questions of a program that wants to be signed in (RFC 8628)."""

from django.http import HttpRequest, JsonResponse
from django.urls import reverse

from hub.accounts import devices
from hub.accounts.addresses import address

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
UNNAMED = "a Hugging Face client"


def begin(request: HttpRequest) -> JsonResponse:
    """A code for the program and one for the person."""
    try:
        invitation = devices.ask(_program(request), address=address(request))
    except devices.TooManyWaiting as error:
        return _refused(error.code, str(error), status=503)
    page = request.build_absolute_uri(reverse("device"))
    return JsonResponse(
        {
            "device_code": invitation.device_code,
            "user_code": invitation.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?code={invitation.user_code}",
            "interval": devices.INTERVAL,
            "expires_in": int(devices.LIFE.total_seconds()),
        }
    )


def token(request: HttpRequest) -> JsonResponse:
    """May it come in? The answer is in OAuth's words, the token among them once somebody said yes."""
    grant = request.POST.get("grant_type", "")
    if grant != GRANT:
        return _refused(
            "unsupported_grant_type", f"found {grant or 'none'}; this hub signs programs in by {GRANT}"
        )
    try:
        _, secret = devices.take(request.POST.get("device_code", ""))
    except devices.NotYet as error:
        return _refused(error.code, str(error))
    life = int(devices.TOKEN_LIFE.total_seconds())
    answer = JsonResponse({"access_token": secret, "token_type": "bearer", "expires_in": life})
    answer["Cache-Control"] = "no-store"
    return answer


def _program(request: HttpRequest) -> str:
    """What it calls itself, up to the first semicolon: `huggingface_hub/1.2; python/3.11; ...`."""
    said = request.headers.get("User-Agent", "").partition(";")[0].strip()
    return "".join(letter for letter in said if letter.isprintable()) or UNNAMED


def _refused(word: str, sentence: str, *, status: int = 400) -> JsonResponse:
    return JsonResponse({"error": word, "error_description": sentence}, status=status)
