"""Sending an adapter: every file by its digest, each from where it broke off, then a release of them all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fletch.exits import CommandError, Exit
from fletch.hub import FIRST_PAUSE, LONGEST_PAUSE, PATIENT, Hub, OutOfStep, Unreachable
from fletch.screen import Report

CHUNK = 256 * 1024
STRETCH = 16 * 2**20  # what one request sends: a broken one costs no more to begin again
LEFT_BEHIND = {".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Sent:
    """A file as the hub will know it."""

    path: str
    source: Path
    size: int
    sha256: str


def files_of(folder: Path) -> list[tuple[str, Path]]:
    """What belongs to an adapter: every plain file but hidden ones and what programs leave behind."""
    found = []
    for source in sorted(path for path in folder.rglob("*") if path.is_file()):
        path = source.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
        if path.name not in LEFT_BEHIND and (not hidden or path.name == ".gitattributes"):
            found.append((path.as_posix(), source))
    if not found:
        raise CommandError(
            Exit.USAGE, f"{folder}: found no files, expected what peft's save_pretrained wrote"
        )
    return found


def digested(files: Sequence[tuple[str, Path]], report: Report) -> list[Sent]:
    """Read every file once to know its digest."""
    total, done = sum(source.stat().st_size for _path, source in files), 0
    found = []
    for path, source in files:
        digest, size = hashlib.sha256(), 0
        for chunk in _chunks(source, start=0, most=None):
            digest.update(chunk)
            size += len(chunk)
            report(done + size, total, path)
        found.append(Sent(path, source, size, digest.hexdigest()))
        done += size
    return found


def here(hub: Hub, file: Sent, owner: str = "") -> dict[str, Any]:
    """How much of a file the hub has, on its way to an organisation where `owner` names one."""
    return hub.get(_where(file, owner=owner))


def send(hub: Hub, files: Sequence[Sent], report: Report, *, owner: str = "") -> int:
    """Bring all bytes to the hub that are not there; how many had to be sent."""
    total, done, sent = sum(file.size for file in files), 0, 0
    for file in files:

        def so_far(here: int, file: Sent = file, done: int = done) -> None:
            report(done + here, total, file.path)

        sent += _send_one(hub, file, so_far, owner)
        done += file.size
    return sent


def assemble(
    hub: Hub, library: str, name: str, files: Sequence[Sent], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Make a release of what is there now."""
    tree = [{"path": file.path, "sha256": file.sha256} for file in files]
    return hub.post(f"/libraries/{library}/adapters/{name}/releases/assembled", {"files": tree, **more})


def _where(file: Sent, **said: object) -> str:
    known = {name: value for name, value in said.items() if value != ""}
    return f"/uploads/{file.sha256}" + (f"?{urlencode(known)}" if known else "")


def _send_one(hub: Hub, file: Sent, so_far: Callable[[int], None], owner: str) -> int:
    """From where the hub has it, stretch by stretch; a stretch that fails is tried again from what came."""
    came, sent, failures, pause = here(hub, file, owner), 0, 0, FIRST_PAUSE
    while not came["complete"]:
        offset = int(came["received"])
        so_far(offset)
        length = min(STRETCH, file.size - offset)
        where = _where(file, offset=offset, size=file.size, owner=owner)
        try:
            came = hub.send("PATCH", where, _told(file, offset, length, so_far), length=length)
            sent, failures, pause = sent + length, 0, FIRST_PAUSE
        except (Unreachable, OutOfStep):
            failures += 1
            if failures == PATIENT:
                raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            came = here(hub, file, owner)
    so_far(file.size)
    return sent


def _told(file: Sent, offset: int, length: int, so_far: Callable[[int], None]) -> Iterator[bytes]:
    here = offset
    for chunk in _chunks(file.source, start=offset, most=length):
        yield chunk
        here += len(chunk)
        so_far(here)


def _chunks(source: Path, *, start: int, most: int | None) -> Iterator[bytes]:
    with source.open("rb") as file:
        file.seek(start)
        left = most
        while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
            left = None if left is None else left - len(chunk)
            yield chunk
