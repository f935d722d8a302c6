"""Named crash points. They do nothing unless FLETCH_CRASH arms one: `name:kill`, `name:raise`, `name:enospc`
or `name:sleep`.
"""

import errno
import os
import signal
import time

from django.conf import settings

LONG = 3600.0


class ArmedFault(RuntimeError):
    """Raised at a crash point that a test armed with `raise`."""


def reach(point: str) -> None:
    """Mark a place where a process may die, so that a test can make it die exactly there."""
    if not settings.CRASH:
        return
    name, _, effect = settings.CRASH.rpartition(":")
    if name == point:
        _suffer(point, effect)


def _suffer(point: str, effect: str) -> None:
    match effect:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise ArmedFault(point)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), point)
        case "sleep":
            time.sleep(LONG)
