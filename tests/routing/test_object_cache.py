"""Copies of objects take no more of a disk than they may, and nobody loses one that he is using."""

from __future__ import annotations

import logging
import mmap
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from routing.digests import digest_of
from routing.errors import MissingObject
from routing.object_cache import IN_USE, ObjectCache

SIZE = 1000


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


def put(cache: ObjectCache, folder: Path, number: int) -> str:
    file = folder / "brought"
    file.write_bytes(content(number))
    cache.put(file)
    return digest_of(content(number))


def age(root: Path, digest: str, seconds: float) -> None:
    """It was used last so long ago."""
    then = time.time() - seconds
    os.utime(root / "objects" / digest[:2] / digest, (then, then))


def kept(root: Path) -> set[str]:
    return {path.name for path in (root / "objects").glob("??/*")}


def test_the_longest_unused_make_room_for_what_comes(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    cache = ObjectCache(root, limit=4 * SIZE)
    digests = [put(cache, tmp_path, number) for number in range(4)]
    for seconds, digest in zip((400, 300, 200, 100), digests, strict=True):
        age(root, digest, IN_USE + seconds)
    cache.path(digests[0])  # it is the last one used now

    new = put(cache, tmp_path, 4)

    assert kept(root) == {digests[0], digests[2], digests[3], new}
    assert (cache.size, cache.limit) == (4 * SIZE, 4 * SIZE)
    with pytest.raises(MissingObject):
        cache.path(digests[1])


def test_a_folder_that_has_more_than_it_may_loses_the_rest_at_the_start(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    larger = ObjectCache(root, limit=10 * SIZE)
    digests = [put(larger, tmp_path, number) for number in range(6)]
    for seconds, digest in enumerate(digests):
        age(root, digest, IN_USE + 100 - seconds)

    smaller = ObjectCache(root, limit=2 * SIZE)

    assert kept(root) == set(digests[4:])
    assert (larger.size, smaller.size) == (6 * SIZE, 2 * SIZE)


def test_what_was_used_a_moment_ago_stays_and_the_log_says_what_that_takes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "cache"
    cache = ObjectCache(root, limit=2 * SIZE)
    with caplog.at_level(logging.WARNING, logger="routing.object_cache"):
        digests = [put(cache, tmp_path, number) for number in range(4)]

    assert kept(root) == set(digests)
    assert "of objects in use, expected at most" in caplog.text


def test_who_has_mapped_a_file_that_makes_room_goes_on_reading_it(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    cache = ObjectCache(root, limit=2 * SIZE)
    digest = put(cache, tmp_path, 1)
    with (
        cache.path(digest).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        age(root, digest, IN_USE + 1)
        for number in (2, 3):
            put(cache, tmp_path, number)

        assert digest not in kept(root)
        assert mapped[:] == content(1)


def test_what_dead_writers_left_is_swept_at_the_start_and_what_may_still_be_written_is_not(
    tmp_path: Path,
) -> None:
    root = tmp_path / "cache"
    with ObjectCache(root).scratch() as file:
        folder = Path(file.name).parent
        for name, hours in (("left", 2), ("written", 0)):
            (folder / name).write_bytes(b"half")
            os.utime(folder / name, (time.time() - 3600 * hours,) * 2)

        ObjectCache(root)

        assert {path.name for path in folder.iterdir()} == {"written", Path(file.name).name}
        assert folder.is_relative_to(root)


def test_where_nobody_says_otherwise_half_of_a_small_disk_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    for total in (10 * 2**30, 2**40):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, total=total: SimpleNamespace(total=total))
        limits.append(ObjectCache(tmp_path / "not" / "there" / "yet").limit)

    assert limits == [5 * 2**30, 32 * 2**30]
