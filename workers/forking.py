"""Keeps forks away from a thread that is using the database.

A pool child that is forked while a connection is open inherits it: on PostgreSQL two processes then speak on
one socket, and SQLite takes the parent's file locks for the child's own. Whoever holds the guard may use the
database; a fork waits for it, closes the holder's connections and only then copies the process.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

_guard = threading.RLock()
_shared: list[BaseDatabaseWrapper] = []


@contextmanager
def no_fork_meanwhile() -> Iterator[None]:
    """Inside, this thread may use the database. Its connections stay open afterwards, until the next fork."""
    with _guard:
        yield
        for connection in connections.all(initialized_only=True):
            if connection not in _shared:
                connection.inc_thread_sharing()
                _shared.append(connection)


def _before_fork() -> None:
    _guard.acquire()
    while _shared:
        connection = _shared.pop()
        connection.close()
        connection.dec_thread_sharing()


os.register_at_fork(before=_before_fork, after_in_parent=_guard.release, after_in_child=_guard.release)
