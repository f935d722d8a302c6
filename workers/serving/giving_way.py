"""Threads that nobody waits for give way to the model's thread, where there are fewer cores than threads."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

log = logging.getLogger(__name__)
Result = TypeVar("Result")
NICER = 5  # of 19: it still gets a quarter of a core that it has to share, so a version is soon there


def give_way() -> None:
    """Have this thread, for good, get less of a core that others want too; on Linux, elsewhere nothing."""
    if sys.platform != "linux":  # where a thread has no priority of its own
        return
    me = threading.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, me, max(NICER, os.getpriority(os.PRIO_PROCESS, me)))
    except OSError as error:  # a sandbox may forbid it, and what the thread is there for has to be done
        log.debug("thread %s cannot give way: %s", threading.current_thread().name, error)


def apart(work: Callable[[], Result]) -> Result:
    """What comes of this, or its error, from a thread of its own that gives way; the caller's waits."""
    done: Future[Result] = Future()
    context = copy_context()

    def run() -> None:
        give_way()
        try:
            done.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
            done.set_exception(error)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return done.result()
