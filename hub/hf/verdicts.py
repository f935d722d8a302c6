"""What the hub found out about an adapter, in the places where clients of the wire protocol look."""

from typing import Any

from django.http import HttpResponseBase
from django.urls import reverse

from hub.adapters.models import Adapter, Commit, Release

UNSAFE, SAFE, QUEUED, UNSCANNED = "unsafe", "safe", "queued", "unscanned"


def tags(adapter: Adapter, release: Release | None) -> list[str]:
    """Its library and how far it is, as words that can be seen in every listing and searched by."""
    library = [f"fletch-library:{adapter.library.slug}"] if adapter.library else []
    if release is None:
        return library
    standing = [
        word
        for word, at in (("quarantined", release.quarantined_at), ("yanked", release.yanked_at))
        if at is not None
    ]
    return [*library, *(f"fletch:{word}" for word in (release.status, *standing))]


def verdict(adapter: Adapter, release: Release | None) -> dict[str, Any] | None:
    """The release that was made of the adapter, and all that was found."""
    if release is None:
        return None
    owner, name = adapter.owner.username, adapter.name
    return {
        "library": adapter.library.slug if adapter.library else None,
        "release": release.number,
        "status": release.status,
        "findings": release.findings,
        "measurements": release.measurements,
        "reason": release.reason,
        "url": reverse("release", args=[owner, name, release.oid]),
    }


def file_status(release: Release | None) -> str:
    """One word about each file of the adapter."""
    if release is None:
        return UNSCANNED
    if release.quarantined_at is not None or release.status == Release.Status.REJECTED:
        return UNSAFE
    return SAFE if release.status == Release.Status.READY else QUEUED


def repository_status(release: Release | None) -> dict[str, Any]:
    """Whether the examination is over, and which files it objects to."""
    is_done = release is not None and file_status(release) in {SAFE, UNSAFE}
    errors = [finding for finding in release.findings if finding["severity"] == "error"] if release else []
    files = dict.fromkeys(finding["file"] for finding in errors)
    return {"scansDone": is_done, "filesWithIssues": [{"path": path, "level": UNSAFE} for path in files]}


def warn(response: HttpResponseBase, commit: Commit) -> None:
    """Clients print this once, to those who look at or download what is not an expert."""
    said = _doubt(commit.examined_as)
    if said:
        sentence = f"{commit.adapter.full_name} at {commit.oid[:8]}: {said}"
        response["X-HF-Warning"] = "fletch; " + " ".join(sentence.encode("ascii", "replace").decode().split())


def _doubt(release: Release | None) -> str:
    if release is None:
        return ""
    if release.quarantined_at is not None:
        return f"release {release.number} is held back by a maintainer: {release.reason}"
    if release.yanked_at is not None:
        return f"release {release.number} was withdrawn by its owner. {release.reason}"
    if release.status == Release.Status.REJECTED:
        count = sum(finding["severity"] == "error" for finding in release.findings)
        return (
            f"release {release.number} was rejected with {count} findings; model_info(...).fletch says which"
        )
    if release.status != Release.Status.READY:
        return f"release {release.number} is still being examined"
    return ""
