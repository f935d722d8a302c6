"""Letting go of index versions: module by module, on a thread that nobody waits for.

A large version is returned to the system in tens of milliseconds during which nothing else runs, and the one
who lets go of it last is the model's thread, between two tokens of somebody's answer.
"""

from __future__ import annotations

import threading
import time
import weakref
from queue import SimpleQueue

from routing.pack import ModulePack, Pack
from workers.serving.giving_way import give_way

PAUSE = 0.001  # seconds between two modules
MOST_SECONDS = 10.0  # that anybody waits for it


class Retiring:
    """Holds the modules of the packs that it was told of, and lets go of them soon after all others have."""

    def __init__(self) -> None:
        self._unused: SimpleQueue[list[ModulePack] | threading.Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._let_go, name="retiring", daemon=True)

    def start(self) -> None:
        """Work until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is not used by now."""
        self._unused.put(None)
        self._thread.join()

    def after_use(self, pack: Pack) -> None:
        """Have the pack's modules outlive it for as long as it takes to free them in small steps."""
        excerpt = () if pack.excerpt is None else pack.judging.modules.values()
        ending = weakref.finalize(pack, self._unused.put, [*pack.modules.values(), *excerpt])
        ending.atexit = False  # then all of it goes at once, and nobody is being answered

    def catch_up(self, seconds: float) -> None:
        """Return once what was unused before this is gone, or after so long."""
        reached = threading.Event()
        if self._thread.is_alive():
            self._unused.put(reached)
            reached.wait(seconds)

    def _let_go(self) -> None:
        give_way()
        while (modules := self._unused.get()) is not None:
            if isinstance(modules, threading.Event):
                modules.set()
                continue
            while modules:
                modules.pop()
                time.sleep(PAUSE)
