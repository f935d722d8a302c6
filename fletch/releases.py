"""Releases as commands watch and tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fletch import screen
from fletch.command import Outcome
from fletch.exits import Exit
from fletch.following import end_of, failed, is_settled, release_at, release_progress, until
from fletch.hub import Hub
from fletch.live import Live
from fletch.options import SERVED, Watch

SHORT = 12


def watched(hub: Hub, url: str, watch: Watch) -> Outcome:
    """What became of a release: of `watch.follow` once it is settled, else as it is now.

    For the goal `served` that is when the serving process answers with it, which `live` says.
    """
    live = Live(hub)
    goal = watch.goal == SERVED

    def look() -> dict[str, Any]:
        release = release_at(hub, url)()
        return {**release, "live": live.has(release)} if goal and release["served"] else release

    def reached(release: Mapping[str, Any]) -> bool:
        return is_settled(release) and (not goal or release.get("live") or end_of(release) is not Exit.DONE)

    if not watch.follow:
        return _told(look(), goal=goal, missing=live.missing)
    with screen.steps("release") as report:
        found = until(look, reached, progress=_progress, report=report, seconds=watch.seconds)
    return _told(found, goal=goal, missing=live.missing)


def _progress(seen: Mapping[str, Any]) -> tuple[int, int, str]:
    done, whole, words = release_progress(seen)
    return (done, whole, f"{words}, not live yet") if seen.get("live") is False else (done, whole, words)


def _told(release: Mapping[str, Any], *, goal: bool, missing: str) -> Outcome:
    """What became of it, and the exit code that says so."""
    end = end_of(release)
    if end is Exit.DONE and goal and not release.get("live"):
        end = Exit.UNFINISHED
    lines = [screen.finding_line(finding) for finding in release["findings"]]
    lines.append(
        f"{release['adapter']} release {release['number']} ({release['oid'][:SHORT]}): {_standing(release)}"
    )
    if missing and release["served"]:
        lines.append(screen.harmless(f"its serving process does not answer with it yet: {missing}"))
    return Outcome(dict(release), "\n".join([*lines, *_after(release)]), end)


def _standing(release: Mapping[str, Any]) -> str:
    standing = str(release["status"])
    if release["quarantined_at"]:
        standing += f", in quarantine: {release['reason']}"
    elif release["yanked_at"]:
        standing += f", withdrawn: {release['reason']}"
    elif release["served"]:
        standing += f", served by {release['library']}" if release.get("live", True) else ", not live yet"
    return screen.harmless(standing)


def _after(release: Mapping[str, Any]) -> list[str]:
    if not failed(release):
        return []
    return [screen.harmless(job["error"]) for job in release["jobs"] if job["state"] == "failed"]
