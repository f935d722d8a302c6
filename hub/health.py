"""For load balancers and supervisors: is this process alive, and can it do its work?"""

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.blobs import services as blobs


def alive(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def ready(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """The process can take an upload: database reached, schema current, blobs writable. 503 and the reasons
    if not.
    """
    found = complaints()
    status = 503 if any(found.values()) else 200
    return JsonResponse({part: complaint or "ok" for part, complaint in found.items()}, status=status)


def complaints() -> dict[str, str]:
    """What is wrong with each part that this process needs; nothing where nothing is."""
    return {"database": _about_database(), "blobs": _about_blobs()}


def _about_database() -> str:
    try:
        executor = MigrationExecutor(connection)
        behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return f"cannot be reached: {type(error).__name__}"
    return f"{len(behind)} migrations are not applied; run `python manage.py migrate`" if behind else ""


def _about_blobs() -> str:
    return "" if blobs.storage().is_writable() else "cannot be written"
