"""No process is ever born with somebody else's database connection."""

import os
import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection

from workers.forking import no_fork_meanwhile

pytestmark = pytest.mark.usefixtures("hub")


def test_a_connection_stays_open_between_rounds_and_is_closed_by_a_fork() -> None:
    with no_fork_meanwhile():
        connection.ensure_connection()
    assert connection.connection is not None

    child_had_one = fork_and_ask(lambda: connection.connection is not None)

    assert not child_had_one
    assert connection.connection is None


def test_a_fork_waits_for_whoever_is_using_the_database() -> None:
    using, done = threading.Event(), threading.Event()

    def use() -> None:
        with no_fork_meanwhile():
            using.set()
            time.sleep(0.3)
            done.set()

    thread = threading.Thread(target=use)
    thread.start()
    using.wait()

    assert fork_and_ask(done.is_set)
    thread.join()


def fork_and_ask(question: Callable[[], bool]) -> bool:
    """The answer of a forked child."""
    pid = os.fork()
    if pid == 0:
        os._exit(1 if question() else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
