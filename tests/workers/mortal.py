"""Work that may be killed, in a process born from a clean server.

A fork of the test process itself would not do: where torch has computed on several threads, its child may
hang or crash by itself.
"""

import importlib
import multiprocessing
import signal
import sys
from collections.abc import Mapping

from django.test import override_settings

from tests.workers.live import LiveHub, Place
from tests.workers.uploading import work_off_jobs

PATIENCE = 60.0
_births = multiprocessing.get_context("forkserver")
_births.set_forkserver_preload(["tests.workers.preloaded"])


def work_until_killed_at(
    point: str, hub: LiveHub, *, prepare: str | None = None, settings: Mapping[str, object] | None = None
) -> None:
    """Do every due job of the hub in a process that dies at the point.

    `prepare` is a function that this process calls first, as `module:name`; `settings` are its own.
    """
    crashing = {**(settings or {}), "CRASH": f"{point}:kill"}
    worker = _births.Process(target=_work_off, args=(hub.place, crashing, prepare))
    worker.start()
    worker.join(PATIENCE)
    late = worker.is_alive()
    worker.kill()
    worker.join()
    assert not late, f"nothing happened at {point} for {PATIENCE:.0f} s"
    assert worker.exitcode == -signal.SIGKILL, f"no job reached {point}"


def _work_off(place: Place, settings: Mapping[str, object], prepare: str | None) -> None:
    if prepare is not None:
        module, _, name = prepare.partition(":")
        getattr(importlib.import_module(module), name)()
    with place.here(), override_settings(**settings):
        work_off_jobs()
    sys.exit(0)
