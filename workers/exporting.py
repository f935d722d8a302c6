"""EXPORT: push a release or a composed checkpoint to another hub, with its own client in another process."""

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from django.conf import settings

from hub.blobs import services as blobs
from hub.blobs.content import names_of
from hub.errors import Conflict, Disabled, Invalid, NotFound
from hub.exports import cargo, queries, sealing, services
from hub.exports.models import Export
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.outbound import Refused, Unreachable
from workers import pushing
from workers.folders import work_folder
from workers.progress import reporter
from workers.pushing import Order, Sent
from workers.sandbox import GIB, Limits, confined

LONGEST_EXPORT = 6900.0  # seconds
LONGEST_LINE = 16 * 1024
PUSHING = "workers.pushing"
LIMITS = Limits(memory=2 * GIB, cpu_seconds=3600, wall_seconds=LONGEST_EXPORT + 30)
Report = Callable[[int, int, str], None]


def push(claim: Claim) -> None:
    reach("export.claimed")
    export = queries.exports().filter(pk=claim.ids["export_id"], status=Export.Status.REQUESTED).first()
    if export is None:
        jobs.log(claim, "nothing to do: this export has ended, and its token is forgotten")
        return
    try:
        require_allowed(export.endpoint)
        with work_folder() as folder:
            order = order_of(export, folder)
            commit = pushed(order, folder, reporter(claim))
    except (Refused, Conflict, Disabled, NotFound, Invalid) as error:
        services.record_refused(claim, export.pk, note=str(error))
        jobs.log(claim, f"not exported: {error}")
        return
    except Unreachable as error:
        services.record_delay(claim, export.pk, note=str(error))
        raise
    reach("export.pushed")
    services.record_done(claim, export.pk, commit=commit)
    jobs.log(claim, f"{export}: commit {commit}, {order.size:,} bytes")


def require_allowed(endpoint: str) -> None:
    """The operator may have changed their mind since it was asked for. Raises Refused."""
    if endpoint not in settings.EXPORT_TO:
        raise Refused(f"this hub exports to {endpoint} no longer; the operator decides (FLETCH_EXPORT_TO)")


def order_of(export: Export, folder: Path) -> Order:
    """Everything as files; those that are written for it lie in the folder. Raises as `cargo_of`, Invalid."""
    load = cargo.cargo_of(export)
    files = {
        path: Sent(str(blobs.local_path(blob.sha256)), blob.sha256, blob.size)
        for path, blob in load.files.items()
    }
    for number, (path, content) in enumerate(load.written.items()):
        place = folder / f"written-{number}"
        place.write_bytes(content)
        names = names_of(place)
        files[path] = Sent(str(place), names.sha256, names.size)
    return Order(
        endpoint=export.endpoint,
        repo=export.repo,
        closed=cargo.closed_to_whom(export),
        files=files,
        gone=load.gone,
        summary=load.summary,
        description=load.description,
        seconds=LONGEST_EXPORT,
        token=sealing.opened(export.token),
    )


def pushed(order: Order, folder: Path, report: Report) -> str:
    """The commit there. Raises Refused, Unreachable; RuntimeError where the fault is ours."""
    arguments = ("-P", "-m", PUSHING)
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with confined(arguments, scratch=folder, limits=LIMITS, settings=pushing.SETTINGS, **streams) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(LIMITS.wall_seconds, process.kill)
        late.start()
        try:
            process.stdin.write(order.to_json().encode())
            process.stdin.close()
            return _heard(process.stdout, report)
        finally:
            late.cancel()


def _heard(lines: IO[bytes], report: Report) -> str:
    """What the process says until it has ended."""
    while line := lines.readline(LONGEST_LINE):
        match json.loads(line):
            case {"done": done, "total": total}:
                report(done, total, "Sending files")
            case {"commit": commit}:
                return str(commit)
            case {"refused": reason}:
                raise Refused(reason)
            case {"unreachable": reason}:
                raise Unreachable(reason)
            case {"failed": reason}:
                raise RuntimeError(reason)
    raise RuntimeError("the process that pushes ended without a word")
