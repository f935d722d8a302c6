"""Whether the process lives, and whether it serves what the store says."""

from __future__ import annotations

import math
import time
from typing import Any

from workers.serving.libraries import Libraries
from workers.serving.library import Library
from workers.serving.problems import Problem


def readiness(libraries: Libraries, *, closed: str | None = None) -> tuple[bool, dict[str, Any]]:
    """Whether to send requests here, and what is missing; one library's failure takes no other out.

    `closed` says why nobody is answered, whatever is served.
    """
    reports = [_report(library) for library in libraries.served.values()]
    problems = [f"{report['library']}: {report['problem']}" for report in reports if report["problem"]]
    if libraries.unreachable is not None:
        problems.append(f"the index store cannot be read: {libraries.unreachable}")
    if closed is not None:
        problems.append(closed)
    nothing_ready = bool(problems) and not any(report["ready"] for report in reports)
    waiting = closed is not None or not libraries.looked or nothing_ready
    status = "not ready" if waiting else "degraded" if problems else "ready"
    missing = [] if reports or not libraries.looked else ["there is no library in the index store yet"]
    return not waiting, {"status": status, "libraries": reports, "missing": [*missing, *problems]}


def _report(library: Library) -> dict[str, Any]:
    live, obstacle = library.live, library.obstacle
    return {
        "library": library.name,
        "ready": library.model is not None and (live is not None or obstacle is None),
        "version": None if live is None else live.number,
        "versions_held": library.held,
        "refused": _refused(library.problem),
        "problem": library.trouble,
    }


def _refused(problem: Problem | None) -> dict[str, Any] | None:
    """The version that should be served and cannot be, and in how many seconds it is tried again."""
    version = None if problem is None else problem.version
    if problem is None or version is None:
        return None
    wait = max(0, math.ceil(problem.retry_at - time.monotonic()))
    return {
        "version": version.number,
        "manifest": version.manifest,
        "tries": problem.tries,
        "retry_in": wait,
    }
