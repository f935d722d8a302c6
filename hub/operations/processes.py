"""One part of the hub as a child process: what to start, and the running thing with its log lines."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hub.operations.tether import Tether

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Part:
    """A child process that should always run: `ready` says whether the process with this id does its work."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[int], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    address: str = ""


class RunningPart:
    """A started part in a process group of its own, tied to this process, its output read line by line."""

    def __init__(self, part: Part, *, say: Say, tether: Tether) -> None:
        self.part = part
        self.started_at = time.monotonic()
        self._tether = tether
        self._process = subprocess.Popen(  # noqa: S603 (the command is composed by us, no shell)
            part.command,
            env=_environment(part),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self.pid = self._process.pid
        tether.tie(self.pid)
        self._reader = threading.Thread(target=self._read, args=(say,), daemon=True, name=f"{part.name}-log")
        self._reader.start()

    def is_ready(self) -> bool:
        return self.part.ready(self.pid)

    def ended_with(self) -> int | None:
        """The exit status (negative: the signal), or None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._clear_up()
        return status

    def ask_to_stop(self) -> None:
        """Only the first process of the group is asked; it knows how to end its own children in order."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self.part.stop_signal)

    def stop(self, *, patience: float) -> None:
        """Wait up to `patience` seconds for the end, then enforce it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._kill_group()
        self._process.wait()
        self._clear_up()

    def _clear_up(self) -> None:
        self._kill_group()  # whatever the first process left behind
        self._tether.untie(self.pid)
        self._reader.join(timeout=1.0)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self, say: Say) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with stream:
            for line in stream:
                say(self.part.name, line.rstrip())


def said_of(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _environment(part: Part) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in part.withheld}
    return {**kept, "PYTHONUNBUFFERED": "1", **part.environment}
