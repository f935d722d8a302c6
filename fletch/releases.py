"""Releases as commands watch and tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fletch import screen
from fletch.command import Outcome
from fletch.exits import Exit
from fletch.following import end_of, failed, is_settled, release_at, release_progress, until
from fletch.hub import Hub
from fletch.options import READY, SERVED, Watch

SHORT = 12


def followed(hub: Hub, url: str, watch: Watch) -> dict[str, Any]:
    """A release once its verdict is in (and, for the goal `served`, the served model knows it)."""

    def reached(release: Mapping[str, Any]) -> bool:
        return is_settled(release) and (
            watch.goal == READY or release["served"] or end_of(release) is not Exit.DONE
        )

    with screen.steps("release") as report:
        return until(
            release_at(hub, url), reached, progress=release_progress, report=report, seconds=watch.seconds
        )


def told(release: Mapping[str, Any], *, goal: str = READY) -> Outcome:
    """What became of it, and the exit code that says so."""
    end = end_of(release)
    if end is Exit.DONE and goal == SERVED and not release["served"]:
        end = Exit.UNFINISHED
    lines = [screen.finding_line(finding) for finding in release["findings"]]
    lines.append(
        f"{release['adapter']} release {release['number']} ({release['oid'][:SHORT]}): {_standing(release)}"
    )
    return Outcome(release, "\n".join([*lines, *_after(release)]), end)


def _standing(release: Mapping[str, Any]) -> str:
    standing = str(release["status"])
    if release["quarantined_at"]:
        standing += f", in quarantine: {release['reason']}"
    elif release["yanked_at"]:
        standing += f", withdrawn: {release['reason']}"
    elif release["served"]:
        standing += f", served by {release['library']}"
    return screen.harmless(standing)


def _after(release: Mapping[str, Any]) -> list[str]:
    if not failed(release):
        return []
    return [screen.harmless(job["error"]) for job in release["jobs"] if job["state"] == "failed"]
