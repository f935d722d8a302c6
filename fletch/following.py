"""Following what a hub works on: a release until its verdict, a checkpoint until it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from fletch.exits import CommandError, Exit
from fletch.hub import API, Hub
from fletch.screen import Report

FIRST_LOOK = 0.3
LONGEST_BREAK = 3.0
WORKING = {"queued", "running"}
VERDICTS = {
    "received": Exit.UNFINISHED,
    "validated": Exit.UNFINISHED,
    "ready": Exit.DONE,
    "rejected": Exit.NO,
}
BEHIND = {"received": 0, "validated": 1}  # how many of the two stages are behind it


def until(
    look: Callable[[], dict[str, Any]],
    settled: Callable[[Mapping[str, Any]], bool],
    *,
    progress: Callable[[Mapping[str, Any]], tuple[int, int, str]],
    report: Report,
    seconds: float,
) -> dict[str, Any]:
    """Look, ever less often, until it is settled or the time is up; what was seen last."""
    last_moment, pause = time.monotonic() + seconds, FIRST_LOOK
    while True:
        seen = look()
        report(*progress(seen))
        if settled(seen) or (left := last_moment - time.monotonic()) <= 0:
            return seen
        time.sleep(min(pause, left))
        pause = min(pause * 1.2, LONGEST_BREAK)


def release_at(hub: Hub, url: str) -> Callable[[], dict[str, Any]]:
    """How to look at what a `url` of the hub's answers names."""
    return lambda: hub.get(url.removeprefix(API))


def release_progress(seen: Mapping[str, Any]) -> tuple[int, int, str]:
    """Hundredths of the whole way, and in words where on it this is."""
    status = str(seen["status"])
    if VERDICTS[status] is not Exit.UNFINISHED:
        return 100, 100, status
    share, words = _at_work(seen)
    return int(50 * (BEHIND[status] + share)), 100, f"{status}, {words}"


def job_progress(seen: Mapping[str, Any]) -> tuple[int, int, str]:
    """Hundredths of the one job that there is about it."""
    if not {job["state"] for job in seen["jobs"]} & WORKING:
        return 100, 100, str(seen["status"])
    share, words = _at_work(seen)
    return int(100 * share), 100, words


def _at_work(seen: Mapping[str, Any]) -> tuple[float, str]:
    """How far the job in hand is, and what it does."""
    jobs = [job for job in seen["jobs"] if job["state"] in WORKING]
    if not jobs:
        return 0.0, "waiting"
    job = jobs[0]
    share = job["progress_done"] / job["progress_total"] if job["progress_total"] else 0.0
    return share, job["progress_note"] or ("waiting for a worker" if job["state"] == "queued" else "at work")


def is_settled(release: Mapping[str, Any]) -> bool:
    """The verdict is in, or the work on it failed."""
    return VERDICTS[release["status"]] is not Exit.UNFINISHED or is_withdrawn(release) or failed(release)


def is_withdrawn(release: Mapping[str, Any]) -> bool:
    """Its owner took it back, or a maintainer holds it back."""
    return bool(release["yanked_at"] or release["quarantined_at"])


def failed(seen: Mapping[str, Any]) -> bool:
    """The hub could not finish, and nobody works on it now."""
    states = {job["state"] for job in seen["jobs"]}
    return "failed" in states and not states & WORKING


def end_of(release: Mapping[str, Any]) -> Exit:
    """How a command about this release ends."""
    verdict = Exit.NO if is_withdrawn(release) else VERDICTS[release["status"]]
    return Exit.UNREACHABLE if verdict is Exit.UNFINISHED and failed(release) else verdict


def our_part(seen: Mapping[str, Any]) -> CommandError:
    """Said of work that the hub could not finish."""
    said = [str(job["error"]) for job in seen["jobs"] if job["state"] == "failed"]
    return CommandError(Exit.UNREACHABLE, next(iter(said), "the hub could not finish this"))
