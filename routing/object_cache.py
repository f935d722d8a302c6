"""Copies of objects in a folder that may take so much of a disk: the longest unused make room for others."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from routing.errors import MissingObject
from routing.objects import FolderStore

log = logging.getLogger(__name__)
LIMIT = 32 * 2**30  # bytes, where nobody says otherwise and the disk is twice as large
IN_USE = 60.0  # seconds after its last use in which a file stays: whoever has its path will have opened it
ABANDONED = 3600.0  # seconds after which nobody writes a scratch file any more
SHARE = 8  # it looks at the folder again when an eighth of the limit has come


class ObjectCache:
    """Verified copies, safe for several processes that share the folder: each makes room for what it brings.

    When an object was used last is its file's modification time. What was used in the last minute stays, so
    that nobody finds gone what he was just told the path of; then the folder is larger than its limit for a
    while. A file that is deleted while it is open or mapped keeps its bytes for whoever has it.
    """

    def __init__(self, root: Path, *, limit: int | None = None) -> None:
        """`limit` in bytes; None: `LIMIT`, at most half of the disk."""
        self.limit = _usual_limit(root) if limit is None else limit
        self.size = 0  # bytes: what the last look at the folder found, and what was brought since
        self._files = FolderStore(root)
        self._root = root
        self._room = 0  # bytes that may come before the folder is looked at again
        self._lock = threading.Lock()
        self._delete_down_to(self.limit)

    def path(self, digest: str) -> Path:
        """As `ObjectStore.path`. It stays for a minute at least."""
        self._files.touch(digest)
        return self._files.path(digest)

    def put(self, content: Path) -> None:
        """Keep a copy of this file."""
        self._make_room(content.stat().st_size)
        self._files.put(content)

    def delete(self, digest: str) -> None:
        """Forget an object; nothing happens if there is none."""
        self._files.delete(digest)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[IO[bytes]]:
        """A file to write something into; it is swept away if this process dies over it."""
        folder = self._files.scratch
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder) as file:
            yield file

    def _make_room(self, size: int) -> None:
        with self._lock:
            if size > self._room:
                self._room = max(size, self.limit // SHARE)
                self._delete_down_to(self.limit - self._room)
            self._room -= size
            self.size += size

    def _delete_down_to(self, most: int) -> None:
        """Delete the longest unused until the files take so many bytes, or those that stay."""
        self._files.remove_leftovers(older_than=ABANDONED)
        found = sorted(self._looked_at())
        total, deleted, oldest = sum(size for _, size, _ in found), 0, time.time() - IN_USE
        for used, size, digest in found:
            if total <= most or used > oldest:
                break
            self._files.delete(digest)
            total, deleted = total - size, deleted + 1
        self.size = total
        if deleted:
            log.info("%s: %d objects made room, %d MB are left", self._root, deleted, total // 2**20)
        if total > self.limit:
            log.warning(
                "%s: found %d MB of objects in use, expected at most %d; they are read again and again if "
                "they are not given more room",
                self._root,
                total // 2**20,
                self.limit // 2**20,
            )

    def _looked_at(self) -> Iterator[tuple[float, int, str]]:
        """Of each file when it was used last, its size and its name."""
        for digest in self._files.digests():
            with contextlib.suppress(FileNotFoundError, MissingObject):  # another process deletes, too
                found = self._files.place(digest).stat()
                yield found.st_mtime, found.st_size, digest


def _usual_limit(folder: Path) -> int:
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return min(LIMIT, shutil.disk_usage(there).total // 2)
