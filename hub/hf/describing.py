"""Adapters, commits and files in the words of the wire protocol."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hub.adapters import gitnames, history
from hub.adapters.models import Adapter, Commit, Release
from hub.adapters.permissions import is_held_back
from hub.blobs.models import Blob
from hub.hf import verdicts
from hub.limits import MIB

LARGE = MIB  # from here on clients send a file by itself, and not inside the commit


@dataclass(frozen=True)
class Shown:
    """An adapter at one commit, as somebody is about to see it."""

    adapter: Adapter
    commit: Commit | None
    likes: int = 0

    @cached_property
    def tree(self) -> dict[str, Blob]:
        return history.tree_of(self.commit)

    @property
    def card(self) -> dict[str, Any]:
        return self.commit.card if self.commit else {}

    @property
    def config(self) -> dict[str, str]:
        return self.commit.config if self.commit else {}

    @property
    def release(self) -> Release | None:
        return self.commit.examined_as if self.commit else None


def is_large(blob: Blob) -> bool:
    """Whether clients know this file by its sha256 (as Git LFS does) and not by git's own name."""
    return blob.size >= LARGE


def etag(blob: Blob) -> str:
    """What clients compare their copies with."""
    return blob.sha256 if is_large(blob) else blob.git_oid


def pointer(blob: Blob) -> bytes:
    """What Git LFS keeps in the tree in the place of a large file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{blob.sha256}\nsize {blob.size}\n".encode()
    )


def blob_id(blob: Blob) -> str:
    return gitnames.blob_oid(pointer(blob)) if is_large(blob) else blob.git_oid


def model(shown: Shown, keys: Iterable[str]) -> dict[str, Any]:
    """The adapter with its id and those of its fields that are asked for."""
    name = shown.adapter.full_name
    wanted = {key: FIELDS[key](shown) for key in keys if key in FIELDS}
    return {"_id": f"{shown.adapter.pk:024x}", "id": name, "modelId": name, **wanted}


def sibling(path: str, blob: Blob, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    large = {"sha256": blob.sha256, "size": blob.size, "pointerSize": len(pointer(blob))}
    described = {"rfilename": path, "size": blob.size, "blobId": blob_id(blob)}
    return {**described, "lfs": large} if is_large(blob) else described


def file(path: str, blob: Blob) -> dict[str, Any]:
    """A file in a listing of a folder."""
    large = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(pointer(blob))}
    described = {"type": "file", "path": path, "size": blob.size, "oid": blob_id(blob)}
    return {**described, "lfs": large} if is_large(blob) else described


def folder(path: str, tree: Mapping[str, Blob]) -> dict[str, Any]:
    inside = {
        name.removeprefix(path + "/"): blob.git_oid
        for name, blob in tree.items()
        if name.startswith(path + "/")
    }
    return {"type": "directory", "path": path, "oid": gitnames.tree_oid(inside), "size": 0}


def commit(found: Commit) -> dict[str, Any]:
    title, _, message = found.message.partition("\n")
    return {
        "id": found.oid,
        "title": title,
        "message": message.strip(),
        "authors": [{"user": found.author.username, "avatar": ""}],
        "date": time(found.created_at),
    }


def last_commit(found: Commit) -> dict[str, str]:
    return {"id": found.oid, "title": found.message.partition("\n")[0], "date": time(found.created_at)}


def time(at: Any) -> str:
    """A moment as clients parse it."""
    return str(at.strftime("%Y-%m-%dT%H:%M:%S.000Z"))


def _last_modified(shown: Shown) -> str:
    return time(shown.commit.created_at if shown.commit else shown.adapter.created_at)


def _pipeline_tag(shown: Shown) -> str | None:
    said = shown.card.get("pipeline_tag")
    return said if isinstance(said, str) else None


FIELDS: dict[str, Callable[[Shown], Any]] = {
    "author": lambda shown: shown.adapter.owner.username,
    "sha": lambda shown: shown.commit.oid if shown.commit else None,
    "lastModified": _last_modified,
    "createdAt": lambda shown: time(shown.adapter.created_at),
    "private": lambda shown: shown.adapter.private,
    "gated": lambda shown: shown.adapter.gating or False,
    "disabled": lambda shown: shown.commit is not None and is_held_back(shown.commit),
    "downloads": lambda shown: shown.adapter.downloads,
    "downloadsAllTime": lambda shown: shown.adapter.downloads_all_time,
    "likes": lambda shown: shown.likes,
    "trendingScore": lambda _shown: 0,
    "tags": lambda shown: [
        *(tag.tag for tag in shown.adapter.tags.all()),
        *verdicts.tags(shown.adapter, shown.release),
    ],
    "library_name": lambda shown: "peft" if shown.config else None,
    "pipeline_tag": _pipeline_tag,
    "cardData": lambda shown: shown.card or None,
    "config": lambda shown: {"peft": shown.config} if shown.config else {},
    "siblings": lambda shown: [sibling(path, blob, blobs=False) for path, blob in shown.tree.items()],
    "usedStorage": lambda shown: sum(blob.size for blob in shown.tree.values()),
    "spaces": lambda _shown: [],
    "fletch": lambda shown: verdicts.verdict(shown.adapter, shown.release),
    "adapterStats": lambda shown: shown.release.statistics if shown.release else {},
}
BRIEF = (
    "createdAt",
    "downloads",
    "lastModified",
    "library_name",
    "likes",
    "pipeline_tag",
    "private",
    "tags",
    "trendingScore",
)
FULL = (*BRIEF, "author", "disabled", "gated", "sha", "siblings")
EVERYTHING = tuple(FIELDS)
