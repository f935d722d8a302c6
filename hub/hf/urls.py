"""Every address of the wire protocol, and what it answers to."""

from django.http import HttpRequest, HttpResponseBase
from django.urls import path, re_path

from hub.errors import NotOffered
from hub.hf import files, identity, listing, people, reading
from hub.hf.door import on

MODEL = "api/models/<owner>/<name>"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ELSEWHERE = (
    r"^api/(?P<what>datasets|spaces|collections|papers|posts|jobs|webhooks|buckets|organizations)(?:/.*)?$"
)


def not_offered(request: HttpRequest, what: str, **names: str) -> HttpResponseBase:  # noqa: ARG001
    """What the public hub has and this one does not. Raises NotOffered."""
    raise NotOffered(f"This hub keeps adapters only; it has no {what.partition('/')[0]}.")


NOT_OFFERED = on(**dict.fromkeys(METHODS, not_offered))

urlpatterns = [
    path("api/whoami-v2", on(GET=identity.whoami)),
    path("api/agent-harnesses", on(GET=identity.agent_harnesses)),
    path("api/telemetry/<path:rest>", on(HEAD=identity.telemetry, POST=identity.telemetry)),
    path("api/models", on(GET=listing.models)),
    path("api/models/<name>", on(GET=files.no_owner)),
    path(MODEL, on(GET=reading.model_info)),
    path(f"{MODEL}/revision/<path:revision>", on(GET=reading.model_info)),
    path(f"{MODEL}/tree/<path:address>", on(GET=reading.tree)),
    path(f"{MODEL}/paths-info/<path:address>", on(POST=reading.paths_info)),
    path(f"{MODEL}/refs", on(GET=reading.refs)),
    path(f"{MODEL}/commits/<path:address>", on(GET=reading.commits)),
    path(f"{MODEL}/<path:what>", NOT_OFFERED),
    re_path(ELSEWHERE, NOT_OFFERED),
    path("<owner>/<name>/resolve/<revision>/<path:path>", on(GET=files.resolve), name="resolve"),
    path("<owner>/<name>/commit/<oid>", people.commit),
    path("<owner>/<name>/tree/<path:rest>", people.files),
    path("<owner>/<name>/blob/<path:rest>", people.files),
    path("<name>/resolve/<revision>/<path:path>", on(GET=files.no_owner)),
]
