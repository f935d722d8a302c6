"""Fetching files of a hub into a folder: each from where it broke off, each compared with its digest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from fletch.exits import CommandError, Exit
from fletch.hub import FIRST_PAUSE, LONGEST_PAUSE, PATIENT, Hub, Unreachable
from fletch.screen import Report, harmless

CHUNK = 256 * 1024


@dataclass(frozen=True)
class Wanted:
    """A file as the hub describes it, and where it goes."""

    path: str
    place: Path
    size: int
    sha256: str
    url: str

    @property
    def part(self) -> Path:
        """What came so far. Named by its digest: other bytes are never gone on with."""
        return self.place.with_name(f".{self.place.name}.{self.sha256[:16]}.part")


def wanted(files: Sequence[Mapping[str, Any]], target: Path) -> list[Wanted]:
    """What a hub offers, as files below `target`. CommandError where a path would lead elsewhere."""
    return [
        Wanted(
            path=str(file["path"]),
            place=_inside(target, str(file["path"])),
            size=int(file["size"]),
            sha256=str(file["sha256"]),
            url=str(file["url"]),
        )
        for file in files
    ]


def fetch(hub: Hub, files: Sequence[Wanted], report: Report, *, overwrite: bool) -> int:
    """Bring all files here; how many bytes came. CommandError where another file is in the way."""
    missing = [file for file in files if not _is_here(file)]
    in_the_way = [file for file in missing if file.place.exists()]
    if in_the_way and not overwrite:
        names = ", ".join(str(file.place) for file in in_the_way[:5])
        raise CommandError(Exit.USAGE, f"{names}: exists with other bytes; --overwrite replaces it")
    total, done, came = sum(file.size for file in files), 0, 0
    for file in files:
        if file in missing:

            def so_far(here: int, file: Wanted = file, done: int = done) -> None:
                report(done + here, total, harmless(file.path))

            came += _fetch_one(hub, file, so_far)
        done += file.size
        report(done, total, harmless(file.path))
    return came


def _fetch_one(hub: Hub, file: Wanted, so_far: Callable[[int], None]) -> int:
    file.place.parent.mkdir(parents=True, exist_ok=True)
    began = _size(file.part)
    pause = FIRST_PAUSE
    for left in reversed(range(PATIENT)):
        try:
            _go_on(hub, file, so_far)
            break
        except Unreachable:
            if not left:
                raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    _keep(file)
    return file.size - began


def _go_on(hub: Hub, file: Wanted, so_far: Callable[[int], None]) -> None:
    """Append what is missing to the part; the hub gives all of it where it has other bytes now."""
    begin = _size(file.part)
    if begin == file.size and begin:
        return
    condition = {"Range": f"bytes={begin}-", "If-Range": f'"{file.sha256}"'} if begin else {}
    with hub.stream(file.url, condition) as response:
        goes_on = response.status_code == httpx.codes.PARTIAL_CONTENT
        here = begin if goes_on else 0
        with file.part.open("ab" if goes_on else "wb") as part:
            for chunk in response.iter_bytes(CHUNK):
                here += len(chunk)
                if here > file.size:
                    break
                part.write(chunk)
                so_far(here)
    if here < file.size:
        raise Unreachable(f"{file.path}: the connection ended after {here} of {file.size} bytes")


def _keep(file: Wanted) -> None:
    """The part becomes the file, if it is what its digest promises."""
    found = _digest(file.part)
    if found != file.sha256:
        file.part.unlink(missing_ok=True)
        raise CommandError(
            Exit.DAMAGED,
            f"{file.path}: found bytes with the digest {found}, expected {file.sha256}; nothing of them was "
            "kept, so fetch it again",
        )
    file.part.replace(file.place)


def _is_here(file: Wanted) -> bool:
    return file.place.is_file() and _size(file.place) == file.size and _digest(file.place) == file.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _inside(target: Path, path: str) -> Path:
    """A hub is a stranger too: what it names must lie in the folder that was chosen."""
    parts = PurePosixPath(path).parts
    safe = path and not path.startswith("/") and not set("\\:\0") & set(path) and ".." not in parts
    place = target.joinpath(*parts)
    if not safe or not place.resolve().is_relative_to(target.resolve()) or place.is_symlink():
        raise CommandError(Exit.REFUSED, f"the hub names a file {path!r}, which would not lie in {target}")
    return place
