"""Work that may be killed, in a process born from a clean server.

A fork of the test process itself would not do: where torch has computed on several threads, its child may
hang or crash by itself.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping

from tests.workers.live import LiveHub

PATIENCE = 60.0
HEAVY = [
    "torch",
    "peft",
    "transformers.models.llama.modeling_llama",
    "transformers.models.gpt2.modeling_gpt2",
]
_births = multiprocessing.get_context("forkserver")
_births.set_forkserver_preload(HEAVY)


def work_until_killed_at(point: str, hub: LiveHub, *, prepare: str | None = None) -> None:
    """Do every due job of the hub in a process that dies at the point.

    `prepare` is a function that this process calls first, as `module:name`: what it knows can only be
    imported where Django is set up.
    """
    environment = {**hub.environment, "FLETCH_CRASH": f"{point}:kill"}
    worker = _births.Process(target=_work_off, args=(environment, prepare))
    worker.start()
    worker.join(PATIENCE)
    late = worker.is_alive()
    worker.kill()
    worker.join()
    assert not late, f"nothing happened at {point} for {PATIENCE:.0f} s"
    assert worker.exitcode == -signal.SIGKILL, f"no job reached {point}"


def _work_off(environment: Mapping[str, str], prepare: str | None) -> None:
    os.environ.update(environment)
    import django  # noqa: PLC0415 (its settings are those of the environment above)

    django.setup()
    from tests.workers.uploading import work_off_jobs  # noqa: PLC0415 (it needs Django's models)

    if prepare is not None:
        module, _, name = prepare.partition(":")
        getattr(importlib.import_module(module), name)()
    work_off_jobs()
    sys.exit(0)
