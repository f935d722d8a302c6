"""Every address of the wire protocol, and what it answers to."""

from django.http import HttpRequest, HttpResponseBase
from django.urls import path, re_path

from hub.errors import NotOffered
from hub.hf import (
    access,
    commits,
    files,
    identity,
    lfs,
    listing,
    oauth,
    people,
    reading,
    repositories,
    sink,
    through,
)
from hub.hf.door import on
from hub.hf.through import or_elsewhere

MODEL = "api/models/<owner>/<name>"
ONE_WORD = "api/models/<name>"  # base models of the public hub's first years
CAS = "blobs/cas/<int:user>/<int:age>"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ELSEWHERE = (
    r"^api/(?P<what>datasets|spaces|collections|papers|posts|jobs|webhooks|buckets|organizations)(?:/.*)?$"
)


def not_offered(request: HttpRequest, what: str, **names: str) -> HttpResponseBase:  # noqa: ARG001
    """What the public hub has and this one does not. Raises NotOffered."""
    raise NotOffered(f"This hub keeps adapters only; it has no {what.partition('/')[0]}.")


NOT_OFFERED = on(**dict.fromkeys(METHODS, not_offered))
MODEL_INFO = on(GET=or_elsewhere(reading.model_info, through.model_info))

urlpatterns = [
    path("api/whoami-v2", on(GET=identity.whoami)),
    path("api/agent-harnesses", on(GET=identity.agent_harnesses)),
    path("api/telemetry/<path:rest>", on(HEAD=identity.telemetry, POST=identity.telemetry)),
    path("oauth/device", on(POST=oauth.begin)),
    path("oauth/token", on(POST=oauth.token)),
    path("api/models", on(GET=listing.models)),
    path("api/models/<name>", on(GET=or_elsewhere(files.no_owner, through.model_info))),
    path(MODEL, MODEL_INFO),
    path(f"{MODEL}/revision/<path:revision>", MODEL_INFO),
    path(f"{MODEL}/tree/<path:address>", on(GET=or_elsewhere(reading.tree, through.tree))),
    path(
        f"{MODEL}/paths-info/<path:address>",
        on(POST=or_elsewhere(reading.paths_info, through.paths_info)),
    ),
    path(f"{MODEL}/refs", on(GET=or_elsewhere(reading.refs, through.refs))),
    path(f"{MODEL}/commits/<path:address>", on(GET=reading.commits)),
    path("api/repos/create", on(POST=repositories.create)),
    path("api/repos/delete", on(DELETE=repositories.delete)),
    path("api/repos/move", on(POST=repositories.move)),
    path(f"{MODEL}/settings", on(PUT=repositories.settings)),
    path(f"{MODEL}/auth-check", on(GET=repositories.auth_check)),
    path(f"{MODEL}/auth-check/write", on(GET=repositories.auth_check_write)),
    path(f"{MODEL}/like", on(POST=repositories.like, DELETE=repositories.unlike)),
    path(f"{MODEL}/branch/<path:ref>", on(POST=repositories.add_branch, DELETE=repositories.remove_branch)),
    path(f"{MODEL}/tag/<path:ref>", on(POST=repositories.add_tag, DELETE=repositories.remove_tag)),
    path(f"{MODEL}/user-access-request/handle", on(POST=access.handle)),
    path(f"{MODEL}/user-access-request/grant", on(POST=access.grant)),
    path(f"{MODEL}/user-access-request/cancel", on(POST=access.cancel)),
    path(f"{MODEL}/user-access-request/<status>", on(GET=access.requests)),
    path("<owner>/<name>/ask-access", on(POST=access.ask)),
    path("api/validate-yaml", on(POST=commits.validate_yaml)),
    path(f"{MODEL}/preupload/<path:revision>", on(POST=commits.preupload)),
    path(f"{MODEL}/commit/<path:revision>", on(POST=commits.commit)),
    path("<owner>/<name>.git/info/lfs/objects/batch", on(POST=lfs.batch)),
    path("<owner>/<name>.git/info/lfs/objects/verify", on(POST=lfs.verify)),
    path("blobs/lfs/<token>", on(PUT=lfs.put_object), name="lfs_object"),
    path("blobs/lfs/parts/<token>", on(PUT=lfs.put_part), name="lfs_part"),
    path("blobs/lfs/complete/<token>", on(POST=lfs.complete), name="lfs_complete"),
    path(f"{MODEL}/xet-write-token/<path:revision>", on(GET=sink.write_token)),
    path(f"{CAS}/v1/xorbs/default/<name>", on(POST=sink.put_xorb)),
    path(f"{CAS}/v1/shards", on(POST=sink.put_shard)),
    path(f"{CAS}/v2/shards", on(POST=sink.put_shard_line_by_line)),
    path(f"{CAS}/<path:rest>", on(GET=sink.no_chunks, HEAD=sink.no_chunks, POST=sink.no_chunks)),
    path("v1/telemetry", on(POST=identity.telemetry)),
    path(f"{ONE_WORD}/revision/<path:revision>", on(GET=or_elsewhere(files.no_owner, through.model_info))),
    path(f"{ONE_WORD}/tree/<path:address>", on(GET=or_elsewhere(files.no_owner, through.tree))),
    path(f"{ONE_WORD}/paths-info/<path:address>", on(POST=or_elsewhere(files.no_owner, through.paths_info))),
    path(f"{MODEL}/<path:what>", NOT_OFFERED),
    re_path(ELSEWHERE, NOT_OFFERED),
    path(
        "<owner>/<name>/resolve/<revision>/<path:path>",
        on(GET=or_elsewhere(files.resolve, through.resolve)),
        name="resolve",
    ),
    path("<owner>/<name>/commit/<oid>", people.commit),
    path("<owner>/<name>/tree/<path:rest>", people.files),
    path("<owner>/<name>/blob/<path:rest>", people.files),
    path("<name>/resolve/<revision>/<path:path>", on(GET=or_elsewhere(files.no_owner, through.resolve))),
]
