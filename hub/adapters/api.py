"""Adapters and releases: uploading, reading, and withdrawing."""

from django.http import HttpRequest
from django.urls import reverse
from ninja import FileEx, Form, P, Router, Status, UploadedFile

from hub import schemas
from hub.accounts import roles
from hub.accounts.models import Scope
from hub.accounts.visitors import AnyVisitor, Bearer, author, reader
from hub.adapters import permissions, queries, services, uploading
from hub.adapters.models import Release
from hub.jobs import queries as jobs
from hub.library import queries as libraries

router = Router(tags=["adapters"], auth=AnyVisitor())
REFUSALS = dict.fromkeys((400, 401, 403, 404), schemas.Problem)
UPLOAD_REFUSALS = dict.fromkeys((409, 413, 422, 507), schemas.Problem)
RELEASE = "/adapters/{owner}/{name}/releases/{revision}"


@router.post(
    "/libraries/{slug}/adapters/{name}/releases",
    response={202: schemas.ReleaseOut, **REFUSALS, **UPLOAD_REFUSALS},
    auth=Bearer(Scope.WRITE),
    operation_id="upload",
)
def upload(
    request: HttpRequest,
    slug: str,
    name: str,
    *,
    form: Form[schemas.UploadForm],
    files: FileEx[list[UploadedFile] | None, P(description="the adapter's files")] = None,  # noqa: ARG001
    archive: FileEx[UploadedFile | None, P(description="or one .zip, .tar.gz, .tgz, .tar")] = None,  # noqa: ARG001
    samples: FileEx[UploadedFile | None, P(description="rows, one JSON object a line")] = None,  # noqa: ARG001
) -> Status[schemas.ReleaseOut]:
    """Upload an adapter. The answer comes when every byte is safe; validation follows, see the `status`."""
    # The files are declared for the document only: pages and API read them from the request by the same code.
    library = libraries.library(slug)
    who = author(request)
    owner = roles.namespace(who, form.owner)
    with uploading.staged_files(request) as staged:
        release = services.receive_upload(
            owner=owner,
            by=who,
            library=library,
            name=name,
            files=staged.files,
            samples=staged.samples,
            message=form.message,
            private=form.private,
        )
    return Status(202, schemas.ReleaseOut.of(release))


@router.get(
    "/adapters/{owner}/{name}",
    response={200: schemas.AdapterOut, 404: schemas.Problem},
    operation_id="adapter",
)
def adapter(request: HttpRequest, owner: str, name: str) -> schemas.AdapterOut:
    """An adapter and its newest releases."""
    found = queries.adapter(reader(request), owner, name)
    releases = found.releases.select_related("commit__parent", "adapter__owner", "adapter__library")
    return schemas.AdapterOut.of(found, releases.defer("statistics", "fingerprint").order_by("-number")[:100])


@router.get(
    RELEASE,
    response={200: schemas.ReleaseDetail, 404: schemas.Problem},
    operation_id="release",
    url_name="release",
)
def release(request: HttpRequest, owner: str, name: str, revision: str) -> schemas.ReleaseDetail:
    """A release by its oid, or the newest by `main`: status, findings, statistics, files and the work on
    it.
    """
    return _detail(queries.release(queries.adapter(reader(request), owner, name), revision))


@router.post(
    f"{RELEASE}/yank",
    response={200: schemas.ReleaseOut, **REFUSALS},
    auth=Bearer(Scope.WRITE),
    operation_id="yank",
)
def yank(
    request: HttpRequest, owner: str, name: str, revision: str, body: schemas.Reason
) -> schemas.ReleaseOut:
    """Withdraw a release of yours: new index versions leave it out."""
    user = author(request)
    found = queries.release(queries.adapter(user, owner, name), revision)
    permissions.require_write(user, found.adapter)
    services.yank(release=found, by=user, reason=body.reason)
    return schemas.ReleaseOut.of(found)


@router.post(
    f"{RELEASE}/quarantine",
    response={200: schemas.ReleaseOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="quarantine",
)
def quarantine(
    request: HttpRequest, owner: str, name: str, revision: str, body: schemas.Reason
) -> schemas.ReleaseOut:
    """Hold a release back, as a maintainer of its library."""
    user = author(request)
    found = queries.release(queries.adapter(user, owner, name), revision)
    permissions.require_maintain(user, found.adapter)
    services.quarantine(release=found, by=user, reason=body.reason)
    return schemas.ReleaseOut.of(found)


@router.post(
    f"{RELEASE}/restore",
    response={200: schemas.ReleaseOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="restore",
)
def restore(
    request: HttpRequest, owner: str, name: str, revision: str, body: schemas.Reason
) -> schemas.ReleaseOut:
    """Take back a yank or a quarantine, as a maintainer of its library."""
    user = author(request)
    found = queries.release(queries.adapter(user, owner, name), revision)
    permissions.require_maintain(user, found.adapter)
    services.restore(release=found, by=user, reason=body.reason)
    return schemas.ReleaseOut.of(found)


def _detail(found: Release) -> schemas.ReleaseDetail:
    owner, name = found.adapter.owner.username, found.adapter.name
    current = found.library.current
    memberships = list(found.memberships.select_related("gates").order_by("since"))
    return schemas.ReleaseDetail(
        **schemas.ReleaseOut.facts(found),
        measurements=found.measurements,
        statistics=found.statistics,
        files=[
            schemas.FileOut(
                path=file.path,
                size=file.blob.size,
                sha256=file.blob.sha256,
                oid=file.blob.git_oid,
                url=reverse("resolve", args=[owner, name, found.oid, file.path]),
            )
            for file in found.commit.files.select_related("blob")
        ],
        jobs=[schemas.JobOut.of(job) for job in jobs.about(release_id=found.pk)],
        versions=[
            schemas.Membership(since=row.since, until=row.until, gates=row.gates_number)
            for row in memberships
        ],
        served=current is not None and any(row.holds(current.number) for row in memberships),
    )
